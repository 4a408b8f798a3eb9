"""Manifests and receipts: what a job wrote, what it was made from, and whether it still stands.

A manifest is what a bundle's job writes last: its recordings, outputs with digests, refusals with reasons, and what
decides whether it is still good. A receipt is the same for one recording, kept apart because Snakemake deletes declared
outputs before a rerun.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from brainlm_data.errors import InputError
from brainlm_data.files import sidecar

COHORT = "cohort"
Manifest = dict[str, Any]


NO_STAGES = ("listing", "receipts", "logs", "scratch")  # other folders below work/


def manifests(outdir: Path) -> list[Path]:
    """Every manifest of an outdir, sorted."""
    return sorted(path for path in (outdir / "work").glob("*/*.json") if path.parent.name not in NO_STAGES)


def read_manifest(path: Path) -> Manifest:
    """A manifest. Raises InputError where it is missing, damaged or of an older release."""
    if not path.exists():
        raise InputError(f"stage {path.parent.name} has not run yet (no {path})", "run it first")
    manifest: Manifest = sidecar.load_record(path, f"run stage {path.parent.name} again")
    try:
        known = {"version", "config", "names", "watched"} <= json.loads(manifest["signature"]).keys()
        parts = {"listing": str, "content": str, "upstream": dict}
        known = known and all(isinstance(manifest.get(key), kind) for key, kind in parts.items())
        whole = known and all(map(is_entry, manifest["units"].values()))
    except (AttributeError, KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise InputError(f"manifest {path}: not of this release", f"run stage {path.parent.name} again")
    return manifest


def read_receipt(path: Path) -> dict[str, Any]:
    """A receipt; empty where it is damaged or not there, as the unit is then done again."""
    receipt = sidecar.read_record(path)
    whole = is_entry(receipt.get("entry")) and isinstance(receipt.get("inputs"), dict)
    return receipt if whole else {}


def is_entry(entry: Any) -> bool:
    """Whether something is what a manifest and a receipt have of a unit."""
    if (
        not isinstance(entry, dict)
        or not isinstance(entry.get("status"), str)
        or not isinstance(entry.get("reason"), str)
    ):
        return False
    if entry["status"] == "done" and "outputs" not in entry:
        return False
    outputs, methods = entry.get("outputs", {}), entry.get("methods", {})
    return isinstance(outputs, dict) and isinstance(methods, dict) and all(map(_is_output, outputs.values()))


def _is_output(output: Any) -> bool:
    """Whether something is what `describe_output` makes."""
    kinds = {"path": str, "size": int, "mtime_ns": int, "sha256": str}
    return isinstance(output, dict) and all(type(output.get(key)) is kind for key, kind in kinds.items())


def merged(manifests: Iterable[Manifest], outputs: Collection[str], said: dict[str, Any]) -> dict[str, Any]:
    """Unit -> its entry in whichever manifest has it, with these outputs alone.

    `said`: sentences so far; equal ones become one object, because a cohort has each of them 76,000 times.
    """
    entries: dict[str, Any] = {}
    for manifest in manifests:
        for unit, entry in manifest["units"].items():
            if "outputs" in entry:
                entry["outputs"] = {name: output for name, output in entry["outputs"].items() if name in outputs}
                for stage, sentence in entry["methods"].items():
                    entry["methods"][stage] = said.setdefault(json.dumps(sentence, sort_keys=True), sentence)
            entries[unit] = entry
    return entries


def describe_output(path: Path, outdir: Path) -> dict[str, Any]:
    """Path below outdir, size, mtime and sha256 of an output, as they stand in a manifest."""
    size, mtime = sidecar.stat_of(path)
    return {"path": str(path.relative_to(outdir)), "size": size, "mtime_ns": mtime, "sha256": sidecar.digest(path)}


def content_of(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Digest of all that followers see of a bundle: states, reasons, sentences, and the outputs' paths and digests."""
    hasher = hashlib.sha256()
    for unit, entry in sorted(entries.items()):
        outputs = {name: (o["path"], o["sha256"]) for name, o in entry.get("outputs", {}).items()}
        seen = [unit, entry["status"], entry["reason"], outputs, entry.get("methods", {})]
        hasher.update(json.dumps(seen, sort_keys=True).encode())
    return hasher.hexdigest()[:16]


