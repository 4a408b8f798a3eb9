"""One look for all figures: colours that colour-blind readers can tell apart, and files that are the same each time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data import FIGURE_STYLE, SPLIT_COLOURS, draw_as_text, reads, reads_arrays
from brainlm_data import GRID as GRID  # figures take all of their look from here
from brainlm_data import INK as INK

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito (2008); each method also has a marker of its own
METHODS = {
    "model": ("#0072B2", "o"),
    "untrained": ("#56B4E9", "s"),
    "gaussian": ("#D55E00", "D"),
    "spacetime": ("#332288", "P"),
    "lagged": ("#E69F00", "d"),
    "pca": ("#CC79A7", "p"),
    "mean": ("#009E73", "^"),
    "interpolation": ("#7F7F7F", "v"),
}
SPLITS = SPLIT_COLOURS


@contextmanager
def style() -> Iterator[None]:
    """Settings of every figure, and a backend that needs no screen."""
    import matplotlib

    matplotlib.use("Agg")
    with matplotlib.rc_context(FIGURE_STYLE):  # type: ignore[arg-type]
        yield


def save(figure: Figure, svg: Path, png: Path, dpi: int) -> None:
    """Write a figure twice, without dates, and close it."""
    import matplotlib.pyplot as plt

    draw_as_text(figure)
    figure.savefig(svg, format="svg", dpi=dpi, metadata={"Date": None, "Creator": None})
    figure.savefig(png, format="png", dpi=dpi, metadata={"Software": None})
    plt.close(figure)


def read_table(path: Path) -> pd.DataFrame:
    """A table of results; only empty cells are missing, so that a network may be called "None"."""
    import pandas as pd

    with reads(path):
        return pd.read_csv(path, keep_default_na=False, na_values=[""])


def read_arrays(path: Path) -> dict[str, Any]:
    """The arrays of a result file by name."""
    with reads_arrays(path) as file:
        return dict(file)


def with_bars(rows: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values (row,) and the lengths (2, row) of their bars down to `low` and up to `high`; 0 without an interval."""
    value = rows["value"].to_numpy(dtype=float)
    ends = rows[["low", "high"]].to_numpy(dtype=float).T
    return value, np.nan_to_num(np.abs(ends - value))


class Sheet:
    """A figure whose panels have places in inches from its upper left corner.

    nilearn places its brains itself, which no automatic layout of Matplotlib knows of.
    """

    def __init__(self, wide: float, high: float) -> None:
        import matplotlib.pyplot as plt

        self.wide, self.high = wide, high
        self.figure = plt.figure(figsize=(wide, high))
        self.figure.set_layout_engine("none")

    def panel(self, left: float, top: float, wide: float, high: float) -> Axes:
        """A panel of this size."""
        return self.figure.add_axes(
            (left / self.wide, 1 - (top + high) / self.high, wide / self.wide, high / self.high)
        )

    def text(self, top: float, text: str, **look: Any) -> None:
        """A line at the left edge."""
        self.figure.text(0.1 / self.wide, 1 - top / self.high, text, va="top", **look)

    def title(self, top: float, text: str) -> None:
        """A line in bold at the left edge."""
        self.text(top, text, fontsize=10, weight="bold")


def counted(count: int, one: str, more: str = "") -> str:
    """`1 subject`, `2 subjects`, `2 people`."""
    return f"{count} {one if count == 1 else more or f'{one}s'}"


CODE = re.compile(r"_(\d+)([A-Za-z]+)")
SEXES = {"m": "male", "f": "female"}


def coded(column: str) -> tuple[str, dict[str, str]]:
    """`sex_1m_2f` is the column sex, in which 1 means male and 2 female; of other names, nothing is meant by a code."""
    codes = CODE.findall(column)
    name = CODE.sub("", column)
    if len(codes) < 2 or not name:
        return column, {}
    return name, {code: SEXES.get(word.lower(), word) for code, word in codes}
