"""Is p of stage `state` right where there is nothing to tell?

    python -m benchmarks.states_chance --json

Parcels that follow no event (autoregressive noise and a drift of each run), conditions in one order in all runs or in
another in each, told by `parcels`. Of `--times` such data sets, the share in which p is below .05, for two tests:
`single_case`, the score beside those of surrogates, and `over_units`, which takes people (or runs) for independent and
flips the signs of their differences from their surrogates (two-sided here). The stage takes the latter, one-sided,
where people are told by fits of their own (`runs`, `parts`, at least six people), else the former.
"""

from __future__ import annotations

import itertools
from typing import Any

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import numpy as np

from brainlm_model.eval.state import features, probes, samples, scores
from brainlm_model.eval.state.samples import Samples, Steps, Validation
from brainlm_model.eval.state.surrogates import surrogates
from brainlm_model.eval.statistics.paired import sign_flip

PARCELS, EVERY, LASTS, PATCH = 10, 12, 6, 10  # events every 12 steps, whose answer lasts 6
DRIFT, MEMORY = 3.0, 0.8
STUDIES: list[tuple[Validation, int, int, int]] = [  # people, runs of each, events of each run
    ("people", 16, 1, 6),
    ("people", 30, 1, 12),
    ("runs", 8, 2, 12),
    ("runs", 1, 8, 12),
]


def design(rng: np.random.Generator, people: int, runs: int, events: int, same: bool) -> Samples:
    """Two conditions, as often as each other in each run, in one order for all (`same`) or in another in each run."""
    order = rng.permutation(np.arange(events) % 2)
    rows = []
    for person, run in itertools.product(range(people), range(runs)):
        labels = order if same else rng.permutation(order)
        rows += [(f"{person}-{run}", str(person), label, EVERY * place) for place, label in enumerate(labels)]
    recording, subject, label, first = (np.array(column) for column in zip(*rows, strict=True))
    answer = np.stack([first, first + LASTS], axis=1)
    length, steps = EVERY * events + 20, Steps(1.0, 4 * PATCH, PATCH)
    placed = [samples.around(begin, end, length, steps) for begin, end in answer]
    start, tokens = (np.array(column) for column in zip(*placed, strict=True))
    return Samples(recording, subject, label, ["a", "b"], answer, start, tokens)


def noise(rng: np.random.Generator, given: Samples) -> dict[str, Any]:
    """Recording -> (T, P): x_t = .8 x_(t-1) + e_t, and a drift over the run."""
    length = int(given.answer.max()) + 20
    series = {}
    for name in sorted(set(given.recording)):
        x_TP = rng.standard_normal((length, PARCELS))
        for t in range(1, length):
            x_TP[t] += MEMORY * x_TP[t - 1]
        drift_TP = DRIFT * rng.standard_normal(PARCELS) * np.linspace(-1, 1, length)[:, None]
        series[name] = (x_TP + drift_TP).astype(np.float32)
    return series


def p_values(seed: int, study: tuple[Validation, int, int, int], same: bool, sets: int) -> tuple[float, float]:
    """p by the test of the stage, and by signs of the units."""
    validation, *size = study
    rng = np.random.default_rng(seed)
    given = samples.usable(design(rng, *size, same), validation, 4)
    series, folds = noise(rng, given), samples.folds_of(given, validation, PATCH, seed)
    told = []
    for number in range(1 + sets):
        own = surrogates(series, seed, number) if number else series
        x = features.of_series("parcels", own, given, PATCH)
        assert x is not None  # it is of any answer
        told.append(probes.held_out(probes.Ridge(x), given.label, folds))
    units = samples.units_of(given, validation)[1].tolist()
    outcome = scores.Outcome({"parcels": np.stack(told)}, given.label, given.conditions, units)
    single = scores.table(outcome, 100, seed)[0][0]["p"]
    each = np.eye(len(outcome.names))
    value_U, *chance = (scores.recall(outcome.confusion(one), each).mean(1) for one in told)
    return single, sign_flip(value_U - np.mean(chance, axis=0), outcome.names, seed)


def main() -> None:
    options = tools.parser(__doc__)
    options.add_argument("--times", type=int, default=100, help="data sets of each kind (100)")
    options.add_argument("--sets", type=int, default=8, help="sets of surrogates (8)")
    given = options.parse_args()
    found = []
    for study, same in itertools.product(STUDIES, (True, False)):
        p = np.array([p_values(seed, study, same, given.sets) for seed in range(given.times)])
        single, units = (p < 0.05).mean(0)
        validation, people, runs, events = study
        found.append(
            {"validation": validation, "people": people, "runs": runs, "events": events, "one_order": same,
             "single_case": single, "over_units": units}
        )  # fmt: skip
    tools.show({"sets": given.sets, "times": given.times, "below_05": found}, given.json)


if __name__ == "__main__":
    main()
