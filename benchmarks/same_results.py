"""Whether two outdirs hold the same results: the proof that a change of the code changed nothing else.

    python -m benchmarks.same_results BEFORE AFTER [--json]

Every file of BEFORE that holds results is looked for in AFTER: images, transforms, tables, recipes, store, scaler,
weights, metrics and the figures' data. What describes them (sidecars, cards, pages, pictures, logs, caches, work/) may
change. A file has the same bytes, or the same values, or it differs by at most so much. Exit status 1 where values
differ or a file is missing.

Keys: one per kind of result with its number of `files`, how many have the `same_bytes`, the `same_values` in other
bytes, or `differ`, and `max_abs`: the largest difference of two numbers, infinite where shapes or words differ.
`differing`, `missing`, `new` (in AFTER alone): names of files.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tools import parser, show

# First match decides. A path that matches none of them describes a result, or is none.
KINDS = {
    "store": r"store\.zarr/(?!.*zarr\.json$).*",
    "scaler": r"(.*/)?scaler\.npz",
    "weights": r"models/.*\.(safetensors|npz|npy)",
    "training": r"models/.*\.csv",
    "metrics": r"metrics/.*\.(csv|tsv|parquet|npz|npy)",
    "figures": r"figures/.*\.(csv|tsv|npz)",
    "images": r"derivatives/.*\.nii\.gz",
    "transforms": r"derivatives/.*_xfm\.(txt|h5)",
    "series": r"derivatives/.*_timeseries\.tsv",
    "tables": r"(derivatives/.*\.tsv|qc\.tsv|recordings\.parquet)",
    "recipes": r"derivatives/.*_(recipe\.npz|recipe\.json|metrics\.json)",
}
NOT_RESULTS = ("work/", ".store.")  # bookkeeping, caches
TIMES = {"seconds", "wall_s", "cpu_s"}  # columns that no two runs share
PROVENANCE = {  # keys of JSON files that say where a result comes from
    "Citations", "Description", "GeneratedBy", "Parameters", "Reason", "SourceDigests", "Sources", "Text",
    "Warnings", "warnings",
}  # fmt: skip
DATA = (".nii.gz", ".tsv", ".npz", ".txt", ".h5")  # what a sidecar describes

Values = Mapping[str, np.ndarray]


def kind_of(name: str, names: set[str]) -> str | None:
    """The kind of result that a path below an outdir is, if any. JSON beside a data file is its sidecar."""
    if name.startswith(NOT_RESULTS):
        return None
    if name.endswith(".json") and any(name.removesuffix(".json") + suffix in names for suffix in DATA):
        return None
    return next((kind for kind, pattern in KINDS.items() if re.fullmatch(pattern, name)), None)


def results(outdir: Path) -> dict[str, str]:
    """Path below outdir -> kind, of every file with results."""
    names = {str(path.relative_to(outdir)) for path in outdir.rglob("*") if path.is_file()}
    kinds = {name: kind_of(name, names) for name in sorted(names)}
    return {name: kind for name, kind in kinds.items() if kind}


def table_values(path: Path) -> Values:
    """Columns of a table; numbers where all of a column are."""
    import pandas as pd

    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
    else:
        table = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", na_values="n/a")
    return {str(name): table[name].to_numpy() for name in table if name not in TIMES}


def image_values(path: Path) -> Values:
    """Voxels and affine."""
    import nibabel as nib

    image = nib.load(path)
    return {"voxels": np.asanyarray(image.dataobj), "affine": np.asarray(image.affine)}


def array_values(path: Path) -> Values:
    """Arrays by name."""
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        return load_file(path)
    loaded = np.load(path, allow_pickle=False)
    return {name: loaded[name] for name in loaded} if path.suffix == ".npz" else {"array": loaded}


def shard_values(path: Path) -> Values:
    """The array of a store that a shard belongs to, whole."""
    import zarr

    store = next(parent for parent in path.parents if parent.name == "store.zarr")
    name = path.relative_to(store).parts[0]
    return {name: np.asarray(zarr.open_array(store / name, mode="r")[:])}


def json_values(path: Path) -> Values:
    """What a recipe or a table of metrics says, and its facts; lists and missing values as JSON text."""
    content = json.loads(path.read_text())
    content |= content.pop("Sidecar", {})
    numbers = {key: value for key, value in content.items() if key not in PROVENANCE}
    return {key: np.asarray(v if isinstance(v, (int, float)) else json.dumps(v)) for key, v in numbers.items()}


def text_values(path: Path) -> Values:
    """Numbers of a text file, in order."""
    numbers = re.findall(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?", path.read_text())
    return {"numbers": np.array(numbers, dtype=float)}


READERS: dict[str, Callable[[Path], Values]] = {
    ".nii.gz": image_values, ".tsv": table_values, ".csv": table_values, ".parquet": table_values,
    ".npz": array_values, ".npy": array_values, ".safetensors": array_values, ".json": json_values, ".txt": text_values,
}  # fmt: skip


def difference(before: np.ndarray, after: np.ndarray) -> float:
    """Largest absolute difference; infinite where shapes, words or missing values differ."""
    if before.shape != after.shape:
        return math.inf
    if before.dtype.kind in "biuf" and after.dtype.kind in "biuf":
        one, two = before.astype(float), after.astype(float)
        both = (one == two) | (np.isnan(one) & np.isnan(two))  # also where both are infinite
        gaps = np.abs(np.where(both, 0, one) - np.where(both, 0, two))
        return float(np.nan_to_num(gaps, nan=math.inf).max(initial=0.0))
    same = [str(x) == str(y) for x, y in zip(before.ravel(), after.ravel(), strict=True)]
    return 0.0 if all(same) else math.inf


def compare(before: Path, after: Path) -> float | None:
    """None: the same bytes; else the largest difference of the values, 0 where they are the same.

    What `before` holds must be there; columns, arrays and keys that only `after` has are no difference.
    """
    if before.read_bytes() == after.read_bytes():
        return None
    in_store = any(parent.name == "store.zarr" for parent in before.parents)
    reader = shard_values if in_store else next((r for end, r in READERS.items() if before.name.endswith(end)), None)
    if reader is None:  # ITK's HDF5: bytes are all that can be compared
        return math.inf
    old, new = reader(before), reader(after)
    return max((difference(old[name], new[name]) if name in new else math.inf for name in old), default=0.0)


def measure(before: Path, after: Path) -> dict[str, Any]:
    """Counts by kind, and the names of what is not the same."""
    old, new = results(before), results(after)
    if not old:
        raise SystemExit(f"{before}: no results there; give the outdir of a run")
    found: dict[str, Any] = {}
    differing, missing = [], []
    for kind in KINDS:
        names = [name for name in old if old[name] == kind]
        if not names:
            continue
        gaps = []
        for name in names:
            if name not in new:
                missing.append(name)
                continue
            gap = compare(before / name, after / name)
            gaps.append(gap)
            if gap:
                differing.append(name)
        values = [gap for gap in gaps if gap is not None]
        found[kind] = {
            "files": len(names),
            "same_bytes": gaps.count(None),
            "same_values": values.count(0.0),
            "differ": sum(gap > 0 for gap in values),
            "max_abs": max(values, default=0.0),
        }
    return {**found, "differing": differing, "missing": missing, "new": sorted(new.keys() - old.keys())}


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("before", type=Path, help="outdir of a run of the code before")
    arguments.add_argument("after", type=Path, help="outdir of the same run of the code after")
    given = arguments.parse_args()
    found = measure(given.before, given.after)
    show(found, given.json)
    return 1 if found["differing"] or found["missing"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
