"""Which condition of a task was it? The model's tokens around an event, and linear methods on the series, compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from pydantic import Field, field_validator

from brainlm_data import Facts, Progress, StageConfig, prepare, read_events
from brainlm_model.eval.state import samples as events_as
from brainlm_model.eval.state import scores
from brainlm_model.eval.state.features import LABELS, LINEAR, Tokens, of_network, of_places, of_series, of_times
from brainlm_model.eval.state.probes import TIMES, Probe, Ridge, held_out
from brainlm_model.eval.state.samples import Fold, Ints, Samples, Steps, Validation
from brainlm_model.eval.state.surrogates import exchanged, surrogates
from brainlm_model.eval.statistics.paired import LEVEL, least_p
from brainlm_model.eval.task import Results, Split, Start, task

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "method", "metric", "condition", "value", "low", "high", "chance", "chance_p", "p", "p_holm", "n_units", "n_events",
    "label",
)  # fmt: skip
Method = Literal[
    "tokens", "probe", "cls", "tokens_untrained", "probe_untrained", "cls_untrained", "parcels", "parcels_z", "course",
    "connectivity", "times",
]  # fmt: skip
WAYS = {
    "runs": "each run told from the other runs of its person",
    "people": "each person told from others",
    "parts": f"each of {events_as.PARTS} parts of a run told from the others",
}


class Config(StageConfig):
    """Section `state` of config.yaml."""

    splits: list[Split | Literal["train"]] = Field(
        ["test"],
        min_length=1,
        description="splits whose people are told apart; train: the model saw their series, but no condition",
    )
    recordings: int = Field(200, ge=1, description="at most this many, drawn by the seed")
    events: int = Field(1000, ge=10, description="at most this many of their events, drawn by the seed")
    conditions: list[str] = Field([], description="values of trial_type to tell apart; []: all")
    join_s: float = Field(
        2.0, ge=0, description="events of one condition that follow each other within so many seconds are one: a block"
    )
    fewest: int = Field(6, ge=2, description="conditions of fewer events (blocks) are left out")
    baseline_s: float | None = Field(
        None, gt=0, description="pauses between events that last so long, s, are a condition, too: baseline; null: not"
    )
    delay_s: float = Field(5.0, ge=0, description="from an event to its answer in the series, s")
    shortest_s: float = Field(4.0, ge=0, description="how long the answer to a shorter event is taken to last, s")
    validation: Literal["auto", "runs", "people", "parts"] = Field(
        "auto", description="what is held out in turn; auto: runs of somebody who has several, else people, else parts"
    )
    methods: list[Method] = Field(list(get_args(Method)), min_length=1, description="what to compare")
    surrogates: int = Field(
        8,
        ge=0,
        description="sets of series that know nothing of the events: every method is fitted to them, too; 0: none",
    )
    bootstrap: int = Field(1000, ge=100, description="draws of subjects for the 95% intervals")
    seed: int = Field(0, ge=0, description="seed of recordings, folds, probes, surrogates and draws")
    threads: int = Field(2, ge=1, description="CPU threads")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU if there is one")

    @field_validator("surrogates")
    @classmethod
    def _enough(cls, sets: int) -> int:
        if sets == 1:
            raise ValueError("one set does not show how chance varies: at least 2, or 0")
        return sets


def evaluate(start: Start, config: Config) -> Results:
    """Tell every event's condition while its run (or person, or part of a run) is held out, by every method.

    Where there is nothing to tell, such as in a study of rest, the results are empty, and say why.

    Raises
    ------
    InputError: no recording of these splits; a condition of the section that no event has.
    """
    table = start.recordings(config.splits, config.recordings, config.seed)
    subjects = dict(zip(table["id"], table["subject"].astype(str), strict=True))
    listed = read_events(start.inputs["events"])
    listed = listed[listed["recording"].isin(list(subjects))]
    listed = _blocks(listed, config)
    series, known = {}, {}
    for name in sorted(set(listed["recording"])):
        series[name] = np.asarray(prepare(start.store.series(name), start.model.scaler), dtype=np.float32)
        # a step that was interpolated, such as of a censored volume, was not recorded
        known[name] = np.isfinite(series[name]).any(axis=1) & start.store.valid(name)
    c = start.model.config
    steps = Steps(float(start.store.rate_hz), c.window, c.patch)
    found = events_as.placed(listed, subjects, known, steps, config.delay_s, config.shortest_s)
    found = events_as.kept(
        found, events_as.drawn(len(found), config.events, config.seed), f"more than {config.events} (state.events)"
    )
    validation = events_as.way_of(found) if config.validation == "auto" else config.validation
    used = events_as.usable(found, validation, config.fewest)
    facts = _facts(config, used, validation, len(listed))
    folds = events_as.folds_of(used, validation, c.patch, config.seed)
    if not any(len(set(used.label[fold.train])) > 1 for fold in folds):
        return _nothing(facts, len(listed))
    told = _told(start, config, series, used, folds, c.patch)
    unit, units = events_as.units_of(used, validation)
    own_fits = unit == "people" and validation != "people"
    outcome = scores.Outcome(told, used.label, used.conditions, units.tolist(), own_fits)
    rows, comparisons = scores.table(outcome, config.bootstrap, config.seed)
    facts |= {
        "Units": unit,
        "NumberOfUnits": len(set(units)),
        "Methods": {name: LABELS[name] for name in told},
        "NotTold": int((next(iter(told.values()))[0] < 0).sum()),
    }
    left_out = [name for name in config.methods if name not in told]
    arrays: dict[str, Any] = {"conditions": np.array(used.conditions, np.str_), **outcome.confusions}
    warnings = [*scores.told_by_design(rows, len(used.conditions)), *_warnings(facts, left_out, len(comparisons))]
    return Results(facts, rows, arrays, comparisons, warnings, [])


def _blocks(listed: pd.DataFrame, config: Config) -> pd.DataFrame:
    """The events of the conditions that are asked for, pictures of a block as one, and pauses where they are one, too.

    Pauses are those between any events. Others than those that are asked for, such as responses, do not end a block.
    """
    import pandas as pd

    pauses = listed[:0]
    if config.baseline_s is not None:
        pauses = events_as.pauses_of(events_as.joined(listed, config.join_s), config.baseline_s)
    if config.conditions and len(listed):
        events_as.check_conditions(config.conditions, {*listed["trial_type"], *pauses["trial_type"]})
        listed, pauses = (one[one["trial_type"].isin(config.conditions)] for one in (listed, pauses))
    blocks = events_as.joined(listed, config.join_s)
    return pd.concat([blocks, pauses], ignore_index=True) if len(pauses) else blocks


def _facts(config: Config, used: Samples, validation: Validation, listed: int) -> Facts:
    return {
        "Splits": config.splits,
        "Subjects": len(set(used.subject)),
        "Recordings": len(set(used.recording)),
        "Events": len(used),
        "EventsListed": listed,
        "LeftOut": dict(used.left_out),
        "Conditions": events_as.counts(used),
        "Validation": validation,
        "Chosen": config.validation == "auto",
        "DelaySeconds": config.delay_s,
        "ShortestSeconds": config.shortest_s,
        "Surrogates": config.surrogates,
        "Bootstrap": config.bootstrap,
        "Seed": config.seed,
        "Reason": "",
        "Methods": {},
    }


def _nothing(facts: Facts, listed: int) -> Results:
    """Results without a row, and why."""
    splits = " or ".join(facts["Splits"])
    reason = f"no recording of split {splits} has events"
    if len(facts["Conditions"]) > 1:
        reason = f"of {listed} events of split {splits} each shares steps with those that it could be told from"
    elif listed:
        names = ", ".join(facts["Conditions"]) or "none"
        reason = f"of {listed} events of split {splits} fewer than two conditions can be told apart ({names})"
    if facts["LeftOut"]:
        reason += "; left out: " + ", ".join(f"{count} ({why})" for why, count in facts["LeftOut"].items())
    facts["Reason"] = reason
    arrays: dict[str, Any] = {"conditions": np.array([], np.str_)}
    return Results(facts, [], arrays, [], [reason], [])


def _told(
    start: Start, config: Config, series: Mapping[str, Any], used: Samples, folds: Sequence[Fold], patch: int
) -> dict[str, Ints]:
    """Method -> the condition told of each event (1 + K, n): from the series, then from each set of surrogates.

    Methods that the events do not allow are left out.
    """
    networks = start.networks()
    places: dict[str, Any] = {}  # of each network: what its tokens say of their place

    def features(name: str, number: int, own: Mapping[str, Any], tokens: dict[str, Tokens]) -> Any:
        """(n, F), or (n, P, D) of a probe; None where the events do not allow the method."""
        if name == "times":
            return of_times(used)[exchanged(used.recording, config.seed, number)]
        if name in LINEAR:
            return of_series(name, own, used, patch)
        kind, _, is_untrained = name.partition("_")
        which = "untrained" if is_untrained else "model"
        if which not in places:
            places[which] = of_places(networks[which], series, config.seed)
        if which not in tokens:
            tokens.clear()  # those of one network at a time: they are large
            tokens[which] = of_network(networks[which], own, used, places[which])
        if kind == "cls":
            return tokens[which].cls
        return tokens[which].parcels if kind == "probe" else tokens[which].parcels.reshape(len(used), -1)

    def run(name: str, number: int, own: Mapping[str, Any], tokens: dict[str, Tokens]) -> dict[str, Ints]:
        x = features(name, number, own, tokens)
        if x is None:
            return {"told": np.empty(0, np.int64)}
        learner: Callable[[Fold], Any] = Ridge(x)
        if name == "times":
            learner = Ridge(x, TIMES)
        elif name.startswith("probe"):
            learner = Probe(x, config.seed)
        return {"told": held_out(learner, used.label, folds)}

    # what the times tell is known of every table, as without it nobody could judge the others
    methods = list(dict.fromkeys([*config.methods, "times"]))
    told: dict[str, list[Ints]] = {name: [] for name in methods}
    progress = Progress("state", (1 + config.surrogates) * len(methods))
    for number in range(1 + config.surrogates):
        own = surrogates(series, config.seed, number) if number else series
        tokens: dict[str, Tokens] = {}
        for place, name in enumerate(methods):
            part = start.pieces.get(f"{name}-{number}", partial(run, name, number, own, tokens))
            told[name].append(part["told"])
            progress.step(number * len(methods) + place + 1, f"{name}, surrogates {number}" if number else name)
    return {name: np.stack(rows) for name, rows in told.items() if rows[0].size}


def _left_out(facts: Facts) -> list[str]:
    return [f"{count} events were left out: {reason}" for reason, count in sorted(facts["LeftOut"].items())]


def _warnings(facts: Facts, left_out: Sequence[str], comparisons: int) -> list[str]:
    lines = _left_out(facts)
    if facts["Subjects"] == 1:
        lines.append(f"one person: intervals are over {facts['Units']}, and say nothing of other people")
    if (least := least_p(facts["NumberOfUnits"], comparisons)) >= LEVEL:
        lines.append(
            f"only {facts['NumberOfUnits']} {facts['Units']}: none of {comparisons} comparisons of methods can reach"
            f" p < .05 after correction (the least is {least:.2g})"
        )
    if not facts["Surrogates"]:
        lines.append("without surrogates nothing shows what chance gives, and no method is said to be better")
    if "train" in facts["Splits"]:
        lines.append("the model was trained on series of these people (split train), without their conditions")
    if facts["NotTold"]:
        lines.append(f"{facts['NotTold']} events could not be told: fewer than two conditions were left to learn from")
    for name in left_out:
        lines.append(f"{LABELS[name]}: left out, the shortest answer has too few steps")
    return lines


def describe(facts: Facts) -> str:
    """Methods sentence."""
    if facts["Reason"]:
        return f"States of tasks were not decoded: {facts['Reason']}."
    text = (
        f"The condition of {facts['Events']} events ({', '.join(facts['Conditions'])}) in {facts['Recordings']}"
        f" recordings of {facts['Subjects']} subjects was told from the series {facts['DelaySeconds']:g} s after each,"
        f" with {WAYS[facts['Validation']]}, by ridge regression or an attention probe"
        f" ({'; '.join(facts['Methods'].values())});"
        " standardisation, penalties and probes saw training events alone."
    )
    if facts["Surrogates"]:
        text += (
            f" Chance is what the same method tells from {facts['Surrogates']} sets of surrogate series with random"
            " phases (Prichard & Theiler, 1994) beside the same events."
        )
    return text


STAGE = task(
    "state",
    4,
    "Tell the condition of a task from the series around an event: tokens, probes, linear methods.",
    Config,
    COLUMNS,
    evaluate,
    describe,
    more=("events",),
)
