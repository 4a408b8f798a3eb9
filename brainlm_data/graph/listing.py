"""What a bundle's jobs are told of raw files: one listing per bundle, written only where it changed."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainlm_data import paths
from brainlm_data.bids.index import RawFile, Recording, Subject
from brainlm_data.files import sidecar
from brainlm_data.files.json import read_sidecar
from brainlm_data.graph import edges
from brainlm_data.graph.view import DagView
from brainlm_data.runner.manifest import COHORT
from brainlm_data.stage import Level


def write(dag: DagView, to_disk: bool = True) -> tuple[dict[tuple[Level, str], str], str]:
    """Write the listing of every bundle, where it changed; (level, bundle) -> digest of its units, and one of all.

    `to_disk`: False writes nothing, because a run that goes on reads what is there.
    """
    by_bundle: dict[tuple[Level, str], list[Recording | Subject]] = {}
    for r in dag.index.recordings:
        by_bundle.setdefault(("recording", dag.bundles.of_recording(r.id, r.subject)), []).append(r)
    for s in dag.index.subjects:
        if s.t1w:
            by_bundle.setdefault(("subject", dag.bundles.of_subject[s.id]), []).append(s)
    with_runs = edges.route_of(dag.config) == "fmriprep"  # it reads all of a subject; anat reads the T1w alone
    digests: dict[tuple[Level, str], str] = {}
    whole = hashlib.sha256()
    for (level, bundle), members in by_bundle.items():  # one bundle at a time: a cohort's units are hundreds of MB
        more = {"subject_bundles": dag.bundles.subjects.get(bundle, [])}
        units = [_unit(m, with_runs) for m in members]
        digests[level, bundle] = _write(dag, level, bundle, units, more, to_disk, whole)
    rows = [
        {"id": r.id, "prefix": r.prefix, "subject": r.subject, "session": r.session, "task": r.task, "run": r.run,
         "phenotypes": dag.index.phenotypes.get(r.id, {})}
        for r in dag.index.recordings
    ]  # fmt: skip
    cohort = {"id": COHORT, "prefix": "", "subject": "", "raw": {}, "meta": {}, "recordings": rows}
    everything = {"subject_bundles": [], "bundles": dag.bundles.by_level}
    digests["cohort", COHORT] = _write(dag, "cohort", COHORT, [cohort], everything, to_disk, whole)
    if to_disk:
        _describe(dag)
        text = "".join(f"{reason}\n" for reason in dag.index.ignored)
        _write_text_changed(paths.left_aside_path(dag.outdir), text.encode("utf-8", "backslashreplace").decode())
        _write_text_changed(paths.planned_path(dag.outdir), whole.hexdigest())
    return digests, whole.hexdigest()


def planned(outdir: Path) -> str:
    """The digest of all listings as the last plan wrote them."""
    file = paths.planned_path(outdir)
    return file.read_text(errors="replace", encoding="utf-8") if file.is_file() else ""


def _describe(dag: DagView) -> None:
    """Write what makes derivatives/ a dataset of BIDS-Derivatives."""
    derivatives = dag.outdir / "derivatives"
    write_changed(derivatives / "dataset_description.json", description(dag.source))
    _write_text_changed(derivatives / ".bidsignore", paths.BIDSIGNORE)


def _write(
    dag: DagView, level: Level, bundle: str, units: list[dict[str, Any]], more: Mapping[str, Any], to_disk: bool,
    whole: Any,
) -> str:  # fmt: skip
    """Write one listing, and add its content to the digest of all; the digest of its units."""
    digest = hashlib.sha256(json.dumps(units, sort_keys=True).encode()).hexdigest()[:16]
    details: dict[str, Any] = {}
    for name in dag.detailed:
        if dag.stages[name].level == level and (name, bundle) in dag.details:
            details[name] = dag.details[name, bundle]
    content = {"units": units, "digest": digest, "details": details, **more}
    text = sidecar.record_text(content)
    whole.update(f"{level} {bundle} {text}".encode())
    if to_disk:
        _write_text_changed(paths.listing_path(dag.outdir, level, bundle), text)
    return digest


def _unit(member: Recording | Subject, with_runs: bool) -> dict[str, Any]:
    """What a job is told of a recording, or of a subject with a T1w, and with its runs where they are read too."""
    raw: dict[str, RawFile | None]
    if isinstance(member, Subject):
        subject = member.id.removeprefix("sub-")
        meta: dict[str, Any] = {"subject": subject}
        raw = {"t1w": member.t1w, "t1w_next": member.t1w_next}
        if with_runs:
            raw |= member.runs
            meta["runs"] = {name: file.path for name, file in member.runs.items()}
    else:
        subject = member.subject
        meta = {k: getattr(member, k) for k in ("subject", "session", "task", "run", "metadata")}
        meta |= {"fault": member.fault} if member.fault else {}
        raw = {"bold": member.bold, "sbref": member.sbref}
    files = {name: file for name, file in raw.items() if file}
    stat: dict[str, dict[str, Any]] = {}
    for name, file in files.items():
        stat[name] = {"path": file.path, "size": file.size, "mtime_ns": file.mtime_ns}
        if not os.access(file.path, os.R_OK):
            stat[name]["readable"] = False  # permissions change neither size nor time
    return {"id": member.id, "prefix": member.prefix, "subject": subject, "meta": meta, "stat": stat,
            "raw": {name: file.path for name, file in files.items()}}  # fmt: skip


def description(source_dir: Path) -> dict[str, Any]:
    """dataset_description.json of the derivatives, as BIDS-Derivatives asks for.

    Raises
    ------
    InputError: the raw dataset's is no JSON object.
    """
    raw = source_dir / "dataset_description.json"
    source = read_sidecar(raw)
    return {
        "Name": f"{source.get('Name', source_dir.resolve().name)}: parcel series and what led to them",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "brainlm-pipeline", "Version": importlib.metadata.version("brainlm-pipeline")}],
        "DatasetLinks": {"raw": source_dir.resolve().as_uri()},
        **_sources(source.get("DatasetDOI")),
        "License": source.get("License", "that of the source dataset"),
    }


def _sources(doi: Any) -> dict[str, Any]:
    """SourceDatasets, where the raw dataset says what its DOI is: 10.x/y, doi:10.x/y or its address."""
    if not isinstance(doi, str) or not (match := re.search(r"10\.\d{4,9}/\S+", doi)):
        return {}
    return {"SourceDatasets": [{"DOI": match.group(), "URL": f"https://doi.org/{match.group()}"}]}


def note_changed(path: Path, content: Mapping[str, Any], indent: int | None = None) -> None:
    """Write a record only where it is not there already."""
    _write_text_changed(path, sidecar.record_text(content, indent))


def write_changed(path: Path, content: Mapping[str, Any], indent: int | None = 2) -> None:
    """Write JSON only where the text is not there already, so that mtimes mean something."""
    _write_text_changed(path, sidecar.as_json(content, indent))


def _write_text_changed(path: Path, text: str) -> None:
    if not path.is_file() or path.read_bytes() != text.encode():
        sidecar.write_text(path, text)
