"""The model card: what a model is for, how it was made, what it reaches beside simpler methods, what it cannot do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from brainlm_data import markdown_cell, markdown_line
from brainlm_model.models.card import HUB
from brainlm_model.paper.sections import Section

USE = """\
Research on parcel series of fMRI that were made as the data card says (same atlas, same rate, same scaler): filling in
masked series, embeddings, attention, fine-tuning. `model = brainlm_model.load(FOLDER)`; `model.embed(SOURCE)` compares
a source with the card. Not for decisions about single people: see the results."""
LIMITS = (
    "All results are of the cohort that is named in the data card; other scanners, ages, atlases or preprocessing were "
    "tested only where a split `external` is named.",
    "Where a linear method on correlations is as good or better, use it: it needs no model.",
    "A published number stands beside ours for context only, unless it is marked as comparable.",
)


def markdown(model: Mapping[str, Any], card: str, sections: Sequence[Section], opening: Sequence[str]) -> str:
    """The card as Markdown; `model`: content of config.json; `card`: how it and its data were made.

    `opening`: its first lines (`opening.lines`).
    """
    training = model["training"]
    title = markdown_line(f"# {training['Model']}")
    lines = [HUB, title, "", *_items(opening), "", "## What it is for", "", USE, "", "## What it reaches", ""]
    limits = list(LIMITS)
    for part in sections:
        lines += [f"**{part.title}**", "", *_items(part.headline), ""]
        limits += [f"{part.title}: {warning}" for warning in part.warnings]
    lines += ["## Limits", "", *_items(limits)]
    lines += ["", "## Beside published numbers", "", "| published | value | ours | comparable |", "|---|---|---|---|"]
    reasons: dict[str, None] = {}  # each once
    for part in sections:
        for row in part.published:
            if row.ours == "–":
                continue
            cells = [row.what, row.value, f"{row.ours} ({row.ours_is})", "yes" if row.comparable else "no"]
            lines.append(f"| {' | '.join(map(markdown_cell, cells))} |")
            if not row.comparable:
                reasons[row.reason] = None
    lines += ["", "Why not:", "", *_items(reasons)]
    # the model's own card follows, one level lower
    return "\n".join([*lines, "", card.replace("\n# ", "\n## ").replace("# Model", "## Training of", 1), ""])


def _items(texts: Iterable[str]) -> list[str]:
    return [markdown_line(f"- {text}") for text in texts]
