"""Back from a file, through the stages that made it, to raw files: what each read, and with which configuration."""

from __future__ import annotations

import graphlib
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brainlm_data.files import sidecar
from brainlm_data.runner.manifest import COHORT
from brainlm_data.why.records import Records, Unit


@dataclass
class Made:
    """What one stage, in one version and configuration, did on the way: a node of the tree.

    Attributes
    ----------
    units: that it processed; refused: unit -> reason. configuration: its section. watched: key -> digest of a file that
        the section names. reads: artifact -> the stage that wrote it, "raw" for a raw file. software: name -> versions.
    """

    stage: str
    version: int
    configuration: dict[str, Any]
    names: dict[str, str]
    watched: dict[str, str]
    units: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    reads: dict[str, str] = field(default_factory=dict)
    manifests: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    software: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Raw:
    """A raw file as it was when it was read. `state`: whether it still is (by size and mtime)."""

    path: str
    size: int
    mtime_ns: int
    sha256: str | None
    state: str


@dataclass
class Trace:
    """`made`: the stages, the file's own first, each before those that it read from. `notes`: what is odd, in lines."""

    made: list[Made]
    raw: list[Raw]
    notes: list[str]


def trace(records: Records, start: list[Unit], recording: str | None = None) -> Trace:
    """Everything that units were made of; of a cohort's, what `recording` contributed alone where one is given."""
    nodes: dict[tuple[str, str], Made] = {}
    raw: dict[str, Raw] = {}
    notes: dict[str, None] = {}
    edges: dict[str, set[str]] = {}
    seen: set[tuple[str, str]] = set()
    waiting = deque(start)
    while waiting:
        unit = waiting.popleft()
        if (unit.stage, unit.name) in seen:
            continue
        seen.add((unit.stage, unit.name))
        node = nodes.setdefault((unit.stage, json.dumps(unit.signature, sort_keys=True)), _node(unit))
        _add(node, unit, records)
        edges.setdefault(unit.stage, set())
        receipt = records.receipt(unit)
        told = records.listed(unit)
        read: dict[str, str] = receipt.get("inputs", {})
        _add_software(node, receipt, unit, records)
        for name, stat in told.get("stat", {}).items():
            if not receipt or name in read:
                node.reads[name] = "raw"
                raw.setdefault(stat["path"], _raw(stat, read.get(name)))
        for parent in _parents(records, unit, told, recording):
            used = {name: key for key, name in _named(read, parent) if name in parent.outputs}
            if not used and receipt and parent.status == "done":
                continue
            edges[unit.stage].add(parent.stage)
            node.reads |= dict.fromkeys((name for name in used if not name.endswith(".json")), parent.stage)
            for name, key in used.items():
                if parent.outputs[name].get("sha256") != read[key]:
                    notes[f"{parent.stage} wrote its {name} anew after {unit.stage} read it: rerun {unit.stage}"] = None
            waiting.append(parent)
    order = list(graphlib.TopologicalSorter(edges).static_order())[::-1]
    made = sorted(nodes.values(), key=lambda node: order.index(node.stage))
    return Trace(made, list(raw.values()), [*notes, *records.damaged.values()])


def _node(unit: Unit) -> Made:
    said = unit.signature
    return Made(unit.stage, said["version"], said["config"], said.get("names", {}), said.get("watched", {}))


def _add(node: Made, unit: Unit, records: Records) -> None:
    """Count a unit in its node."""
    if unit.status == "refused":
        node.refused[unit.name] = unit.reason
    else:
        node.units.append(unit.name)
    manifest = f"work/{unit.stage}/{unit.bundle}.json"
    if manifest not in node.manifests:
        node.manifests.append(manifest)
        log = f"work/logs/{unit.stage}/{unit.bundle}.log"
        if (records.outdir / log).exists():
            node.logs.append(log)


def _add_software(node: Made, receipt: dict[str, Any], unit: Unit, records: Records) -> None:
    """Versions that the receipt has; of an older one, what the sidecars of the outputs say."""
    versions = dict(receipt.get("software", {}))
    if not versions:
        for output in unit.outputs.values():
            path = records.outdir / output["path"]
            content = sidecar.read_record(path) if path.suffix == ".json" else {}
            about = content.get(sidecar.INSIDE, content) if isinstance(content, dict) else {}
            by = about.get("GeneratedBy") if isinstance(about, dict) else None
            if isinstance(by, dict) and "Version" in by:
                versions = {"brainlm-pipeline": str(by["Version"])}
    for name, version in versions.items():
        if version not in node.software.setdefault(name, []):
            node.software[name].append(version)


def _raw(stat: dict[str, Any], sha256: str | None) -> Raw:
    path = Path(stat["path"])
    try:
        now = path.stat()
        state = "unchanged" if (now.st_size, now.st_mtime_ns) == (stat["size"], stat["mtime_ns"]) else "changed since"
    except OSError:
        state = "not there any more"
    return Raw(stat["path"], stat["size"], stat["mtime_ns"], sha256, state)


def _parents(records: Records, unit: Unit, told: dict[str, Any], recording: str | None) -> Iterator[Unit]:
    """The units that this one read from: its own, its subject's and the cohort's; of the cohort, all or the wanted."""
    if unit.name == COHORT:
        wanted = None if recording is None else [recording, _subject(records, recording), COHORT]
    else:
        subject = f"sub-{told['subject']}" if told.get("subject") else unit.name.split("_")[0]
        wanted = [unit.name, subject, COHORT]
    for stage in unit.upstream:
        there = records.units(stage)
        yield from (
            there.values() if wanted is None else (there[name] for name in dict.fromkeys(wanted) if name in there)
        )


def _subject(records: Records, recording: str) -> str:
    """`sub-01` of a recording."""
    row = records.recordings.get(recording, {})
    return f"sub-{row['subject']}" if row.get("subject") else recording.split("_")[0]


def _named(read: dict[str, str], parent: Unit) -> Iterator[tuple[str, str]]:
    """(key of the receipt, artifact) that a parent wrote: `parcels`; of a cohort `sub-01_task-rest/parcels`."""
    for key in read:
        owner, slash, name = key.rpartition("/")
        if not slash or owner == parent.name or owner.startswith(f"{parent.name}_"):
            yield key, name
