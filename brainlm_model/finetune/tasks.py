"""What can be learnt: a label (`LabelTask`), or the next steps (`FutureTask`); see `loop.Task`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brainlm_model.finetune.loop import DRAW
from brainlm_model.finetune.rates import parameter_groups
from brainlm_model.finetune.settings import Settings
from brainlm_model.finetune.windows import Windows
from brainlm_model.models.loss import masked_mse
from brainlm_model.models.masking import generator
from brainlm_model.trained.embedding import BATCH
from brainlm_model.trained.head import PredictionHead
from brainlm_model.trained.predict import Start, continued, future_mask, of_recording, outputs


@dataclass
class LabelTask:
    """A column of the table from a recording.

    Attributes
    ----------
    targets: of each split's recordings: transformed numbers, or places of classes. classes: 0 for numbers.
    """

    network: Any
    head: PredictionHead
    windows: dict[str, Windows]
    targets: dict[str, np.ndarray]
    classes: int
    settings: Settings

    def __post_init__(self) -> None:
        self.frozen = self.settings.train == "frozen"
        self._encoded: list[Tensor] | None = None
        if self.frozen:  # the encoder gives the same for the same window: once is enough
            self.network.eval()
            self._encoded = [self._features(i) for i in range(len(self))]

    def _features(self, recording: int) -> Tensor:
        """Features (windows, width) of all windows of a training recording."""
        features = []
        with torch.no_grad():
            for part in self.windows["train"].every(recording).split(BATCH):
                encoded = self.network.encode(part.to(self.network.cls.device))
                features.append(encoded.mean_BD if self.settings.features == "mean" else encoded.cls_BD)
        return torch.cat(features)

    @property
    def trained(self) -> nn.ModuleDict:
        """The head and, unless it is frozen, the network."""
        modules = nn.ModuleDict({"head": self.head})
        if not self.frozen:
            modules["network"] = self.network
        return modules

    @property
    def groups(self) -> list[dict[str, Any]]:
        """See `rates.parameter_groups`."""
        network = None if self.frozen else self.network
        return parameter_groups(network, self.head, self.settings.layer_decay, self.settings.weight_decay)

    def __len__(self) -> int:
        return len(self.windows["train"])

    def train(self, on: bool) -> None:
        """A frozen network stays in evaluation mode."""
        self.head.train(on)
        self.network.train(on and not self.frozen)

    def loss(self, chosen: Sequence[int], epoch: int) -> Tensor:
        """Squared error, or cross-entropy."""
        if self._encoded is not None:
            # drawn for all recordings, so that a recording's window does not depend on the batch that it is in
            draws = torch.rand(len(self), generator=generator(self.settings.seed, DRAW, epoch)).tolist()
            features = []
            for i in chosen:  # one of each recording's windows
                of_windows = self._encoded[i]
                features.append(of_windows[int(draws[i] * len(of_windows))])
            output = self.head(torch.stack(features))
        else:
            x_BPT = self.windows["train"].draw(chosen, epoch)
            output = outputs(self.network, self.head, x_BPT, self.settings.features)
        target = torch.from_numpy(self.targets["train"][list(chosen)]).to(output.device)
        if self.classes:
            return F.cross_entropy(output, target.long())
        return F.mse_loss(output[:, 0], target.float())

    def validate(self) -> float:
        """The same loss, of whole recordings."""
        predicted, target = self.predict("validation"), self.targets["validation"]
        if self.classes:
            probability = predicted[np.arange(len(predicted)), target.astype(int)]  # of the true class
            return float(-np.log(np.maximum(probability, 1e-12)).mean())  # cross-entropy
        return float(((predicted[:, 0] - target) ** 2).mean())

    def predict(self, split: str) -> np.ndarray:
        """(recording, outputs) of a split: transformed numbers, or the classes' probabilities."""
        data = self.windows[split]
        rows = []
        for i in range(len(data)):
            windows = data.every(i)
            rows.append(of_recording(self.network, self.head, windows, self.settings.features, bool(self.classes)))
        return np.stack(rows)


@dataclass
class WindowTask:
    """What a network learns from windows alone, as `loop.Task`: a subclass says how much a window is wrong."""

    network: Any
    windows: dict[str, Windows]
    settings: Settings

    @property
    def trained(self) -> nn.ModuleDict:
        """The network."""
        return nn.ModuleDict({"network": self.network})

    def __len__(self) -> int:
        return len(self.windows["train"])

    def train(self, on: bool) -> None:
        """Training or evaluation mode."""
        self.network.train(on)

    def loss(self, chosen: Sequence[int], epoch: int) -> Tensor:
        """The loss of windows drawn from these training recordings."""
        return self.of_windows(self.windows["train"].draw(chosen, epoch))

    def of_windows(self, x_BPT: Tensor) -> Tensor:
        """The loss of windows."""
        raise NotImplementedError

    def validate(self) -> float:
        """The same loss on windows spread over each validation recording."""
        data = self.windows["validation"]
        losses = []
        with torch.inference_mode():
            for i in range(len(data)):
                losses.append(float(self.of_windows(data.spread(i, self.settings.windows))))
        return float(np.mean(losses))


@dataclass
class FutureTask(WindowTask):
    """The last steps of a window from those before them, in every parcel; the whole network learns.

    `start`: see `predict.continued`.
    """

    start: Start | None = None

    @property
    def groups(self) -> list[dict[str, Any]]:
        """See `rates.parameter_groups`."""
        return parameter_groups(self.network, None, self.settings.layer_decay, self.settings.weight_decay)

    def of_windows(self, x_BPT: Tensor) -> Tensor:
        """Squared error of the hidden steps that are known."""
        reconstruction = continued(self.network, x_BPT, self.settings.future, self.start)
        mask_BPN = future_mask(x_BPT, self.network.config.patch, self.settings.future)
        return masked_mse(reconstruction, x_BPT.to(reconstruction.device), mask_BPN.to(reconstruction.device))
