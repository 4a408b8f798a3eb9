"""An official network behind the product's interface: `forward(x_BPT, mask_BPN)` and `embed(x_BPT)`, as `BrainLM` has.

Shapes: B windows, P parcels, T steps, N time patches, S steps a patch, L = P N tokens, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from brainlm_data import InputError
from brainlm_model.models import attention
from brainlm_model.models.encoded import Encoded, States, pool
from brainlm_model.models.layout import Layout, gather_order
from brainlm_model.models.network import described
from brainlm_model.models.official.brainlm import OfficialBrainLM
from brainlm_model.models.official.config import as_model_config, to_hf
from brainlm_model.models.official.files import Network, build
from brainlm_model.models.official.parts import unshuffle
from brainlm_model.models.official.vitmae import OfficialViTMAE

VITMAE_DIVISOR = 5.6430855  # the official image models divide robust-scaled values by it


class OfficialNetwork(nn.Module):
    """An official network with the coordinates of its parcels (P, 3), raw mm.

    The encoder's convolution runs over tokens in the order in which masking left them, and was trained on random
    orders. So the order is random in training, and one fixed random order in evaluation: the same window always gives
    the same numbers, unlike in the official code.
    """

    coordinates: Tensor

    def __init__(self, network: Network, coordinates_P3: Tensor) -> None:
        super().__init__()
        self.network = network
        self.config = as_model_config(network.config)
        self.register_buffer("coordinates", coordinates_P3.float())

    def __repr__(self) -> str:
        return described(self, type(self.network).__name__)

    @property
    def cls(self) -> Tensor:
        """The CLS token: says on which device the network is."""
        return self.network.vit["embeddings"].cls_token

    def fresh(self) -> OfficialNetwork:
        """The same architecture with random weights."""
        return OfficialNetwork(build(self.network.config), self.coordinates.cpu())

    def architecture(self) -> dict[str, Any]:
        """What config.json says of it: the official fields."""
        return {"official": to_hf(self.network.config)}

    @property
    def mask_shape(self) -> tuple[int, int]:
        """Rows and columns of a mask: parcels and time patches; of a ViTMAE its squares of parcels x steps."""
        if isinstance(self.network, OfficialBrainLM):
            return self.config.parcels, self.config.patches
        side = self.network.config.side // self.network.config.patch_size
        return side, side

    def steps(self, mask: Tensor) -> Tensor:
        """The steps (B, P, T) that a mask hides."""
        if isinstance(self.network, OfficialBrainLM):
            return mask.repeat_interleave(self.config.patch, dim=2)
        patch = self.network.config.patch_size
        image = mask.repeat_interleave(patch, 1).repeat_interleave(patch, 2)[:, None]
        window = mask.new_zeros(len(mask), self.config.parcels, self.config.window)
        return self._unsorted(self.network.crop(image.float(), window) > 0)

    def layout(self, x_BPT: Tensor, mask: Tensor) -> Layout:
        """How many tokens of these windows are visible; cheapest before they travel to a GPU."""
        if not isinstance(self.network, OfficialBrainLM):
            return Layout.of(mask)
        return Layout.of(mask | x_BPT.unflatten(2, (-1, self.config.patch)).isnan().any(-1))

    def expect(self, x_BPT: Tensor, mask: Tensor, layout: Layout | None = None) -> None:
        """There is no prior."""

    def forward(self, x_BPT: Tensor, mask_BPN: Tensor, layout: Layout | None = None, expected: None = None) -> Tensor:
        """Reconstruction (B, P, T): predictions where a token is masked or unknown (NaN), the input elsewhere.

        The squares of a ViTMAE hold several parcels, so that what is unknown is zero there and not hidden.
        `layout`: what `layout` gives, where the caller has it: without, a GPU is waited for.

        Raises
        ------
        InputError: a mask that is not of `mask_shape`.
        """
        if mask_BPN.shape[1:] != self.mask_shape:
            raise InputError(
                f"a mask of {tuple(mask_BPN.shape[1:])}, the network's is of {self.mask_shape}",
                "a ViTMAE masks squares of parcels x steps, not tokens of a parcel: embed with it",
            )
        if not isinstance(self.network, OfficialBrainLM):
            return self._reconstruct_image(self.network, x_BPT, mask_BPN, layout or Layout.of(mask_BPN))
        x_BPNS = x_BPT.unflatten(2, (-1, self.config.patch))
        hidden_BPN = mask_BPN | x_BPNS.isnan().any(-1)
        x_BPNS = torch.where(hidden_BPN[..., None], 0, x_BPNS)
        layout = Layout.of(hidden_BPN) if layout is None else layout
        if layout.equal:
            return self._reconstruct(self.network, x_BPNS, hidden_BPN, layout.most).flatten(2)
        # rows with the same number of visible tokens go together: the official encoder has no padding
        reconstruction = torch.empty_like(x_BPNS)
        for keep, windows in layout.groups().items():
            rows = torch.tensor(windows, device=x_BPT.device)
            reconstruction[rows] = self._reconstruct(self.network, x_BPNS[rows], hidden_BPN[rows], keep)
        return reconstruction.flatten(2)

    def _reconstruct(self, network: OfficialBrainLM, x_BPNS: Tensor, hidden_BPN: Tensor, keep: int) -> Tensor:
        """Patches (B, P, N, S), predicted where hidden, of windows with `keep` visible tokens each."""
        latent, ids_restore = self._encode(network, x_BPNS, hidden_BPN, keep)
        masked = hidden_BPN.flatten(1).shape[1] - keep
        masked_BM = gather_order(hidden_BPN.flatten(1), masked, masked)[0]
        predicted = network.decoder(latent, self._places(len(latent)), ids_restore, masked_BM)
        places = masked_BM[..., None].expand(-1, -1, self.config.patch)
        filled_BLS = x_BPNS.flatten(1, 2).scatter(1, places, predicted.to(x_BPNS.dtype))
        return filled_BLS.unflatten(1, hidden_BPN.shape[1:])

    def embed(self, x_BPT: Tensor) -> Tensor:
        """CLS embedding (B, D) of whole windows with nothing masked."""
        return self.encode(x_BPT).cls_BD

    def encode(self, x_BPT: Tensor) -> Encoded:
        """CLS state and means of the known tokens, each parcel's in its own place, of whole windows."""
        return pool(*self.states(x_BPT))

    def states(self, x_BPT: Tensor) -> States:
        """CLS and every token after the encoder, each parcel's in its own place, of whole windows.

        Of a ViTMAE a parcel's tokens are the patches that its row of the image lies in, and the others there share.
        """
        if isinstance(self.network, OfficialViTMAE):
            return self._states_of_image(self.network, x_BPT)
        x_BPNS = x_BPT.unflatten(2, (-1, self.config.patch))
        hidden_BPN = x_BPNS.isnan().any(-1)
        x_BPNS = torch.where(hidden_BPN[..., None], 0, x_BPNS)
        encoded = []
        for rows in self._together(hidden_BPN):
            hidden = hidden_BPN[rows]
            latent, ids_restore = self._encode(self.network, x_BPNS[rows], hidden, int((~hidden[0]).sum()))
            tokens_BLD = unshuffle(latent[:, 1:], latent.new_zeros(1, 1, latent.shape[2]), ids_restore)
            encoded.append(torch.cat([latent[:, :1], tokens_BLD], dim=1))
        order_B = torch.cat(self._together(hidden_BPN)).argsort()
        latent = torch.cat(encoded)[order_B]
        return States(latent[:, 0], latent[:, 1:].unflatten(1, hidden_BPN.shape[1:]), ~hidden_BPN)

    def attention(self, x_BPT: Tensor) -> Tensor:
        """Attention (B, 1 + P, 1 + P) between CLS and parcels in the last encoder layer, of whole windows.

        Sum over the time patches of the parcel that is looked at, mean over those of the one that looks and over heads.

        Raises
        ------
        InputError: a ViTMAE (its tokens hold several parcels), or Nystrom's approximation (no weights of tokens).
        """
        if not isinstance(self.network, OfficialBrainLM):
            raise InputError(
                "attention: the tokens of a ViTMAE are squares of several parcels and steps",
                "it has no attention between parcels; give a BrainLM",
            )
        last: Any = self.network.vit["encoder"]["layer"][-1]
        if last.landmarks != last.segment:
            raise InputError(
                "attention: Nystrom's approximation has weights of landmarks, not of tokens",
                "a model whose num_landmarks is its segment_means_seq_len, as all that were released",
            )
        return attention.one_by_one(self._attention_of_tokens, x_BPT)

    def _attention_of_tokens(self, x_1PT: Tensor) -> Tensor:
        layers: Any = self.network.vit["encoder"]["layer"]
        x_1LD, (_, ids_restore) = attention.input_of_last(layers, lambda: self.visible(x_1PT))
        projections = layers[-1].attention["self"]
        weights_1LL = attention.softmax_weights(
            projections["query"](x_1LD), projections["key"](x_1LD), layers[-1].heads
        )
        order_L = ids_restore[0].argsort()[: x_1LD.shape[1] - 1]
        return attention.between_parcels(
            weights_1LL[0], attention.owners(order_L, self.config.patches), self.config.parcels
        )

    def visible(self, x_1PT: Tensor) -> tuple[Tensor, Tensor]:
        """Latent of CLS and the known tokens of one window, in the encoder's order, and their ids_restore (1, L)."""
        assert isinstance(self.network, OfficialBrainLM)
        x_1PNS = x_1PT.unflatten(2, (-1, self.config.patch))
        hidden_1PN = x_1PNS.isnan().any(-1)
        x_1PNS = torch.where(hidden_1PN[..., None], 0, x_1PNS)
        return self._encode(self.network, x_1PNS, hidden_1PN, int((~hidden_1PN).sum()))

    def _together(self, hidden_BPN: Tensor) -> list[Tensor]:
        """Rows of a batch that go through the encoder together: it has no padding, so as many tokens must be visible.

        With Nystrom's approximation a window's result depends on the others in its batch: one at a time.
        """
        visible_B = (~hidden_BPN).flatten(1).sum(1)
        if any(layer.landmarks != layer.segment for layer in self.network.vit["encoder"]["layer"]):
            return list(torch.arange(len(visible_B), device=visible_B.device)[:, None])
        return [(visible_B == keep).nonzero()[:, 0] for keep in visible_B.unique().tolist()]

    def _states_of_image(self, network: OfficialViTMAE, x_BPT: Tensor) -> States:
        order_P = self.coordinates[:, 1].argsort(stable=True)
        image = self._image(network, x_BPT)
        patch = network.config.patch_size
        side = network.config.side // patch
        noise_BL = torch.arange(side**2, device=image.device).expand(len(image), -1)  # positions are in the tokens
        latent = network.forward_encoder(image, noise_BL, side**2)[0]
        top, left = ((network.config.side - size) // 2 for size in x_BPT.shape[1:])
        columns = slice(left // patch, (left + x_BPT.shape[2] - 1) // patch + 1)  # that the window touches
        rows_P = (top + order_P.argsort()) // patch
        tokens_BGGD = latent[:, 1:].unflatten(1, (side, side))[:, :, columns]
        tokens_BPND = tokens_BGGD[:, rows_P]
        known_BP1 = ~x_BPT.isnan().all(2, keepdim=True)
        return States(latent[:, 0], tokens_BPND, known_BP1.expand(-1, -1, tokens_BPND.shape[2]))

    def _image(self, network: OfficialViTMAE, x_BPT: Tensor) -> Tensor:
        """Padded image of windows whose parcels are sorted by Y."""
        rows = self.coordinates[:, 1].argsort(stable=True)
        return network.pad(x_BPT.nan_to_num()[:, rows] / VITMAE_DIVISOR)

    def _unsorted(self, x_BPT: Tensor) -> Tensor:
        """Parcels in the order of the atlas again."""
        return x_BPT[:, self.coordinates[:, 1].argsort(stable=True).argsort()]

    def _reconstruct_image(self, network: OfficialViTMAE, x_BPT: Tensor, mask_BGG: Tensor, layout: Layout) -> Tensor:
        hidden_BL = mask_BGG.flatten(1)
        keep = layout.most  # the same in every window: a mask is drawn without replacement
        order_BL = torch.arange(hidden_BL.shape[1], device=x_BPT.device) / hidden_BL.shape[1] + hidden_BL
        latent, _, ids_restore = network.forward_encoder(self._image(network, x_BPT), order_BL, keep)
        predicted = network.crop(network.unpatchify(network.decoder(latent, ids_restore)), x_BPT)
        return torch.where(self.steps(mask_BGG), self._unsorted(predicted) * VITMAE_DIVISOR, x_BPT.nan_to_num())

    def _encode(self, network: OfficialBrainLM, x: Tensor, hidden_BPN: Tensor, keep: int) -> tuple[Tensor, Tensor]:
        """Latent and ids_restore of windows with `keep` visible tokens each."""
        hidden_BL = hidden_BPN.flatten(1)
        if self.training:
            order_BL = torch.rand(hidden_BL.shape, device=x.device)
        else:
            fixed = torch.Generator().manual_seed(0)
            order_BL = torch.rand(hidden_BL.shape[1], generator=fixed).to(x.device).expand(hidden_BL.shape)
        latent, _, ids_restore = network.forward_encoder(x, self._places(len(x)), order_BL + hidden_BL, keep)
        return latent, ids_restore

    def _places(self, batch: int) -> Tensor:
        return self.coordinates.expand(batch, -1, -1)
