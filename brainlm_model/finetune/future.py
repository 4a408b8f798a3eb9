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
        if config.patch >= config.window:
            remedy = "another architecture: this one has no patches in time"
        raise InputError(
            f"--future {settings.future}: the model's patch is {config.patch}, its window {config.window}", remedy
        )
    windows = windows_of_splits(model, store, settings)
    task = FutureTask(model.network, windows, settings)
    report: dict[str, Any] = {"task": "future", "steps": settings.future, "split": "test"}
    if "test" not in windows:
        log = fit(task, settings)
        return FinetuneResults(log, {**report, "note": WITHOUT_TEST}, [], counts(windows))
    test = windows["test"]
    task.train(False)
    pretrained = _steps(model, test, settings)  # before its weights change
    log = fit(task, settings)
    sums = {"model": _steps(model, test, settings)["model"], "pretrained": pretrained.pop("model"), **pretrained}
    overall = {name: sums_RF6.sum(1) for name, sums_RF6 in sums.items()}
    report |= scores.compared(overall, scores.of_numbers, "r2", test.subjects, settings.bootstrap, settings.seed)
    report["windows_per_recording"] = settings.windows
    report["units"] = "of the scaled series; steps: one value per step, the first is the next one"
    report["by_step"] = {}
    for name, sums_RF6 in sums.items():
        by_step = scores.of_numbers(sums_RF6.sum(0))
        report["by_step"][name] = {key: _plain(values) for key, values in by_step.items()}
    return FinetuneResults(log, report, _rows(test, overall), counts(windows))


def _rows(test: Windows, overall: dict[str, NDArray[np.float64]]) -> list[dict[str, Any]]:
    """One row per test recording: R2 and squared error of each method."""
    each = {name: scores.of_numbers(sums_R6) for name, sums_R6 in overall.items()}
    rows = []
    for i, name in enumerate(test.ids):
        row = {"id": name, "subject": test.subjects[i], "split": "test"}
        for method, values in each.items():
            for key in ("r2", "mse"):
                row[f"{key}_{method}"] = f"{float(values[key][i]):.6g}"
        rows.append(row)
    return rows


def _steps(model: TrainedModel, test: Windows, settings: Settings) -> dict[str, NDArray[np.float64]]:
    """Six sums (recording, step, 6) of test recordings: of the network as "model", of persistence and of the mean."""
    sums: dict[str, list[NDArray[np.float64]]] = {"model": [], "persistence": [], "mean": []}
    future = settings.future
    for i in range(len(test)):
        x_BPT = test.spread(i, settings.windows)
        x = x_BPT.double().numpy()
        past, truth = x[:, :, :-future], x[:, :, -future:]
        sums["model"].append(scores.step_moments(truth, forecast(model.network, x_BPT, future)))
        sums["persistence"].append(scores.step_moments(truth, persistence(past, future)))
        sums["mean"].append(scores.step_moments(truth, mean(past, future)))
    return {method: np.stack(each) for method, each in sums.items()}


def _plain(values: NDArray[np.float64]) -> list[float | None]:
    """Numbers as JSON has them: None where one is not defined."""
    plain: list[float | None] = []
    for value in values:
        plain.append(float(value) if np.isfinite(value) else None)
    return plain
