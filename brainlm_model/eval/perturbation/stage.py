"""Perturbations: what moves rest to a task in the space of CLS, and what one driven parcel moves elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from brainlm_data import Facts, InputError, Progress, StageConfig
from brainlm_model.eval.parcels import coordinates, known_mean, networks_of
from brainlm_model.eval.perturbation import tables
from brainlm_model.eval.perturbation.move import move
from brainlm_model.eval.perturbation.response import group_rows, recording, seeds_of, why_not
from brainlm_model.eval.perturbation.windows import Person, levels_of, people
from brainlm_model.eval.rows import Row
from brainlm_model.eval.statistics.subjects import ENOUGH_SUBJECTS
from brainlm_model.eval.task import Results, Split, Start, task

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED = [
    {
        "source": "Ortega Caro et al., BrainLM, ICLR 2024",
        "what": "smallest additive change of rest whose CLS token matches a task's: mean magnitude a network",
        "value": None,
        "comparable": False,
        "reason": "the paper shows magnitudes of single networks, without a null, intervals or a baseline",
    }
]


class Config(StageConfig):
    """Section `perturbation` of config.yaml."""

    splits: list[Split] = Field(["test"], min_length=1, description="splits to score: subjects not trained on")
    column: str = Field("task", description="column of recordings.parquet that names rest and the task")
    levels: list[str] = Field([], description="two values of column, rest first; []: rest and the first other one")
    target: Literal["own", "training"] = Field(
        "own", description="CLS of the subject's own task recordings, or the mean of training subjects'"
    )
    subjects: int = Field(10, ge=2, description="part one: subjects, at most, drawn by the seed")
    share: float = Field(
        0.9, gt=0, lt=1, description="part one: fraction of the CLS distance that the change must cover"
    )
    steps: int = Field(60, ge=1, description="part one: steps of gradient descent, at most")
    recordings: int = Field(10, ge=2, description="part two: recordings, at most, drawn by the seed")
    seeds: int = Field(12, ge=1, description="part two: parcels that are driven, from the networks in turn")
    amplitude: float = Field(1.0, gt=0, description="part two: how far they are driven up and down, in scaled units")
    train_recordings: int = Field(
        40, ge=2, description="recordings of training subjects, for group connectivity and target: training"
    )
    bootstrap: int = Field(1000, ge=100, description="draws of subjects for the 95% intervals")
    seed: int = Field(0, ge=0, description="seed of subjects, recordings, driven parcels, sign flips and bootstrap")
    threads: int = Field(2, ge=1, description="CPU threads")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU if there is one")

    @field_validator("levels")
    @classmethod
    def _two(cls, value: list[str]) -> list[str]:
        if value and (len(value) != 2 or value[0] == value[1]):
            raise ValueError("none, or two different values")
        return value


def evaluate(start: Start, config: Config) -> Results:
    """Both parts; the first is left out, and said to be, where the column has no two levels.

    Raises
    ------
    ConfigError: a column or level that is not there. InputError: no recording.
    """
    store, model = start.store, start.model
    everybody = start.recordings(config.splits, len(store.recordings), config.seed)
    training = start.recordings(["train"], len(store.recordings), config.seed)
    names = store.parcels["name"].astype(str).tolist()
    network_of, members = networks_of(store.parcels)
    networks = start.networks()

    one = _move(start, config, networks, everybody, training)
    rows: list[Row] = []
    if one.people:
        rows += tables.moved(one.arrays, [person.subject for person in one.people], names, members, config)

    seeds = seeds_of(network_of, config.seeds, config.seed)
    group = group_rows(store, training["id"].tolist()[: config.train_recordings], seeds)
    two = _respond(start, config, networks, seeds)
    compared: list[Row] = []
    if two.maps:
        gaussian = model.config.prior != "zero"
        agreed = tables.agreements(two.maps, group, gaussian)
        of_seeds = [network_of[seed] for seed in seeds]
        more, compared = tables.responded(agreed, two.subjects, of_seeds, gaussian, config)
        rows += more + tables.sizes(two.maps, two.subjects, gaussian, config)
    facts: Facts = {
        "Splits": config.splits,
        "Column": config.column,
        "Levels": one.levels,
        "Target": config.target,
        **one.facts,
        "PartOne": one.why_not or "done",
        "PartTwo": two.why_not or "done",
        "Seeds": [names[seed] for seed in seeds],
        "SeedNetworks": [network_of[seed] for seed in seeds],
        "Recordings": len(two.maps),
        "ResponseSubjects": len(set(two.subjects)),
        "TrainingRecordings": min(config.train_recordings, len(training)),
        "Skipped": one.skipped + two.skipped,
        "Prior": model.config.prior,
        "Share": config.share,
        "Steps": config.steps,
        "Amplitude": config.amplitude,
        "Bootstrap": config.bootstrap,
        "Seed": config.seed,
    }
    arrays: dict[str, Any] = {
        "seeds": seeds, "parcels": np.array(names, dtype=str), "networks": np.array(network_of, dtype=str),
        "levels": np.array(one.levels, dtype=str), "coordinates": coordinates(store).astype(np.float32),
        "map/group": group.astype(np.float32), **_arrays(one, two),
    }  # fmt: skip
    shown = [row for row in rows if row["part"] != "moved_parcel"]  # single parcels are in the table only
    return Results(facts, rows, arrays, compared, _warnings(facts, rows), PUBLISHED, more={"Results": shown})


@dataclass
class PartOne:
    """What moved CLS from rest to a task; `why_not` where nothing was moved."""

    people: list[Person] = field(default_factory=list)
    arrays: dict[str, Any] = field(default_factory=dict)
    levels: list[str] = field(default_factory=list)
    facts: Facts = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    why_not: str = ""


def _move(
    start: Start, config: Config, networks: dict[str, Any], everybody: pd.DataFrame, training: pd.DataFrame
) -> PartOne:
    """Part one, where the column has two levels and at least two subjects have a recording of each."""
    pair = levels_of(everybody, config.column, config.levels)
    if isinstance(pair, str):
        return PartOne(why_not=pair)
    part = PartOne()
    who = people(everybody, config.column, pair, config.target == "own", config.subjects, config.seed)
    targets = None
    if config.target == "training":
        level_of = training[config.column].astype(str)
        targets = {}
        for what, level in (("task", pair[1]), ("null", pair[0])):
            targets[what] = training.loc[level_of == level, "id"].tolist()[: config.train_recordings]
    if len(who) > 1:  # those whose recordings have no window are left out of `who` again
        who, part.arrays, part.skipped = move(
            start.store, start.model, networks, who, targets, config.share, config.steps, start.pieces
        )
    if len(who) < 2:
        part.why_not = (
            f"part one left out: {len(who)} subjects with {pair[0]} and {pair[1]} in {', '.join(config.splits)} "
            "(perturbation.target: training needs one recording a subject)"
        )
        return part
    part.people, part.levels = who, list(pair)
    part.facts = {"Subjects": len(who), "NullOwnRecording": sum(person.null_own for person in who)}
    return part


@dataclass
class PartTwo:
    """Maps of responses by recording, and the recordings' subjects; `why_not` where the model cannot be asked."""

    maps: list[dict[str, Any]] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    why_not: str = ""


