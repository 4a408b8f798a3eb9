"""What a fine-tuned network predicts: labels of a recording through a head, or the next steps of windows.

Shapes: B windows, P parcels, T steps, N time patches.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from brainlm_model.models.network import Network
from brainlm_model.models.prior import Expected
from brainlm_model.trained.embedding import BATCH
from brainlm_model.trained.head import PredictionHead

Start = Callable[[np.ndarray, int], np.ndarray]  # a forecast: the past (B, P, H), steps F -> (B, P, F)


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


def continued(network: Network, x_BPT: Tensor, future: int, start: Start | None = None) -> Tensor:
    """Reconstruction (B, P, T) of windows whose last steps are hidden: what is there is not looked at.

    `start`: a forecast that stands for what the network's prior expects of these steps; the network, which then needs a
    prior, sees it and adds to it. None: what the prior expects itself.
    """
    hidden = x_BPT.clone()
    hidden[:, :, -future:] = torch.nan
    mask_BPN = future_mask(hidden, network.config.patch, future)
    device = network.cls.device
    on_device, mask_BPN = hidden.to(device), mask_BPN.to(device)
    if start is None:
        return network(on_device, mask_BPN)
    expected: Expected = network.expect(on_device, mask_BPN)
    started_BPF = torch.from_numpy(start(hidden[:, :, :-future].double().cpu().numpy(), future))
    started = started_BPF.to(expected.filled).unflatten(2, (-1, network.config.patch))
    patches = started.shape[2]
    filled, innovation = expected.filled.clone(), expected.innovation.clone()
    filled[:, :, -patches:] = started
    innovation[:, :, -patches:] = 0  # what time adds is in the start
    return network(on_device, mask_BPN, expected=Expected(filled, innovation, expected.spread))


def forecast(network: Network, x_BPT: Tensor, future: int, start: Start | None = None) -> np.ndarray:
    """The last steps (B, P, future) of windows, from those before them: see `continued`."""
    with torch.inference_mode():
        reconstruction = continued(network, x_BPT, future, start)
    return reconstruction[:, :, -future:].double().cpu().numpy()
