"""Small networks that forecast: an LSTM and two neural ODEs, as the paper compares with.

Shapes as in `forecast`, but of tensors. Time in the differential equations runs in units of `UNIT` steps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

UNIT = 10.0


class Forecaster(nn.Module):
    """`forward(past_BPH, steps)` gives (B, P, steps); `loss` is what training minimises."""

    def loss(self, past_BPH: Tensor, truth_BPF: Tensor) -> Tensor:
        """Mean squared error of what is known."""
        return squared(self(past_BPH, truth_BPF.shape[2]), truth_BPF)


def squared(predicted_BPF: Tensor, truth_BPF: Tensor) -> Tensor:
    """Mean squared error of what is known."""
    known = ~truth_BPF.isnan()
    return F.mse_loss(predicted_BPF[known], truth_BPF[known])


class Lstm(Forecaster):
    """Long short-term memory (Hochreiter & Schmidhuber, 1997) that is fed its own forecasts after the past."""

    def __init__(self, parcels: int, hidden: int) -> None:
        super().__init__()
        self.memory = nn.LSTM(parcels, hidden, batch_first=True)
        self.last = nn.Linear(hidden, parcels)

    def forward(self, past_BPH: Tensor, steps: int) -> Tensor:
        """See `Forecaster`."""
        states_BTH, memory = self.memory(past_BPH.nan_to_num().transpose(1, 2))
        forecasts = [self.last(states_BTH[:, -1:])]
        while len(forecasts) < steps:
            state_B1H, memory = self.memory(forecasts[-1], memory)
            forecasts.append(self.last(state_B1H))
        return torch.cat(forecasts, dim=1).transpose(1, 2)


class Field(nn.Module):
    """dz/dt of a state (B, hidden): a perceptron of three layers; time itself is not seen."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, hidden)
        )

    def forward(self, _t: Tensor, z_BH: Tensor) -> Tensor:
        """See above."""
        return self.layers(z_BH)


def solve(field: Field, z_BH: Tensor, steps: int) -> Tensor:
    """States (B, steps, hidden) at the next steps: Runge-Kutta of fourth order, one step of it a step of the series."""
    from torchdiffeq import odeint

    times = torch.arange(steps + 1, dtype=z_BH.dtype, device=z_BH.device) / UNIT
    states: Any = odeint(field, z_BH, times, method="rk4")
    return states[1:].transpose(0, 1)


class NeuralOde(Forecaster):
    """The state is a linear function of the last step alone; from there a differential equation (Chen et al., 2018)."""

    def __init__(self, parcels: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(parcels, hidden)
        self.field = Field(hidden)
        self.last = nn.Linear(hidden, parcels)

    def forward(self, past_BPH: Tensor, steps: int) -> Tensor:
        """See `Forecaster`."""
        z_BH = self.first(past_BPH[:, :, -1].nan_to_num())
        return self.last(solve(self.field, z_BH, steps)).transpose(1, 2)


class LatentOde(Forecaster):
    """Variational: a recurrent network reads the past, the state is drawn, and a differential equation takes it on.

    Chen et al. (2018), Rubanova et al. (2019); the encoder is a GRU, as steps are regular. Trained on the evidence
    lower bound of the future with noise of variance 1; forecasts go from the mean state.
    """

    def __init__(self, parcels: int, hidden: int) -> None:
        super().__init__()
        self.read = nn.GRU(parcels, hidden, batch_first=True)
        self.posterior = nn.Linear(hidden, 2 * hidden)
        self.field = Field(hidden)
        self.last = nn.Linear(hidden, parcels)

    def forward(self, past_BPH: Tensor, steps: int) -> Tensor:
        """See `Forecaster`."""
        return self._run(self._encode(past_BPH)[0], steps)

    def loss(self, past_BPH: Tensor, truth_BPF: Tensor) -> Tensor:
        """Minus the bound, a value: the squared error of a draw, and the divergence from the standard normal."""
        mean_BH, log_variance_BH = self._encode(past_BPH)
        if not self.training:
            return squared(self._run(mean_BH, truth_BPF.shape[2]), truth_BPF)
        # -log p(x | z) = |x - x_hat|^2 / 2 + const with noise of variance 1, and KL(N(m, s^2) | N(0, 1)) =
        # (m^2 + s^2 - 1 - log s^2) / 2 per state. Both are doubled here and divided by the number of values.
        z_BH = mean_BH + torch.randn_like(mean_BH) * (log_variance_BH / 2).exp()
        twice_divergence = (mean_BH**2 + log_variance_BH.exp() - 1 - log_variance_BH).sum(1).mean()
        return squared(self._run(z_BH, truth_BPF.shape[2]), truth_BPF) + twice_divergence / truth_BPF[0].numel()

    def _encode(self, past_BPH: Tensor) -> tuple[Tensor, Tensor]:
        states_BTH, _ = self.read(past_BPH.nan_to_num().transpose(1, 2))
        mean_BH, log_variance_BH = self.posterior(states_BTH[:, -1]).chunk(2, dim=1)
        return mean_BH, log_variance_BH.clamp(-10, 10)

    def _run(self, z_BH: Tensor, steps: int) -> Tensor:
        return self.last(solve(self.field, z_BH, steps)).transpose(1, 2)


NETWORKS: dict[str, type[Lstm] | type[NeuralOde] | type[LatentOde]] = {
    "lstm": Lstm, "neural_ode": NeuralOde, "latent_ode": LatentOde,
}  # fmt: skip