def _arrays(one: PartOne, two: PartTwo) -> dict[str, Any]:
    """What was moved (subject, parcel), and the maps of responses (seed, parcel), mean over recordings."""
    arrays = {}
    for key, values in one.arrays.items():
        arrays[f"moved/{key}"] = values.astype(np.float32)
    for key in two.maps[0] if two.maps else ():
        arrays[f"map/{key}"] = known_mean(np.stack([maps[key] for maps in two.maps])).astype(np.float32)
    return arrays


def _respond(start: Start, config: Config, networks: dict[str, Any], seeds: Any) -> PartTwo:
    """Part two. Raises InputError where no recording has a window."""
    table = start.recordings(config.splits, config.recordings, config.seed)
    part = PartTwo(why_not=why_not(start.model))
    if part.why_not:
        return part
    progress = Progress("perturbation: responses", len(table))
    for done, (name, subject) in enumerate(zip(table["id"], table["subject"].astype(str), strict=True), 1):
        make = partial(recording, start.store, name, start.model, networks, seeds, config.amplitude)
        try:
            part.maps.append(start.pieces.get(f"response-{name}", make))
            part.subjects.append(subject)
        except InputError as error:
            part.skipped.append(str(error.message))
        progress.step(done)
    if not part.maps:
        raise InputError("perturbation: no recording has a window", part.skipped[0])
    return part


def _warnings(facts: Facts, rows: list[dict[str, Any]]) -> list[str]:
    lines = [f"not looked at: {reason}" for reason in facts["Skipped"]]
    lines += [facts[key] for key in ("PartOne", "PartTwo") if facts[key] != "done"]
    if facts["Levels"] and facts["Subjects"] < ENOUGH_SUBJECTS:
        lines.append(f"part one: only {facts['Subjects']} subjects: no test can reach p < .05")
    if facts["Levels"] and facts["Target"] == "own" and facts["NullOwnRecording"] < facts["Subjects"]:
        count = facts["Subjects"] - facts["NullOwnRecording"]
        lines.append(f"null: {count} subjects have one recording at rest, and go to another subject's rest instead")
    for row in rows:
        if row["metric"] == "reached" and row["value"] < facts["Share"] - 1e-6:
            lines.append(
                f"{row['method']}, {row['name']}: {row['value']:.2f} of the distance was covered on average, not "
                f"{facts['Share']:g} (more perturbation.steps)"
            )
    if facts["PartTwo"] == "done" and facts["ResponseSubjects"] < ENOUGH_SUBJECTS:
        lines.append(f"part two: only {facts['ResponseSubjects']} subjects: no test can reach p < .05")
    return lines


def describe(facts: Facts) -> str:
    """Methods sentence."""
    text = ""
    if facts["Levels"]:
        text = (
            f"In {facts['Subjects']} subjects the smallest additive change of {facts['Levels'][0]} was sought that "
            f"covers {facts['Share']:.0%} of the distance of its CLS embedding from that of {facts['Levels'][1]}, "
            "beside that of another recording at rest. "
        )
    return text + (
        f"Predictions of all parcels in response to one that was driven ({len(facts['Seeds'])} seeds, "
        f"{facts['Recordings']} recordings) were compared with functional connectivity."
    )


STAGE = task(
    "perturbation",
    1,
    "Move rest to a task in the space of CLS; drive one parcel and read the others.",
    Config,
    tables.COLUMNS,
    evaluate,
    describe,
)
