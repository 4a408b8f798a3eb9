"""The model card: what a model is for, how it was made, what it reaches beside simpler methods, what it cannot do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from brainlm_data import markdown_cell, markdown_line
from brainlm_model.paper.sections import Section

HEAD = """\
---
library_name: pytorch
tags: [fMRI, brain, masked-autoencoder, parcels]
---
"""
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


def markdown(model: Mapping[str, Any], card: str, sections: Sequence[Section]) -> str:
    """The card as Markdown; `model`: content of config.json; `card`: how it and its data were made."""
    training = model["training"]
    title = markdown_line(f"# {training['Model']}")
    lines = [HEAD, title, "", "## What it is for", "", USE, "", "## What it reaches", ""]
    for part in sections:
        lines += [f"**{part.title}**", "", *(markdown_line(f"- {sentence}") for sentence in part.headline), ""]
    lines += ["## Limits", "", *(f"- {sentence}" for sentence in LIMITS)]
    for part in sections:
        lines += [markdown_line(f"- {part.title}: {warning}") for warning in part.warnings]
    lines += ["", "## Beside published numbers", "", "| published | value | ours | comparable |", "|---|---|---|---|"]
    rows = [row for part in sections for row in part.published if row.ours != "–"]
    for row in rows:
        cells = [row.what, row.value, f"{row.ours} ({row.ours_is})", "yes" if row.comparable else "no"]
        lines.append(f"| {' | '.join(map(markdown_cell, cells))} |")
    lines += ["", "Why not:", "", *(f"- {why}" for why in dict.fromkeys(r.reason for r in rows if not r.comparable))]
    return "\n".join([*lines, "", card.replace("\n# ", "\n## ").replace("# Model", "## Training of", 1), ""])
