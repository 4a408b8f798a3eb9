"""`brainlm-data verify FOLDER`: every byte that was written is read, and compared with what was noted of it.

Of an outdir by its manifests; of any other folder (an import, a model, an export, embeddings in Zarr) by its
SHA256SUMS, and a store by the checksums of its chunks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from brainlm_data.errors import InputError
from brainlm_data.files import sidecar
from brainlm_data.files.reads import reads
from brainlm_data.files.sums import SUMS, read_sums, sum_problem
from brainlm_data.paths import listing_path, manifest_path, requested_path
from brainlm_data.runner.manifest import COHORT, manifests, read_manifest

Bundles = Mapping[str, Sequence[str]]  # level -> the bundles of the last plan
SHOWN = 5  # files and bundles that are named
STORE = "store.zarr"
RERUN = "run the same snakemake command again"
REMAKE = "run the command that made it again (snakemake; import, train or export with --force; else into a new folder)"


def verify(folder: Path) -> None:
    """Check a folder and print how much was checked.

    Raises
    ------
    InputError: something is missing, damaged, or made with other values than were asked for; names the first few.
    """
    folder = folder.absolute()
    if manifests(folder) or requested_path(folder).exists():
        return _verify_run(folder)
    if folder.name.endswith(".zarr") and (folder / "zarr.json").exists() and not (folder / SUMS).exists():
        return _verify_folder(folder.parent, folder.name)
    if (folder / SUMS).exists() or (folder / STORE).exists():
        return _verify_folder(folder, STORE)
    raise InputError(
        f"{folder}: neither manifests below work/ nor {SUMS}",
        "give the outdir of a run, or the folder of an import, a model, an export or embeddings (.zarr)",
    )


def _verify_folder(folder: Path, store: str) -> None:
    listed = read_sums(folder)
    bad: list[str] = []
    for name, wanted in listed.items():
        if problem := sum_problem(folder / name, wanted):
            bad.append(f"{folder / name}: {problem}")
            sidecar.let_plans_look_at(folder / name)
    what = f"{len(listed)} files of {SUMS}" if listed else f"no {SUMS}"
    if (folder / store).exists():
        what += f", and every chunk of {store}"
        bad += _of_store(folder / store)
    print(f"{what} checked, {len(bad)} missing or changed")
    if bad:
        raise InputError(f"missing or changed: {'; '.join(bad[:SHOWN])}", REMAKE)


def _of_store(path: Path) -> Iterator[str]:
    from brainlm_data.dataset.store import open_store

    try:
        yield from open_store(path).check()
    except InputError as error:
        yield error.message


def _verify_run(outdir: Path) -> None:
    there = manifests(outdir)
    absent, bad, other = list[str](), list[str](), list[str]()
    requested: dict[str, Any] = {}
    if requested_path(outdir).exists():
        try:
            requested = sidecar.load_record(requested_path(outdir), RERUN)
        except InputError as error:
            bad.append(error.message)
    bundles = sidecar.read_record(listing_path(outdir, "cohort", COHORT)).get("bundles", {})
    absent += [f"results of {name}" for name in _absent(outdir, requested.get("finished", []), bundles, set(there))]
    current = _current(there, requested.get("signatures", {}), bundles)
    checked = 0
    for path in current:
        try:
            manifest = read_manifest(path)
        except InputError:
            bad.append(f"{path}")
            continue
        made = json.loads(manifest["signature"])
        if made != requested.get("signatures", {}).get(manifest["stage"], made):
            other.append(f"{manifest['stage']} ({manifest['bundle']})")
        for unit, entry in manifest["units"].items():
            for output in entry.get("outputs", {}).values():
                checked += 1
                file = outdir / output["path"]
                if not file.exists():
                    absent.append(f"{file} ({unit})")
                elif not _is(file, output["sha256"]):
                    bad.append(f"{file} ({unit})")
                    sidecar.let_plans_look_at(file)
    print(f"{checked} outputs checked, {len(absent) + len(bad)} missing or changed")
    if left := len(there) - len(current):
        print(f"{left} manifests not checked: of stages that are switched off, or of recordings not selected")
    if other:
        raise InputError(
            f"made with other values than the last run of the DAG asked for: {', '.join(other[:SHOWN])}", RERUN
        )
    if absent or bad:
        raise InputError(f"missing or changed: {'; '.join([*absent, *bad][:SHOWN])}", RERUN)


def _is(file: Path, sha256: str) -> bool:
    try:
        with reads(file):
            return sidecar.digest(file) == sha256
    except InputError:
        return False


def _current(there: Sequence[Path], signatures: Mapping[str, Any], bundles: Bundles) -> list[Path]:
    """The manifests of stages and bundles that the last run of the DAG was about: a rerun makes no others again."""
    known = {bundle for names in bundles.values() for bundle in names}
    stages = signatures or {path.parent.name for path in there}  # before any run of the DAG: by hand
    return [p for p in there if p.parent.name in stages and (not known or p.stem in known)]


def _absent(outdir: Path, finished: Sequence[Sequence[str]], bundles: Bundles, there: set[Path]) -> list[str]:
    """Stages, with their bundles, whose manifests were there at the end of a run and are gone."""
    gone: list[str] = []
    for name, level in finished:
        gone += [f"{name} ({b})" for b in bundles.get(level, []) if manifest_path(outdir, name, b) not in there]
    return gone
