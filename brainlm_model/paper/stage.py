"""One page for a reader who decides: what was run on what, who wins, beside what was published, and the limits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from brainlm_data import Artifact, Facts, Files, Need, Stage, StageConfig, reads
from brainlm_model.eval.tasks import TASKS
from brainlm_model.paper import card, opening
from brainlm_model.paper.sections import Published, Section, section
from brainlm_model.report.stage import embedded, environment_of, markdown, split_table, versions

MASKED = {
    "masked_r2": "Masked R² of the checkpoint on held-out subjects, beside every baseline.",
    "reconstruction": "One held-out window, the one with the median R²: truth and reconstructions.",
}


class Config(StageConfig):
    """Section `paper` of config.yaml."""

    title: str = Field(
        "What the model can do, and what simpler methods do", min_length=1, description="title of the page"
    )


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write the page, which embeds everything, and the model's card."""
    sections = [section(stage, inputs[f"{name}_json"], inputs[f"{name}_svg"]) for name, stage in TASKS.items()]
    figures = [{"src": embedded(inputs[f"{name}_svg"]), "caption": caption} for name, caption in MASKED.items()]
    write(outputs, inputs, config.title, sections, [inputs["masked_json"]], figures, "index.html")
    return {"Title": config.title, "Tasks": [part.name for part in sections]}


def write(
    outputs: Mapping[str, Path], inputs: Mapping[str, Path], title: str, sections: Sequence[Section],
    masked: Sequence[Path] = (), figures: Sequence[Mapping[str, str]] = (), index: str = "",
) -> None:  # fmt: skip
    """`paper_page` and `paper_card`, from sections and the files `recordings`, `model_config`, `model_card`.

    `masked`: tables of stage `evaluate`, one a split, for the card's first lines. `index`: address of the page that
    lists all pages, where there is one.
    """
    import pandas as pd

    with reads(inputs["model_config"]):
        model: dict[str, Any] = json.loads(inputs["model_config"].read_text(encoding="utf-8"))
    with reads(inputs["model_card"]):
        text = inputs["model_card"].read_text(encoding="utf-8")
    with reads(inputs["recordings"]):
        table = pd.read_parquet(inputs["recordings"])
    published: list[Published] = []
    for part in sections:
        published += part.published
    here = Path(__file__).parent
    page = environment_of(here, here.parent / "report").get_template("page.html").render(
        title=title, sections=sections, figures=figures, limits=card.LIMITS, model=model, card=markdown(text),
        splits=split_table(table), published=published, versions=versions(), index=index,
    )  # fmt: skip
    outputs["paper_page"].write_text(page, encoding="utf-8")
    contents = []
    for path in masked:
        with reads(path):
            contents.append(json.loads(path.read_text(encoding="utf-8")))
    first = opening.lines(contents, {part.name: part.content for part in sections})
    outputs["paper_card"].write_text(card.markdown(model, text, sections, first), encoding="utf-8")


def describe(facts: Facts) -> str:
    """Methods sentence."""
    return f"The page '{facts['Title']}' gathers {', '.join(facts['Tasks'])}."


ARTIFACTS = {
    "paper_page": Artifact("cohort", "paper.html", "every task on one page: who wins, beside what was published"),
    "paper_card": Artifact(
        "cohort", "models/{model}/README.md", "model card: what it is for, what it reaches, its limits"
    ),
}

STAGE = Stage(
    name="paper",
    version=4,
    level="cohort",
    summary="Gather every task of the paper into one page and a model card, beside published numbers.",
    Config=Config,
    inputs=(
        "recordings", "model_config", "model_card", "masked_json", *(f"{name}_svg" for name in MASKED),
        *(f"{task}_{kind}" for task in TASKS for kind in ("json", "svg")),
    ),
    outputs=tuple(ARTIFACTS),
    artifacts=ARTIFACTS,
    need=Need(2000),
    run=run,
    describe=describe,
)  # fmt: skip
