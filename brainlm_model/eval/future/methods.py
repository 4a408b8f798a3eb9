"""Every method that forecasts, by name: how it is fitted, and the settings of which validation subjects choose one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from brainlm_model.baselines import autoregression, state_space, window_process
from brainlm_model.baselines.forecast import Array, Forecast, components, mean, persistence
from brainlm_model.baselines.forecast_networks import NETWORKS
from brainlm_model.eval.future.data import Learning
from brainlm_model.eval.masked import scoring
from brainlm_model.finetune.loop import FIRST_WEIGHTS, fit
from brainlm_model.finetune.settings import Settings
from brainlm_model.finetune.tasks import FutureTask, WindowTask
from brainlm_model.finetune.windows import Windows
from brainlm_model.models.masking import generator
from brainlm_model.models.prior import GaussianPrior, population_covariance
from brainlm_model.trained.predict import Start, forecast, future_mask

if TYPE_CHECKING:
    from brainlm_model.trained.checkpoint import TrainedModel

STRENGTH = 100.0  # of the prior where the model has none: `ModelConfig.strength`


@dataclass(frozen=True)
class ForecastInputs:
    """What a method may use.

    Attributes
    ----------
    steps: of the future. settings: of the fine-tuning. network_epochs: of LSTM and ODEs, at most.
    start: what fine-tuned networks start from: `prior`, or a method that is chosen on validation subjects like others.
    """

    model: TrainedModel
    learning: Learning
    steps: int
    settings: Settings
    network_epochs: int
    start: str = "prior"

    @cached_property
    def begin(self) -> Start | None:
        """The forecast that fine-tuned networks start from; None: their own prior."""
        if self.start == "prior":
            return None
        return best(METHODS[self.start], self)[0]

    @cached_property
    def moments(self) -> Array:
        """See `autoregression.window_moments`; the same for every horizon and setting."""
        return autoregression.window_moments(partial(self.learning.read, "long"))

    @cached_property
    def basis(self) -> Array:
        """Principal components (P, K) of the training windows."""
        return components(self.learning.read("short"), window_process.COMPONENTS)

    @property
    def windows(self) -> dict[str, Windows]:
        """By split."""
        return {"train": self.learning.train, "validation": self.learning.validation}


def of_network(network: Any, start: Start | None = None) -> Forecast:
    """A masked autoencoder as a forecast: the future is appended as what is not known, and masked."""

    def predict(past_BPH: Array, steps: int) -> Array:
        empty = np.full((*past_BPH.shape[:2], steps), np.nan)
        x_BPT = torch.from_numpy(np.concatenate([past_BPH, empty], axis=2).astype(np.float32))
        return forecast(network, x_BPT, steps, start)

    return predict


def finetuned(inputs: ForecastInputs, setting: dict[str, Any]) -> Forecast:
    """The checkpoint, fine-tuned for this horizon."""
    return _learnt(copy.deepcopy(inputs.model.network), inputs, setting)


def untrained(inputs: ForecastInputs, setting: dict[str, Any]) -> Forecast:
    """The same architecture from random weights, trained like `finetuned`."""
    return _learnt(scoring.untrained(inputs.model).network, inputs, setting)


def _learnt(network: Any, inputs: ForecastInputs, setting: dict[str, Any]) -> Forecast:
    start = inputs.begin
    if start is not None:  # the residual starts at zero, the forecast at the start
        nn.init.zeros_(network.head.weight)
        nn.init.zeros_(network.head.bias)
    fit(FutureTask(network, inputs.windows, inputs.settings, start), replace(inputs.settings, **setting))
    network.eval()
    return of_network(network, start)


def pretrained(inputs: ForecastInputs, setting: dict[str, Any]) -> Forecast:
    """The checkpoint as it is."""
    return of_network(inputs.model.network)


@dataclass
class NetworkTask(WindowTask):
    """A `Forecaster` as `finetune.loop.Task`."""

    device: Any

    @property
    def groups(self) -> list[dict[str, Any]]:
        """All parameters alike."""
        parameters = list(self.network.parameters())
        return [{"params": parameters, "factor": 1.0, "weight_decay": self.settings.weight_decay}]

    def of_windows(self, x_BPT: Tensor) -> Tensor:
        """See `Forecaster.loss`."""
        x_BPT, future = x_BPT.to(self.device), self.settings.future
        loss: Tensor = self.network.loss(x_BPT[:, :, :-future], x_BPT[:, :, -future:])
        return loss


def network(inputs: ForecastInputs, setting: dict[str, Any], name: str) -> Forecast:
    """An LSTM or an ODE (`forecast_networks`)."""
    device = inputs.model.network.cls.device
    torch.manual_seed(int(generator(inputs.settings.seed, FIRST_WEIGHTS).initial_seed()))
    forecaster = NETWORKS[name](inputs.model.config.parcels, setting["hidden"]).to(device)
    settings = replace(
        inputs.settings, lr=setting["lr"], epochs=inputs.network_epochs, patience=max(inputs.network_epochs // 5, 2)
    )
    fit(NetworkTask(forecaster, inputs.windows, settings, device), settings)
    forecaster.eval()

    def predict(past_BPH: Array, steps: int) -> Array:
        with torch.inference_mode():
            return forecaster(torch.from_numpy(past_BPH).float().to(device), steps).double().cpu().numpy()

    return predict


def gaussian(inputs: ForecastInputs, setting: dict[str, Any]) -> Forecast:
    """The conditional Gaussian alone (`prior.py`), as a model has it before its first training step."""
    config = inputs.model.config
    prior = GaussianPrior(config.parcels, getattr(config, "strength", STRENGTH))
    # windows (B, P, T) as rows of one long series (B T, P): only the covariance between parcels is estimated
    series = (x_BPT.transpose(0, 2, 1).reshape(-1, config.parcels) for x_BPT in inputs.learning.read("short"))
    prior.covariance.copy_(torch.from_numpy(population_covariance(series, setting["ridge"])))
    prior = prior.to(inputs.model.network.cls.device)
    device = prior.covariance.device

    def predict(past_BPH: Array, steps: int) -> Array:
        x_BPT = torch.from_numpy(np.pad(past_BPH, ((0, 0), (0, 0), (0, steps)))).float().to(device)
        x_BPNS = x_BPT.unflatten(2, (-1, config.patch))
        hidden = future_mask(x_BPT, config.patch, steps).to(device) | x_BPNS.isnan().any(-1)
        with torch.inference_mode():
            expected = prior(torch.where(hidden[..., None], 0, x_BPNS), hidden)
        filled = (expected.filled + expected.innovation).flatten(2)
        return filled[:, :, -steps:].double().cpu().numpy()

    return predict


def ar(inputs: ForecastInputs, setting: dict[str, Any]) -> Forecast:
    """Ridge of each parcel on its own past."""
    history = inputs.model.config.window - inputs.steps
    return autoregression.fit_ar(inputs.moments, inputs.steps, min(setting["order"], history), setting["penalty"])


def ar_process(inputs: ForecastInputs, setting: dict[str, Any]) -> Forecast:
    """The mean of `ar` and a Gaussian process on each principal component of the window."""
    return window_process.fit_mean(ar(inputs, setting), inputs.basis, setting["noise"])


def var(inputs: ForecastInputs, setting: dict[str, Any]) -> Forecast:
    """Ridge of principal components on the last steps of all of them."""
    history = inputs.model.config.window - inputs.steps
    order = min(setting["order"], history)
    return autoregression.fit_var(
        partial(inputs.learning.read, "short"), inputs.steps, order, setting["components"], setting["penalty"]
    )


def linear_system(inputs: ForecastInputs, setting: dict[str, Any]) -> Forecast:
    """Linear state-space model of principal components."""
    order = min(setting["order"], inputs.model.config.window // 2)
    return state_space.fit_state_space(
        partial(inputs.learning.read, "short"), setting["components"], order, setting["states"]
    )


@dataclass(frozen=True)
class Method:
    """`fit(inputs, setting)` for each of `settings`: the one with the least error on validation subjects is kept."""

    label: str
    fit: Callable[[ForecastInputs, dict[str, Any]], Forecast]
    settings: tuple[dict[str, Any], ...] = ({},)


RATES: tuple[dict[str, Any], ...] = ({"lr": 3e-4}, {"lr": 1e-3}, {"lr": 3e-3})
FROM_SCRATCH = tuple({**rate, "layer_decay": 1.0} for rate in RATES)  # lower layers have as much to learn
SIZES: tuple[dict[str, Any], ...] = (
    {"hidden": 64, "lr": 1e-3},
    {"hidden": 64, "lr": 3e-3},
    {"hidden": 128, "lr": 3e-3},
)
METHODS: dict[str, Method] = {
    "finetuned": Method("BrainLM, fine-tuned", finetuned, RATES),
    "pretrained": Method("BrainLM, as it is", pretrained),
    "untrained": Method("BrainLM, no pretraining", untrained, FROM_SCRATCH),
    "lstm": Method("LSTM", partial(network, name="lstm"), SIZES),
    "neural_ode": Method("neural ODE", partial(network, name="neural_ode"), SIZES),
    "latent_ode": Method("latent ODE", partial(network, name="latent_ode"), SIZES),
    "ar": Method("own past (AR)", ar, (
        {"order": 10, "penalty": 1e-2}, {"order": 20, "penalty": 1e-2}, {"order": 60, "penalty": 1e-2},
    )),
    "ar_process": Method("own past and the window's autocorrelation", ar_process, (
        {"order": 10, "penalty": 1e-2, "noise": 1e-2}, {"order": 10, "penalty": 1e-2, "noise": 3e-3},
        {"order": 20, "penalty": 1e-2, "noise": 3e-3},
    )),
    "var": Method("all parcels' past (VAR)", var, (
        {"components": 20, "order": 20, "penalty": 1e-2}, {"components": 60, "order": 6, "penalty": 1e-2},
        {"components": 100, "order": 4, "penalty": 1e-1},
    )),
    "state_space": Method("linear state space", linear_system, (
        {"components": 10, "order": 15, "states": 20}, {"components": 20, "order": 10, "states": 40},
        {"components": 40, "order": 8, "states": 80},
    )),
    "gaussian": Method("conditional Gaussian", gaussian, ({"ridge": 1e-2}, {"ridge": 1e-1}, {"ridge": 1.0})),
    "persistence": Method("last value", lambda inputs, setting: persistence),
    "mean": Method("mean", lambda inputs, setting: mean),
}  # fmt: skip


def best(method: Method, inputs: ForecastInputs) -> tuple[Forecast, dict[str, Any]]:
    """The forecast of the best setting; that setting with its error, and all errors, on validation subjects."""
    forecasts = [method.fit(inputs, setting) for setting in method.settings]
    errors = [inputs.learning.error(forecast, inputs.steps) for forecast in forecasts]
    place = int(np.nanargmin(errors))
    chosen = {**method.settings[place], "validation_mse": errors[place], "tried_mse": errors}
    return forecasts[place], chosen
