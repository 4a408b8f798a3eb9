"""What a fine-tuned network predicts: labels of a recording through a head, or the next steps of windows.

Shapes: B windows, P parcels, T steps, N time patches.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from brainlm_model.models.network import Network
from brainlm_model.trained.embedding import BATCH
from brainlm_model.trained.head import PredictionHead


def outputs(network: Network, head: PredictionHead, x_BPT: Tensor, features: str) -> Tensor:
    """Outputs (B, outputs) of windows: encoder, then head."""
    encoded = network.encode(x_BPT.to(network.cls.device))
    return head(encoded.mean_BD if features == "mean" else encoded.cls_BD)


def of_recording(network: Network, head: PredictionHead, x_BPT: Tensor, features: str, classify: bool) -> np.ndarray:
    """(outputs,) of a recording: the mean over its windows of the output, or of the classes' probabilities."""
    with torch.inference_mode():
        output = torch.cat([outputs(network, head, part, features) for part in x_BPT.split(BATCH)])
        return (output.softmax(1) if classify else output).mean(0).double().cpu().numpy()


def future_mask(x_BPT: Tensor, patch: int, future: int) -> Tensor:
    """Mask (B, P, N) of the last `future` steps of every parcel."""
    mask = torch.zeros(*x_BPT.shape[:2], x_BPT.shape[2] // patch, dtype=torch.bool)
    mask[:, :, -(future // patch) :] = True
    return mask


def forecast(network: Network, x_BPT: Tensor, future: int) -> np.ndarray:
    """The last steps (B, P, future) of windows, from those before them: what is there is not looked at."""
    hidden = x_BPT.clone()
    hidden[:, :, -future:] = torch.nan
    mask_BPN = future_mask(hidden, network.config.patch, future)
    with torch.inference_mode():
        reconstruction = network(hidden.to(network.cls.device), mask_BPN.to(network.cls.device))
    return reconstruction[:, :, -future:].double().cpu().numpy()
