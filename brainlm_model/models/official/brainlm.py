"""The official BrainLM (`model_type: brainlm_mae`), so that its weights give the numbers that they gave there.

A masked autoencoder (He et al., 2022) over tokens of one parcel and one time patch, with post-norm transformer layers
of Nystromformer (Xiong et al., 2021): where `num_landmarks` equals `segment_means_seq_len`, as in all released configs,
attention is the exact softmax, otherwise Nystrom's approximation; either way a depthwise convolution of the values over
the order of the tokens is added. Names of modules are those of the official files, names of functions those of MAE.
`brainlm_model/models/brainlm.py` is the product's own model.

Shapes: B windows, P parcels, N time patches, S steps per patch, L = P N tokens, V visible ones, D width, H heads.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brainlm_data import InputError
from brainlm_model.models.blocks import sinusoid
from brainlm_model.models.layout import take
from brainlm_model.models.official.config import BrainLMConfig
from brainlm_model.models.official.parts import (
    Output,
    activation,
    backbone,
    convolve,
    decoder_layers,
    encode_visible,
    encoder_layers,
    unshuffle,
)

POSITIONS = 5000  # rows of the sinusoid that the official files carry
EMBEDDING_DROPOUT = 0.1  # of the tokens after the sinusoid, in training; not in any config


def pseudo_inverse(matrix: Tensor) -> Tensor:
    """Moore-Penrose inverse of a stochastic matrix by six iterations (Razavi et al., 2014), as Nystromformer has it.

    The first guess is scaled by the largest column sum of the *whole batch*, so a window's result depends, as
    little as the iteration has left to converge, on the others.
    """
    # Z <- Z (13 I - A Z (15 I - A Z (7 I - A Z))) / 4, from Z = A' / (largest column sum): rows sum to 1
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    inverse = matrix.transpose(-1, -2) / matrix.sum(-2).max()
    for _ in range(6):
        product = matrix @ inverse
        inverse = 0.25 * inverse @ (13 * identity - product @ (15 * identity - product @ (7 * identity - product)))
    return inverse


class Layer(nn.Module):
    """Post-norm transformer layer: attention with a convolution over token order, then feed-forward."""

    attention: Any  # modules in modules, for the sake of the official names
    output: Any

    def __init__(self, width: int, heads: int, hidden: int, config: BrainLMConfig) -> None:
        super().__init__()
        self.heads = heads
        self.segment, self.landmarks = config.segment_means_seq_len, config.num_landmarks
        mixing = {name: nn.Linear(width, width) for name in ("query", "key", "value")}
        self.attention = nn.ModuleDict({"self": nn.ModuleDict(mixing), "output": _output(width, width, config)})
        self.kernel = config.conv_kernel_size
        if self.kernel is not None:
            self.attention["self"]["conv"] = nn.Conv2d(
                heads, heads, (self.kernel, 1), padding=(self.kernel // 2, 0), groups=heads, bias=False
            )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, hidden)})
        self.activation = activation(config.hidden_act)
        self.output = _output(hidden, width, config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x_BLD: Tensor, attentions: list[Tensor] | None = None, wanted_BM: Tensor | None = None) -> Tensor:
        """The layer's output (B, L, D); its attention weights are appended to `attentions`.

        `wanted_BM`: places of the tokens whose output is needed, in order (B, M, D); the others are keys alone.
        """
        queries_BMD = x_BLD
        if wanted_BM is not None:
            queries_BMD = take(x_BLD, wanted_BM)
        query, key, value = self._split("query", queries_BMD), self._split("key", x_BLD), self._split("value", x_BLD)
        scale = math.sqrt(math.sqrt(query.shape[-1]))  # of both, as there: d^(1/4) twice is the usual sqrt(d)
        mixed = self.attend(query / scale, key / scale, value, attentions).transpose(1, 2).flatten(2)
        if self.kernel is not None:
            near = self.convolve(value).transpose(1, 2).flatten(2)
            if wanted_BM is not None:
                near = take(near, wanted_BM)
            mixed = mixed + near
        x_BMD = self._residual(self.attention["output"], mixed, queries_BMD)
        return self._residual(self.output, self.activation(self.intermediate["dense"](x_BMD)), x_BMD)

    def _split(self, name: str, x_BLD: Tensor) -> Tensor:
        """Heads (B, H, L, D / H) of the query, key or value."""
        return self.attention["self"][name](x_BLD).unflatten(2, (self.heads, -1)).transpose(1, 2)

    def convolve(self, value: Tensor) -> Tensor:
        """Depthwise convolution (B, H, L, D / H) of the values over the order of the tokens."""
        return convolve(value, self.attention["self"]["conv"].weight)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, attentions: list[Tensor] | None) -> Tensor:
        """Softmax attention (B, H, L, D / H) of scaled queries and keys, exact or by landmarks."""
        if self.landmarks != self.segment:
            weights, value = self.nystrom(query, key, value)
            if attentions is not None:
                attentions.append(weights)
            return weights @ value
        if attentions is not None:
            attentions.append((query @ key.transpose(-1, -2)).softmax(-1))
        return F.scaled_dot_product_attention(query, key, value, scale=1.0)

    def nystrom(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (B, H, L, landmarks) of the landmarks, and their values (B, H, landmarks, D / H)."""
        if query.shape[2] != self.segment or self.segment % self.landmarks:
            raise InputError(
                f"{query.shape[2]} tokens, segment_means_seq_len {self.segment}, num_landmarks {self.landmarks}",
                "segment_means_seq_len must be CLS + visible tokens and a multiple of num_landmarks",
            )
        # softmax(Q K') ~ softmax(Q k') softmax(q k')^+ softmax(q K'), where the landmarks q and k are means of segments
        q = query.unflatten(2, (self.landmarks, -1)).mean(3)
        k = key.unflatten(2, (self.landmarks, -1)).mean(3)
        kernel_1 = (query @ k.transpose(-1, -2)).softmax(-1)
        kernel_2 = (q @ k.transpose(-1, -2)).softmax(-1)
        kernel_3 = (q @ key.transpose(-1, -2)).softmax(-1)
        return kernel_1 @ pseudo_inverse(kernel_2), kernel_3 @ value

    def _residual(self, block: Any, x: Tensor, residual: Tensor) -> Tensor:
        return block["LayerNorm"](self.dropout(block["dense"](x)) + residual)


