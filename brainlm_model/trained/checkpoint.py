"""Trained models: what they are, and their files. Nothing is pickled."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from brainlm_data import InputError, Scaler, beside, sum_folder
from brainlm_model.models.card import ModelCard
from brainlm_model.models.config import ModelConfig
from brainlm_model.trained import connectivity
from brainlm_model.trained.drawing import draw_reconstruction
from brainlm_model.trained.embedding import (
    BATCH,
    Kind,
    SourceRecording,
    collected,
    embeddings,
    is_array,
    of_kind,
    recordings_of,
)
from brainlm_model.trained.second_order import described

if TYPE_CHECKING:
    from torch import Tensor, nn

    from brainlm_model.models.network import Network

FORMAT = 1  # of config.json
AGAIN = "take the whole folder of one model, as it was written; else train it again (`--force`), or convert it again"


@dataclass(frozen=True, eq=False, repr=False)
class TrainedModel:
    """A model with what its input needs: what `load` and `TrainedModel.from_pretrained` return.

    Attributes
    ----------
    network: the `BrainLM`, or the official one that was converted (docs/official.md), in evaluation mode, on `device`.
    config: its architecture.
    scaler: what its data were scaled with.
    training: how it was trained (preset, steps, mask ratios, seed, numbers of subjects, ...).
    card: how it and its data were made: `card.data` for `read_series`, `card.markdown()` in words.

    Examples
    --------
    >>> from brainlm_model import TrainedModel, load
    >>> model = load("results/models/tiny")
    >>> model.config.window, model.scaler.median.shape
    (200, (24,))
    >>> folder = model.save_pretrained("shared/tiny")
    >>> TrainedModel.from_pretrained("shared/tiny").config == model.config
    True
    """

    network: Network
    config: ModelConfig
    scaler: Scaler
    training: dict[str, Any]
    card: ModelCard

    def __repr__(self) -> str:
        facts = {"Steps": "steps", "TrainingRecordings": "recordings", "TrainingSubjects": "subjects"}
        known = [f"{self.training[key]} {word}" for key, word in facts.items() if key in self.training]
        trained = f", trained: {', '.join(known)}" if known else ""
        return f"{type(self).__name__} {self.card.model.name}: {self.network}{trained}"

    def __sklearn_clone__(self) -> TrainedModel:
        """As a parameter of a scikit-learn estimator it is shared, not copied: nothing there changes it."""
        return self

    @classmethod
    def from_pretrained(cls, name: str | Path, *, revision: str | None = None, device: str = "cpu") -> TrainedModel:
        """A model from its folder, or from the Hugging Face Hub: the same as `brainlm_model.load`."""
        # by its name: `load` is above this module, as it makes fine-tuned models, too
        model: TrainedModel = import_module("brainlm_model.trained.load").load(name, device, revision=revision)
        return model

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write the model to a new or empty folder, as the Hugging Face Hub has them; returns the folder.

        config.json, model.safetensors, scaler.npz, card.json, card.md, README.md (its model card there) and SHA256SUMS;
        of a fine-tuned one head.safetensors, too. `load` and `from_pretrained` read it; nothing is pickled.

        Raises
        ------
        InputError: the folder has files in it.
        """
        out = Path(folder)
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"{out}: has files in it", "give a new folder")
        out.parent.mkdir(parents=True, exist_ok=True)
        with beside(out, "writing") as scratch:
            made = scratch / "model"
            made.mkdir()
            self._write(made)
            sum_folder(made)
            if out.exists():
                out.rmdir()  # it is empty
            os.replace(made, out)
        return out

    def _write(self, folder: Path) -> None:
        """The files of `save_pretrained` but for SHA256SUMS."""
        save_weights(self.network, folder / "model.safetensors", {"format": "pt"})
        (folder / "config.json").write_text(config_json(self.network, self.training), encoding="utf-8")
        self.scaler.save(folder / "scaler.npz")
        self.card.save(folder / "card.json", folder / "card.md")
        (folder / "README.md").write_text(self.card.readme(), encoding="utf-8")

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
            By default the CLS vector of an array, and an `Embedding` of anything else. "connectivity",
            "connectivity_band", "connectivity_global", "adapted" (F,), F = P (P + 1) / 2, or "attention"
            (P (P - 1) / 2,): how the P parcels vary together (docs/embeddings.md); no window is cut for the first four.
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
        if kind not in get_args(Kind):
            raise InputError(f"embed: kind {kind!r}", f"one of {', '.join(get_args(Kind))}")
        chosen = recordings_of(source, self.card.data, split, atlas, tr)
        results = self.results(chosen, kind, batch)
        return collected(source, ((recording, of_kind(result, kind)) for recording, result in results))

    def plot_reconstruction(
        self, source: Any, *, mask_ratio: float = 0.5, seed: int = 0, start: int = 0, tr: float | None = None
    ) -> np.ndarray:
        """One window of a recording: as it is, what the model sees, and what it makes of that; returns the three axes.

        Parameters
        ----------
        source: one recording, as of `embed`. tr: s, of a 4-D NIfTI or an array.
        mask_ratio: share of the tokens that is hidden, at random. seed: of the mask.
        start: first step of the window.

        Raises
        ------
        InputError: several recordings, a window beyond its end, or what `embed` refuses.

        Examples
        --------
        >>> from brainlm_data import open_store
        >>> from brainlm_model import load
        >>> recording = open_store("results/store.zarr").recording("sub-08_task-rest")
        >>> axes = load("results/models/tiny").plot_reconstruction(recording, mask_ratio=0.5)
        >>> [panel.get_title(loc="left") for panel in axes][:2]
        ['Recording', 'What the model sees']
        """
        chosen = recordings_of(source, self.card.data, tr=tr)
        if len(chosen) != 1:
            raise InputError(f"plot_reconstruction: {len(chosen)} recordings", "give one: (store, id)")
        return draw_reconstruction(self.network, self.scaler, chosen[0].read(), mask_ratio, seed, start)

    def results(self, chosen: list[SourceRecording], kind: Kind, batch: int) -> Iterator[tuple[SourceRecording, Any]]:
        """An `Embedding`, or of second-order kinds a `Described`, or an error of each recording."""
        if kind not in connectivity.KINDS:
            return embeddings(self.network, self.scaler, chosen, batch)
        rate_hz = None if self.card.data is None else self.card.data.rate_hz
        return described(self.network, self.scaler, chosen, kind, rate_hz)

    def reconstruct(self, x_BPT: Tensor, mask_BPN: Tensor) -> Tensor:
        """Scaled windows (B, P, T) with masked tokens replaced by predictions; `mask_BPN` is true where masked."""
        import torch

        device = self.network.cls.device
        with torch.inference_mode():
            return self.network(x_BPT.to(device), mask_BPN.to(device)).to(x_BPT.device)


def save_weights(module: Network | nn.Module, path: Path, about: dict[str, str] | None = None) -> None:
    """Weights and buffers as safetensors, on the CPU. `about`: metadata of the file."""
    from safetensors.torch import save_file

    save_file({name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}, path, about)


def config_json(network: Network, training: dict[str, Any], **more: Any) -> str:
    """Content of config.json: the architecture, in the official fields where it is one. `more`: sections."""
    content = {"format": FORMAT, **network.architecture(), "training": training, **more}
    return json.dumps(content, indent=2, sort_keys=True) + "\n"
