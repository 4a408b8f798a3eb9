"""Every figure, drawn from result tables by a module of its own: the stage and its section.

Adding one: write `figures/<figure>.py` with `CAPTION` and `draw`, and list it in `FIGURES`. The parameters of `draw`
are named as the artifacts that it reads.
"""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType

from pydantic import Field

from brainlm_data import Artifact, Facts, Files, Need, Stage, StageConfig

FIGURES = ("masked_r2", "training", "reconstruction", "connectivity", "cohort")  # in the order of the report


def module_of(figure: str) -> ModuleType:
    """The module that draws a figure."""
    return importlib.import_module(f"brainlm_model.figures.{figure}")


def sources_of(figure: str) -> list[str]:
    """The artifacts that a figure is drawn from."""
    return list(inspect.signature(module_of(figure).draw).parameters)


class Config(StageConfig):
    """Section `figures` of config.yaml."""

    dpi: int = Field(150, ge=50, le=1200, description="resolution of the PNG files, dots per inch")


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Draw every figure as SVG and PNG; the same tables give the same bytes."""
    from brainlm_model.figures.style import save, style

    with style():
        for name in FIGURES:
            drawn = module_of(name).draw(*(inputs[source] for source in sources_of(name)))
            save(drawn, outputs[f"{name}_svg"], outputs[f"{name}_png"], config.dpi)
    return {"Figures": list(FIGURES), "DotsPerInch": config.dpi}


def describe(facts: Facts) -> str:
    """Methods sentence."""
    return f"{len(facts['Figures'])} figures were drawn from the result tables with Matplotlib (Hunter, 2007)."


ARTIFACTS = {
    f"{name}_{ending}": Artifact("cohort", f"figures/{name}.{ending}", module_of(name).CAPTION)
    for name in FIGURES
    for ending in ("svg", "png")
}

STAGE = Stage(
    name="figures",
    version=3,
    level="cohort",
    summary="Draw every figure from the result tables, as SVG and PNG.",
    Config=Config,
    inputs=tuple(dict.fromkeys(source for name in FIGURES for source in sources_of(name))),
    outputs=tuple(ARTIFACTS),
    artifacts=ARTIFACTS,
    need=Need(4000),
    run=run,
    describe=describe,
)
