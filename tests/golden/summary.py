"""What a file holds in a few rounded numbers: images, tables, arrays, weights, stores, transforms, pages, figures.

Two files of the same content have the same summary; the numbers of two machines may differ in their last digits, so
that summaries are compared with a tolerance (`differences`), never as bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?", re.IGNORECASE)
MEASURED = re.compile(r"\d+\.\d+(e[-+]?\d+)?|\d+e-\d+", re.IGNORECASE)  # in a sentence: not the 152 of MNI152
TAGS = re.compile(r"<(script|style).*?</\1>|<[^>]*>", re.DOTALL)
FEW = 8  # values that are written out; more are summed up
WIDE = 70  # columns of a table that are summed up one by one; more are alike: parcels


def summary(path: Path, ignore: tuple[str, ...] = ()) -> Any:
    """Summary of one file or folder, JSON-serialisable; `ignore`: columns of tables and keys of JSON that vary."""
    name = path.name
    if path.is_dir():
        return _store(path)
    if name.endswith((".nii.gz", ".nii")):
        return _image(path)
    if name.endswith((".tsv", ".csv")):
        return _table(pd.read_csv(path, sep="\t" if name.endswith(".tsv") else ",", na_values=["n/a"]), ignore)
    if name.endswith(".parquet"):
        return _table(pd.read_parquet(path), ignore)
    if name.endswith(".json"):
        return content(json.loads(path.read_text()), ignore)
    if name.endswith(".h5"):
        return _transform(path)
    if name.endswith((".npz", ".safetensors")):
        return {key: _array(values) for key, values in sorted(_arrays(path).items()) if key not in ignore}
    if name == "SHA256SUMS":
        return sorted(line.split("  ", 1)[1] for line in path.read_text().splitlines())
    if name.endswith(".png"):
        return _picture(path)
    return _text(path.read_text())  # pages, cards, SVG; an ITK transform is text with numbers


def content(value: Any, ignore: tuple[str, ...] = ()) -> Any:
    """Summary of what JSON can hold, and of arrays in it: short things as they are, long ones in few numbers."""
    if isinstance(value, dict):
        if len(value) > FEW and all(isinstance(item, dict) for item in value.values()):
            return _table(pd.DataFrame.from_dict(value, orient="index"), ignore)
        kept = {key: item for key, item in value.items() if key not in ignore and not _is_prose(item)}
        return {str(key): content(item, ignore) for key, item in kept.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return _list(list(value), ignore)
    if isinstance(value, (bool, np.bool_)) or value is None:
        return None if value is None else bool(value)
    if isinstance(value, (int, float, np.number)):
        return _round(value)
    return _without_numbers(str(value))


def _is_prose(value: Any) -> bool:
    """Whether this is a sentence: sentences of facts are for people, no stage reads them."""
    return isinstance(value, str) and value.count(" ") > 2


def _list(values: list[Any], ignore: tuple[str, ...]) -> Any:
    values = [value for value in values if not _is_prose(value)]
    if values and all(isinstance(v, dict) for v in values):
        return _table(pd.DataFrame(values), ignore)
    if len(values) <= FEW and not any(isinstance(v, (list, np.ndarray)) for v in values):
        return [content(v, ignore) for v in values]
    try:
        return _array(np.asarray(values, dtype=float))
    except (TypeError, ValueError):
        return {"length": len(values), "digest": _digest(_without_numbers(json.dumps(values, default=str)))}


def _array(values: Any) -> dict[str, Any]:
    """Shape, and of the finite values: their number, mean, standard deviation and one fixed projection.

    The projection, a sum with weights that depend on the place, tells apart what only lies elsewhere; it is divided
    by the root of their number, so that noise of one standard deviation changes it by about as much.
    """
    values = np.asarray(values)
    shape = list(values.shape)
    if values.dtype.kind not in "biuf":
        return {"shape": shape, "digest": _digest("|".join(map(str, values.ravel())))}
    flat = values.ravel().astype(np.float64)
    finite = np.isfinite(flat)
    kept = flat[finite]
    if not len(kept):
        return {"shape": shape, "n": 0}
    projection = float(_weights(len(flat))[finite] @ (kept - kept.mean())) / len(kept) ** 0.5
    found = {"mean": _round(kept.mean()), "sd": _round(kept.std()), "projection": _round(projection)}
    return {"shape": shape, "n": len(kept), **found}


def _weights(length: int) -> Any:
    """The weights of the projection. Those of a shorter array are the first of a longer one's: all are made once."""
    made = len(_made[0])
    if length > made:
        _made[0] = np.append(_made[0], np.cos(np.arange(made, length, dtype=np.float64) ** 2 * 0.7 + 1))
    return _made[0][:length]


