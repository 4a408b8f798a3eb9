"""What the paper's tasks share: which recordings, intervals over subjects, tests, kept pieces, tables.

Shapes: R recordings, B bootstrap draws, X whatever is estimated side by side (parcels, networks, methods).
"""

from __future__ import annotations

import csv
import hashlib
import importlib
import json
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from brainlm_data import Facts, Files, InputError, Stage, StageConfig

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
Split = Literal["test", "validation", "external"]
FLIPS = 5000  # of signs, in a paired test
LEVEL = 0.05
DPI = 150  # of the PNG figures


def task(
    name: str, version: int, summary: str, config: type[StageConfig], run: Callable[[Files, Files, Any], Facts],
    describe: Callable[[Facts], str],
) -> Stage:  # fmt: skip
    """A stage of the form that all tasks have: a store and a model in; JSON, CSV, arrays and a figure out."""
    return Stage(
        name=name,
        version=version,
        level="cohort",
        summary=summary,
        Config=config,
        inputs=("store", "recordings", "scaler", "model", "model_config", "model_scaler"),
        outputs=tuple(f"{name}_{kind}" for kind in ("json", "csv", "arrays", "svg", "png")),
        run=run,
        describe=describe,
    )


def chosen(store: Any, splits: Sequence[str], most: int, seed: int) -> pd.DataFrame:
    """Recordings with status done of these splits, at most `most`: drawn by the seed, in the order of the table.

    Raises InputError where there is none.
    """
    table = store.recordings
    found = table[(table["status"] == "done") & table["split"].isin(list(splits))].reset_index(drop=True)
    if found.empty:
        counts = ", ".join(f"{name} {n}" for name, n in table["split"].value_counts().items())
        raise InputError(
            f"store: no recording in split {' or '.join(splits)} (of {len(table)}: {counts or 'none in any split'})",
            "more subjects, or other splits: collate.test, collate.external",
        )
    order = np.random.default_rng(seed).permutation(len(found))[:most]
    return found.iloc[np.sort(order)].reset_index(drop=True)


def bootstrap(values_RX: Array, weights_BR: Array) -> tuple[Array, Array, Array]:
    """Means over recordings (X,) of what is not NaN, with the 2.5 and 97.5 percentiles over the draws.

    The interval is NaN where the draws do not differ, as with one subject.
    """
    known = np.isfinite(values_RX)
    filled = np.where(known, values_RX, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = filled.sum(0) / known.sum(0)
        drawn = (weights_BR @ filled) / (weights_BR @ known)
    return value, *interval(drawn)


def interval(drawn_BX: Array) -> tuple[Array, Array]:
    """Percentiles 2.5 and 97.5 over the first axis; NaN where all draws are the same."""
    if not drawn_BX.size:
        return np.zeros(drawn_BX.shape[1:]), np.zeros(drawn_BX.shape[1:])
    flat = np.where(np.isfinite(drawn_BX), drawn_BX, np.nan)
    none = ~np.isfinite(flat).any(0)
    low, high = np.nanpercentile(np.where(none, 0, flat), [2.5, 97.5], axis=0)
    constant = none | (np.nanmax(np.where(none, 0, flat), 0) == np.nanmin(np.where(none, 0, flat), 0))
    return np.where(constant, np.nan, low), np.where(constant, np.nan, high)


def by_subject(values_RX: Array, subjects: Sequence[str]) -> tuple[Array, list[str]]:
    """Means over each subject's recordings (subject, X), NaN left out; and the subjects, sorted."""
    names, owner = np.unique(np.asarray(subjects), return_inverse=True)
    known = np.isfinite(values_RX)
    member = (owner == np.arange(len(names))[:, None]).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (member @ np.where(known, values_RX, 0)) / (member @ known), names.tolist()


def sign_flip(difference_R: Array, subjects: Sequence[str], seed: int) -> float:
    """Two-sided p of a mean difference: signs of the subjects' means are flipped; NaN left out."""
    each = by_subject(difference_R[:, None], subjects)[0][:, 0]
    each = each[np.isfinite(each)]
    if not len(each):
        return float("nan")
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(FLIPS, len(each)))
    reached = np.abs(signs @ each) >= abs(each.sum()) - 1e-12
    return float((1 + reached.sum()) / (1 + FLIPS))


def holm(p: Sequence[float]) -> list[float]:
    """p values corrected for their number (Holm, 1979); NaN stays NaN and does not count."""
    values = np.asarray(p, dtype=float)
    order = [i for i in np.argsort(values) if np.isfinite(values[i])]
    found, highest = np.full(len(values), np.nan), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * values[place]))
        found[place] = highest
    return found.tolist()


def verdict(difference: float, p: float) -> str:
    """better, worse, or not distinguishable, by a corrected p."""
    if not p < LEVEL:
        return "not distinguishable"
    return "better" if difference > 0 else "worse"


class Pieces:
    """Finished parts of a long run, in a work folder (None: nothing is kept).

    `key` holds everything that the parts depend on: with another key, old parts are not used.
    """

    def __init__(self, workdir: str | None, key: Any) -> None:
        digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()
        self.folder = None if workdir is None else Path(workdir) / digest[:16]

    def get(self, name: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """The arrays of a part: read where it is finished, else made and kept."""
        if self.folder is None:
            return {key: np.asarray(value) for key, value in make().items()}
        path = self.folder / f"{name}.npz"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{os.getpid()}.{path.name}")
            np.savez(temporary, **make())
            os.replace(temporary, path)
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)

    def clear(self) -> None:
        """Remove the parts: the result is written."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def source_key(inputs: Files, name: str, version: int, config: Any) -> list[Any]:
    """What a stage's parts depend on: its version and section, and the files of store and model."""
    files = [inputs[key] for key in ("recordings", "scaler", "model", "model_config", "model_scaler")]
    stated = [(str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return [name, version, config.model_dump(mode="json"), str(inputs["store"].absolute()), stated]


def write_tables(
    outputs: Files, task: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], content: Mapping[str, Any]
) -> None:
    """`T_csv`, one row an entry of `rows`, empty where a value is NaN; and `T_json`: with `Results` unless given, and
    `Summary`, the sentences of `brainlm_model.eval.T.words`.
    """
    known = plain({"Results": list(rows), **content})
    words = importlib.import_module(f"brainlm_model.eval.{task}.words")
    outputs[f"{task}_json"].write_text(json.dumps({"Summary": words.headline(known), **known}, indent=2) + "\n")
    with outputs[f"{task}_csv"].open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(columns))
        writer.writeheader()
        writer.writerows({key: "" if v is None or v != v else v for key, v in row.items()} for row in rows)


def write_figure(
    outputs: Files, task: str, draw: Callable[..., Figure], kinds: Sequence[str] = ("csv", "arrays")
) -> None:
    """`T_svg` and `T_png`, drawn from the task's own files of these kinds alone, in the style of all figures."""
    from brainlm_model.figures.style import save, style

    with style():
        save(draw(*(outputs[f"{task}_{kind}"] for kind in kinds)), outputs[f"{task}_svg"], outputs[f"{task}_png"], DPI)


def plain(value: Any) -> Any:
    """A value as JSON can hold it: numpy's numbers as Python's, NaN as null."""
    if isinstance(value, Mapping):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def on_device(device: str) -> str:
    """`auto`: a GPU where there is one."""
    import torch

    return "cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu"
