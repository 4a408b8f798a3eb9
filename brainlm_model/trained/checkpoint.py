"""Trained models: what they are, and their files. Nothing is pickled."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainlm_data import Scaler
from brainlm_model.models.card import ModelCard
from brainlm_model.models.config import ModelConfig
from brainlm_model.trained.embedding import BATCH, Kind, collected, embeddings, is_array, of_kind, recordings_of

if TYPE_CHECKING:
    from torch import Tensor

    from brainlm_model.models.network import Network

FORMAT = 1  # of config.json
AGAIN = "take the whole folder of one model, as it was written; else train it again (`--force`), or convert it again"


@dataclass(frozen=True)
class TrainedModel:
    """A model with what its input needs.

    Attributes
    ----------
    network: the `BrainLM`, or the official one that was converted (docs/official.md), in evaluation mode, on `device`.
    config: its architecture.
    scaler: what its data were scaled with.
    training: how it was trained (preset, steps, mask ratios, seed, numbers of subjects, ...).
    card: how it and its data were made: `card.data` for `read_series`, `card.markdown()` in words.
    """

    network: Network
    config: ModelConfig
    scaler: Scaler
    training: dict[str, Any]
    card: ModelCard

    def embed(
        self,
        source: Any,
        kind: Kind | None = None,
        *,
        split: str | None = None,
        atlas: str | Path | None = None,
        tr: float | None = None,
        batch: int = BATCH,
    ) -> Any:
        """Embed a recording, several, or all of a store: the same recording always gives the same embedding.

        A recording is prepared (demeaned, robust-scaled with the model's scaler) and cut into windows, one after
        another, the last aligned to its end; nothing is masked, and the windows that hold something known are averaged.

        Parameters
        ----------
        source: array (time, parcel), unscaled, as in the store, NaN where a value is not known; a `ParcelSeries`; path
            of a `.tsv`, `.npy`, `.ptseries.nii` or preprocessed 4-D NIfTI, compared with the model's card; (store, id);
            a store; or a list of any of them but stores, or an array (recording, time, parcel).
        kind: "cls" (width,), "mean" (width,) or "parcels" (parcel, width) as float32 array, or "all": an `Embedding`.
            By default the CLS vector of an array, and an `Embedding` of anything else.
        split: of a store, only this split. atlas: of a 4-D NIfTI: see `brainlm_data.read_series`.
        tr: repetition time, s, of a 4-D NIfTI; or of arrays, which are then resampled to the model's rate. Without it
            an array is taken to have that rate. A `ParcelSeries` of another rate is resampled.
        batch: windows a forward pass.

        Returns
        -------
        That of one recording; of several a list; of a store a dictionary by id, with a warning for each recording that
        is left out.

        Raises
        ------
        InputError: another number of parcels than the model's, fewer steps than a window, an infinite value, nothing
            known (a token is known where all of its steps are), or a source that contradicts the card.

        Examples
        --------
        >>> from brainlm_data import open_store
        >>> from brainlm_model import load
        >>> model, store = load("results/models/tiny"), open_store("results/store.zarr")
        >>> model.embed(store.series("sub-00_task-rest")).shape
        (16,)
        >>> model.embed(store.recording("sub-00_task-rest"))
        Embedding: cls (16,), mean (16,), parcels (24, 16), of 2 windows
        >>> sorted(model.embed(store, split="test"))
        ['sub-08_task-rest', 'sub-09_task-rest']
        """
        kind = kind or ("cls" if is_array(source) else "all")
        chosen = recordings_of(source, self.card.data, split, atlas, tr)
        results = embeddings(self.network, self.scaler, chosen, batch)
        return collected(source, ((recording, of_kind(result, kind)) for recording, result in results))

    def reconstruct(self, x_BPT: Tensor, mask_BPN: Tensor) -> Tensor:
        """Scaled windows (B, P, T) with masked tokens replaced by predictions; `mask_BPN` is true where masked."""
        import torch

        device = self.network.cls.device
        with torch.inference_mode():
            return self.network(x_BPT.to(device), mask_BPN.to(device)).to(x_BPT.device)


def save_weights(network: Network, path: Path) -> None:
    """Weights and buffers as safetensors, on the CPU."""
    from safetensors.torch import save_file

    save_file({name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}, path)


def config_json(network: Network, training: dict[str, Any]) -> str:
    """Content of config.json: the architecture, in the official fields where it is an official one."""
    content = {"format": FORMAT, **network.architecture(), "training": training}
    return json.dumps(content, indent=2, sort_keys=True) + "\n"
