"""The card of a fine-tuned model: how it was made, then the card of the model that it started from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from brainlm_model.models.card import ModelCard, ModelPart
from brainlm_model.models.official.convert import NOTICE

if TYPE_CHECKING:
    from brainlm_model.finetune.learn import FinetuneResults
    from brainlm_model.finetune.settings import Settings
    from brainlm_model.trained.checkpoint import TrainedModel

TRANSFORMS = {
    "z": "z-scored", "minmax": "scaled to 0 to 1", "logminmax": "scaled to 0 to 1 after log(1 + x)",
    "none": "left in their units",
}  # fmt: skip


def card(
    name: str, source: str, model: TrainedModel, settings: Settings, results: FinetuneResults, assumed: Sequence[str],
    official: bool,
) -> ModelCard:  # fmt: skip
    """The card: what was done here, then the base model's, whose data its inputs are still compared with.

    `assumed`: what the store does not say of its data, and is taken for granted.
    """
    facts: dict[str, Any] = asdict(settings)
    for split, (subjects, recordings) in results.counts.items():
        facts[split] = f"{subjects} subjects, {recordings} recordings"
    best_epoch = max(row["epoch"] for row in results.log if row["best"])
    facts["best epoch"] = f"{best_epoch} of {len(results.log) - 1}"
    part = ModelPart(
        name=name,
        title=f"{name}: {source}, fine-tuned",
        made=describe(settings, results),
        licence=NOTICE if official else "",
        facts=facts,
        notes=[f"taken for granted: {text}" for text in assumed],
        base=model.card.model,
    )
    return ModelCard(model=part, data=model.card.data)


def describe(settings: Settings, results: FinetuneResults) -> str:
    """How it was made, in two sentences."""
    epochs = len(results.log) - 1
    how = (
        f"by AdamW (Loshchilov & Hutter, 2019; highest learning rate {settings.lr:g}, cosine with warm-up, factor"
        f" {settings.layer_decay:g} from a layer to the one below), stopped after {epochs} epochs by the loss on"
        " validation subjects"
    )
    if settings.task == "future":
        goal = f"the last {settings.future} steps of every parcel in a window"
        return f"The whole network was fine-tuned to predict {goal}, {how}."
    what = "a linear layer" if settings.head == "linear" else "a network of three layers"
    seen = "CLS embedding" if settings.features == "cls" else "mean of the known tokens"
    part = "and the encoder were trained"
    if settings.train == "frozen":
        part = "alone was trained, the encoder left as it was,"
    if settings.task == "classification":
        goal = f"the class in column {settings.column} ({', '.join(results.facts['classes'])})"
    else:
        kind = TRANSFORMS[settings.transform]
        goal = f"column {settings.column}, {kind} by the labels of training subjects"
    return f"To predict {goal}, {what} on the {seen} {part} {how}."
