"""What a unit's results depend on, as digests: its input files, the facts beside them, and what is known of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainlm_data.errors import InputError
from brainlm_data.files import sidecar
from brainlm_data.stage import Files

Known = Mapping[str, Mapping[str, Any]]  # path -> its entry in the manifests of the stages before


def input_digests(inputs: Files, known: Known) -> dict[str, str]:
    """sha256 of every input; taken from what is `known` of it (`written`) where size and mtime are still the same."""

    def look_up(path: str) -> str:
        entry = known.get(path)
        if entry and Path(path).exists() and sidecar.stat_of(Path(path)) == (entry["size"], entry["mtime_ns"]):
            return entry["sha256"]
        if not Path(path).exists():
            raise InputError(f"no file {path}", "it was deleted after it was made: run the same command again")
        return sidecar.digest(Path(path))

    files = _files(inputs)
    # what fMRIPrep reads of a subject, without what is not on this machine
    files |= {name: path for name, path in inputs.meta.get("runs", {}).items() if Path(path).exists()}
    digests = {name: look_up(path) for name, path in files.items()}
    for name, path in files.items():  # facts travel in sidecars: another grand mean beside the same series is a change
        beside = sidecar.sidecar_path(Path(path))
        if str(beside) in known and beside != Path(path):
            digests[f"{name}.json"] = look_up(str(beside))
    places = {"outdir", "workdir", "before", "runs"}
    plain = {k: v for k, v in inputs.meta.items() if k not in places and not k.startswith("_")}
    if rows := plain.pop("recordings", None):  # one after the other: a cohort's are hundreds of MB
        seen = hashlib.sha256()
        for row in rows:
            seen.update(_json({key: value for key, value in row.items() if key not in ("files", "sha256")}).encode())
        digests["meta.recordings"] = seen.hexdigest()  # an artifact is called `recordings`, too
    return {**digests, "meta": _json(plain)}


def check_inputs(inputs: Files, known: Known, rows: bool = True) -> None:
    """Read what a unit is about to be made from, and compare it with what its stages wrote.

    `input_digests` takes a file whose size and mtime are the same for the same. A folder (the store) checks itself when
    it is read. `rows`: the files of each recording, too; a stage that grows checks those that it reads.

    Raises
    ------
    InputError: a file is damaged.
    """
    for path in _files(inputs, rows).values():
        for file in (Path(path), sidecar.sidecar_path(Path(path))):
            if (entry := known.get(str(file))) and not file.is_dir():
                sidecar.check_digest(file, entry["sha256"])


def written(upstream: Mapping[str, Mapping[str, Any]], outdir: Path) -> Known:
    """What the stages before wrote, by path. `upstream`: stage -> unit -> its manifest entry."""
    root = "" if outdir == Path() else f"{outdir}/"  # as in str(outdir / path), without a Path for each of millions
    return {
        root + output["path"]: output
        for entries in upstream.values()
        for entry in entries.values()
        for output in entry.get("outputs", {}).values()
    }


def _files(inputs: Files, rows: bool = True) -> dict[str, str]:
    """Every input file by name, those of a cohort's recordings (`rows`) by recording and name."""
    files = {name: str(path) for name, path in inputs.items()}
    for row in inputs.meta.get("recordings", []) if rows else []:
        files |= {f"{row['id']}/{name}": path for name, path in row["files"].items()}
    return files


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, default=str)
