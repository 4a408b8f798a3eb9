"""Every figure, each drawn from one or two table files by its own module: the stage and its section.

Adding one: write `figures/<figure>.py` with `draw(paths) -> Figure`, list it in `FIGURES` here and in
`brainlm_data/paths.py`.
"""

from __future__ import annotations

import importlib

from pydantic import Field

from brainlm_data import Facts, Files, Stage, StageConfig

# figure (module of this package): the inputs of its `draw`
FIGURES: dict[str, tuple[str, ...]] = {
    "masked_r2": ("masked_csv",),
    "training": ("train_log",),
    "reconstruction": ("masked_example",),
    "connectivity": ("store",),
    "cohort": ("recordings",),
}


class Config(StageConfig):
    """Section `figures` of config.yaml."""

    dpi: int = Field(150, ge=50, le=1200, description="resolution of the PNG files, dots per inch")


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Draw every figure as SVG and PNG; the same tables give the same bytes."""
    from brainlm_model.figures.style import save, style

    with style():
        for name, sources in FIGURES.items():
            module = importlib.import_module(f"brainlm_model.figures.{name}")
            figure = module.draw(*(inputs[source] for source in sources))
            save(figure, outputs[f"{name}_svg"], outputs[f"{name}_png"], config.dpi)
    return {"Figures": list(FIGURES), "DotsPerInch": config.dpi}


def describe(facts: Facts) -> str:
    """Methods sentence."""
    return f"{len(facts['Figures'])} figures were drawn from the result tables with Matplotlib (Hunter, 2007)."


STAGE = Stage(
    name="figures",
    version=1,
    level="cohort",
    summary="Draw every figure from the result tables, as SVG and PNG.",
    Config=Config,
    inputs=("masked_csv", "masked_example", "train_log", "store", "recordings"),
    outputs=tuple(f"{name}_{ending}" for name in FIGURES for ending in ("svg", "png")),
    run=run,
    describe=describe,
)
