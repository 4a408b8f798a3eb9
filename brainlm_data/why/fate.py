"""What became of a recording: where it is, or at which stage it ended, why, and what to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from brainlm_data.errors import InputError, alike
from brainlm_data.files import sidecar
from brainlm_data.runner.manifest import COHORT
from brainlm_data.why.records import Records, Unit
from brainlm_data.why.trace import Made

SERIES = "parcels"  # the artifact that a recording is processed for


@dataclass
class Fate:
    """A recording.

    Attributes
    ----------
    status: done (in the store), processed (there is no store yet), refused, excluded, unfinished, or left out (it
        never began). stage: where it ended. reason, remedy: of that. split, steps: of the store. stages: what each
        stage that has seen it made of it.
    """

    recording: str
    status: str
    stage: str = ""
    reason: str = ""
    remedy: str = ""
    split: str = ""
    steps: int = 0
    stages: dict[str, str] = field(default_factory=dict)


def fate(records: Records, recording: str) -> Fate:
    """What became of a recording. Raises InputError where the dataset has none of this name."""
    if recording not in records.recordings:
        return _never_began(records, recording)
    subject = f"sub-{records.recordings[recording]['subject']}"
    seen: dict[str, Unit] = {}
    for stage in records.manifests:
        units = records.units(stage)
        unit = units.get(recording) or units.get(subject)
        if unit is not None:
            seen[stage] = unit
    found = Fate(recording, "done", stages={stage: unit.status for stage, unit in seen.items()})
    refused = {stage: unit for stage, unit in seen.items() if unit.status == "refused"}
    # those that follow repeat the reason: the first is the one that none of its inputs explains
    for stage, unit in refused.items():
        if not refused.keys() & set(unit.upstream):
            reason, _, remedy = unit.reason.partition(" -> ")
            found.status, found.stage, found.reason, found.remedy = "refused", stage, reason, remedy
            return found
    row = records.table.get(recording)
    has_series = any(SERIES in unit.outputs for unit in seen.values())
    if has_series and not records.table and "collate" not in records.manifests:
        found.status = "processed"  # no dataset was asked for yet
        return found
    if row is None:
        return _unfinished(records, recording, found)
    if row.get("status") != "done":
        found.status, found.stage, found.reason = str(row.get("status")), "collate", str(row.get("reason"))
        found.remedy = "relax that key of collate.exclude, or leave the recording out"
    found.split = row["split"] if isinstance(row.get("split"), str) else ""
    found.steps = int(row.get("n_steps") or 0)
    return found


def _never_began(records: Records, recording: str) -> Fate:
    """Of a recording that no job was told of."""
    index = records.index
    if any(row[0] == recording for row in index.get("recordings", [])):
        reason = "it is in the dataset, and the section select of the configuration leaves it out"
        return Fate(recording, "left out", "index", reason, "widen select")
    for line in index.get("ignored", []):
        if recording in line:
            return Fate(recording, "left out", "index", line, "correct that, and run again")
    row = records.table.get(recording)
    if row is not None:
        reason = f"it is in recordings.parquet ({row.get('status')}), and not among what the last plan selected"
        return Fate(recording, "left out", "index", reason, "widen select, or run again")
    near = alike(recording, records.recordings)
    said = f"nearly: {', '.join(near)}" if near else "`brainlm-data index BIDS_DIR` lists them"
    raise InputError(f"{records.outdir}: no recording {recording}, neither taken nor left aside", said)


def _unfinished(records: Records, recording: str, found: Fate) -> Fate:
    """Of a recording that is not in the table yet."""
    found.status, found.remedy = "unfinished", "run the same snakemake command again"
    done = {stage for stage, status in found.stages.items() if status == "done"}
    bundles = {unit.bundle for stage in done if (unit := records.units(stage).get(recording))} | {recording}
    logs = sorted((records.outdir / "work" / "logs").glob("*/*.log"))
    begun = [log for log in logs if log.stem in bundles and log.parent.name not in found.stages]
    if begun:
        found.stage = begun[0].parent.name
        found.reason = f"stage {found.stage} has begun and written no manifest: its log is {begun[0]}"
    elif not records.table and "collate" in records.manifests:
        found.stage = "collate"
        found.reason = f"{records.outdir / 'recordings.parquet'}, which was written with the store, is not there"
    elif not records.table:
        found.reason = f"there is no store yet; done: {', '.join(sorted(done)) or 'no stage'}"
    else:
        found.reason = f"the store is older; done: {', '.join(sorted(done)) or 'no stage'}"
    return found


def absence(records: Records, found: Fate, start: list[Unit], made: list[Made]) -> str:
    """Why a recording does not count in a file, in a sentence; empty where it does, as far as the records say."""
    whose = {unit.name for unit in start}
    if not whose & {COHORT, found.recording, found.recording.split("_")[0]}:
        return f"the file is of {', '.join(sorted(whose))} alone"
    if found.status not in ("done", "processed"):
        return f"it does not count in this file: {found.status} ({found.stage}), {found.reason}"
    if start[0].stage == "collate" or not any(node.stage == "collate" for node in made):
        return ""
    stage, wanted, _ = over(records, made)
    if wanted and found.split and wanted != found.split:
        return f"{stage} did not score it: it is of split {found.split}, {stage}.split is {wanted}"
    for unit in start:
        for output in unit.outputs.values():
            if output["path"].endswith(".json"):
                said: Any = sidecar.read_record(records.outdir / output["path"])
                for line in said.get("Skipped", []) if isinstance(said, dict) else []:
                    if found.recording in str(line):
                        return f"{unit.stage} left it out: {line}"
    return ""


def over(records: Records, made: list[Made]) -> tuple[str, str, list[str]]:
    """The last stage with a key `split`, that split, and its recordings; empty where there is no such stage."""
    for node in made:
        wanted = node.configuration.get("split")
        if isinstance(wanted, str) and node.units == [COHORT]:
            rows = records.table.items()
            return (
                node.stage,
                wanted,
                [name for name, row in rows if row.get("split") == wanted and row.get("status") == "done"],
            )
    return "", "", []
