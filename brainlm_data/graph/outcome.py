"""What became of the recordings of a run, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainlm_data import paths
from brainlm_data.runner.manifest import read_manifest

if TYPE_CHECKING:
    from brainlm_data.graph.dag import Dag

SHOWN = 20  # refusals, and files left aside, that a run prints at its end


def outcome(dag: Dag) -> str:
    """How many went through, and why others did not."""
    seen, refused = 0, list[str]()
    for bundle in dag.bundles.by_level["recording"]:  # one manifest at a time: a cohort's are hundreds of MB
        path = paths.manifest_path(dag.outdir, dag.producers["parcels"].name, bundle)
        units = read_manifest(path)["units"] if path.exists() else {}
        seen += len(units)
        refused += [f"  {u}: {entry['reason']}" for u, entry in units.items() if entry["status"] == "refused"]
    lines = [f"{seen - len(refused)} of {dag.n_recordings} recordings went through"]
    if refused:
        shown = refused[:SHOWN] + ([f"  ... (all in {dag.outdir}/recordings.parquet)"] if refused[SHOWN:] else [])
        lines += [f"{len(refused)} refused:", *shown]
    lines += dag.notes
    if dag.left_aside:
        lines += [f"{len(dag.left_aside)} files left aside:", *(f"  {reason}" for reason in dag.left_aside[:SHOWN])]
        if dag.left_aside[SHOWN:]:
            lines.append("  ...")
    return "\n".join(lines) if seen else "\n".join(["no series yet", *lines[1:]])
