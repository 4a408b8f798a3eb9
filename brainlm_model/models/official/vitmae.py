"""The official ViTMAE (`model_type: vit_mae`): a window as an image of parcels x steps, padded to a square.

A masked autoencoder of images (He et al., 2022): pre-norm ViT encoder on CLS and the visible patches, decoder over all.
Rows are parcels sorted by their Y coordinate, columns steps; the three channels are copies; padding is -1. Names of
modules are those of the official files.

Shapes: B windows, P parcels, T steps, I pixels of a side, G patches of a side, S pixels of a patch's side, C channels,
L = G G tokens, V visible ones, D width, H heads.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brainlm_data import InputError
from brainlm_model.models.official.config import ViTMAEConfig
from brainlm_model.models.official.parts import (
    Output,
    activation,
    backbone,
    decoder_layers,
    encode_visible,
    encoder_layers,
    unshuffle,
)

PADDING = -1.0


def sinusoid_2d(side: int, width: int) -> Tensor:
    """Fixed embedding (1, 1 + side^2, width) of a patch's place: its column, then its row; CLS has zeros."""
    # sin(x w_i), cos(x w_i) with w_i = 10000^(-i / (width / 4)): a quarter of the width for each of the four
    rate = 1e4 ** (-torch.arange(width // 4, dtype=torch.float64) / (width / 4))
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    waves = []
    for place in (column, row):
        angle = place.flatten()[:, None] * rate
        waves += [angle.sin(), angle.cos()]
    return F.pad(torch.cat(waves, dim=1), (0, 0, 1, 0))[None].float()


class Layer(nn.Module):
    """Pre-norm transformer layer: attention, then feed-forward."""

    attention: Any  # modules in modules, for the sake of the official names
    output: Any

    def __init__(self, width: int, heads: int, hidden: int, config: ViTMAEConfig) -> None:
        super().__init__()
        self.heads = heads
        mixing = {name: nn.Linear(width, width, bias=config.qkv_bias) for name in ("query", "key", "value")}
        self.attention = nn.ModuleDict(
            {"attention": nn.ModuleDict(mixing), "output": nn.ModuleDict({"dense": nn.Linear(width, width)})}
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, hidden)})
        self.activation = activation(config.hidden_act)
        self.output = nn.ModuleDict({"dense": nn.Linear(hidden, width)})
        self.layernorm_before = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.layernorm_after = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.attention_dropout = config.attention_probs_dropout_prob

    def forward(self, x_BLD: Tensor, attentions: list[Tensor] | None = None) -> Tensor:
        """The layer's output (B, L, D); its attention weights are appended to `attentions`."""
        # pre-norm: x + attention(norm(x)), then x + feed-forward(norm(x))
        normed = self.layernorm_before(x_BLD)
        query, key, value = self._split("query", normed), self._split("key", normed), self._split("value", normed)
        if attentions is not None:  # the fused kernel below does not hand its weights out
            attentions.append((query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])).softmax(-1))
        dropout = self.attention_dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout).transpose(1, 2).flatten(2)
        x_BLD = x_BLD + self.dropout(self.attention["output"]["dense"](mixed))
        inner = self.activation(self.intermediate["dense"](self.layernorm_after(x_BLD)))
        return x_BLD + self.dropout(self.output["dense"](inner))

    def _split(self, name: str, x_BLD: Tensor) -> Tensor:
        """Heads (B, H, L, D / H) of the query, key or value."""
        return self.attention["attention"][name](x_BLD).unflatten(2, (self.heads, -1)).transpose(1, 2)


