"""Draw docs/images/dag.svg from the stages' own declarations: `python docs/images/draw_dag.py`."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from brainlm_data.wiring import of_engine, producers_of, upstream_of
from brainlm_model.stages import ALL_STAGES

COLOURS = {"cohort": "#d9e8f5", "subject": "#e3f1dc", "recording": "#fbe8d3"}
HIDDEN = {"keep"}  # asked for by few, and it reads nearly everything


def main() -> None:
    """Columns by longest path from the sources; arrows only where no longer path says the same."""
    stages = [s for s in of_engine(ALL_STAGES, "native") if s.name not in HIDDEN]
    producers = producers_of(stages)
    parents = {s.name: {u.name for u in upstream_of(s, producers)} for s in stages}
    ancestors: dict[str, set[str]] = {}
    depth: dict[str, int] = {}
    for s in stages:  # stages are listed in order, so parents come first
        ancestors[s.name] = parents[s.name].union(*(ancestors[p] for p in parents[s.name]))
        depth[s.name] = 1 + max((depth[p] for p in parents[s.name]), default=-1)
    columns = {d: [s for s in stages if depth[s.name] == d] for d in set(depth.values())}
    place = {
        s.name: (1.55 * d, 0.9 * ((len(column) - 1) / 2 - row))
        for d, column in columns.items()
        for row, s in enumerate(column)
    }
    figure, axes = plt.subplots(figsize=(1.15 * len(columns) + 0.4, 2.9))
    for s in stages:
        x, y = place[s.name]
        box = FancyBboxPatch((x - 0.6, y - 0.22), 1.2, 0.44, boxstyle="round,pad=0.04", fc=COLOURS[s.level], ec="#555")
        axes.add_patch(box)
        axes.text(x, y, s.name, ha="center", va="center", fontsize=9)
        redundant = set().union(*(ancestors[p] for p in parents[s.name])) if parents[s.name] else set()
        for parent in sorted(parents[s.name] - redundant):
            x0, y0 = place[parent]
            ends = (x0 + 0.64, y0), (x - 0.64, y)
            axes.add_patch(FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=9, color="#777", lw=0.9))
    for row, (level, colour) in enumerate(COLOURS.items()):
        axes.text(
            1.55 * row - 0.6, min(y for _, y in place.values()) - 0.75, f"one job a {level}" if level != "cohort" else
            "once", fontsize=8, bbox={"fc": colour, "ec": "#555", "boxstyle": "round,pad=0.3"},
        )  # fmt: skip
    axes.set_xlim(-0.8, 1.55 * (len(columns) - 1) + 0.8)
    axes.set_ylim(min(y for _, y in place.values()) - 1.0, max(y for _, y in place.values()) + 0.4)
    axes.axis("off")
    plt.rcParams["svg.hashsalt"] = "dag"
    figure.savefig(Path(__file__).with_name("dag.svg"), bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    main()
