"""Trained models on disk: a folder with model.safetensors, config.json, scaler.npz and card.md. Nothing is pickled."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainlm_data import BrainLMError, InputError, Scaler
from brainlm_model.models.config import ModelConfig, from_json
from brainlm_model.trained.embedding import BATCH, Kind

if TYPE_CHECKING:
    from torch import Tensor

    from brainlm_model.models.brainlm import BrainLM
    from brainlm_model.models.official.network import OfficialNetwork

FORMAT = 1  # of config.json


@dataclass(frozen=True)
class TrainedModel:
    """A model with what its input needs.

    Attributes
    ----------
    network: the `BrainLM`, or the official one that was converted (docs/official.md), in evaluation mode, on `device`.
    config: its architecture.
    scaler: what its data were scaled with.
    training: how it was trained (preset, steps, mask ratios, seed, numbers of subjects, ...).
    card: how it and its data were made, in words.
    """

    network: BrainLM | OfficialNetwork
    config: ModelConfig
    scaler: Scaler
    training: dict[str, Any]
    card: str

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
        """Embed a recording, or all of a store: the same recording always gives the same embedding.

        A recording is prepared (demeaned, robust-scaled with the model's scaler) and cut into windows, one after
        another, the last aligned to its end; nothing is masked, and the windows that hold something known are averaged.

        Parameters
        ----------
        source: array (time, parcel), unscaled, as in the store, NaN where a value is not known; path of a `.tsv`,
            `.npy`, `.ptseries.nii` or preprocessed 4-D NIfTI, compared with the model's card; (store, id); or a store.
        kind: "cls" (width,), "mean" (width,) or "parcels" (parcel, width) as float32 array, or "all": an `Embedding`.
            By default the CLS vector of an array, and an `Embedding` of anything else.
        split: of a store, only this split. atlas, tr: of a 4-D NIfTI: see `brainlm_data.read_series`.
        batch: windows a forward pass.

        Returns
        -------
        That of one recording; of a store a dictionary by id, with a warning for each recording that is left out.

        Raises
        ------
        InputError: another number of parcels than the model's, fewer steps than a window, an infinite value, nothing
            known (a token is known where all of its steps are), or a source that contradicts the card.
        """
        import warnings

        from brainlm_model.trained.embedding import embeddings, is_store, recordings_of

        chosen = recordings_of(source, self.card, split, atlas, tr)
        kind = kind or ("all" if chosen[0].id else "cls")  # an array has no name
        found = {}
        for recording, result in embeddings(self, chosen, batch):
            if not isinstance(result, BrainLMError):
                found[recording.id] = result if kind == "all" else getattr(result, kind)
            elif not is_store(source):
                raise result
            else:
                warnings.warn(f"{recording.id} left out: {result}", stacklevel=2)
        return found if is_store(source) else found[chosen[0].id]

    def reconstruct(self, x_BPT: Tensor, mask_BPN: Tensor) -> Tensor:
        """Scaled windows (B, P, T) with masked tokens replaced by predictions; `mask_BPN` is true where masked."""
        import torch

        device = self.network.cls.device
        with torch.inference_mode():
            return self.network(x_BPT.to(device), mask_BPN.to(device)).to(x_BPT.device)


def load(path: str | Path, device: str = "cpu") -> TrainedModel:
    """Load a trained model from its folder `<outdir>/models/<name>`, an official one that was converted, or a
    fine-tuned one (`finetune.FineTuned`, which has `predict`).

    Raises
    ------
    InputError: a file of the folder is missing or does not belong to the others.
    """
    folder = Path(path)
    missing = [n for n in ("model.safetensors", "config.json", "scaler.npz") if not (folder / n).is_file()]
    if missing:
        raise InputError(
            f"{folder}: no {', '.join(missing)}",
            "give a folder that the train stage wrote: models/<name>; or convert an official one with --store",
        )
    content = json.loads((folder / "config.json").read_text())
    if content.get("format") != FORMAT:
        raise InputError(
            f"{folder}/config.json: format {content.get('format')!r}, not {FORMAT}", "train the model again"
        )
    network = _network(folder, content)
    config = network.config
    scaler = Scaler.load(folder / "scaler.npz")
    if scaler.median.shape != (config.parcels,):
        raise InputError(
            f"{folder}/scaler.npz: {scaler.median.shape[0]} parcels, the model has {config.parcels}",
            "take the scaler of the same model",
        )
    card = folder / "card.md"
    network.eval().to(device)
    model = TrainedModel(network, config, scaler, content["training"], card.read_text() if card.exists() else "")
    if "finetune" not in content:
        return model
    from brainlm_model.finetune.model import load_finetuned

    return load_finetuned(folder, model, content["finetune"])


def _network(folder: Path, content: dict[str, Any]) -> BrainLM | OfficialNetwork:
    from safetensors.torch import load_file

    from brainlm_model.models.brainlm import BrainLM

    if "official" in content:
        from brainlm_model.models.official.convert import load_converted

        return load_converted(folder)
    network = BrainLM(from_json(content["model"]))
    try:
        network.load_state_dict(load_file(folder / "model.safetensors"))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{folder}/model.safetensors: {reason}", "weights and config.json must be of one model"
        ) from error
    return network


def save_weights(network: BrainLM | OfficialNetwork, path: Path) -> None:
    """Weights and buffers as safetensors, on the CPU."""
    from safetensors.torch import save_file

    save_file({name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}, path)


def config_json(network: BrainLM | OfficialNetwork, training: dict[str, Any]) -> str:
    """Content of config.json: the architecture, in the official fields where it is an official one."""
    from brainlm_model.models.brainlm import BrainLM

    if isinstance(network, BrainLM):
        architecture: dict[str, Any] = {"model": asdict(network.config)}
    else:
        from brainlm_model.models.official.config import to_hf

        architecture = {"official": to_hf(network.network.config)}
    return json.dumps({"format": FORMAT, **architecture, "training": training}, indent=2, sort_keys=True) + "\n"
