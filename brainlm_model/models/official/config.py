"""The fields of an official config.json that decide shape and maths, and the published sizes by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from brainlm_data import ConfigError, InputError, check_sum, read_object
from brainlm_model.models.config import ModelConfig

ACTIVATIONS = ("gelu", "gelu_new", "relu", "silu")


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """What both architectures have. Names are those of config.json; a field without a default has to be there."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    decoder_hidden_size: int
    decoder_num_hidden_layers: int
    decoder_num_attention_heads: int
    decoder_intermediate_size: int
    layer_norm_eps: float
    mask_ratio: float
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    initializer_range: float = 0.02
    patch_size: int = 16
    num_channels: int = 3

    def __post_init__(self) -> None:
        for width, heads in (
            ("hidden_size", "num_attention_heads"),
            ("decoder_hidden_size", "decoder_num_attention_heads"),
        ):
            if getattr(self, width) % getattr(self, heads):
                raise InputError(
                    f"config.json: {width} {getattr(self, width)} is not a multiple of {heads} {getattr(self, heads)}",
                    "weights and config.json must be of one model",
                )
        if self.hidden_act not in ACTIVATIONS:
            raise InputError(f"config.json: hidden_act {self.hidden_act!r}", f"one of {', '.join(ACTIVATIONS)}")


@dataclass(frozen=True, kw_only=True)
class BrainLMConfig(TransformerConfig):
    """`model_type: brainlm_mae`. Its patch_size and num_channels only size dead weights."""

    num_brain_voxels: int
    num_timepoints_per_voxel: int
    timepoint_patching_size: int
    loss_fn: str
    segment_means_seq_len: int
    num_landmarks: int
    conv_kernel_size: int | None
    use_tanh_decoder: bool = False
    inv_coeff_init_option: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decoder_hidden_size != self.hidden_size:  # the decoder's coordinates and sinusoid have hidden_size
            raise InputError(
                f"config.json: decoder_hidden_size {self.decoder_hidden_size} is not hidden_size {self.hidden_size}",
                "the official decoder needs the same width",
            )
        if self.loss_fn not in ("mse", "mae"):
            raise InputError(f"config.json: loss_fn {self.loss_fn!r}", "mse or mae")
        if self.inv_coeff_init_option:
            raise InputError("config.json: inv_coeff_init_option is true", "false; the official layer cannot be built")


@dataclass(frozen=True, kw_only=True)
class ViTMAEConfig(TransformerConfig):
    """`model_type: vit_mae`. Images are square: `image_size` is a side, or [height, width]."""

    image_size: int | list[int]
    qkv_bias: bool = True
    norm_pix_loss: bool = False
    train_mode: str = "auto_encode"
    # not in the official file: which windows it was trained on
    num_brain_voxels: int = 424
    num_timepoints_per_voxel: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.side % self.patch_size or (isinstance(self.image_size, list) and len(set(self.image_size)) > 1):
            raise InputError(
                f"config.json: image_size {self.image_size}, patch_size {self.patch_size}",
                "a square of a whole number of patches: 432 with 16, 434 with 14",
            )
        if self.train_mode not in ("auto_encode", "predict_last", "predict_last_pixel"):
            raise InputError(
                f"config.json: train_mode {self.train_mode!r}", "auto_encode, predict_last or predict_last_pixel"
            )

    @property
    def side(self) -> int:
        """Pixels of a side."""
        return self.image_size[0] if isinstance(self.image_size, list) else self.image_size


Config = BrainLMConfig | ViTMAEConfig
TYPES: dict[str, type[BrainLMConfig] | type[ViTMAEConfig]] = {"brainlm_mae": BrainLMConfig, "vit_mae": ViTMAEConfig}


def from_hf(content: Mapping[str, Any], source: str = "config.json") -> Config:
    """The config of a config.json's content. Fields that are not needed are ignored.

    Raises
    ------
    InputError: another architecture, fields that are missing or no numbers, or sizes that do not fit together.
    """
    kind = content.get("model_type")
    if kind not in TYPES:
        raise InputError(f"{source}: model_type {kind!r}", f"a folder of one of {', '.join(TYPES)}")
    known = fields(TYPES[kind])
    missing = [field.name for field in known if field.default is MISSING and field.name not in content]
    if missing:
        raise InputError(f"{source}: no {', '.join(missing)}", "take config.json from the folder of the weights")
    values: dict[str, Any] = {}
    for field in known:
        if field.name not in content:
            continue
        value = values[field.name] = content[field.name]
        # annotations are strings here
        if field.type in ("int", "float") and not _is_number(value, field.type):
            raise InputError(f"{source}: {field.name} is {value!r}", "a number")
    return TYPES[kind](**values)


