"""The card of a model: how it was made (`model`), and how its data were made (`data`). card.md is made from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from brainlm_data import Card, InputError, check_sum, markdown_line, reads

FILE, WORDS = "card.json", "card.md"
HUB = """\
---
library_name: pytorch
tags: [fMRI, brain, masked-autoencoder, parcels]
---
"""
AGAIN = "train or convert the model again"


class ModelPart(BaseModel):
    """How a model was made.

    Attributes
    ----------
    name: of its folder. title: with what it was made of. made: how, in words. licence: notice that stays with it.
    facts: by name. notes: further sentences. remark: a paragraph at the end. base: the model that it started from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    made: str = ""
    licence: str = ""
    facts: dict[str, Any] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
    remark: str = ""
    base: ModelPart | None = None

    def lines(self) -> list[str]:
        """In words, and those of the model that it started from."""
        lines = [f"# Model {self.title}", "", self.made]
        if self.licence:
            lines += ["", f"**Licence.** {self.licence}"]
        lines += [
            "",
            *(f"- {key}: {value}" for key, value in self.facts.items()),
            *(f"- {note}" for note in self.notes),
        ]
        lines += ["", self.remark] if self.remark else []
        if self.base is not None:
            lines += ["", "# The model that it started from", "", *self.base.lines()]
        return lines


class ModelCard(BaseModel):
    """`card.json` in a model's folder. `data` is None where nobody says how its data were made (an official one)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    model: ModelPart
    data: Card | None = None

    def markdown(self) -> str:
        """The card in words."""
        lines = [*map(markdown_line, self.model.lines())]
        if self.data is not None:
            lines += ["", markdown_line(f"# Data of model {self.model.name}"), "", self.data.markdown().rstrip("\n")]
        return "\n".join(lines) + "\n"

    def readme(self) -> str:
        """The card as README.md of a repository of models: the same words below what the Hugging Face Hub reads."""
        use = f"```python\nfrom brainlm_model import load\n\nmodel = load(FOLDER)  # of {self.model.name}\n```"
        return f"{HUB}\n{self.markdown()}\n# Use\n\n{use}\n"

    def save(self, data: Path, words: Path) -> None:
        """Write card.json and card.md."""
        data.write_text(json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        words.write_text(self.markdown(), encoding="utf-8")


def read_card(folder: Path) -> ModelCard:
    """The card in a model's folder; one that says nothing where the folder has neither card.json nor card.md.

    Raises
    ------
    InputError: card.md alone (a model of an earlier release), or a damaged card.json.
    """
    path = folder / FILE
    check_sum(path, AGAIN)
    if not path.exists():
        if (folder / WORDS).exists():
            raise InputError(
                f"{folder}: {WORDS} without {FILE}, made by an earlier release",
                "train or convert it again; without any card it is loaded, too, and nothing is compared with its data",
            )
        return ModelCard(model=ModelPart(name=folder.name, title=folder.name))
    with reads(path, AGAIN):
        try:
            return ModelCard.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"]) from error
