"""What Snakemake watches in place of raw files: one listing a bundle, written only where it changed."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainlm_data import paths
from brainlm_data.bids.index import RawFile, Recording, Subject
from brainlm_data.files import sidecar
from brainlm_data.reading.json import read_sidecar
from brainlm_data.runner.manifest import COHORT
from brainlm_data.stage import Level

if TYPE_CHECKING:
    from brainlm_data.graph.dag import Dag


def write(dag: Dag) -> None:
    """Write the bundles' listing files, each only if it changed (its mtime is what Snakemake sees)."""
    by_bundle: dict[tuple[Level, str], list[Recording | Subject]] = {}
    for r in dag.index.recordings:
        by_bundle.setdefault(("recording", dag.recording_bundle(r.id, r.subject)), []).append(r)
    for s in dag.index.subjects:
        if s.t1w:
            by_bundle.setdefault(("subject", dag.bundle_of[s.id]), []).append(s)
    for (level, bundle), members in by_bundle.items():  # one bundle at a time: a cohort's units are hundreds of MB
        content = {"units": [_unit(m) for m in members], "subject_bundles": dag.subject_bundles.get(bundle, [])}
        write_changed(paths.listing_path(dag.outdir, level, bundle), content, indent=None)
    rows = [
        {"id": r.id, "prefix": r.prefix, "subject": r.subject, "session": r.session, "task": r.task, "run": r.run,
         "phenotypes": dag.index.phenotypes.get(r.subject, {})}
        for r in dag.index.recordings
    ]  # fmt: skip
    cohort = {"id": COHORT, "prefix": "", "subject": "", "raw": {}, "meta": {}, "recordings": rows}
    content = {"units": [cohort], "subject_bundles": [], "bundles": dag.bundles}
    write_changed(paths.listing_path(dag.outdir, "cohort", COHORT), content, indent=None)
    derivatives = dag.outdir / "derivatives"
    write_changed(derivatives / "dataset_description.json", description(dag.source))
    ignore = derivatives / ".bidsignore"
    if not ignore.exists() or ignore.read_text() != paths.BIDSIGNORE:
        sidecar.write_text(ignore, paths.BIDSIGNORE)


def _unit(member: Recording | Subject) -> dict[str, Any]:
    """What a job is told of a recording, or of a subject with a T1w."""
    raw: dict[str, RawFile | None]
    if isinstance(member, Subject):
        subject = member.id.removeprefix("sub-")
        meta: dict[str, Any] = {"subject": subject}
        raw = {"t1w": member.t1w}
    else:
        subject = member.subject
        meta = {k: getattr(member, k) for k in ("subject", "session", "task", "run", "metadata")}
        raw = {"bold": member.bold, "sbref": member.sbref}
    files = {name: file for name, file in raw.items() if file}
    stat = {name: {"path": f.path, "size": f.size, "mtime_ns": f.mtime_ns} for name, f in files.items()}
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
    if not isinstance(doi, str) or not (found := re.search(r"10\.\d{4,9}/\S+", doi)):
        return {}
    return {"SourceDatasets": [{"DOI": found.group(), "URL": f"https://doi.org/{found.group()}"}]}


def write_changed(path: Path, content: Mapping[str, Any], indent: int | None = 2) -> None:
    """Write JSON only where the text is not there already, so that mtimes mean something."""
    text = sidecar.as_json(content, indent)
    if not path.exists() or path.read_text() != text:
        sidecar.write_text(path, text)
