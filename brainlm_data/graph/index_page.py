"""index.html of an outdir: every page, table and figure that is there, what each is, and what became of the recordings.

Written whenever a run ends, well or not, from what lies in the outdir then.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import brainlm_data.quality
from brainlm_data import paths
from brainlm_data.errors import InputError, one_line
from brainlm_data.files.json import read_sidecar
from brainlm_data.files.sidecar import write_text
from brainlm_data.graph.events import COMMAND
from brainlm_data.runner.manifest import read_manifest
from brainlm_data.runner.software import software

if TYPE_CHECKING:
    from brainlm_data.graph.dag import Dag

RESULTS = "Data and models"
KINDS = {  # heading -> endings of files, in the order of the page
    "Pages": (".html",),
    "In words": (".md", ".txt", ".yaml"),
    "Figures": (".svg",),
    "Tables": (".csv", ".tsv", ".parquet", ".json"),
    RESULTS: (".zarr", ".npz", ".safetensors", "/"),
}
OTHERS = {  # files that no stage writes
    "left_aside.txt": "files of the dataset that were not taken, each with the reason",
    "config.yaml": "the configuration of the last run",
}
MOST = 2000  # recordings that are listed; qc.html has more


def write_index(dag: Dag) -> None:
    """Write `index.html` for the outdir as it is."""
    from jinja2 import Environment, FileSystemLoader

    templates = Path(brainlm_data.quality.__file__).parent
    environment = Environment(
        loader=FileSystemLoader(templates), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    recordings = list(_recordings(dag))
    pages = [row for row in recordings if row["page"]]
    page = environment.get_template("index.html").render(
        dataset=_name(dag), total=dag.n_recordings, most=MOST,
        subjects=len(dag.bundles.by_level["subject"]), recordings=pages + _earlier(dag, pages),
        through=sum(r["status"] == "done" for r in recordings), refused=[r for r in recordings if r["reason"]],
        kinds=files(dag), notes=[one_line(note) for note in dag.notes], command=_command(),
        date=datetime.now().astimezone().isoformat(" ", "minutes"),
        versions=software(),
    )  # fmt: skip
    write_text(paths.index_page_path(dag.outdir), page)


def _name(dag: Dag) -> str:
    """Of the dataset: as its description has it, else its folder's."""
    name = None
    with contextlib.suppress(InputError):  # a title is no reason for a run to fail
        name = read_sidecar(dag.source / "dataset_description.json").get("Name")
    return str(name or dag.source.name)


def _command() -> str:
    """What was typed: as `brainlm` says it, else this process's own, without the folder of its program."""
    return os.environ.get(COMMAND) or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _recordings(dag: Dag) -> Iterator[dict[str, Any]]:
    """Every recording that was seen: status, why it was refused, and its page below the outdir."""
    for bundle in dag.bundles.by_level["recording"]:  # one at a time: a cohort's manifests are hundreds of MB
        series = _units(dag, "parcels", bundle)
        pages = _units(dag, "qc_page", bundle)
        for name, entry in series.items():
            page = pages.get(name, {}).get("outputs", {}).get("qc_page", {}).get("path", "")
            there = page if (dag.outdir / page).is_file() else ""
            yield {"id": name, "status": entry["status"], "reason": entry["reason"], "page": quote(there)}


def _earlier(dag: Dag, pages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pages of recordings that earlier runs made, where this one is of some people alone."""
    if not dag.config.select.is_part:
        return []
    known, more = {row["page"] for row in pages}, []
    ending = paths.ARTIFACTS["qc_page"].pattern.removeprefix("derivatives/{prefix}")
    for file in sorted((dag.outdir / "derivatives").rglob(f"*{ending}")):
        place = quote(file.relative_to(dag.outdir).as_posix())
        if place not in known:
            more.append({"id": f"{file.name.removesuffix(ending)} (an earlier run)", "page": place})
    return more


def _units(dag: Dag, artifact: str, bundle: str) -> dict[str, Any]:
    """The entries of the stage that writes an artifact; empty where there is none, or it has not run (whole)."""
    if artifact not in dag.producers:
        return {}
    path = paths.manifest_path(dag.outdir, dag.producers[artifact].name, bundle)
    try:
        return dict(read_manifest(path)["units"])
    except InputError:  # the next run makes it anew; this page shows what there is
        return {}


def files(dag: Dag) -> dict[str, list[dict[str, str]]]:
    """Heading -> files of the cohort that are there, with what each is; of models and atlases, those of every name."""
    found: dict[str, str] = {}
    for artifact in dag.artifacts.values():
        if artifact.level == "cohort" and artifact.pattern and not artifact.has_sidecar:
            pattern = re.sub(r"\{\w+\}", "*", artifact.pattern)
            for path in sorted(dag.outdir.glob(pattern)):
                found[path.relative_to(dag.outdir).as_posix()] = artifact.description
    for name, description in OTHERS.items():
        path = dag.outdir / name
        if path.is_file() and path.stat().st_size:
            found[name] = description
    if (dag.outdir / "derivatives").is_dir():
        series = paths.ARTIFACTS["parcels"].description
        found["derivatives/"] = f"of every recording: {series}; confounds, transforms, sidecars"
    kinds: dict[str, list[dict[str, str]]] = {}
    for kind, endings in KINDS.items():
        rows = []
        for name, description in found.items():
            if name.endswith(endings):
                rows.append({"name": name, "address": quote(name), "what": description})
        if rows:
            kinds[kind] = rows
    return kinds