class Embeddings(nn.Module):
    """Tokens: a projection of each patch of the image, and its fixed place."""

    def __init__(self, config: ViTMAEConfig) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.patch_embeddings = nn.ModuleDict(
            {"projection": nn.Conv2d(config.num_channels, width, kernel_size=patch, stride=patch)}
        )
        places = sinusoid_2d(config.side // patch, width)
        self.position_embeddings = nn.Parameter(places, requires_grad=False)

    def forward(self, image_BCII: Tensor) -> Tensor:
        """Tokens (B, L, D), without CLS."""
        tokens = self.patch_embeddings["projection"](image_BCII).flatten(2).transpose(1, 2)
        return tokens + self.position_embeddings[:, 1:]

    def cls(self, batch: int) -> Tensor:
        """CLS tokens (B, 1, D)."""
        return (self.cls_token + self.position_embeddings[:, :1]).expand(batch, -1, -1)


class Decoder(nn.Module):
    """Decoder over all tokens."""

    def __init__(self, config: ViTMAEConfig) -> None:
        super().__init__()
        width = config.decoder_hidden_size
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.decoder_embed = nn.Linear(config.hidden_size, width)
        places = sinusoid_2d(config.side // config.patch_size, width)
        self.decoder_pos_embed = nn.Parameter(places, requires_grad=False)
        self.decoder_layers = decoder_layers(Layer, config)
        self.decoder_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.decoder_pred = nn.Linear(width, config.patch_size**2 * config.num_channels)

    def forward(self, latent: Tensor, ids_restore: Tensor) -> Tensor:
        """Predicted patches (B, L, S S C)."""
        x = self.decoder_embed(latent)
        x = torch.cat([x[:, :1], unshuffle(x[:, 1:], self.mask_token, ids_restore)], dim=1) + self.decoder_pos_embed
        for layer in self.decoder_layers:
            x = layer(x)
        return self.decoder_pred(self.decoder_norm(x)[:, 1:])


class OfficialViTMAE(nn.Module):
    """`ViTMAEForPreTraining` of the official code, with padding."""

    vit: Any

    def __init__(self, config: ViTMAEConfig) -> None:
        super().__init__()
        self.config = config
        self.vit = backbone(encoder_layers(Layer, config), Embeddings(config), config)
        self.decoder = Decoder(config)
        self.initialize_weights()

    def initialize_weights(self) -> None:
        """As there: normal weights, zero biases."""
        std = self.config.initializer_range
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.normal_(module.weight, std=std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for token in (self.vit["embeddings"].cls_token, self.decoder.mask_token):
            nn.init.normal_(token, std=std)

    def forward(
        self,
        signal_BPT: Tensor,
        noise_BL: Tensor | None = None,
        mask_ratio: float | None = None,
        mode: str | None = None,
        details: bool = False,
    ) -> Output:
        """Mask, encode, decode and score windows whose parcels are sorted by Y.

        Parameters
        ----------
        noise_BL: `auto_encode` only: patches of least noise stay visible; None: drawn. (The official code draws
            always, whatever it is given.)
        mask_ratio: share of the patches (`auto_encode`) or of the last steps (other modes); None: the config's.
        mode: `auto_encode`: any patches; `predict_last`: the columns of patches that the last steps touch;
            `predict_last_pixel`: whole columns of patches, and zeros for the last steps left over. None: the config's.
        details: return hidden states and attention weights of the encoder, too.

        Raises
        ------
        InputError: a window that cannot be padded evenly to the model's image.
        """
        if mode is None:
            mode = self.config.train_mode
        if mask_ratio is None:
            mask_ratio = self.config.mask_ratio
        image, side = self.pad(signal_BPT), self.config.side // self.config.patch_size
        scored = slice(0)  # steps that count as masked though their patches are visible
        if mode == "auto_encode":
            if noise_BL is None:
                noise_BL = torch.rand(len(image), side**2, device=image.device)
            keep = int(side**2 * (1 - mask_ratio))
        else:
            columns, zeroed, scored = self.future_masking(signal_BPT.shape[2], mask_ratio, mode)
            image[..., zeroed] = 0
            noise_BGG = image.new_zeros(len(image), side, side)
            noise_BGG[:, :, columns] = 1
            noise_BL = noise_BGG.flatten(1)
            keep = int(side**2 - noise_BL[0].sum())
        hidden: list[Tensor] = []
        attentions: list[Tensor] = []
        lists = (hidden, attentions) if details else (None, None)
        latent, mask, ids_restore = self.forward_encoder(image, noise_BL, keep, *lists)
        logits = self.crop(self.unpatchify(self.decoder(latent, ids_restore)), signal_BPT)
        # the mask of patches as one of pixels, so that it can be cropped to the window as the prediction is
        pixels = mask[..., None].expand(-1, -1, self.config.patch_size**2 * self.config.num_channels)
        mask_BPT = self.crop(self.unpatchify(pixels), signal_BPT)
        mask_BPT[..., scored] = 1
        loss = self.forward_loss(signal_BPT, logits, mask_BPT)
        return Output(loss, logits, latent, mask_BPT, ids_restore, hidden, attentions)

    def forward_encoder(
        self,
        image_BCII: Tensor,
        noise_BL: Tensor,
        keep: int,
        hidden: list[Tensor] | None = None,
        attentions: list[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `parts.encode_visible`."""
        embeddings = self.vit["embeddings"]
        cls_B1D = embeddings.cls(len(image_BCII))
        return encode_visible(self.vit, embeddings(image_BCII), cls_B1D, noise_BL, keep, hidden, attentions)

    def forward_loss(self, target: Tensor, predicted: Tensor, mask: Tensor) -> Tensor:
        """Mean squared error of masked pixels that are no padding; NaN where nothing is masked."""
        if self.config.norm_pix_loss:  # over a parcel's steps, though the name speaks of patches
            target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
        return ((predicted - target).square() * mask).sum() / mask.sum()

    def future_masking(self, steps: int, mask_ratio: float, mode: str) -> tuple[slice, slice, slice]:
        """How the last steps are hidden: columns of patches that are masked, columns of the image that are zeroed
        because their patch also holds earlier steps, and the window's steps that these are.
        """
        patch, left = self.config.patch_size, (self.config.side - steps) // 2
        hidden = int(mask_ratio * steps)
        end = left + steps  # of the window in the image
        last = math.ceil(end / patch)
        whole, rest = divmod(last * patch - (end - hidden), patch)
        if mode == "predict_last":
            first = last - whole
            if rest:  # a patch that the hidden steps touch is masked as a whole
                first -= 1
            return slice(first, last), slice(0), slice(0)
        first = last - whole
        covered = end - first * patch  # steps in masked patches; not positive where no whole patch fits
        zeroed = slice(first * patch - (hidden - covered), first * patch)
        # there: an empty slice, so a loss of NaN, where no patch is masked
        return slice(first, last), zeroed, slice(-hidden, -covered)

    def pad(self, signal_BPT: Tensor) -> Tensor:
        """Image (B, C, I, I) of a window."""
        high, wide = (self.config.side - size for size in signal_BPT.shape[1:])
        if min(high, wide) < 0 or high % 2 or wide % 2:
            raise InputError(
                f"ViTMAE: a window of {signal_BPT.shape[1]} parcels x {signal_BPT.shape[2]} steps",
                f"at most {self.config.side} of each, and an even number less",
            )
        image = signal_BPT[:, None].repeat(1, self.config.num_channels, 1, 1)
        return F.pad(image, (wide // 2, wide // 2, high // 2, high // 2), value=PADDING)

    def unpatchify(self, patches: Tensor) -> Tensor:
        """Image (B, C, I, I) of patches (B, L, S S C), rows of patches first."""
        side, patch = self.config.side // self.config.patch_size, self.config.patch_size
        grid = patches.reshape(len(patches), side, side, patch, patch, self.config.num_channels)
        return grid.permute(0, 5, 1, 3, 2, 4).reshape(len(patches), -1, side * patch, side * patch)

    def crop(self, image_BCII: Tensor, signal_BPT: Tensor) -> Tensor:
        """The window (B, P, T) without its padding, the channels averaged."""
        parcels, steps = signal_BPT.shape[1:]
        top, left = (self.config.side - parcels) // 2, (self.config.side - steps) // 2
        return image_BCII[:, :, top : top + parcels, left : left + steps].mean(1)
