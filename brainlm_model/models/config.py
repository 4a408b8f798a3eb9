"""Architectures by name. A model is its `ModelConfig`; a preset is a `ModelConfig` without the data's own sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import inf
from typing import Any, Literal, get_args, get_type_hints

from brainlm_data import ConfigError

Attention = Literal["full", "axial"]
Decoder = Literal["full", "cross"]
Prior = Literal["zero", "gaussian", "spacetime"]
Spatial = Literal["learned", "coordinates", "both"]
Temporal = Literal["learned", "sinusoid"]
LARGEST = 1_000_000  # of any size: beyond, a file is damaged, and a network of it would fill any memory


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides the shape and the maths of a model.

    Attributes
    ----------
    parcels, window, patch: columns of the atlas, steps of a window, steps of a token; nothing assumes 424.
    width, heads, hidden: token width, attention heads, width of the feed-forward layers.
    depth, decoder_depth: transformer blocks of encoder and decoder; an axial model needs no decoder.
    attention: `full` lets every token see every token, as BrainLM does; `axial` alternates attention across the
        parcels of one time patch with attention across the time patches of one parcel (Ho et al., 2019), which costs
        N + P instead of N x P keys a token.
    decoder: `full` runs self-attention over all tokens; `cross` lets masked tokens query the encoder's output only.
        The axial decoder is always over all tokens.
    prior: what the network's output is added to: nothing (`zero`), a conditional Gaussian over parcels that is
        continued in time (`gaussian`: `prior.py`), or a joint one over parcels and time (`spacetime`: `spacetime.py`).
    strength: prior only: steps of recording that the population's covariance is worth against the window's own.
    spatial: what a token knows of its parcel: an embedding that is learnt, a linear one of its coordinates, or both.
    temporal: what a token knows of its place in the window: a learnt embedding or a fixed sinusoid.
    """

    parcels: int
    window: int = 200
    patch: int = 20
    width: int = 512
    heads: int = 4
    hidden: int = 2048
    depth: int = 4
    decoder_depth: int = 2
    attention: Attention = "full"
    decoder: Decoder = "full"
    prior: Prior = "zero"
    strength: float = 100.0
    spatial: Spatial = "both"
    temporal: Temporal = "learned"

    def __post_init__(self) -> None:
        if self.window % self.patch:
            raise ConfigError(
                f"train: window {self.window} is not a multiple of patch {self.patch}",
                "for example window 200, patch 20",
            )
        if self.decoder_depth == 0 and self.attention != "axial":
            raise ConfigError(
                "train: decoder_depth 0 with full attention: masked tokens would never see a visible one",
                "decoder_depth: 1 or more, or attention: axial",
            )
        if self.width % self.heads:
            raise ConfigError(
                f"train: width {self.width} is not a multiple of heads {self.heads}", "for example width 64, heads 4"
            )

    @property
    def patches(self) -> int:
        """Time patches of a window."""
        return self.window // self.patch


PRESETS: dict[str, dict[str, Any]] = {
    # the architecture of Ortega Caro et al. (ICLR 2024): attention over all visible tokens
    "paper": {"width": 512, "heads": 4, "hidden": 2048, "depth": 4, "decoder_depth": 2, "spatial": "learned"},
    # ours: start from a Gaussian (docs/model.md); tiny learns in minutes on two cores
    "fast": {
        "width": 128, "heads": 4, "hidden": 128, "depth": 1, "decoder_depth": 0,
        "attention": "axial", "prior": "gaussian",
    },
    "small": {
        "width": 128, "heads": 4, "hidden": 256, "depth": 2, "decoder_depth": 1,
        "attention": "axial", "prior": "gaussian",
    },
    "tiny": {
        "width": 64, "heads": 4, "hidden": 128, "depth": 2, "decoder_depth": 1,
        "attention": "axial", "prior": "spacetime",
    },
}  # fmt: skip


def build(preset: str, parcels: int, **overrides: Any) -> ModelConfig:
    """The `ModelConfig` of a preset for an atlas of `parcels` parcels; overrides that are None keep the preset's value.

    Raises
    ------
    ConfigError: no such preset, or an impossible combination of sizes.
    """
    if preset not in PRESETS:
        raise ConfigError(f"train.preset: no preset {preset!r}", f"one of {', '.join(PRESETS)}")
    requested = {key: value for key, value in overrides.items() if value is not None}
    return ModelConfig(parcels=parcels, **{**PRESETS[preset], **requested})


def from_json(content: Mapping[str, Any]) -> ModelConfig:
    """A `ModelConfig` from the content of config.json. Raises ConfigError for an unknown key or a wrong value."""
    known = {field.name for field in fields(ModelConfig)}
    if unknown := sorted(set(content) - known):
        raise ConfigError(f"model config: unknown keys {', '.join(unknown)}", "the model was made by another version")
    kinds = get_type_hints(ModelConfig)
    for name, value in content.items():
        kind = kinds[name]
        if kind is int:
            fits = type(value) is int and 0 <= value <= LARGEST
        elif kind is float:
            fits = type(value) in (int, float) and 0 <= value < inf
        else:
            fits = value in get_args(kind)
        if not fits:
            raise ConfigError(
                f"model config: {name} {str(value)[:60]!r} is impossible", "train or convert the model again"
            )
    return ModelConfig(**content)
