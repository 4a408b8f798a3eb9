"""A trained model from its folder: model.safetensors, config.json, scaler.npz and card.json."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainlm_data import InputError, Scaler, read_object
from brainlm_model.models.card import read_card
from brainlm_model.models.config import from_json
from brainlm_model.trained.checkpoint import FORMAT, TrainedModel

if TYPE_CHECKING:
    from brainlm_model.models.network import Network


def load(path: str | Path, device: str = "cpu") -> TrainedModel:
    """Load a trained model from its folder `<outdir>/models/<name>`, an official one that was converted, or a
    fine-tuned one (`FineTuned`, which has `predict`).

    Parameters
    ----------
    device: "cpu", "cuda", or "auto": a GPU where there is one.

    Raises
    ------
    InputError: a file of the folder is missing or does not belong to the others.
    """
    folder = Path(path)
    missing = [n for n in ("model.safetensors", "config.json", "scaler.npz") if not (folder / n).is_file()]
    if missing:
        raise InputError(
            f"{folder}: no {', '.join(missing)}",
            "give a folder that the train stage wrote: models/<name>; or convert an official one with --store",
        )
    content = read_object(folder / "config.json", remedy="train the model again")
    if content.get("format") != FORMAT:
        raise InputError(
            f"{folder}/config.json: format {content.get('format')!r}, not {FORMAT}", "train the model again"
        )
    network = _network(folder, content)
    config = network.config
    scaler = Scaler.load(folder / "scaler.npz")
    if scaler.median.shape != (config.parcels,):
        raise InputError(
            f"{folder}/scaler.npz: {scaler.median.shape[0]} parcels, the model has {config.parcels}",
            "take the scaler of the same model",
        )
    card = read_card(folder)
    network.eval().to(_available(device))
    model = TrainedModel(network, config, scaler, content["training"], card)
    if "finetune" not in content:
        return model
    from brainlm_model.trained.finetuned import load_finetuned

    return load_finetuned(folder, model, content["finetune"])


def _available(device: str) -> str:
    import torch

    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _network(folder: Path, content: dict[str, Any]) -> Network:
    from safetensors.torch import load_file

    from brainlm_model.models.brainlm import BrainLM

    if "official" in content:
        from brainlm_model.models.official.convert import load_converted

        return load_converted(folder)
    network = BrainLM(from_json(content["model"]))
    try:
        network.load_state_dict(load_file(folder / "model.safetensors"))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{folder}/model.safetensors: {reason}", "weights and config.json must be of one model"
        ) from error
    return network