_made = [np.empty(0)]  # cosines of large numbers take longer than all the rest of a summary


def _table(table: pd.DataFrame, ignore: tuple[str, ...]) -> dict[str, Any]:
    """Columns, and a summary of each; of all numbers together where there are very many."""
    table = table.drop(columns=[name for name in ignore if name in table])
    numeric = [name for name in table if table[name].dtype.kind in "biuf"]
    words = table.drop(columns=numeric).fillna("").astype(str)
    found: dict[str, Any] = {"rows": len(table), "columns": _list([str(name) for name in table], ())}
    if len(numeric) <= WIDE:
        found |= {str(name): _array(table[name]) for name in numeric}
    else:
        found["values"] = _array(table[numeric].to_numpy(dtype=float))
    if len(words.columns):
        found["words"] = _digest(_without_numbers(words.to_csv()))
    return found


def _image(path: Path) -> dict[str, Any]:
    import nibabel as nib

    image: Any = nib.load(path)
    affine = [_round(v) for v in image.affine[:3].ravel()]
    return {"affine": affine, "type": str(image.get_data_dtype()), "values": _array(image.dataobj)}


def _arrays(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        return load_file(path)
    with np.load(path) as held:
        return dict(held)


def _transform(path: Path) -> dict[str, Any]:
    """Where a transform takes a grid of points, mm."""
    from brainlm_data.methods.registration import map_points

    points = np.stack(np.meshgrid(*3 * [np.arange(-60.0, 61, 20)]), -1).reshape(-1, 3)
    return _array(map_points(points, [path]))


def _store(path: Path) -> dict[str, Any]:
    import zarr

    arrays = dict(zarr.open_group(path, mode="r").arrays())
    return {name: _array(arrays[name][:]) for name in sorted(arrays)}


def _picture(path: Path) -> dict[str, Any]:
    import matplotlib.pyplot as plt

    pixels = plt.imread(path)
    return {"shape": list(pixels.shape), "mean": _round(pixels[..., :3].mean())}


def _text(text: str) -> dict[str, Any]:
    """The words without markup, and the numbers; of SVG, whose paths are numbers, the words that it writes."""
    if "<svg" in text[:2000]:
        return {"words": _digest("|".join(re.findall(r"<!-- (.*?) -->", _without_numbers(text))))}
    if "</html>" in text[-200:]:
        words = _without_numbers(" ".join(TAGS.sub(" ", text).split()))
        return {"images": text.count("<img"), "words": _digest(words)}
    numbers = [float(found.group()) for found in NUMBER.finditer(text)]
    return {"words": _digest(_without_numbers(text)), "numbers": _array(numbers)}


def _without_numbers(text: str) -> str:
    return MEASURED.sub("#", text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _round(value: Any) -> int | float:
    """Six significant digits; what is counted stays whole."""
    return int(value) if isinstance(value, (int, np.integer)) else float(f"{float(value):.6g}")


def differences(found: Any, golden: Any, rtol: float, place: str = "") -> Iterator[str]:
    """What differs, by place. `rtol`: relative to a number; in an array, to its standard deviation."""
    if isinstance(found, dict) and isinstance(golden, dict):
        spread = abs(golden.get("sd") or 0) if "projection" in golden else None
        for key in sorted(found.keys() | golden.keys()):
            if key not in found or key not in golden:
                yield f"{place}/{key} is {'new' if key in found else 'gone'}"
            elif spread is not None and key in ("mean", "projection"):
                room = rtol * spread + 1e-6 * abs(golden["mean"]) + 1e-9
                if abs(found[key] - golden[key]) > room:
                    yield f"{place}/{key} was {golden[key]}, is {found[key]}"
            else:
                yield from differences(found[key], golden[key], rtol, f"{place}/{key}")
    elif isinstance(found, list) and isinstance(golden, list) and len(found) == len(golden):
        for number, (one, other) in enumerate(zip(found, golden, strict=True)):
            yield from differences(one, other, rtol, f"{place}[{number}]")
    elif isinstance(found, float) and isinstance(golden, (int, float)):
        if not abs(found - golden) <= rtol * abs(golden) + 1e-9:
            yield f"{place} was {golden}, is {found}"
    elif found != golden:
        yield f"{place} was {golden}, is {found}"
