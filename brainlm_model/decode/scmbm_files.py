"""SC-MBM on disk: the names of the public state dict, mapped both ways, also for another number of voxels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from brainlm_data import InputError, reads
from brainlm_model.decode.scmbm import SCMBM, SIZES, Size
from brainlm_model.models.weights import check_finite, unpickled

REMEDY = "give a state dict of SC-MBM: model.safetensors, or a .pth of tensors alone"
# ours -> public, of what has one tensor on both sides
NAMES = {
    "embed": "patch_embed.proj", "cls": "cls_token", "places": "pos_embed", "decoder_places": "decoder_pos_embed",
    "predict": "decoder_pred",
}  # fmt: skip
IN_BLOCKS = {
    "norm_attention": "norm1", "norm_mlp": "norm2", "attention.out": "attn.proj", "mlp.0": "mlp.fc1",
    "mlp.2": "mlp.fc2",
}  # fmt: skip
BLOCKS = ("blocks", "decoder_blocks")


def to_public(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our weights under the public names, query, key and value of an attention in one tensor."""
    public = {}
    for name, value in weights.items():
        if ".attention.query." in name:
            key_value = weights[name.replace(".query.", ".key_value.")]
            public[name.replace("attention.query", "attn.qkv")] = torch.cat([value, key_value])
        elif ".attention.key_value." not in name:
            public[_renamed(name, NAMES, IN_BLOCKS)] = value
    return public


def from_public(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Public weights under our names; the decoder of image features, which SC-MBM has as an option, is left out."""
    ours = {}
    outer, inner = ({public: own for own, public in table.items()} for table in (NAMES, IN_BLOCKS))
    for name, value in weights.items():
        if name.startswith("nature_img_"):
            continue
        if ".attn.qkv." in name:
            width = len(value) // 3
            ours[name.replace("attn.qkv", "attention.query")] = value[:width]
            ours[name.replace("attn.qkv", "attention.key_value")] = value[width:]
        else:
            ours[_renamed(name, outer, inner)] = value
    return ours


def _renamed(name: str, outer: Mapping[str, str], inner: Mapping[str, str]) -> str:
    """A name in the other way of naming: `outer` of the network's own parts, `inner` below `blocks.N.`."""
    if name.startswith(tuple(f"{part}." for part in BLOCKS)):
        part, number, rest = name.split(".", 2)
        below, _, kind = rest.rpartition(".")
        return f"{part}.{number}.{inner.get(below, below)}.{kind}"
    if name in outer:
        return outer[name]
    above, _, kind = name.rpartition(".")
    return f"{outer[above]}.{kind}" if above in outer else name


def size_of(weights: Mapping[str, Tensor], heads: int, decoder_heads: int) -> tuple[Size, int]:
    """(size, tokens) that weights under our names have; only the numbers of heads leave no trace in them."""
    width, _, patch = weights["embed.weight"].shape
    size = Size(
        width=width, depth=_depth(weights, "blocks"), heads=heads,
        decoder_width=weights["decoder_embed.weight"].shape[0], decoder_depth=_depth(weights, "decoder_blocks"),
        decoder_heads=decoder_heads, mlp_ratio=len(weights["blocks.0.mlp.0.weight"]) / width, patch=patch,
    )  # fmt: skip
    return size, weights["places"].shape[1] - 1


def _depth(weights: Mapping[str, Tensor], part: str) -> int:
    return 1 + max(int(name.split(".")[1]) for name in weights if name.startswith(f"{part}."))


def for_tokens(weights: Mapping[str, Tensor], tokens: int) -> dict[str, Tensor]:
    """Weights for patterns of another length: their places are interpolated to it (the nearest, as the public code)."""
    resized = dict(weights)
    for name in ("places", "decoder_places"):
        cls, places = weights[name][:, :1], weights[name][:, 1:]
        if places.shape[1] != tokens:
            places = F.interpolate(places.mT, size=tokens).mT
        resized[name] = torch.cat([cls, places], dim=1)
    return resized


def read_public(path: Path, heads: int = 16, decoder_heads: int = 16, tokens: int | None = None) -> SCMBM:
    """A network from a public checkpoint: a .safetensors file, or a .pth, of which tensors alone are unpickled.

    Parameters
    ----------
    tokens: patches of the patterns it is to see; None: those of the checkpoint.

    Raises
    ------
    InputError: damaged, of another network, or a pickle of more than tensors.
    """
    return network(from_public(_tensors(path)), path, heads, decoder_heads, tokens)


def size_in(path: Path, wanted: Size) -> Size:
    """The size of a public checkpoint. Heads leave no trace in it: they are those of the size with its widths.

    wanted: looked at before the named sizes.

    Raises
    ------
    InputError: no size has the widths of encoder and decoder; or as `read_public`.
    """
    found = read_public(path, 1, 1).size
    for size in (wanted, *SIZES.values()):
        if (size.width, size.decoder_width) == (found.width, found.decoder_width):
            return replace(found, heads=size.heads, decoder_heads=size.decoder_heads)
    raise InputError(
        f"{path}: tokens of width {found.width}, {found.decoder_width} in the decoder, of which no size is: how many"
        " heads it has is not in the file",
        "set scmbm.size and scmbm.width so that they have these widths, and its heads",
    )


def network(
    weights: Mapping[str, Tensor], path: Path, heads: int, decoder_heads: int, tokens: int | None = None
) -> SCMBM:
    """A network of weights under our names, which `path` held. Raises InputError."""
    with reads(path, REMEDY):
        check_finite(weights)
        size, own_tokens = size_of(weights, heads, decoder_heads)
        made = SCMBM(size, tokens or own_tokens)
        made.load_state_dict(for_tokens(weights, made.tokens))
    return made.eval()


def _tensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    with reads(path, REMEDY):
        if path.suffix == ".safetensors":
            return load_file(path)
        content = unpickled(
            path, REMEDY, "where you trust it, save its `model` alone: torch.save(checkpoint['model'], NEW)"
        )
        state = content.get("model", content) if isinstance(content, dict) else None
        if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
            raise InputError(f"{path}: no dictionary of tensors", REMEDY)
        return state


def save(made: SCMBM, weights: Path, config: Path, about: Mapping[str, Any]) -> None:
    """Weights under the public names, and config.json with the size and what is known `about` them."""
    from safetensors.torch import save_file

    tensors = {name: value.detach().cpu().contiguous() for name, value in to_public(made.state_dict()).items()}
    save_file(tensors, weights, {"format": "pt"})
    content = {"format": 1, "size": asdict(made.size), "tokens": made.tokens, **about}
    config.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load(weights: Path, config: Path, tokens: int | None = None) -> SCMBM:
    """A network that `save` wrote. Raises InputError."""
    with reads(config):
        size = Size(**json.loads(config.read_text(encoding="utf-8"))["size"])
    return read_public(weights, size.heads, size.decoder_heads, tokens)