def combined(contents: Iterable[tuple[str, str]]) -> str:
    """One digest of (bundle, content) of several bundles of a stage."""
    lines = (f"{bundle} {content}" for bundle, content in sorted(contents))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def outputs_hold(entry: Mapping[str, Any], outdir: Path) -> bool:
    """True where every output of a manifest entry is still what was written."""
    return next(damages(entry, outdir), None) is None


def damages(entry: Mapping[str, Any], outdir: Path) -> Iterator[tuple[str, str]]:
    """("missing" or "changed", path below outdir) of every output of a manifest entry that is not what was written.

    A file whose size and mtime are as recorded is taken as good. Where the mtime differs, its digest decides.
    """
    root = f"{outdir}/"
    for output in entry.get("outputs", {}).values():
        path = output["path"]
        try:
            status = os.stat(root + path)  # text, not Path: a cohort has millions of outputs
        except OSError:
            yield "missing", path
            continue
        size, mtime = status.st_size, status.st_mtime_ns
        if size == output["size"] and mtime == output["mtime_ns"]:
            continue
        if stat.S_ISDIR(status.st_mode):
            size, mtime = sidecar.stat_of(outdir / path)
        if size == output["size"] and mtime == output["mtime_ns"]:
            continue
        if size != output["size"] or sidecar.digest(outdir / path) != output["sha256"]:
            yield "changed", path


class Cause(NamedTuple):
    """Why a bundle does not stand: in words, equal for all bundles of one cause, and an example of its own."""

    text: str
    example: str = ""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a manifest must have been made from.

    Attributes
    ----------
    signature: the stage's (`Stage.signature`). listing: digest of what the job reads of the listing.
    upstream: stage -> `combined` content of the bundles that it reads; without those that are themselves redone.
    """

    signature: str
    listing: str = ""
    upstream: Mapping[str, str] = field(default_factory=dict)


def standing(path: Path, expected: Expected, outdir: Path) -> tuple[str, list[Cause]]:
    """The content of a manifest that is there, and why it does not stand; no cause: it does."""
    stage = path.parent.name
    try:
        manifest = read_manifest(path)
    except InputError as error:
        return "", [Cause(f"manifest unreadable or of another release: {stage}", error.message)]
    causes: list[Cause] = []
    if manifest["signature"] != expected.signature:
        causes += differences(stage, json.loads(manifest["signature"]), json.loads(expected.signature))
    if manifest["listing"] != expected.listing:
        causes.append(Cause("raw files, what is known of them, or their bundles changed", path.stem))
    for name, content in expected.upstream.items():
        if manifest["upstream"].get(name) != content:
            causes.append(Cause(f"results of {name} changed"))
    for entry in manifest["units"].values():
        causes += [Cause(f"outputs {how}", output) for how, output in damages(entry, outdir)]
    return manifest["content"], causes


def differences(stage: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Cause]:
    """What differs between two signatures, by key and value."""
    causes: list[Cause] = []
    if old["version"] != new["version"]:
        causes.append(Cause(f"version of {stage}: {old['version']} -> {new['version']}"))
    for key, before, after in changed(old["config"], new["config"]):
        causes.append(Cause(f"{stage}.{key}: {word(before)} -> {word(after)}"))
    for key, before, after in changed(old["names"], new["names"]):
        causes.append(Cause(f"{key}: {word(before)} -> {word(after)}"))
    for key, _, _ in changed(old["watched"], new["watched"]):
        causes.append(Cause(f"{key}: another file, or another content"))
    return causes


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(key, old value, new value) where they differ; of nested mappings, dotted keys."""
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from ((f"{key}.{deeper}", b, a) for deeper, b, a in changed(before, after))
        else:
            yield key, before, after


def word(value: Any) -> str:
    """A value as config.yaml has it, cut where it is long."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
