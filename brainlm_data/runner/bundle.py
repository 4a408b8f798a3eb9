"""The one runner: calls a stage for every unit (recording, subject or cohort) of a bundle.

It gives each stage its files (`call.py` runs it), moves finished outputs into place, writes receipts, skips what a
receipt still vouches for, collects refusals, and writes the manifest last. No stage knows of any of this.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from brainlm_data import paths
from brainlm_data.errors import InputError, Refused
from brainlm_data.files import lock, sidecar
from brainlm_data.files.present import check_present
from brainlm_data.files.processes import processes
from brainlm_data.files.progress import left_after
from brainlm_data.runner.call import call, common
from brainlm_data.runner.digests import check_inputs, input_digests, written
from brainlm_data.runner.manifest import (
    COHORT,
    Manifest,
    combined,
    content_of,
    describe_output,
    merged,
    outputs_hold,
    read_manifest,
    read_receipt,
)
from brainlm_data.runner.software import software
from brainlm_data.stage import Artifact, Files, Sentence, Stage, StageConfig

FILES_TOLD = (
    "echo_files",
    "fieldmap_files",
    "events_files",
    "events_of",
    "stimulus_files",
)  # in `Stage.told`: raw files that are inputs, by path below the dataset's root, or by recording


@dataclass(frozen=True)
class Job:
    """What one bundle's job needs to know.

    Attributes
    ----------
    stage, config, names: the stage, its section, and the placeholders of its paths.
    producers: artifact name -> the stage that writes it, for every input that is not raw.
    units: entries of the listing: `{"id", "prefix", "subject", "raw": {artifact: path}, "meta": {...}}`.
    bundles: stage name -> bundles whose manifests vouch for this job's inputs.
    signature, listing: what is asked for (`Stage.signature`), and the digest of what is read of the listing.
    """

    stage: Stage
    config: StageConfig
    names: Mapping[str, str]
    producers: Mapping[str, Stage]
    outdir: Path
    bundle: str
    units: Sequence[Mapping[str, Any]]
    bundles: Mapping[str, Sequence[str]]
    signature: str
    listing: str = ""

    def path(self, artifact: str, prefix: str) -> Path:
        """Path of an output of a unit of this job."""
        return self.artifacts[artifact].path(self.outdir, prefix, self.names)

    @cached_property
    def artifacts(self) -> dict[str, Artifact]:
        """Every kind of file that this job reads or writes."""
        return paths.artifacts_of([self.stage, *self.producers.values()])


def run_bundle(job: Job, workers: int = 1) -> Manifest:
    """Run a stage on a bundle and write its manifest.

    A `Refused` unit is written into the manifest with its reason; any other exception propagates, leaves no
    manifest and keeps the receipts of the units that were done, so that a rerun goes on from there.
    """
    said: dict[str, Any] = {}
    read = {*job.stage.inputs, *(f"{name}.json" for name in job.stage.inputs)}
    upstream: dict[str, dict[str, Any]] = {}
    contents: dict[str, str] = {}
    for name, bundles in job.bundles.items():
        seen: list[tuple[str, str]] = []
        if name in job.stage.goes_without and not _has_run(job, name, bundles):
            print(f"{job.stage.name}: stage {name} has not run, goes on without it", file=sys.stderr, flush=True)
            upstream[name], contents[name] = {}, combined(seen)
            continue
        upstream[name] = merged(_manifests(job, name, bundles, seen), read, said)
        contents[name] = combined(seen)
    with lock.job(job.outdir, f"{job.stage.name}.{job.bundle}") as scratch:
        entries = _run_units(job, upstream, scratch, workers)
        manifest = {
            "stage": job.stage.name,
            "bundle": job.bundle,
            "signature": job.signature,
            "listing": job.listing,
            "upstream": contents,
            "content": content_of(entries),
            "units": entries,
        }
        path = paths.manifest_path(job.outdir, job.stage.name, job.bundle)
        sidecar.write_record(path, manifest, folder=scratch)
    return manifest


def _has_run(job: Job, stage: str, bundles: Sequence[str]) -> bool:
    """Whether an upstream stage has run for any of the bundles."""
    return any(paths.manifest_path(job.outdir, stage, bundle).exists() for bundle in bundles)


def _run_units(
    job: Job, upstream: Mapping[str, Mapping[str, Any]], scratch: Path, workers: int
) -> dict[str, Mapping[str, Any]]:
    """The manifest entries of all units; the first crash propagates."""
    entries: dict[str, Mapping[str, Any]] = {}
    started = time.monotonic()
    if workers > 1 and len(job.units) > 1:
        with processes(workers) as pool:
            futures = [(u, pool.submit(_run_unit, job, u, upstream, scratch)) for u in job.units]
            for unit, future in futures:
                entries[unit["id"]] = future.result()
                _progress(job, entries, started)
    else:
        for unit in job.units:
            entries[unit["id"]] = _run_unit(job, unit, upstream, scratch)
            _progress(job, entries, started)
    return entries


def _manifests(job: Job, stage: str, bundles: Sequence[str], seen: list[tuple[str, str]]) -> Iterator[Manifest]:
    """The manifests of an upstream stage, one at a time; (bundle, content) of each is added to `seen`."""
    for bundle in bundles:
        manifest = read_manifest(paths.manifest_path(job.outdir, stage, bundle))
        seen.append((bundle, manifest["content"]))
        yield manifest


def _progress(job: Job, entries: Mapping[str, Mapping[str, Any]], started: float) -> None:
    """One line for each unit: where the bundle is, what became of the unit, and when the rest will be done."""
    done, total = len(entries), len(job.units)
    unit, entry = list(entries.items())[-1]
    remaining = ", ".join(["", left_after(time.monotonic() - started, done, total)]) if total > done else ""
    outcome = entry["status"] if entry["status"] == "done" else f"{entry['status']}: {entry['reason']}"
    print(f"{job.stage.name}: {unit} {outcome} ({done}/{total}{remaining})", file=sys.stderr, flush=True)


def _run_unit(
    job: Job, unit: Mapping[str, Any], upstream: Mapping[str, Mapping[str, Any]], scratch: Path
) -> Mapping[str, Any]:
    """Done, skipped or refused: the unit's manifest entry. `scratch`: of the job."""
    try:
        inputs = _inputs(job, unit, upstream)
    except Refused as refusal:
        return _refused(job, unit, refusal, scratch)
    known = written(upstream, job.outdir)
    digests = input_digests(inputs, known)
    receipt_file = paths.receipt_path(job.outdir, job.stage.name, unit["id"])
    receipt = read_receipt(receipt_file)
    is_same = receipt.get("signature") == job.signature and receipt.get("inputs") == digests
    if is_same and outputs_hold(receipt["entry"], job.outdir):
        entry = receipt["entry"]
    else:
        check_inputs(inputs, known, rows=not job.stage.grows)
        if job.stage.level == "cohort":
            _set_aside(job, inputs, receipt)
            _forget(job, unit, scratch)  # a failure must not leave half of the old results beside half of the new
        try:
            entry = _execute(job, unit, inputs, digests, scratch / unit["id"])
        except Refused as refusal:
            if job.stage.level == "cohort":
                raise
            return _refused(job, unit, refusal, scratch)
        for path in inputs.meta["before"].values():
            shutil.rmtree(path, ignore_errors=True)
            with contextlib.suppress(OSError):  # there was none, or there is more in it
                Path(path).parent.rmdir()
        receipt = {"signature": job.signature, "inputs": digests, "entry": entry, "software": software()}
        sidecar.write_record(receipt_file, receipt, folder=scratch)
    return {**entry, "methods": _methods(unit, upstream) | entry["methods"]}


