"""Draw docs/images/dag.svg from the stages' declarations: `python docs/images/draw_dag.py`. One lane a level."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from brainlm_data.graph.edges import on_route, producers_of, upstream_of
from brainlm_data.stage import Stage
from brainlm_model.stages import ALL_STAGES

LANES = {
    "recording": ("per recording", "#fbe8d3"),
    "subject": ("per subject", "#e3f1dc"),
    "cohort": ("once", "#d9e8f5"),
}
HIDDEN = {"keep"}  # asked for by few, and it reads nearly everything
WIDTH, HEIGHT, ROW = 1.3, 0.46, 0.62


def main() -> None:
    """Columns by longest path from the sources; arrows only where no longer path says the same."""
    stages = [s for s in on_route(ALL_STAGES, "native") if s.name not in HIDDEN]
    producers = producers_of(stages)
    parents = {s.name: {u.name for u in upstream_of(s, producers)} for s in stages}
    ancestors: dict[str, set[str]] = {}
    for s in stages:
        ancestors[s.name] = (
            parents[s.name].union(*(ancestors[p] for p in parents[s.name])) if parents[s.name] else set()
        )
    place, tops = layout(stages, parents)
    figure, axes = plt.subplots(figsize=(16, 0.75 * -tops[-1]))
    for (words, colour), top, bottom in zip(LANES.values(), tops, tops[1:], strict=False):
        axes.axhspan(bottom + 0.04, top - 0.04, color=colour, alpha=0.35, lw=0)
        axes.text(-2.6, top - ROW / 2, words, ha="left", va="center", fontsize=9, color="#555")
    for s in stages:
        x, y = place[s.name]
        corner = (x - WIDTH / 2, y - HEIGHT / 2)
        box = FancyBboxPatch(
            corner, WIDTH, HEIGHT, boxstyle="round,pad=0.02", fc=LANES[s.level][1], ec="#444", zorder=2
        )
        axes.add_patch(box)
        axes.text(x, y, s.name, ha="center", va="center", fontsize=8, zorder=3)
        known = set().union(*(ancestors[p] for p in parents[s.name])) if parents[s.name] else set()
        for parent in sorted(parents[s.name] - known):
            x0, y0 = place[parent]
            ends = (x0 + WIDTH / 2 + 0.02, y0), (x - WIDTH / 2 - 0.02, y)
            axes.add_patch(FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=9, color="#777", lw=0.9, zorder=1))
    right = max(x for x, _ in place.values())
    axes.set(xlim=(-2.7, right + 0.8), ylim=(tops[-1], 0))
    axes.axis("off")
    plt.rcParams["svg.hashsalt"] = "dag"
    figure.savefig(Path(__file__).with_name("dag.svg"), bbox_inches="tight", metadata={"Date": None})


def layout(stages: list[Stage], parents: dict[str, set[str]]) -> tuple[dict[str, tuple[float, float]], list[float]]:
    """Stage -> (x, y), and where the lanes begin and the last ends.

    Column by depth, lane by level; a second stage in one cell goes below the first.
    """
    depth: dict[str, int] = {}
    rows: dict[str, int] = {}  # how far down in its lane
    taken: dict[tuple[int, str], int] = {}
    for s in stages:
        depth[s.name] = 1 + max((depth[p] for p in parents[s.name]), default=-1)
        cell = (depth[s.name], s.level)
        rows[s.name] = taken.get(cell, 0)
        taken[cell] = rows[s.name] + 1
    tops = [0.0]
    for lane in LANES:
        tops.append(tops[-1] - ROW * (1 + max(rows[s.name] for s in stages if s.level == lane)))
    place = {}
    for s in stages:
        top = tops[list(LANES).index(s.level)]
        place[s.name] = (1.55 * depth[s.name], top - ROW * (rows[s.name] + 0.5))
    return place, tops


if __name__ == "__main__":
    main()
