"""Manifests and receipts: what a job wrote, and whether it still stands.

A manifest is what a bundle's job writes last: its recordings, outputs with digests, refusals with reasons. A receipt is
the same for one recording, kept apart because Snakemake deletes declared outputs before a rerun.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from brainlm_data.errors import InputError
from brainlm_data.files import sidecar

COHORT = "cohort"
MANY, CHECKERS = 200, 4  # manifests that are checked by more than one process, and by how many
Manifest = dict[str, Any]


def read_manifest(path: Path) -> Manifest:
    """A manifest. Raises InputError where it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise InputError(f"stage {path.parent.name} has not run yet (no {path})", "run it first") from error
    except (OSError, ValueError) as error:
        raise InputError(f"manifest {path}: {error}", f"run stage {path.parent.name} again") from error


def merged(manifests: Iterable[Manifest], outputs: Collection[str], said: dict[str, str]) -> dict[str, Any]:
    """Unit -> its entry in whichever manifest has it, with these outputs alone.

    `said`: sentences so far; equal ones become one string, because a cohort has each of them 76,000 times.
    """
    found: dict[str, Any] = {}
    for manifest in manifests:
        for unit, entry in manifest["units"].items():
            if "outputs" in entry:
                entry["outputs"] = {name: output for name, output in entry["outputs"].items() if name in outputs}
                entry["methods"] = {stage: said.setdefault(text, text) for stage, text in entry["methods"].items()}
            found[unit] = entry
    return found


def describe_output(path: Path, outdir: Path) -> dict[str, Any]:
    """Path below outdir, size, mtime and sha256 of an output, as they stand in a manifest."""
    size, mtime = sidecar.stat_of(path)
    return {"path": str(path.relative_to(outdir)), "size": size, "mtime_ns": mtime, "sha256": sidecar.digest(path)}


def outputs_hold(entry: Mapping[str, Any], outdir: Path, digests: bool) -> bool:
    """True where every output of a manifest entry is still what was written.

    A file whose size and mtime are as recorded is taken as good. Where they differ, its digest decides if `digests`.
    """
    root = f"{outdir}/"
    for output in entry.get("outputs", {}).values():
        try:
            found = os.stat(root + output["path"])  # text, not Path: a cohort has millions of outputs
        except OSError:
            return False
        size, mtime = found.st_size, found.st_mtime_ns
        if size == output["size"] and mtime == output["mtime_ns"]:
            continue
        if stat.S_ISDIR(found.st_mode):
            size, mtime = sidecar.stat_of(outdir / output["path"])
        if size != output["size"]:
            return False
        if mtime != output["mtime_ns"] and (not digests or sidecar.digest(outdir / output["path"]) != output["sha256"]):
            return False
    return True


def repairs(path: Path, asked: str, outdir: Path) -> int:
    """How often a bundle was found not to be what the config asks for; one more while it is so, and it reruns.

    That is: an output is missing or changed, or the stage was run by hand with other values. -1: a damaged manifest.
    """
    if not path.exists():
        return 0
    try:
        manifest = read_manifest(path)
    except InputError:
        return -1
    whole = manifest.get("signature") == asked
    whole &= all(outputs_hold(entry, outdir, digests=True) for entry in manifest["units"].values())
    return int(manifest["repairs"]) + (0 if whole else 1)


def repairs_of(paths: Sequence[Path], asked: str, outdir: Path) -> dict[Path, int]:
    """`repairs` of many manifests; of a cohort's by several processes, because it is a `stat` of millions of files."""
    check = partial(repairs, asked=asked, outdir=outdir)
    if len(paths) < MANY or "fork" not in multiprocessing.get_all_start_methods():
        return {path: check(path) for path in paths}
    with multiprocessing.get_context("fork").Pool(min(CHECKERS, os.cpu_count() or 1)) as pool:
        return dict(zip(paths, pool.map(check, paths, chunksize=10), strict=True))
