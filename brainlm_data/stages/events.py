"""events: which condition of a task lasted when, for all recordings, in one table beside the store.

Made where something asks for it; a plain run does not.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import Field

from brainlm_data.errors import InputError
from brainlm_data.files.sidecar import read_facts
from brainlm_data.reading.events import Condition, in_series, read_conditions, said_of_left_out, write_events
from brainlm_data.stage import Facts, Files, Need, Stage, StageConfig


class Config(StageConfig):
    """Where events come from, and what names their condition."""

    column: str = Field("trial_type", min_length=1, description="column that names the condition of an event")
    table: Path | None = Field(
        None,
        description="table of all events, with columns recording, onset, duration and that one; null: the events.tsv of"
        " each run of a BIDS dataset",
    )


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write the table: recording, onset_s (from the first step of its series on), duration_s, trial_type.

    It is empty where nobody has events, as in a study of rest.

    Raises
    ------
    InputError: a table is damaged, or the one of the section has events of none of the recordings.
    """
    recordings = [one for one in inputs.meta["recordings"] if one["status"] == "done"]
    rows, without = _read(inputs, recordings, config)
    starts = {}
    for one in recordings:
        starts[one["id"]] = float(read_facts(Path(one["files"]["parcels"])).get("StartTime") or 0.0)
    events = in_series(rows, starts)
    if config.table is not None and not events:
        raise InputError(
            f"{config.table}: no event of any of {len(starts)} recordings",
            f"its column recording has their ids, its column {config.column} conditions",
        )
    write_events(events, outputs["events"])
    conditions = Counter(row.trial_type for row in events)
    return {
        "Recordings": len(recordings),
        "RecordingsWithEvents": len({row.recording for row in events}),
        "Events": len(events),
        "Conditions": dict(sorted(conditions.items())),
        "Warnings": said_of_left_out(rows, without, starts, config.column),
    }


def _read(inputs: Files, recordings: list[dict[str, Any]], config: Config) -> tuple[list[Condition], int]:
    """Events of all recordings, and how many rows have no onset or no condition."""
    if config.table is not None:
        return read_conditions(config.table, config.column)
    rows, without = list[Condition](), 0
    for one in recordings:
        if one["id"] in inputs:  # by its id: the events.tsv of the run
            own, others = read_conditions(inputs[one["id"]], config.column, one["id"])
            rows += own
            without += others
    return rows, without


def describe(facts: Facts) -> str:
    """Methods sentence."""
    if not facts["Events"]:
        return "No recording had events of a task."
    return (
        f"{facts['Events']} events of {len(facts['Conditions'])} conditions were taken from the events of"
        f" {facts['RecordingsWithEvents']} of {facts['Recordings']} recordings."
    )


STAGE = Stage(
    name="events",
    version=1,
    level="cohort",
    summary="Gather the events of all recordings in one table, in the time of their series.",
    Config=Config,
    inputs=("parcels",),
    outputs=("events",),
    run=run,
    describe=describe,
    told=("events_of",),
    need=Need(1000, seconds=0.05),
)