def _is_number(value: Any, kind: str) -> bool:
    """A size (`int`, above 0), or a number that is not negative (`float`)."""
    if isinstance(value, bool):  # an int in Python
        return False
    if kind == "int":
        return isinstance(value, int) and value > 0
    return isinstance(value, (int, float)) and value >= 0


def to_hf(config: Config) -> dict[str, Any]:
    """Content of a config.json for a model that was built here."""
    if isinstance(config, BrainLMConfig):
        names = {"model_type": "brainlm_mae", "architectures": ["BrainLMForPretraining"]}
    else:
        names = {"model_type": "vit_mae", "architectures": ["ViTMAEForPreTraining"]}
    return {**asdict(config), **names}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises InputError where it is missing or none."""
    remedy = "give the whole folder of a model, with its config.json"
    check_sum(path, remedy)
    return read_object(path, remedy=remedy)


def as_model_config(config: Config) -> ModelConfig:
    """What the rest of the product asks of a model's config: parcels, window, patch, width and so on.

    A ViTMAE has no tokens of one parcel; its `patch` is the whole window.
    """
    window = patch = config.num_timepoints_per_voxel
    if isinstance(config, BrainLMConfig):
        patch = config.timepoint_patching_size
    return ModelConfig(
        parcels=config.num_brain_voxels,
        window=window,
        patch=patch,
        width=config.hidden_size,
        heads=config.num_attention_heads,
        hidden=config.intermediate_size,
        depth=config.num_hidden_layers,
        decoder_depth=config.decoder_num_hidden_layers,
    )


_BRAINLM = {
    "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024, "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 4, "decoder_intermediate_size": 1024, "layer_norm_eps": 1e-12, "mask_ratio": 0.75,
    "num_brain_voxels": 424, "num_timepoints_per_voxel": 200, "timepoint_patching_size": 20, "loss_fn": "mse",
    "segment_means_seq_len": 64, "num_landmarks": 64, "conv_kernel_size": 65,
}  # fmt: skip
_VITMAE = {
    "decoder_hidden_size": 512, "decoder_num_hidden_layers": 8, "decoder_num_attention_heads": 16,
    "decoder_intermediate_size": 2048, "layer_norm_eps": 1e-12, "mask_ratio": 0.75,
}  # fmt: skip
PRESETS: dict[str, Config] = {
    "official-5m": BrainLMConfig(**{**_BRAINLM, "hidden_size": 256, "decoder_hidden_size": 256}),  # type: ignore[arg-type]
    "official-13m": BrainLMConfig(**{**_BRAINLM, "hidden_size": 512, "decoder_hidden_size": 512}),  # type: ignore[arg-type]
    # ViT-B/16 and ViT-H/14 (Dosovitskiy et al., 2021) with the decoder of He et al. (2022)
    "vitmae-111m": ViTMAEConfig(
        hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072, image_size=432,
        patch_size=16, **_VITMAE,  # type: ignore[arg-type]
    ),
    "vitmae-650m": ViTMAEConfig(
        hidden_size=1280, num_hidden_layers=32, num_attention_heads=16, intermediate_size=5120, image_size=434,
        patch_size=14, **_VITMAE,  # type: ignore[arg-type]
    ),
}  # fmt: skip


def preset(name: str, **sizes: Any) -> Config:
    """A published size by name, with other fields: `num_brain_voxels` for another atlas, for example.

    Raises
    ------
    ConfigError: no such name.
    """
    if name not in PRESETS:
        raise ConfigError(f"no official preset {name!r}", f"one of {', '.join(PRESETS)}")
    return replace(PRESETS[name], **sizes)


def sized(name: str, parcels: int, window: int, patch: int) -> Config:
    """A published size for an atlas and a window; a ViTMAE's image is the smallest square of patches that holds them.

    Raises
    ------
    ConfigError: a window that is no multiple of the patch.
    """
    published = PRESETS[name]
    if isinstance(published, ViTMAEConfig):
        side = -(-max(parcels, window) // published.patch_size) * published.patch_size
        return replace(published, num_brain_voxels=parcels, num_timepoints_per_voxel=window, image_size=side)
    if window % patch:
        raise ConfigError(
            f"train: window {window} is not a multiple of patch {patch}", "for example window 200, patch 20"
        )
    return replace(published, num_brain_voxels=parcels, num_timepoints_per_voxel=window, timepoint_patching_size=patch)
