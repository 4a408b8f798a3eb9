"""Draw docs/images/architecture.svg: `python docs/images/draw_architecture.py`.

The rooms and their order are the layers in pyproject.toml, which import-linter checks; the words are the first lines of
their docstrings. So the picture is as true as the code.
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = {"brainlm_data": (0.0, "#e3f1dc"), "brainlm_model": (8.3, "#fbe8d3")}  # left edge, colour
WIDTH = 7.3
LINE, GAP = 0.36, 0.14  # height of a room, space between layers
TOP = -1.55  # where the rooms begin
LONGEST = 70  # characters of a caption


def layers_of(package: str) -> list[list[str]]:
    """The rooms of a package, layer by layer, the highest first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    for contract in contracts:
        if contract.get("containers") == [package]:
            return [re.split(r" [:|] ", layer) for layer in contract["layers"]]
    raise SystemExit(f"pyproject.toml: no layers of {package}")


def caption(package: str, room: str) -> str:
    """The first line of the room's docstring, as much of it as fits."""
    place = ROOT / package / room
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    text = (ast.get_docstring(ast.parse(file.read_text())) or "").splitlines()[0].replace("`", "")
    for stop in (r"\.(?= |$)", "[.;](?= |$)", "[.;:](?= |$)", "[.;:,](?= |$)"):
        text = re.split(stop, text)[0]
        if len(text) <= LONGEST:
            break
    return text


def box(axes: Axes, x: float, y: float, width: float, height: float, colour: str) -> None:
    """A rounded box; (x, y) is its upper left corner."""
    style = {"boxstyle": "round,pad=0,rounding_size=0.08", "fc": colour, "ec": "#444", "lw": 0.8}
    axes.add_patch(FancyBboxPatch((x, y - height), width, height, **style))


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """A grey arrow."""
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=11, color="#777", lw=1.1))


def rooms(axes: Axes, package: str) -> float:
    """Draw a package, one box per layer and one line per room; returns the lowest y."""
    left, colour = COLUMNS[package]
    axes.text(left, TOP + 0.14, f"{package}/", fontsize=11, weight="bold", family="monospace")
    y = TOP
    for layer in layers_of(package):
        height = LINE * len(layer)
        box(axes, left, y, WIDTH, height, colour)
        for row, room in enumerate(layer):
            middle = y - LINE * (row + 0.5)
            axes.text(left + 0.15, middle, room, va="center", fontsize=9, weight="bold", family="monospace")
            axes.text(left + 1.65, middle, caption(package, room), va="center", fontsize=8.5)
        y -= height + GAP
    return y


def main() -> None:
    """Snakemake on top, the two packages below, the store between them."""
    figure, axes = plt.subplots(figsize=(15.6, 9.2))
    right = COLUMNS["brainlm_model"][0] + WIDTH
    box(axes, 0, 0, right, 0.62, "#d9e8f5")
    axes.text(0.15, -0.31, "Snakefile, workflow/rules/", va="center", fontsize=10, weight="bold", family="monospace")
    axes.text(
        4.1, -0.31, "one rule per stage, from raw BIDS to report.html; profiles/ for clusters", va="center", fontsize=9
    )
    for package, (left, _) in COLUMNS.items():
        middle = left + WIDTH / 2
        arrow(axes, (middle, -0.64), (middle, TOP + 0.02))
        call = f"{package.replace('_', '-')} run STAGE --bundle B"
        axes.text(middle + 0.12, -0.98, call, va="center", fontsize=8.5, family="monospace", color="#444")
    low = min(rooms(axes, package) for package in COLUMNS)
    left, middle = WIDTH, (TOP + low) / 2
    arrow(axes, (left + 0.05, middle), (COLUMNS["brainlm_model"][0] - 0.05, middle))
    axes.text(
        (left + COLUMNS["brainlm_model"][0]) / 2,
        middle + 0.12,
        "store.zarr",
        ha="center",
        fontsize=8,
        family="monospace",
    )
    axes.text(
        0,
        low - 0.1,
        "A room imports from rooms below it, never from above (import-linter checks it).",
        fontsize=9,
        color="#444",
    )
    axes.set(xlim=(-0.1, right + 0.1), ylim=(low - 0.3, 0.1))
    axes.axis("off")
    plt.rcParams["svg.hashsalt"] = "architecture"
    figure.savefig(Path(__file__).with_name("architecture.svg"), bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    main()
