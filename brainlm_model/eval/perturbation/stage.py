"""Perturbations: what moves rest to a task in the space of CLS, and what one driven parcel moves elsewhere."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from brainlm_data import Facts, InputError, Progress, StageConfig
from brainlm_model.eval.parcels import coordinates, known_mean, networks_of
from brainlm_model.eval.perturbation import tables
from brainlm_model.eval.perturbation.move import move
from brainlm_model.eval.perturbation.response import group_rows, recording, seeds_of, why_not
from brainlm_model.eval.perturbation.windows import levels_of, people
from brainlm_model.eval.statistics.subjects import ENOUGH_SUBJECTS
from brainlm_model.eval.task import Results, Split, Start, task

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
    store, model, networks, pieces = start.store, start.model, start.networks(), start.pieces
    table = start.recordings(config.splits, config.recordings, config.seed)
    everybody = start.recordings(config.splits, len(store.recordings), config.seed)
    pair = levels_of(everybody, config.column, config.levels)
    training = start.recordings(["train"], len(store.recordings), config.seed)
    names = store.parcels["name"].astype(str).tolist()
    network_of, members = networks_of(store.parcels)

    rows: list[dict[str, Any]] = []
    moved: dict[str, Any] = {}
    left_out: list[str] = []
    facts: Facts = {"Splits": config.splits, "Column": config.column, "Levels": [], "Target": config.target}
    part_one = pair if isinstance(pair, str) else ""
    if not isinstance(pair, str):
        who = people(everybody, config.column, pair, config.target == "own", config.subjects, config.seed)
        targets = None
        if config.target == "training":
            levels = training[config.column].astype(str)
            targets = {what: training.loc[levels == level, "id"].tolist()[: config.train_recordings]
                       for what, level in zip(("task", "null"), reversed(pair), strict=True)}  # fmt: skip
        if len(who) > 1:
            who, moved, left_out = move(
                store, model, networks, who, targets, config.share, config.steps, pieces
            )  # fmt: skip
        if len(who) < 2:
            part_one = (
                f"part one left out: {len(who)} subjects with {pair[0]} and {pair[1]} in {', '.join(config.splits)} "
                "(perturbation.target: training needs one recording a subject)"
            )
        else:
            rows += tables.moved(moved, [p.subject for p in who], names, members, config)
            own = sum(p.null_own for p in who)
            facts |= {"Levels": list(pair), "Subjects": len(who), "NullOwnRecording": own}
    facts["PartOne"] = part_one or "done"

    seeds = seeds_of(network_of, config.seeds, config.seed)
    maps: list[dict[str, Any]] = []
    compared: list[dict[str, Any]] = []
    subjects: list[str] = []
    skipped: list[str] = []
    part_two = why_not(model)
    gaussian = model.config.prior == "gaussian"
    group = group_rows(store, training["id"].tolist()[: config.train_recordings], seeds)
    if not part_two:
        progress = Progress("perturbation: responses", len(table))
        for done, (name, subject) in enumerate(zip(table["id"], table["subject"].astype(str), strict=True), 1):
            try:
                maps.append(pieces.get(f"response-{name}",
                    lambda name=name: recording(store, name, model, networks, seeds, config.amplitude)))  # type: ignore[misc]  # fmt: skip
                subjects.append(subject)
            except InputError as error:
                skipped.append(str(error.message))
            progress.step(done)
        if not maps:
            raise InputError("perturbation: no recording has a window", skipped[0])
        agreed = tables.agreements(maps, group, gaussian)
        more, compared = tables.responded(agreed, subjects, [network_of[s] for s in seeds], gaussian, config)
        rows += more + tables.sizes(maps, subjects, gaussian, config)
    facts |= {
        "PartTwo": part_two or "done",
        "Seeds": [names[s] for s in seeds],
        "SeedNetworks": [network_of[s] for s in seeds],
        "Recordings": len(maps),
        "ResponseSubjects": len(set(subjects)),
        "TrainingRecordings": min(config.train_recordings, len(training)),
        "Skipped": left_out + skipped,
        "Prior": model.config.prior,
        "Share": config.share,
        "Steps": config.steps,
        "Amplitude": config.amplitude,
        "Bootstrap": config.bootstrap,
        "Seed": config.seed,
    }
    keys = list(maps[0]) if maps else []
    arrays: dict[str, Any] = {
        "seeds": seeds, "parcels": np.array(names, dtype=str), "networks": np.array(network_of, dtype=str),
        "levels": np.array(facts["Levels"], dtype=str), "coordinates": coordinates(store).astype(np.float32),
        "map/group": group.astype(np.float32), **{f"moved/{k}": v.astype(np.float32) for k, v in moved.items()},
        **{f"map/{k}": known_mean(np.stack([m[k] for m in maps])).astype(np.float32) for k in keys},
    }  # fmt: skip
    return Results(
        facts,
        rows,
        arrays,
        compared,
        _warnings(facts, rows),
        PUBLISHED,
        more={"Results": [row for row in rows if row["part"] != "moved_parcel"]},  # single parcels are in the table
    )


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
