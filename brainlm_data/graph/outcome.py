"""What a run takes of its dataset and what it leaves aside, and what became of the recordings, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from brainlm_data import paths
from brainlm_data.errors import one_line
from brainlm_data.runner.manifest import read_manifest

if TYPE_CHECKING:
    from brainlm_data.graph.dag import Dag

SHOWN = 20  # refusals, and files left aside, that a run prints


def taken(dag: Dag) -> list[str]:
    """What is odd about the dataset, before anything runs: recordings that will be refused, notes, files left aside."""
    lines = [f"{len(dag.faults)} recordings will be refused:", *_shown(dag.faults)] if dag.faults else []
    return [one_line(line) for line in (*lines, *dag.notes, *_left_aside(dag))]


def _left_aside(dag: Dag) -> list[str]:
    if not dag.left_aside:
        return []
    more = f" (all in {paths.left_aside_path(dag.outdir)})" if dag.left_aside[SHOWN:] else ""
    return [f"{len(dag.left_aside)} left aside{more}:", *_shown(dag.left_aside)]


def _shown(reasons: Sequence[str]) -> list[str]:
    return [*(f"  {reason}" for reason in reasons[:SHOWN]), *(["  ..."] if reasons[SHOWN:] else [])]


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
    lines += [*dag.notes, *_left_aside(dag)]
    if not seen:
        lines[0] = "no series yet"
    return "\n".join(one_line(line) for line in lines)