def _output(inside: int, outside: int, config: BrainLMConfig) -> nn.ModuleDict:
    norm = nn.LayerNorm(outside, eps=config.layer_norm_eps)
    return nn.ModuleDict({"dense": nn.Linear(inside, outside), "LayerNorm": norm})


class PositionalEncoding(nn.Module):
    """Adds a fixed sinusoid over the time patches."""

    pe: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("pe", sinusoid(POSITIONS, width))
        self.dropout = nn.Dropout(EMBEDDING_DROPOUT)

    def forward(self, x_BPND: Tensor) -> Tensor:
        """Tokens with their place in time."""
        return self.dropout(x_BPND + self.pe[: x_BPND.shape[2]])


class Embeddings(nn.Module):
    """Tokens: projections of a patch's values and of its parcel's coordinates, and a sinusoid over time."""

    def __init__(self, config: BrainLMConfig) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.signal_embedding_projection = nn.Linear(config.timepoint_patching_size, config.hidden_size)
        self.xyz_embedding_projection = nn.Linear(3, config.hidden_size)
        self.pos_embedding = PositionalEncoding(config.hidden_size)

    def forward(self, x_BPNS: Tensor, xyz_BP3: Tensor) -> Tensor:
        """Tokens (B, L, D)."""
        place_BP1D = self.xyz_embedding_projection(xyz_BP3)[:, :, None]
        return self.pos_embedding(self.signal_embedding_projection(x_BPNS) + place_BP1D).flatten(1, 2)


