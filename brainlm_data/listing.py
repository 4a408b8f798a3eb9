"""What Snakemake watches in place of raw files: one listing a bundle, written only where it changed."""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainlm_data import paths, sidecar
from brainlm_data.errors import InputError
from brainlm_data.manifest import COHORT
from brainlm_data.stage import Level

if TYPE_CHECKING:
    from brainlm_data.dag import Dag


def write(dag: Dag) -> None:
    """Write the bundles' listing files, each only if it changed (its mtime is what Snakemake sees)."""
    by_bundle: dict[tuple[Level, str], list[dict[str, Any]]] = {}
    for r in dag.index.recordings:
        meta = {"subject": r.subject, "session": r.session, "task": r.task, "run": r.run, "metadata": r.metadata}
        raw = {"bold": r.bold} | ({"sbref": r.sbref} if r.sbref else {})
        unit = {"id": r.id, "prefix": r.prefix, "subject": r.subject, "meta": meta,
                "raw": {name: file.path for name, file in raw.items()},
                "stat": {name: asdict(file) for name, file in raw.items()}}  # fmt: skip
        by_bundle.setdefault(("recording", dag.recording_bundle(r.id, r.subject)), []).append(unit)
    for s in dag.index.subjects:
        if s.t1w:
            subject = s.id.removeprefix("sub-")
            unit = {"id": s.id, "prefix": s.prefix, "subject": subject, "meta": {"subject": subject},
                    "raw": {"t1w": s.t1w.path}, "stat": asdict(s.t1w)}  # fmt: skip
            by_bundle.setdefault(("subject", dag.bundle_of[s.id]), []).append(unit)
    rows = [
        {"id": r.id, "prefix": r.prefix, "subject": r.subject, "session": r.session, "task": r.task, "run": r.run,
         "phenotypes": dag.index.phenotypes.get(r.subject, {})}
        for r in dag.index.recordings
    ]  # fmt: skip
    cohort = {"id": COHORT, "prefix": "", "subject": "", "raw": {}, "meta": {}, "recordings": rows}
    by_bundle["cohort", COHORT] = [cohort]
    for (level, bundle), units in by_bundle.items():
        content = {"units": units, "subject_bundles": dag.subject_bundles.get(bundle, [])}
        if level == "cohort":
            content["bundles"] = dag.bundles
        write_changed(paths.listing_path(dag.outdir, level, bundle), content, indent=None)
    derivatives = dag.outdir / "derivatives"
    write_changed(derivatives / "dataset_description.json", description(dag.config.bids_dir))
    ignore = derivatives / ".bidsignore"
    if not ignore.exists() or ignore.read_text() != paths.BIDSIGNORE:
        sidecar.write_text(ignore, paths.BIDSIGNORE)


def description(bids_dir: Path) -> dict[str, Any]:
    """dataset_description.json of the derivatives, as BIDS-Derivatives asks for.

    Raises
    ------
    InputError: the raw dataset's is no JSON object.
    """
    raw = bids_dir / "dataset_description.json"
    try:
        source = json.loads(raw.read_text()) if raw.exists() else {}
    except (OSError, ValueError) as error:
        raise InputError(f"{raw}: {error}", "mend it: bids-validator helps") from error
    if not isinstance(source, dict):
        raise InputError(f"{raw}: not a JSON object", "mend it: bids-validator helps")
    return {
        "Name": f"{source.get('Name', bids_dir.name)}: parcel series and what led to them",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "brainlm-pipeline", "Version": importlib.metadata.version("brainlm-pipeline")}],
        "DatasetLinks": {"raw": bids_dir.resolve().as_uri()},
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
