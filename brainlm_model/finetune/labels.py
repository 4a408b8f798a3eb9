"""A column of recordings.parquet as labels: which recordings have one, and classes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from brainlm_data import InputError

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Labels:
    """Labels of recordings by id: numbers in their own units, or places in `classes`.

    Attributes
    ----------
    values: by id of a recording. classes: empty for numbers. left_out: ids whose class no training subject has.
    notes: how many have none, and what was taken for what in the participants' table.
    """

    values: dict[str, float]
    classes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_labels(store: Any, column: str, classify: bool) -> Labels:
    """The labels of all recordings with status done that have one.

    Raises
    ------
    InputError: no such column, text where numbers are wanted, numbers where classes are; no training or no validation
        subject with a label; or one class only.
    """
    table: pd.DataFrame = store.recordings[store.recordings["status"] == "done"]
    if column not in table:
        raise InputError(f"{store.path}: no column {column}", f"one of {', '.join(map(str, table.columns))}")
    known = table[table[column].notna() & table["split"].isin(SPLITS)]
    for split in ("train", "validation"):
        if not (known["split"] == split).any():
            raise InputError(
                f"{store.path}: no {split} subject with a known {column}",
                "larger shares (collate.validation), or another column",
            )
    labels = _classes(known, column) if classify else _numbers(known, column)
    notes, without = list[str](), len(table) - int(table[column].notna().sum())
    if without:
        notes.append(f"left out: {without} of {len(table)} recordings have no {column}")
    if said := store.attrs.get("card_data", {}).get("columns", {}).get(column):
        notes.append(f"{column}: {said}")
    return replace(labels, notes=notes)


def _numbers(known: pd.DataFrame, column: str) -> Labels:
    import pandas as pd

    values = pd.to_numeric(known[column], errors="coerce").astype(float)
    wrong = known.loc[~np.isfinite(values), column]
    if len(wrong):
        raise InputError(f"column {column}: {wrong.iloc[0]!r} is no number", "--task classification, or another column")
    return Labels(dict(zip(known["id"], values.tolist(), strict=True)))


def _classes(known: pd.DataFrame, column: str) -> Labels:
    text = known[column].map(lambda v: f"{v:.15g}" if isinstance(v, float) else str(v))
    training = text[known["split"] == "train"]
    classes = sorted(set(training))
    if len(classes) < 2:
        raise InputError(f"column {column}: all training subjects are of class {classes[0]}", "another column")
    if len(classes) > max(2, len(training) // 2):
        raise InputError(
            f"column {column}: {len(classes)} classes in {len(training)} training recordings", "--task regression"
        )
    values: dict[str, float] = {}
    left_out = []
    for name, value in zip(known["id"], text, strict=True):
        if value in classes:
            values[name] = float(classes.index(value))
        else:
            left_out.append(name)
    return Labels(values, classes, left_out)
