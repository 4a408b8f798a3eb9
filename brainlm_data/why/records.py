"""What the jobs of an outdir noted of themselves: manifests (who wrote what), receipts (of what), listings (raw files).

Nothing is read but these, and nothing is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from brainlm_data import paths
from brainlm_data.errors import InputError
from brainlm_data.files import sidecar
from brainlm_data.files.reads import reads
from brainlm_data.runner.bundle import FILES_TOLD
from brainlm_data.runner.manifest import COHORT, manifests, read_manifest, read_receipt


@dataclass(frozen=True)
class Unit:
    """What a stage made of one unit (a recording, a subject, or the cohort), as its manifest says.

    Attributes
    ----------
    stage, bundle, name: name is the unit's id. signature: version, configuration, names and watched files, of the job.
    upstream: the stages whose outputs it read. outputs: artifact -> path below the outdir, size, mtime_ns, sha256.
    """

    stage: str
    bundle: str
    name: str
    signature: Mapping[str, Any]
    upstream: tuple[str, ...]
    status: str
    reason: str
    outputs: Mapping[str, Mapping[str, Any]]


class Records:
    """The records below `outdir`. `damaged`: one line for each that could not be read so far."""

    def __init__(self, outdir: Path) -> None:
        self.outdir = outdir
        self.damaged: dict[Path, str] = {}
        self._units: dict[str, dict[str, Unit]] = {}

    @cached_property
    def manifests(self) -> dict[str, list[Path]]:
        """Stage -> its manifests."""
        found: dict[str, list[Path]] = {}
        for path in manifests(self.outdir):
            found.setdefault(path.parent.name, []).append(path)
        return found

    def units(self, stage: str) -> Mapping[str, Unit]:
        """Every unit of a stage, in whichever manifest it is."""
        if stage not in self._units:
            self._units[stage] = {u.name: u for path in self.manifests.get(stage, []) for u in self._read(path)}
        return self._units[stage]

    def _read(self, path: Path) -> Iterator[Unit]:
        """The units of one manifest; none where it is damaged, which `damaged` then says."""
        try:
            manifest = read_manifest(path)
            signature = json.loads(manifest["signature"])
            upstream = tuple(manifest.get("upstream", ()))
            for name, entry in manifest["units"].items():
                yield Unit(
                    path.parent.name, path.stem, name, signature, upstream, entry["status"], entry["reason"],
                    entry.get("outputs", {}),
                )  # fmt: skip
        except InputError as error:
            self.damaged[path] = error.message
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            self.damaged[path] = f"manifest {path}: {type(error).__name__} {error}"

    def writers(self, file: Path) -> list[tuple[Unit, str]]:
        """(unit, artifact) of a file, of the folder that it is part of, or of all that lies in it, sorted by artifact.

        `file`: below the outdir.
        """
        below = file.as_posix()
        parents = [parent.as_posix() for parent in file.parents if parent != Path()]
        exact: list[tuple[Unit, str]] = []
        around: list[tuple[Unit, str]] = []
        within: list[tuple[Unit, str]] = []
        for stage, files in self.manifests.items():
            if not any(self._may_name(path, below, parents) for path in files):
                continue
            for unit in self.units(stage).values():
                for artifact, output in unit.outputs.items():
                    if output["path"] == below:
                        exact.append((unit, artifact))
                    elif output["path"] in parents:
                        around.append((unit, artifact))
                    elif output["path"].startswith(f"{below}/"):
                        within.append((unit, artifact))
        return sorted(exact or around or within, key=lambda found: found[1])

    @staticmethod
    def _may_name(path: Path, below: str, parents: list[str]) -> bool:
        """Whether a manifest has one of these paths in it: text is searched faster than it is parsed."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return True  # `units` says that it is damaged
        return json.dumps(below)[:-1] in text or any(json.dumps(parent) in text for parent in parents)

    def receipt(self, unit: Unit) -> dict[str, Any]:
        """What a unit was made from; empty, and said, where that is not known any more."""
        path = paths.receipt_path(self.outdir, unit.stage, unit.name)
        if receipt := read_receipt(path):
            return receipt
        if unit.status != "refused":
            self.damaged[path] = f"receipt {path}: {'damaged' if path.exists() else 'not there'}, so what it read"
            self.damaged[path] += " has no digests"
        return {}

    def listed(self, unit: Unit) -> dict[str, Any]:
        """What the job was told of a unit: raw files with size and mtime, subject; empty where no listing has it."""
        for level in ("recording", "subject"):
            listing = sidecar.read_record(self.outdir / "work" / "listing" / level / f"{unit.bundle}.json")
            for told in listing.get("units", []) if isinstance(listing, dict) else []:
                if told.get("id") == unit.name:
                    details = listing.get("details", {}).get(unit.stage, {}).get(unit.name, {})
                    return {**told, "stat": {**told.get("stat", {}), **_files_told(details)}}
        return {}

    @cached_property
    def recordings(self) -> dict[str, dict[str, Any]]:
        """Every recording that the last plan selected: id -> subject, session, task, run."""
        listing = sidecar.read_record(paths.listing_path(self.outdir, "cohort", COHORT))
        units = listing.get("units", []) if isinstance(listing, dict) else []
        return {row["id"]: row for unit in units for row in unit.get("recordings", [])}

    @cached_property
    def index(self) -> dict[str, Any]:
        """The cache of the dataset's index: `bids.scan.scan`."""
        return sidecar.read_record(self.outdir / "work" / "index.json")

    @cached_property
    def table(self) -> dict[str, dict[str, Any]]:
        """recordings.parquet by id; empty where there is none (yet). Raises InputError where it is damaged."""
        path = self.outdir / "recordings.parquet"
        if not path.exists():
            return {}
        import pandas as pd

        with reads(path, "collate again"):
            rows = pd.read_parquet(path).to_dict("records")
            return {str(row["id"]): {str(key): value for key, value in row.items()} for row in rows}


def _files_told(details: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Raw files that one stage alone is told of (echoes, fieldmaps), as `stat` of a listing has the others."""
    files = dict[str, dict[str, Any]]()
    for key in FILES_TOLD:
        for name, (path, size, mtime_ns) in details.get(key, {}).items():
            files[name] = {"path": path, "size": size, "mtime_ns": mtime_ns}
    return files


def outdir_of(path: Path) -> Path | None:
    """The folder of the run that a path is in, or is: it has manifests below work/. None where there is none."""
    for folder in (path, *path.absolute().parents):
        if folder.is_dir() and any((folder / "work").glob("*/*.json")):
            return folder
    return None