class Decoder(nn.Module):
    """Decoder over all tokens, with coordinates and a sinusoid of its own, and a head of two layers."""

    def __init__(self, config: BrainLMConfig) -> None:
        super().__init__()
        width = config.decoder_hidden_size
        self.tanh = config.use_tanh_decoder
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.decoder_embed = nn.Linear(config.hidden_size, width)
        self.decoder_xyz_projection = nn.Linear(3, width)
        self.pos_embedding = PositionalEncoding(width)
        self.decoder_layers = decoder_layers(Layer, config)
        self.decoder_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.decoder_pred1 = nn.Linear(width, width // 2)
        self.decoder_pred2 = nn.Linear(width // 2, config.timepoint_patching_size)
        # Dead weight: the official files carry the head of an image model, which nothing uses.
        self.decoder_pred = nn.Linear(width, config.patch_size**2 * config.num_channels).requires_grad_(False)

    def forward(self, latent: Tensor, xyz_BP3: Tensor, ids_restore: Tensor, wanted_BM: Tensor | None = None) -> Tensor:
        """Predictions (B, P, N, S), or (B, M, S) of the tokens at `wanted_BM`: only what the loss needs costs time."""
        x = self.decoder_embed(latent)
        parcels = xyz_BP3.shape[1]
        tokens_BPND = unshuffle(x[:, 1:], self.mask_token, ids_restore).unflatten(1, (parcels, -1))
        tokens_BPND = self.pos_embedding(tokens_BPND + self.decoder_xyz_projection(xyz_BP3)[:, :, None])
        x = torch.cat([x[:, :1], tokens_BPND.flatten(1, 2)], dim=1)
        for layer in self.decoder_layers[:-1]:
            x = layer(x)
        last: Any = self.decoder_layers[-1]
        if wanted_BM is None:
            x = last(x)[:, 1:]
        elif last.landmarks != last.segment:  # Nystrom's landmarks are made from all queries
            x = take(last(x)[:, 1:], wanted_BM)
        else:
            x = last(x, wanted_BM=wanted_BM + 1)  # behind CLS
        x = F.leaky_relu(self.decoder_pred1(self.decoder_norm(x)), 0.1)
        x = self.decoder_pred2(x)
        if self.tanh:
            x = x.tanh()
        if wanted_BM is None:
            x = x.unflatten(1, (parcels, -1))
        return x


class OfficialBrainLM(nn.Module):
    """`BrainLMForPretraining` of the official code."""

    vit: Any

    def __init__(self, config: BrainLMConfig) -> None:
        super().__init__()
        self.config = config
        self.vit = backbone(encoder_layers(Layer, config), Embeddings(config), config)
        self.decoder = Decoder(config)
        self.initialize_weights()

    def initialize_weights(self) -> None:
        """As there: Xavier for linear layers, normal for the two tokens; nothing uses `decoder_pred`: zeros."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for token in (self.vit["embeddings"].cls_token, self.decoder.mask_token):
            nn.init.normal_(token, std=self.config.initializer_range)
        nn.init.zeros_(self.decoder.decoder_pred.weight)

    def set_landmarks(self, encoder: tuple[int, int], decoder: tuple[int, int]) -> None:
        """(segment_means_seq_len, num_landmarks) of encoder and decoder apart, which no config can say."""
        for layers, pair in ((self.vit["encoder"]["layer"], encoder), (self.decoder.decoder_layers, decoder)):
            for layer in layers:
                layer.segment, layer.landmarks = pair

    def forward(
        self,
        signal_BPT: Tensor,
        xyz_BP3: Tensor,
        noise_BL: Tensor | None = None,
        mask_ratio: float | None = None,
        details: bool = False,
    ) -> Output:
        """Mask, encode, decode and score.

        Parameters
        ----------
        xyz_BP3: raw coordinates in mm.
        noise_BL: tokens of least noise stay visible; None: drawn.
        mask_ratio: None: the config's.
        details: return hidden states and attention weights of the encoder, too.

        Raises
        ------
        InputError: another number of parcels, or steps that are not a whole number of patches.
        """
        if signal_BPT.shape[1] != self.config.num_brain_voxels or signal_BPT.shape[2] % (
            self.config.timepoint_patching_size
        ):
            raise InputError(
                f"official BrainLM: a window of {signal_BPT.shape[1]} parcels x {signal_BPT.shape[2]} steps",
                f"{self.config.num_brain_voxels} parcels, a multiple of {self.config.timepoint_patching_size} steps",
            )
        x_BPNS = signal_BPT.unflatten(2, (-1, self.config.timepoint_patching_size))
        tokens = x_BPNS.shape[1] * x_BPNS.shape[2]
        if mask_ratio is None:
            mask_ratio = self.config.mask_ratio
        keep = int(tokens * (1 - mask_ratio))
        if noise_BL is None:
            noise_BL = torch.rand(len(signal_BPT), tokens, device=signal_BPT.device)
        hidden: list[Tensor] = []
        attentions: list[Tensor] = []
        lists = (hidden, attentions) if details else (None, None)
        latent, mask, ids_restore = self.forward_encoder(x_BPNS, xyz_BP3, noise_BL, keep, *lists)
        logits = self.decoder(latent, xyz_BP3, ids_restore)
        mask_BPN = mask.unflatten(1, x_BPNS.shape[1:3])
        loss = self.forward_loss(x_BPNS, logits, mask_BPN)
        return Output(loss, logits, latent, mask_BPN, ids_restore, hidden, attentions)

    def forward_encoder(
        self,
        x_BPNS: Tensor,
        xyz_BP3: Tensor,
        noise_BL: Tensor,
        keep: int,
        hidden: list[Tensor] | None = None,
        attentions: list[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `parts.encode_visible`."""
        embeddings = self.vit["embeddings"]
        cls_B1D = embeddings.cls_token.expand(len(x_BPNS), -1, -1)
        return encode_visible(self.vit, embeddings(x_BPNS, xyz_BP3), cls_B1D, noise_BL, keep, hidden, attentions)

    def forward_loss(self, target: Tensor, predicted: Tensor, mask: Tensor) -> Tensor:
        """Mean (squared or absolute) error of masked values; **NaN where nothing is masked**, as the official code.

        `brainlm_model.models.loss.masked_mse`, which our trainer uses, is zero there.
        """
        error = predicted - target
        error = error.square() if self.config.loss_fn == "mse" else error.abs()
        return (error * mask[..., None]).sum() / (mask.sum() * target.shape[-1])
