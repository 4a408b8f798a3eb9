"""Every figure, each drawn from one or two table files by its own module: the stage and its section.

Adding one: write `figures/<figure>.py` with `draw(paths)`, list it in `FIGURES` here and in `brainlm_data/paths.py`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from pydantic import Field

from brainlm_data import Facts, Files, Stage, StageConfig


@dataclass(frozen=True)
class Figure:
    """What a figure is drawn from (artifacts, the arguments of `draw`), and its caption in the report."""

    sources: tuple[str, ...]
    caption: str


FIGURES = {  # by the name of the module that draws it
    "masked_r2": Figure(
        ("masked_csv",), "Masked R² on held-out subjects, model and baselines. Values below the axis are written out."
    ),
    "training": Figure(
        ("train_log",),
        "Training loss, and masked R² on validation subjects from before the first step to after the last.",
    ),
    "reconstruction": Figure(
        ("masked_example",),
        "One held-out window. Grey: masked. The recording is the one with the model's median R², and the parcels below "
        "lie at the quartiles of the model's R² in this window, so that nothing is picked by hand.",
    ),
    "connectivity": Figure(("store",), "Mean functional connectivity of the cohort, parcels ordered by network."),
    "cohort": Figure(("recordings",), "Head motion, temporal SNR and coverage of every recording."),
}


class Config(StageConfig):
    """Section `figures` of config.yaml."""

    dpi: int = Field(150, ge=50, le=1200, description="resolution of the PNG files, dots per inch")


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Draw every figure as SVG and PNG; the same tables give the same bytes."""
    from brainlm_model.figures.style import save, style

    with style():
        for name, figure in FIGURES.items():
            module = importlib.import_module(f"brainlm_model.figures.{name}")
            drawn = module.draw(*(inputs[source] for source in figure.sources))
            save(drawn, outputs[f"{name}_svg"], outputs[f"{name}_png"], config.dpi)
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
