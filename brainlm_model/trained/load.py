"""A trained model from its folder: model.safetensors, config.json, scaler.npz and card.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainlm_data import InputError, Scaler, check_sum, reads
from brainlm_model.models.card import read_card
from brainlm_model.models.config import from_json
from brainlm_model.trained.checkpoint import AGAIN, FORMAT, TrainedModel
from brainlm_model.trained.hub import download, is_hub_name

if TYPE_CHECKING:
    from brainlm_model.models.network import Network


def load(path: str | Path, device: str = "cpu", *, revision: str | None = None) -> TrainedModel:
    """Load a trained model: an own one, an official one that was converted, or a fine-tuned one (`FineTuned`).

    Parameters
    ----------
    path: its folder, `<outdir>/models/<name>` or what `save_pretrained` wrote; or, as text, "owner/name": such a folder
        on the Hugging Face Hub, downloaded once. A folder of that name that is here goes first.
    device: "cpu", "cuda", or "auto": a GPU where there is one.
    revision: of a model on the Hub: a branch, tag or commit; None: main.

    Raises
    ------
    InputError: a file of the folder is missing or does not belong to the others; no such model on the Hub, or no
        network.

    Examples
    --------
    >>> from brainlm_model import load
    >>> load("results/models/tiny").config.parcels
    24
    """
    folder = model_folder(path, revision)
    content = read_config_json(folder)
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


def model_folder(path: str | Path, revision: str | None = None) -> Path:
    """The folder of a trained model: as given, or where that of "owner/name" on the Hugging Face Hub was downloaded to.

    Raises
    ------
    InputError: a file of it is missing; no such model on the Hub, or no network.
    """
    if isinstance(path, str) and is_hub_name(path):
        folder = download(path, revision or "main")
    elif revision is not None:
        raise InputError(f"{path}: revision {revision} of a folder", "revisions are of models on the Hub: owner/name")
    else:
        folder = Path(path)
    missing = [n for n in ("model.safetensors", "config.json", "scaler.npz") if not (folder / n).exists()]
    if missing:
        inside = [*folder.glob("*/model.safetensors"), *folder.glob("models/*/model.safetensors")]
        meant = f"did you mean {inside[0].parent}? " if inside else ""
        raise InputError(
            f"{folder}: no {', '.join(missing)}",
            f"{meant}give a folder that the train stage wrote: models/<name>; or convert an official one with --store",
        )
    return folder


def _available(device: str) -> str:
    import torch

    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def read_config_json(folder: Path) -> dict[str, Any]:
    """config.json of a model. Raises InputError where it is damaged, or of another format."""
    path = folder / "config.json"
    check_sum(path, AGAIN)
    with reads(path, AGAIN):
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content.get("format") != FORMAT:
            raise InputError(f"{path}: format {content.get('format')!r}, not {FORMAT}", AGAIN)
        _ = content["training"], content["official" if "official" in content else "model"]
    return content


def _network(folder: Path, content: dict[str, Any]) -> Network:
    from brainlm_model.models.brainlm import BrainLM
    from brainlm_model.models.weights import load_into

    path = folder / "model.safetensors"
    check_sum(path, AGAIN)
    if "official" in content:
        from brainlm_model.models.official.convert import load_converted

        return load_converted(folder)
    with reads(folder / "config.json", AGAIN):
        network = BrainLM(from_json(content["model"]))
    load_into(network, path, AGAIN)
    return network
