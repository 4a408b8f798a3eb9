"""Official checkpoints on disk: Hugging Face folders (config.json, weights), read without running what is in them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from brainlm_data import InputError, check_sum, reads
from brainlm_model.models.official.brainlm import OfficialBrainLM
from brainlm_model.models.official.config import BrainLMConfig, Config, from_hf, preset, read_json
from brainlm_model.models.official.vitmae import OfficialViTMAE
from brainlm_model.models.weights import unpickled

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
# What nothing reads, or what can be computed: files may leave it out.
DEAD = (
    "vit.embeddings.pos_embedding.pe",
    "decoder.pos_embedding.pe",
    "decoder.decoder_pred.weight",
    "decoder.decoder_pred.bias",
)

Network = OfficialBrainLM | OfficialViTMAE


def build(model: str | Config, **sizes: Any) -> Network:
    """A network with random weights: a published size by name (`config.PRESETS`) and other `sizes`, or a config's.

    Raises
    ------
    ConfigError: no such name.
    """
    config = preset(model, **sizes) if isinstance(model, str) else model
    if isinstance(config, BrainLMConfig):
        return OfficialBrainLM(config)
    return OfficialViTMAE(config)


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Content of config.json, and the weights by their official names.

    Raises
    ------
    InputError: a file is missing, damaged or holds anything but tensors.
    """
    content = read_json(folder / "config.json")
    weights_file = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if weights_file is None:
        raise InputError(f"{folder}: none of {', '.join(WEIGHTS)}", "give the whole folder of a model")
    if not weights_file.name.endswith(".index.json"):
        return content, read_tensors(weights_file)
    names = read_json(weights_file).get("weight_map", {})
    if not isinstance(names, dict) or not names:
        raise InputError(f"{weights_file}: no weight_map", "give the whole folder of a model")
    weights: dict[str, Tensor] = {}
    for name in sorted({str(name) for name in names.values()}):
        if Path(name).name != name:  # an index does not lead out of its folder
            raise InputError(f"{weights_file}: shard {name!r}", "shards lie beside their index")
        weights |= read_tensors(folder / name)
    return content, weights


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of one file by name. A .bin file is unpickled with torch's list of harmless types only."""
    from safetensors.torch import load_file

    check_sum(path, "download or convert it again")
    with reads(path, "download it again"):
        if path.suffix == ".safetensors":
            return load_file(path)
        weights = unpickled(
            path, "download it again", "ask for model.safetensors, or convert the file where you trust it"
        )
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise InputError(f"{path}: no dictionary of tensors", "give the model's weights, not an optimiser's state")
    return weights


def load_weights(network: Network, weights: Mapping[str, Tensor], source: str) -> list[str]:
    """Load weights by their official names; returns the dead ones that they leave out, which keep their default.

    Raises
    ------
    InputError: keys that are missing, that are too many, or of another shape.
    """
    expected = network.state_dict()
    optional = set(DEAD) if isinstance(network, OfficialBrainLM) else set()
    absent = [key for key in expected if key not in weights]
    missing = [key for key in absent if key not in optional]
    extra = [key for key in weights if key not in expected]
    remedy = "weights and config.json must be of one model"
    if missing or extra:
        raise InputError(f"{source}: missing keys: {_list(missing)}; extra keys: {_list(extra)}", remedy)
    shapes = []
    for key, value in weights.items():
        if value.shape != expected[key].shape:
            shapes.append(f"{key} {tuple(value.shape)} instead of {tuple(expected[key].shape)}")
    if shapes:
        raise InputError(f"{source}: shapes: {_list(shapes)}", remedy)
    network.load_state_dict(dict(weights), strict=False)
    return absent


def _list(names: Iterable[str], most: int = 10) -> str:
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return (", ".join(listed[:most]) or "none") + more


def read_network(folder: Path) -> Network:
    """The network of an official folder, in evaluation mode: to be called as the official one."""
    content, weights = read(folder)
    network = build(from_hf(content, f"{folder}/config.json"))
    load_weights(network, weights, str(folder))
    return network.eval()


def write(folder: Path, content: Mapping[str, Any], weights: Mapping[str, Tensor], readme: str) -> None:
    """A folder that the official code loads: config.json, model.safetensors, and README.md, its card."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    # `from_pretrained` refuses safetensors whose metadata do not say from which library they are
    tensors = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(dict(content), indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(readme, encoding="utf-8")
