"""Official checkpoints into a folder that `brainlm_model.load` reads, and back. No tensor changes a bit on the way."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainlm_data import InputError, Scaler, open_store, reads, sum_folder
from brainlm_model.models.card import ModelCard, ModelPart, read_card
from brainlm_model.models.official.config import BrainLMConfig, Config, as_model_config, from_hf, read_json

if TYPE_CHECKING:
    from torch import Tensor

    from brainlm_model.models.official.network import OfficialNetwork

NOTICE = (
    "Weights that the authors of BrainLM released are under CC BY-NC-ND 4.0 "
    "(https://creativecommons.org/licenses/by-nc-nd/4.0/): name them (Ortega Caro et al., BrainLM: a foundation model "
    "for brain activity recordings, ICLR 2024), make no commercial use, and share no changed version, fine-tuned ones "
    "included. This notice stays with the weights."
)
FORMAT = 1  # of config.json


def to_model(source: Path, target: Path, scaler: Path | None = None, store: Path | None = None) -> list[str]:
    """Convert an official folder; returns what is said on the terminal.

    Parameters
    ----------
    target: new or empty folder: model.safetensors, config.json, card.json, card.md and, where there is one, scaler.npz.
    scaler: what the weights' training data were scaled with; None: the store's, where one is given.
    store: whose parcels have the coordinates that the network is given.

    Raises
    ------
    InputError: weights that do not fit their config, a store or a scaler of other parcels, a target with files in it.
    """
    from safetensors.torch import save_file

    from brainlm_model.models.official.files import build, load_weights, read

    content, weights = read(source)
    config = from_hf(content, f"{source}/config.json")
    network = build(config)
    absent = load_weights(network, weights, str(source))
    # the source's own tensors: the network's would be float32 whatever they were
    tensors = {f"network.{key}": value.contiguous() for key, value in {**network.state_dict(), **weights}.items()}
    parcels = config.num_brain_voxels
    if store is not None:
        tensors["coordinates"] = _coordinates(store, config)
        parcels = len(tensors["coordinates"])
        beside_store = store.parent / "scaler.npz"
        if scaler is None and beside_store.is_file():
            scaler = beside_store
    if scaler is not None:
        of_scaler = len(Scaler.load(scaler).median)
        if of_scaler != parcels:
            raise InputError(f"{scaler}: {of_scaler} parcels, the model has {parcels}", "a scaler of the same atlas")
    _claim(target)
    save_file(tensors, target / "model.safetensors")
    facts = {
        "Model": str(content["model_type"]),
        "Source": source.resolve().name,
        "Parameters": sum(p.numel() for p in network.parameters()),
        "Parcels": parcels,
        "Seed": 0,
    }
    ours = {"format": FORMAT, "official": content, "training": facts}
    (target / "config.json").write_text(json.dumps(ours, indent=2) + "\n", encoding="utf-8")
    if scaler is not None:
        shutil.copyfile(scaler, target / "scaler.npz")
    notes = [_note(scaler is not None, "scaler.npz", "the data's median and IQR per parcel"),
             _note(store is not None, "coordinates", "the parcels' places in mm, of the store")]  # fmt: skip
    if absent:
        notes.insert(0, f"Not in the source, and of no use to the model: {', '.join(absent)}")
    _card(target.resolve().name, facts, notes).save(target / "card.json", target / "card.md")
    sum_folder(target)
    line = f"{facts['Model']}, {facts['Parameters']:,} parameters: {target}"
    if scaler is None or store is None:
        line += "; embed and evaluate need scaler and coordinates: convert with --store"
    return [line, f"licence: {NOTICE}"]


def _card(name: str, facts: dict[str, Any], notes: list[str]) -> ModelCard:
    part = ModelPart(
        name=name,
        title=name,
        made="An official BrainLM checkpoint; no tensor was changed.",
        licence=NOTICE,
        facts={key: value for key, value in facts.items() if key != "Seed"},
        notes=notes,
        remark="The official weights come without scaler and card, and were probably trained on data at their own TR of"
        " 0.735 s (UK Biobank): `resample.hz: null` keeps the recordings' own rate.",
    )
    return ModelCard(model=part)


def _note(there: bool, name: str, what: str) -> str:
    if there:
        return f"{name}: {what}"
    return f"{name}: missing ({what}); convert again with --store"


def to_hf(source: Path, target: Path) -> list[str]:
    """Write a converted (or fine-tuned) model as a folder that the official code loads; returns what is said.

    Raises
    ------
    InputError: a model of another architecture, or a target with files in it.
    """
    from brainlm_model.models.official.files import read_tensors, write

    content = _official(source)
    weights = read_tensors(source / "model.safetensors")
    card = read_card(source)
    _claim(target)
    theirs = from_authors(read_json(source / "config.json"))
    if theirs and not card.model.licence:
        card = card.model_copy(update={"model": card.model.model_copy(update={"licence": NOTICE})})
    readme = card.markdown()
    tensors = {key.removeprefix("network."): value for key, value in weights.items() if key != "coordinates"}
    lines = [f"{content['model_type']}, {len(tensors)} tensors: {target}"]
    if theirs:
        readme = f"---\nlicense: cc-by-nc-nd-4.0\n---\n\n{readme}"
        lines.append(f"licence: {NOTICE}")
    write(target, content, tensors, readme)
    sum_folder(target)
    return lines


def from_authors(content: dict[str, Any]) -> bool:
    """Whether a model's config.json says that its weights were converted, and not trained here from random ones."""
    return "Source" in content.get("training", {"Source": "not said"})


def load_converted(folder: Path) -> OfficialNetwork:
    """The network of a converted folder, with its coordinates.

    Raises
    ------
    InputError: no coordinates, or weights that do not fit config.json.
    """
    from brainlm_model.models.official.files import build, load_weights, read_tensors
    from brainlm_model.models.official.network import OfficialNetwork
    from brainlm_model.models.weights import check_finite

    config = from_hf(_official(folder), f"{folder}/config.json")
    weights = read_tensors(folder / "model.safetensors")
    with reads(folder / "model.safetensors", "convert it again"):
        check_finite(weights)
    if "coordinates" not in weights:
        raise InputError(f"{folder}: no coordinates of parcels", "convert again with --store STORE.zarr")
    coordinates = weights.pop("coordinates")
    if not isinstance(config, BrainLMConfig):
        config = dataclasses.replace(config, num_brain_voxels=len(coordinates))
    network = build(config)
    own = {key.removeprefix("network."): value for key, value in weights.items()}
    load_weights(network, own, f"{folder}/model.safetensors")
    return OfficialNetwork(network, coordinates)


def _official(folder: Path) -> dict[str, Any]:
    content = read_json(folder / "config.json")
    if not isinstance(content.get("official"), dict):
        raise InputError(f"{folder}/config.json: no official architecture", "a folder that `convert` wrote")
    return content["official"]


def _coordinates(store: Path, config: Config) -> Tensor:
    import torch

    parcels = open_store(store).parcels
    as_model_config(config)  # sizes that the product cannot use are refused here, not at the first window
    if isinstance(config, BrainLMConfig) and len(parcels) != config.num_brain_voxels:
        raise InputError(
            f"{store}: {len(parcels)} parcels, the model has {config.num_brain_voxels}",
            "a store of the atlas that the model was trained on (A424)",
        )
    xyz = np.ascontiguousarray(parcels[["x", "y", "z"]].to_numpy(dtype=np.float32))
    return torch.from_numpy(np.nan_to_num(xyz))


def _claim(target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target}: has files in it", "give a new folder")
    target.mkdir(parents=True, exist_ok=True)
