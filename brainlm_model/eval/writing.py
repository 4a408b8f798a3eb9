"""Files of an evaluation: a table, JSON with the same numbers and sentences, a figure."""

from __future__ import annotations

import csv
import importlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brainlm_data import Files

DPI = 150  # of the PNG figures


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """One line per entry of `rows`, empty where a value is None or NaN."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(columns))
        writer.writeheader()
        for row in rows:
            known = {key: value for key, value in row.items() if value is not None and value == value}  # NaN != NaN
            writer.writerow(known)  # a column that a row lacks stays empty


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Content as JSON; NaN is null."""
    path.write_text(json.dumps(plain(content), indent=2) + "\n", encoding="utf-8")


def headline(task: str, content: Mapping[str, Any]) -> list[str]:
    """What a task found, in sentences: those of `brainlm_model.eval.TASK.words`."""
    words = importlib.import_module(f"brainlm_model.eval.{task}.words")
    sentences: list[str] = words.headline(plain(content))
    return sentences


def write_figure(outputs: Files, task: str) -> None:
    """`T_svg` and `T_png`: `brainlm_model.figures.TASK` draws from the task's own files alone."""
    from brainlm_model.figures import module_of, sources_of
    from brainlm_model.figures.style import save, style

    sources = [outputs[name] for name in sources_of(task)]
    with style():
        save(module_of(task).draw(*sources), outputs[f"{task}_svg"], outputs[f"{task}_png"], DPI)


def plain(value: Any) -> Any:
    """A value as JSON can hold it: numpy's numbers as Python's, NaN as null."""
    if isinstance(value, Mapping):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
