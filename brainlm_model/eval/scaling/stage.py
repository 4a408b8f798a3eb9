"""Masked reconstruction by model size, training mask ratio and amount of data, beside every baseline."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from brainlm_data import Facts, InputError, Progress
from brainlm_model.baselines import LABELS as BASELINES
from brainlm_model.eval.masked import scoring
from brainlm_model.eval.parcels import coordinates
from brainlm_model.eval.pieces import Pieces
from brainlm_model.eval.published import MASKED_R2, TRAINED_ON
from brainlm_model.eval.rows import Row, in_columns
from brainlm_model.eval.scaling.runs import Bench, Run, baseline, grid
from brainlm_model.eval.scaling.section import Config
from brainlm_model.eval.statistics import masked_r2
from brainlm_model.eval.statistics.subjects import ENOUGH_SUBJECTS, subject_draws
from brainlm_model.eval.task import Results, Start, task

if TYPE_CHECKING:
    from brainlm_model.eval.masked.scoring import Scores

COLUMNS = (
    "split", "method", "model", "training_ratio", "share", "seed", "training_subjects", "parameters", "steps",
    "mask_ratio", "metric", "value", "low", "high", "n_subjects", "n_recordings", "label",
)  # fmt: skip
MAP_RATIO = 0.75  # of the brain map: the tested ratio next to it
REASON = (
    "other people, scanner, parcels, scaling and frequency band, on all of which masked R2 depends; the paper does not "
    "say what a covariance reaches on its data"
)


def evaluate(start: Start, config: Config) -> Results:
    """Train every model on every share with every training ratio; score all on the same windows and masks.

    Finished trainings are kept in the work folder; a killed one goes on from its last step checkpoint.

    Raises
    ------
    InputError: no recording to test on; a share with no recording.
    """
    store, pieces = start.store, start.pieces
    there = set(store.recordings.loc[store.recordings["status"] == "done", "split"])
    splits = [name for name in dict.fromkeys(config.splits) if name in there]
    if not splits:
        raise InputError(
            f"scaling: no recording in split {' or '.join(config.splits)}",
            "more subjects, or collate.test, collate.external",
        )
    bench = Bench(store, start.inputs["store"], config, splits, start.model)
    runs = grid(config)
    done = _scored(bench, runs, pieces)
    rows, compared = [], []
    skipped: list[str] = []
    for split in splits:
        scores = bench.scores(split, done)
        rows += [{**row, "split": split} for row in _rows(scores, runs, done, config)]
        compared += [{"split": split, **row} for row in _comparisons(scores, runs, config)]
        skipped += bench.held[split].skipped.values()
    facts = _facts(bench, runs, done, config) | {"Skipped": skipped}
    ratio = min(config.mask_ratios, key=lambda r: abs(r - MAP_RATIO))
    arrays = {
        "coordinates": coordinates(store),
        "parcel": np.array(store.parcels["name"].astype(str).tolist(), dtype=str),
        "map_ratio": ratio,
        "map_split": splits[0],
    }
    for name in ("model", "gaussian"):
        sums_RP4 = done["checkpoint"][f"{splits[0]}/{ratio:g}/{name}"]
        arrays[f"r2_{name}"] = masked_r2.r2(sums_RP4.sum(0))
    return Results(facts, rows, arrays, compared, _warnings(facts), _published())


def _facts(bench: Bench, runs: Sequence[Run], done: dict[Any, dict[str, Any]], config: Config) -> Facts:
    """What was trained and scored, on whom; "Skipped" is filled in once every split is scored."""
    parameters, people = {}, {}
    for run in reversed(runs):  # so that the first run of each model and share is the one that stays
        parameters[run.model] = int(done[run]["parameters"])
        people[run.share] = int(done[run]["subjects"])
    splits = list(bench.held)
    return {
        "Splits": splits,
        "Subjects": {split: len(set(bench.held[split].subjects)) for split in splits},
        "Recordings": {split: len(bench.held[split]) for split in splits},
        "Skipped": [],
        "Models": {name: parameters[name] for name in config.models},
        "TrainingRatios": config.training_ratios,
        "TrainingSubjects": {f"{share:g}": people[share] for share in config.shares},
        "Steps": config.steps,
        "BatchSize": config.batch_size,
        "LearningRate": config.lr,
        "Seeds": config.seeds,
        "MaskRatios": config.mask_ratios,
        "Window": bench.model.config.window,
        "Patch": bench.model.config.patch,
        "Bootstrap": config.bootstrap,
        "Seed": config.seed,
        "CpuMinutes": {run.name: round(float(done[run]["cpu_minutes"]), 2) for run in runs},
    }


def _scored(bench: Bench, runs: Sequence[Run], pieces: Pieces) -> dict[Any, dict[str, Any]]:
    """Everything that is scored, by run; "checkpoint", and baselines on fractions of the people, by name."""
    shares = [(share, seed) for share, seed in dict.fromkeys((run.share, run.seed) for run in runs) if share < 1]
    progress = Progress("scaling", 1 + len(shares) + len(runs))
    done: dict[Any, dict[str, Any]] = {"checkpoint": pieces.get("checkpoint", bench.checkpoint)}
    progress.step(1, "checkpoint")
    for share, seed in shares:
        name = f"baselines_share-{share:g}_seed-{seed}"
        done[name] = pieces.get(name, partial(bench.baselines, share, seed))
        progress.step(len(done), name)
    for run in runs:
        folder = None if pieces.folder is None else pieces.folder / f"{run.name}.training"
        done[run] = pieces.get(run.name, partial(bench.trained, run, folder))
        progress.step(len(done), run.name)
    return done


def _rows(scores: Scores, runs: Sequence[Run], done: dict[Any, dict[str, Any]], config: Config) -> list[Row]:
    """The table: what was trained here, the checkpoint, and baselines fitted on the same people as each training."""
    by_name = {run.name: run for run in runs}
    people_of = {(run.share, run.seed): int(done[run]["subjects"]) for run in runs}
    everybody = int(done["checkpoint"]["subjects"])
    table: list[Row] = []
    for row in scoring.table(scores, config.bootstrap, config.seed):
        name, *drawn = row["method"].split("@")
        origin: Row
        if name in by_name:
            run, facts = by_name[name], done[by_name[name]]
            origin = {"method": "trained", "label": run.label, "model": run.model, "training_ratio": run.ratio_text,
                      "share": run.share, "seed": run.seed, "training_subjects": int(facts["subjects"]),
                      "parameters": int(facts["parameters"]), "steps": int(facts["steps"])}  # fmt: skip
        elif drawn:  # a baseline on a share of the people, see `runs.baseline`
            share, seed = float(drawn[0]), int(drawn[1])
            origin = {"method": name, "label": LABELS[name], "share": share, "seed": seed,
                      "training_subjects": people_of[share, seed]}  # fmt: skip
        else:
            origin = {"method": name, "label": LABELS[name], "share": 1.0, "training_subjects": everybody}
        table.append({**row, **origin})
    return in_columns(table, COLUMNS)


LABELS = {
    "model": "the run's own checkpoint",
    "untrained": "the checkpoint, untrained",
    **BASELINES,
}


def _comparisons(scores: Scores, runs: Sequence[Run], config: Config) -> list[dict[str, Any]]:
    """Flat R2, paired over subjects: each training against its baselines, more data, a larger model, another ratio."""
    weights = subject_draws(scores.subjects, config.bootstrap, config.seed)
    pairs: list[tuple[str, str, str]] = []
    for run in runs:
        for name in ("gaussian", *config.baselines):
            pairs.append(("baseline", run.name, baseline(name, run.share, run.seed)))
        for other in runs:
            step = run.step_from(other, config)
            if step is not None:
                pairs.append((step, run.name, other.name))
    for name in ("untrained", "gaussian", *config.baselines):
        pairs.append(("baseline", "model", name))
    rows: list[Row] = []
    for (kind, first, second), ratio in product(pairs, config.mask_ratios):
        condition = scoring.Condition("random", ratio)
        comparison = masked_r2.compare(
            scores.sums[first, condition], scores.sums[second, condition], scores.subjects, weights
        )
        rows.append(
            {"kind": kind, "method": first, "against": second, "mask_ratio": ratio,
             "difference": comparison.difference.value, "low": comparison.difference.low,
             "high": comparison.difference.high,
             "verdict": comparison.verdict, "n_subjects": comparison.subjects, "firm": comparison.firm}
        )  # fmt: skip
    return rows


def _published() -> list[Row]:
    entries: list[Row] = []
    for (cohort, ratio, share), cells in MASKED_R2.items():
        people = cohort
        if cohort != TRAINED_ON:
            people = f"{cohort}, not trained on"
        for tested, value in cells.items():
            entries.append(
                {"source": "Ortega Caro et al., BrainLM, preprint v1", "cohort": people, "training_ratio": ratio,
                 "share": share, "mask_ratio": tested, "metric": "r2_flat", "value": value, "comparable": False,
                 "reason": REASON}
            )  # fmt: skip
    return entries


def _warnings(facts: Facts) -> list[str]:
    lines = [f"not scored: {reason}" for reason in facts["Skipped"]]
    for split, count in facts["Subjects"].items():
        if count < ENOUGH_SUBJECTS:
            lines.append(f"only {count} subjects in split {split}: intervals are too narrow, no test can reach p < .05")
    if len(facts["Seeds"]) < 3:
        lines.append("fewer than three seeds: differences between trainings may be those of a seed")
    lines.append("intervals and verdicts are of one training each, over subjects, and not corrected for their number")
    return lines


def describe(facts: Facts) -> str:
    """Methods sentence."""
    ratios = ", ".join(str(ratio) for ratio in facts["TrainingRatios"])
    return (
        f"{' and '.join(facts['Models'])} were trained for {facts['Steps']} steps with mask ratios {ratios} on "
        f"{' and '.join(map(str, facts['TrainingSubjects'].values()))} subjects, and scored by masked R2 (unclipped) "
        f"at {', '.join(f'{r:g}' for r in facts['MaskRatios'])} beside baselines fitted on the same subjects, with "
        f"{facts['Bootstrap']} bootstrap draws of subjects (Efron & Tibshirani, 1993)."
    )


STAGE = task(
    "scaling",
    2,
    "Masked reconstruction by model size, training mask ratio and amount of data.",
    Config,
    COLUMNS,
    evaluate,
    describe,
)