def _refused(job: Job, unit: Mapping[str, Any], refusal: Refused, scratch: Path) -> dict[str, Any]:
    """The entry of a unit that cannot be processed; what an earlier config made of it is removed."""
    _forget(job, unit, scratch)
    return {"status": "refused", "stage": job.stage.name, "reason": str(refusal)}


def _forget(job: Job, unit: Mapping[str, Any], scratch: Path) -> None:
    """Remove what stands where this job writes, and its receipt; a model (or atlas) of another name stays."""
    receipt_file = paths.receipt_path(job.outdir, job.stage.name, unit["id"])
    places = [job.path(name, unit["prefix"]) for name in job.stage.outputs]
    ours = {*places, *(sidecar.sidecar_path(place) for place in places)}
    for output in read_receipt(receipt_file).get("entry", {}).get("outputs", {}).values():
        path = job.outdir / output["path"]
        if path.is_dir() and path in ours:
            _remove_folder(path, scratch)
        elif path in ours:
            path.unlink(missing_ok=True)
    shutil.rmtree(receipt_file) if receipt_file.is_dir() else receipt_file.unlink(missing_ok=True)


def _set_aside(job: Job, inputs: Files, receipt: Mapping[str, Any]) -> None:
    """Move old outputs that the stage takes parts from out of the way; what a failed attempt left there stays.

    An output that is not what its receipt says is no source of parts: it is removed with the rest.
    """
    known = receipt.get("entry", {}).get("outputs", {})
    for name, aside in inputs.meta["before"].items():
        old = job.path(name, "")
        stands = name in known and outputs_hold({"outputs": {name: known[name]}}, job.outdir)
        if old.is_symlink():
            raise InputError(f"{old} is a link, and is replaced as a whole", "move it back, or link the outdir instead")
        if stands:
            shutil.rmtree(aside, ignore_errors=True)
            Path(aside).parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(OSError):  # work/ on another disk: then nothing is taken over
                os.replace(old, aside)


