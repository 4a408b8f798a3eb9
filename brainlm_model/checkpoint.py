"""Trained models on disk: a folder with model.safetensors, config.json, scaler.npz and card.md. Nothing is pickled."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainlm_data import InputError, Scaler, prepare
from brainlm_model.config import ModelConfig, from_json

if TYPE_CHECKING:
    from torch import Tensor

    from brainlm_model.model import BrainLM
    from brainlm_model.official.network import OfficialNetwork

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

    def embed(self, series: Any) -> np.ndarray:
        """CLS embedding of a recording, float32 (width,): the same recording always gives the same one.

        Parameters
        ----------
        series: (time, parcel), unscaled, as in the store; NaN where a value is not known. It is prepared (demeaned,
            robust-scaled with the model's scaler) and cut into windows, the last one aligned to its end; nothing is
            masked, and the embeddings of windows that hold something known are averaged.

        Raises
        ------
        InputError: another number of parcels than the model's, fewer steps than a window, an infinite value, or nothing
            known (a token is known where all of its steps are).
        """
        import torch

        values = np.asarray(series, dtype=np.float32)
        window, parcels = self.config.window, self.config.parcels
        if values.ndim != 2 or values.shape[1] != parcels:
            raise InputError(
                f"embed: a series of shape {values.shape}, not (time, {parcels})", "orientation: (time, parcel)"
            )
        if len(values) < window:
            raise InputError(
                f"embed: {len(values)} steps, fewer than the model's window of {window}", "a longer recording"
            )
        if np.isinf(values).any():
            raise InputError(f"embed: {np.isinf(values).sum()} infinite values", "NaN stands for what is not known")
        scaled = np.asarray(prepare(values, self.scaler), dtype=np.float32)
        starts = sorted({*range(0, len(values) - window + 1, window), len(values) - window})
        windows = torch.from_numpy(np.stack([scaled[start : start + window].T for start in starts]))
        known = (~windows.isnan().unflatten(2, (-1, self.config.patch)).any(-1)).flatten(1).any(1)
        windows = windows[known]
        if not len(windows):
            raise InputError(
                f"embed: no parcel has {self.config.patch} known steps in a row where a token lies",
                "look at the recording's quality page; a parcel that the scaler does not know counts as unknown",
            )
        with torch.inference_mode():
            return self.network.embed(windows.to(self.network.cls.device)).mean(0).float().cpu().numpy()

    def reconstruct(self, x_BPT: Tensor, mask_BPN: Tensor) -> Tensor:
        """Scaled windows (B, P, T) with masked tokens replaced by predictions; `mask_BPN` is true where masked."""
        import torch

        device = self.network.cls.device
        with torch.inference_mode():
            return self.network(x_BPT.to(device), mask_BPN.to(device)).to(x_BPT.device)


def load(path: str | Path, device: str = "cpu") -> TrainedModel:
    """Load a trained model from its folder `<outdir>/models/<name>`, or an official one that was converted.

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
    return TrainedModel(network, config, scaler, content["training"], card.read_text() if card.exists() else "")


def _network(folder: Path, content: dict[str, Any]) -> BrainLM | OfficialNetwork:
    from safetensors.torch import load_file

    from brainlm_model.model import BrainLM

    if "official" in content:
        from brainlm_model.official.convert import load_converted

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
    from brainlm_model.model import BrainLM

    if isinstance(network, BrainLM):
        architecture: dict[str, Any] = {"model": asdict(network.config)}
    else:
        from brainlm_model.official.config import to_hf

        architecture = {"official": to_hf(network.network.config)}
    return json.dumps({"format": FORMAT, **architecture, "training": training}, indent=2, sort_keys=True) + "\n"
