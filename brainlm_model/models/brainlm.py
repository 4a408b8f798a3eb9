"""BrainLM as a masked autoencoder over tokens of one parcel and one time patch (Ortega Caro et al., ICLR 2024).

Shapes are in the names: B windows, P parcels, T steps, N time patches, S steps a patch, L tokens, D width.
NaN in the input means that a value is not known: its token is hidden from the model, and it is never scored.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brainlm_model.models import attention
from brainlm_model.models.blocks import AxialBlock, Block, sinusoid
from brainlm_model.models.config import ModelConfig
from brainlm_model.models.encoded import Encoded, States, pool
from brainlm_model.models.layout import Layout, gather_order, take
from brainlm_model.models.network import described
from brainlm_model.models.prior import Expected, GaussianPrior


def _embedding(*shape: int) -> nn.Parameter:
    """What is learnt of a token by its name or place alone, starting near zero."""
    return nn.Parameter(torch.randn(*shape) * 0.02)


class BrainLM(nn.Module):
    """Masked autoencoder over parcels x time patches.

    A token is a linear projection of its patch plus a learnt embedding of its parcel, a linear one of the parcel's
    coordinates and a learnt one of its place in time. `coordinates_P3`: mm; zeros where there are none.
    """

    coordinates: Tensor

    def __init__(self, config: ModelConfig, coordinates_P3: Tensor | None = None) -> None:
        super().__init__()
        self.config = config
        width = config.width
        seen = config.patch
        if config.prior != "zero":
            seen = 2 * config.patch + 1  # a token also sees its innovation and its spread
        self.project = nn.Linear(seen, width)
        self.spatial = self.place = None
        if config.spatial != "coordinates":
            self.spatial = _embedding(config.parcels, width)
        if config.spatial != "learned":
            self.place = nn.Linear(3, width, bias=False)
        if config.temporal == "learned":
            self.temporal = _embedding(config.patches, width)
        else:
            self.register_buffer("temporal", sinusoid(config.patches, width))
        self.cls = _embedding(width)
        self.mask_token = _embedding(width)
        block = AxialBlock if config.attention == "axial" else Block
        self.encoder = nn.ModuleList(block(config) for _ in range(config.depth))
        self.encoder_norm = nn.LayerNorm(width)
        self.decoder = nn.ModuleList(block(config) for _ in range(config.decoder_depth))
        self.decoder_norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, config.patch)
        self.prior = None
        if config.prior != "zero":
            self.prior = GaussianPrior(config.parcels, config.strength, joint=config.prior == "spacetime")
            # the residual starts at zero, the model at the Gaussian
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)
            self.gain = nn.Parameter(torch.ones(()))
        if coordinates_P3 is None:
            coordinates_P3 = torch.zeros(config.parcels, 3)
        self.register_buffer("coordinates", coordinates_P3.float() / 100)  # about unit size

    def forward(
        self, x_BPT: Tensor, mask_BPN: Tensor, layout: Layout | None = None, expected: Expected | None = None
    ) -> Tensor:
        """Reconstruction (B, P, T): predictions where a token is masked or unknown, the input elsewhere.

        `layout` (from `layout`) and `expected` (from `expect`) are for a caller that has them: without, the tokens are
        counted, for which a GPU is waited for, and the prior is asked.
        """
        x_BPNS, hidden_BPN, seen_BPNF = self._look(x_BPT, mask_BPN, layout, expected)
        tokens_BPND = self._tokens(seen_BPNF, hidden_BPN)
        if self.config.attention == "axial":
            grid_BPND = self._axial(self.decoder, self._encode_grid(tokens_BPND))
            predicted = self.head(self.decoder_norm(grid_BPND[:, 1:]))  # without CLS
        else:
            layout = Layout.of(hidden_BPN) if layout is None else layout
            predicted = self._decode(*self._encode(tokens_BPND, hidden_BPN, layout), hidden_BPN, layout)
        if self.prior is not None:
            predicted = predicted + x_BPNS  # where hidden, `x_BPNS` is the prior's expectation
        return torch.where(hidden_BPN[..., None], predicted, x_BPNS).flatten(2)

    def __repr__(self) -> str:
        return described(self, "BrainLM")

    @property
    def mask_shape(self) -> tuple[int, int]:
        """Rows and columns of a mask: parcels and time patches."""
        return self.config.parcels, self.config.patches

    def layout(self, x_BPT: Tensor, mask_BPN: Tensor) -> Layout:
        """How many tokens of these windows are visible; cheapest before they travel to a GPU."""
        return Layout.of(mask_BPN | x_BPT.unflatten(2, (-1, self.config.patch)).isnan().any(-1))

    def expect(self, x_BPT: Tensor, mask_BPN: Tensor, layout: Layout | None = None) -> Expected | None:
        """What the prior says of windows, None without one: apart, as its factorisations cannot be compiled."""
        if self.prior is None:
            return None
        return self.prior(*self._hide(x_BPT, mask_BPN), layout)

    def steps(self, mask_BPN: Tensor) -> Tensor:
        """The steps (B, P, T) that a mask hides."""
        return mask_BPN.repeat_interleave(self.config.patch, dim=2)

    def embed(self, x_BPT: Tensor) -> Tensor:
        """CLS embedding (B, D) of whole windows: nothing masked, nothing drawn, so it is always the same."""
        return self.encode(x_BPT).cls_BD

    def encode(self, x_BPT: Tensor) -> Encoded:
        """CLS state and means of the tokens that are known, of whole windows: nothing masked, nothing drawn."""
        return pool(*self.states(x_BPT))

    def states(self, x_BPT: Tensor) -> States:
        """CLS and every token after the encoder, of whole windows: nothing masked, nothing drawn."""
        nothing = torch.zeros(
            len(x_BPT), self.config.parcels, self.config.patches, dtype=torch.bool, device=x_BPT.device
        )
        _, hidden_BPN, seen_BPNF = self._look(x_BPT, nothing, None, None)
        tokens_BPND = self._tokens(seen_BPNF, hidden_BPN)
        if self.config.attention == "axial":
            grid_BPND = self._encode_grid(tokens_BPND)
            return States(grid_BPND[:, 0].mean(1), grid_BPND[:, 1:], ~hidden_BPN)
        x_BLD, order_BL, _ = self._encode(tokens_BPND, hidden_BPN, Layout.of(hidden_BPN))
        empty = torch.zeros_like(tokens_BPND, dtype=x_BLD.dtype).flatten(1, 2)
        states = empty.scatter(1, order_BL[..., None].expand(-1, -1, x_BLD.shape[2]), x_BLD[:, 1:])
        return States(x_BLD[:, 0], states.view_as(tokens_BPND), ~hidden_BPN)

    def attention(self, x_BPT: Tensor) -> Tensor:
        """Attention (B, R, R), R = 1 + P, between CLS and parcels in the last encoder block, of whole windows.

        Rows are queries, mean over heads. Axial models: attention across parcels, mean over the time patches in which
        the query is known. Attention over all tokens: sum over the time patches of the parcel that is looked at, mean
        over those of the one that looks.
        """
        one = self._attention_across_parcels if self.config.attention == "axial" else self._attention_of_all_tokens
        return attention.one_by_one(one, x_BPT)

    def fresh(self) -> BrainLM:
        """The same architecture with random weights, and the same buffers: what is not trained."""
        network = BrainLM(self.config, self.coordinates.cpu() * 100)  # which `__init__` divides by 100
        network.load_state_dict(dict(self.named_buffers()), strict=False)
        return network

    def architecture(self) -> dict[str, Any]:
        """What config.json says of it."""
        return {"model": asdict(self.config)}

    def _attention_across_parcels(self, x_1PT: Tensor) -> Tensor:
        known_NR = F.pad(~attention.hidden_tokens(x_1PT, self.config.patch)[0].T, (1, 0), value=True)
        x_1RND, _ = attention.input_of_last(self.encoder, lambda: self.encode(x_1PT))
        block: Any = self.encoder[-1]
        rows_NRD = block.norms[0](x_1RND[0]).transpose(0, 1)
        weights = [attention.weights(block.across_parcels, rows_RD[None], rows_RD[None])[0] for rows_RD in rows_NRD]
        return attention.over_patches(torch.stack(weights), known_NR)

    def _attention_of_all_tokens(self, x_1PT: Tensor) -> Tensor:
        hidden_1PN = attention.hidden_tokens(x_1PT, self.config.patch)
        layout = Layout.of(hidden_1PN)
        order_1L, _ = gather_order(~hidden_1PN.flatten(1), layout.fewest, layout.most)
        x_1LD, _ = attention.input_of_last(self.encoder, lambda: self.encode(x_1PT))
        block: Any = self.encoder[-1]
        normed_1LD = block.norm_attention(x_1LD)
        weights_LL = attention.weights(block.attention, normed_1LD, normed_1LD)[0]
        return attention.between_parcels(
            weights_LL, attention.owners(order_1L[0], self.config.patches), self.config.parcels
        )

    def _hide(self, x_BPT: Tensor, mask_BPN: Tensor) -> tuple[Tensor, Tensor]:
        """Patches (B, P, N, S) with hidden tokens zero; which are hidden: masked, or not known."""
        x_BPNS = x_BPT.unflatten(2, (-1, self.config.patch))
        hidden_BPN = mask_BPN | x_BPNS.isnan().any(-1)
        return torch.where(hidden_BPN[..., None], 0, x_BPNS), hidden_BPN

    def _look(
        self, x_BPT: Tensor, mask_BPN: Tensor, layout: Layout | None, expected: Expected | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Patches (B, P, N, S) with hidden tokens zero, or what the prior expects; which are hidden; what tokens see.

        With a prior a token sees (B, P, N, 2 S + 1) its value or expectation, its innovation, and its spread.
        """
        x_BPNS, hidden_BPN = self._hide(x_BPT, mask_BPN)
        if self.prior is None:
            return x_BPNS, hidden_BPN, x_BPNS
        if expected is None:
            expected = self.prior(x_BPNS, hidden_BPN, layout)
        filled, innovation, spread = expected
        # x_hat = E[hidden | visible at this step] + gain x what past and future say of the rest of it
        filled = torch.where(hidden_BPN[..., None], filled + self.gain * innovation, filled)
        return filled, hidden_BPN, torch.cat([filled, innovation, spread[..., None]], dim=-1)

    def _position(self) -> Tensor:
        """Embedding (P, N, D) of where and when a token is."""
        where = torch.zeros((), device=self.cls.device)
        if self.spatial is not None:
            where = where + self.spatial
        if self.place is not None:
            where = where + self.place(self.coordinates)
        return where[:, None] + self.temporal

    def _tokens(self, seen_BPNF: Tensor, hidden_BPN: Tensor) -> Tensor:
        """Tokens (B, P, N, D); a hidden one has the mask token and, with a prior, the projection of what it sees."""
        content = self.project(seen_BPNF)
        hidden: Tensor = self.mask_token
        if self.prior is not None:
            hidden = content + self.mask_token
        return torch.where(hidden_BPN[..., None], hidden, content) + self._position()

    def _encode_grid(self, tokens_BPND: Tensor) -> Tensor:
        """Axial encoder (B, 1 + P, N, D): a CLS token in front of each time patch, as one more parcel."""
        batch, _, patches, width = tokens_BPND.shape
        cls_B1ND = self.cls.expand(batch, 1, patches, width).to(tokens_BPND.dtype)
        return self.encoder_norm(self._axial(self.encoder, torch.cat([cls_B1ND, tokens_BPND], dim=1)))

    @staticmethod
    def _axial(blocks: nn.ModuleList, x_BPND: Tensor) -> Tensor:
        for block in blocks:
            x_BPND = block(x_BPND)
        return x_BPND

    def _encode(self, tokens_BPND: Tensor, hidden_BPN: Tensor, layout: Layout) -> tuple[Tensor, Tensor, Tensor | None]:
        """Encoder on CLS and the visible tokens: its output, their places, and which of them exist (None: all)."""
        tokens_BLD, hidden_BL = tokens_BPND.flatten(1, 2), hidden_BPN.flatten(1)
        order_BL, exists = gather_order(~hidden_BL, layout.fewest, layout.most)
        x = torch.cat([self.cls.expand(len(tokens_BLD), 1, -1), take(tokens_BLD, order_BL)], dim=1)
        allowed = None
        if exists is not None:
            allowed = F.pad(exists, (1, 0), value=True)  # CLS always exists
        for block in self.encoder:
            x = block(x, allowed_BK=allowed)
        return self.encoder_norm(x), order_BL, allowed

    def _decode(
        self, memory: Tensor, order_BL: Tensor, allowed: Tensor | None, hidden_BPN: Tensor, layout: Layout
    ) -> Tensor:
        """Predictions (B, P, N, S); with a cross-attention decoder only hidden tokens have one."""
        position_LD = self._position().flatten(0, 1)
        batch, (tokens, width) = len(memory), position_LD.shape
        masked = (self.mask_token + position_LD).expand(batch, tokens, width)  # as if every token was hidden
        if self.config.decoder == "cross":
            order_BM, _ = gather_order(hidden_BPN.flatten(1), tokens - layout.most, tokens - layout.fewest)
            x = take(masked, order_BM)
            for block in self.decoder:
                x = block(x, memory, allowed)
            predicted = self.head(self.decoder_norm(x))
            empty = predicted.new_zeros(batch, tokens, self.config.patch)
            return empty.scatter(1, order_BM[..., None].expand_as(predicted), predicted).view(*hidden_BPN.shape, -1)
        visible = memory[:, 1:] + position_LD[order_BL]  # as the decoder's own embedding of place
        if allowed is not None:  # padding stands at places of hidden tokens, which keep theirs
            visible = torch.where(allowed[:, 1:, None], visible, take(masked, order_BL))
        x = masked.scatter(1, order_BL[..., None].expand_as(visible), visible.to(masked.dtype))
        x = torch.cat([memory[:, :1].to(x.dtype), x], dim=1)
        for block in self.decoder:
            x = block(x)
        return self.head(self.decoder_norm(x[:, 1:])).view(*hidden_BPN.shape, -1)
