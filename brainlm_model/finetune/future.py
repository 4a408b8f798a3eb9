"""Learn the next steps of every parcel, and score them beside persistence and the mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from brainlm_data import InputError
from brainlm_model.baselines.forecast import mean, persistence
from brainlm_model.finetune import scores
from brainlm_model.finetune.learn import WITHOUT_TEST, FinetuneResults, counts, windows_of_splits
from brainlm_model.finetune.loop import fit
from brainlm_model.finetune.settings import Settings
from brainlm_model.finetune.tasks import FutureTask
from brainlm_model.finetune.windows import Windows
from brainlm_model.trained.predict import forecast

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from brainlm_model.trained.checkpoint import TrainedModel


def learn_future(model: TrainedModel, store: Any, settings: Settings) -> FinetuneResults:
    """Learn the next steps. Raises InputError for a number of steps that is no whole number of patches."""
    config = model.config
    if settings.future % config.patch or not settings.future < config.window:
        remedy = f"a multiple of {config.patch} below {config.window}"
        raise InputError(
            f"--future {settings.future}: the model's patch is {config.patch}, its window {config.window}",
            remedy if config.patch < config.window else "another architecture: this one has no patches in time",
        )
    windows = windows_of_splits(model, store, settings)
    task = FutureTask(model.network, windows, settings)
    task.train(False)
    before = _steps(model, windows, settings, "pretrained")  # before its weights change
    log = fit(task, settings)
    report: dict[str, Any] = {"task": "future", "steps": settings.future, "split": "test"}
    rows: list[dict[str, Any]] = []
    if "test" in windows:
        data = windows["test"]
        sums = {**_steps(model, windows, settings, "model"), **before}
        sums = {name: sums[name] for name in ("model", "pretrained", "persistence", "mean")}
        overall = {name: values.sum(1) for name, values in sums.items()}
        report |= scores.compared(overall, scores.of_numbers, "r2", data.subjects, settings.bootstrap, settings.seed)
        report["windows_per_recording"] = settings.windows
        report["units"] = "of the scaled series; steps: one value per step, the first is the next one"
        report["by_step"] = {
            name: {key: _plain(values) for key, values in scores.of_numbers(values.sum(0)).items()}
            for name, values in sums.items()
        }
        each = {name: scores.of_numbers(values) for name, values in overall.items()}
        for i, name in enumerate(data.ids):
            row = {"id": name, "subject": data.subjects[i], "split": "test"}
            row |= {f"{key}_{method}": f"{float(v[key][i]):.6g}" for method, v in each.items() for key in ("r2", "mse")}
            rows.append(row)
    else:
        report["note"] = WITHOUT_TEST
    return FinetuneResults(log, report, rows, counts(windows))


def _steps(
    model: TrainedModel, windows: dict[str, Windows], settings: Settings, name: str
) -> dict[str, NDArray[np.float64]]:
    """Six sums (recording, step, 6) of test recordings: of the network as `name`, of persistence and of the mean, 0."""
    moments: dict[str, list[NDArray[np.float64]]] = {name: [], "persistence": [], "mean": []}
    future = settings.future
    for i in range(len(windows["test"]) if "test" in windows else 0):
        x_BPT = windows["test"].spread(i, settings.windows)
        x = x_BPT.double().numpy()
        past, truth = x[:, :, :-future], x[:, :, -future:]
        methods = {name: forecast(model.network, x_BPT, future), "persistence": persistence(past, future),
                   "mean": mean(past, future)}  # fmt: skip
        for method, predicted in methods.items():
            moments[method].append(scores.step_moments(truth, predicted))
    return {method: np.stack(values) if values else np.zeros((0, future, 6)) for method, values in moments.items()}


def _plain(values: NDArray[np.float64]) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]