def _methods(unit: Mapping[str, Any], upstream: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Methods sentences that this unit inherits from the stages before, by stage, in order."""
    sentences: dict[str, Any] = {}
    for entries in upstream.values():
        for key in (COHORT, f"sub-{unit['subject']}", unit["id"]):
            sentences |= entries.get(key, {}).get("methods", {})
    return sentences


def _inputs(job: Job, unit: Mapping[str, Any], upstream: Mapping[str, Mapping[str, Any]]) -> Files:
    """Paths of the unit's inputs. Raises Refused where the index or an upstream stage refused it."""
    if fault := unit["meta"].get("fault"):
        raise Refused(fault)
    meta = dict(unit["meta"])
    files: dict[str, Path] = {}
    for told in FILES_TOLD:
        for name, (path, *_) in meta.pop(told, {}).items():  # a `RawFile`, as JSON has it
            files[name] = Path(path)
            check_present(files[name])
    for name in job.stage.inputs:
        artifact = job.artifacts[name]
        if name in unit["raw"]:
            files[name] = Path(unit["raw"][name])
            check_present(files[name])
        elif name not in job.producers:
            continue  # a raw file that this unit does not have
        elif job.stage.level != "cohort" or artifact.level == "cohort":
            producer = job.producers[name]
            key = {"cohort": COHORT, "subject": f"sub-{unit['subject']}", "recording": unit["id"]}[artifact.level]
            entry = upstream[producer.name].get(key)
            if entry is None and name in job.stage.optional:
                continue
            if entry is None and artifact.level == "subject":  # its stages work on those who have a T1w
                raise Refused(f"{unit['id']}: stage {producer.name} needs a T1w, and {key} has none", "add the T1w")
            if entry is None:
                raise InputError(f"{unit['id']}: stage {producer.name} has not seen {key}", "run the DAG again")
            if entry["status"] == "refused":
                raise Refused(entry["reason"])
            if name in entry["outputs"]:
                files[name] = job.outdir / entry["outputs"][name]["path"]
    missing = [n for n in job.stage.inputs if n not in files and n not in job.stage.optional]
    missing = [n for n in missing if job.stage.level != "cohort" or job.artifacts[n].level == "cohort"]
    if missing:
        raise Refused(f"{unit['id']}: stage {job.stage.name} needs {', '.join(missing)}, which it does not have")
    workdir = paths.state_path(job.outdir, job.stage.name, unit["id"])
    meta |= {
        "id": unit["id"],
        "outdir": str(job.outdir),
        "workdir": str(workdir),
        "before": {name: str(workdir / "before" / name) for name in job.stage.grows},
    }
    if job.stage.level == "cohort":
        meta["recordings"] = _cohort(job, unit, upstream)
    return Files(files, meta)


def _cohort(job: Job, unit: Mapping[str, Any], upstream: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What a cohort stage sees of each recording: status, reason, methods sentences and its input files."""
    wanted = [n for n in job.stage.inputs if job.artifacts[n].level == "recording"]
    rows = []
    for recording in unit["recordings"]:
        row = {**recording, "status": "done", "reason": "", "files": {}, "sha256": {}, "methods": {}}
        for entries in upstream.values():
            entry = entries.get(recording["id"]) or entries.get(f"sub-{recording['subject']}") or entries.get(COHORT)
            if entry is None:
                continue
            if entry["status"] == "refused":
                row |= {"status": "refused", "reason": entry["reason"]}
                continue
            row["methods"] |= entry["methods"]
            row["files"] |= {n: str(job.outdir / entry["outputs"][n]["path"]) for n in wanted if n in entry["outputs"]}
            row["sha256"] |= {n: output["sha256"] for n, output in entry["outputs"].items()}
        rows.append(row)
    return rows


def _execute(
    job: Job, unit: Mapping[str, Any], inputs: Files, digests: Mapping[str, str], scratch: Path
) -> dict[str, Any]:
    """Call the stage into a scratch folder of the unit, then move its outputs into place, folders (a store) last.

    Who reads a store finds its tables beside it, or no store yet.
    """
    final = {name: job.path(name, unit["prefix"]) for name in job.stage.outputs}
    written = {name: scratch / name / path.name for name, path in final.items()}
    lock.clear_temporaries(Path(inputs.meta["workdir"]).rglob(lock.TEMPORARY))  # of a killed job
    try:
        facts = call(job.stage, inputs, written, job.config, job.names, digests)
        outputs: dict[str, Any] = {}
        for name, target in sorted(final.items(), key=lambda item: written[item[0]].is_dir()):
            if written[name].exists():
                outputs |= _place(name, written[name], target, job.outdir)
            else:
                _remove(job, name, unit["prefix"])
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    sentence = Sentence.of(job.stage.describe(common(job.stage, facts)))
    methods = {job.stage.name: {"version": job.stage.version, **sentence.content()}}
    return {"status": "done", "reason": "", "outputs": outputs, "methods": methods}


def _remove(job: Job, name: str, prefix: str) -> None:
    """Remove an optional output of an earlier config and its sidecar, unless that belongs to another output, too."""
    target = job.path(name, prefix)
    target.unlink(missing_ok=True)
    others = [job.path(other, prefix) for other in job.stage.outputs if other != name]
    beside = sidecar.sidecar_path(target)
    if job.artifacts[name].has_sidecar and beside not in {*others, *map(sidecar.sidecar_path, others)}:
        beside.unlink(missing_ok=True)


def _place(name: str, source: Path, target: Path, outdir: Path) -> dict[str, Any]:
    """Move an output and the sidecar beside it to where they belong; the entries of both."""
    _replace(source, target)
    entries = {name: describe_output(target, outdir)}
    beside = sidecar.sidecar_path(source)
    if beside != source and beside.exists():
        described = sidecar.sidecar_path(target)
        _replace(beside, described)
        entries[f"{name}.json"] = describe_output(described, outdir)
    return entries


def _replace(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        _remove_folder(target, source.parent)
    os.replace(source, target)


def _remove_folder(path: Path, scratch: Path) -> None:
    """Take a folder away at once, then delete it: nobody may read a store of which some files are gone."""
    removed = Path(tempfile.mkdtemp(dir=scratch, prefix="removed-"))
    os.replace(path, removed / path.name)
    shutil.rmtree(removed)
