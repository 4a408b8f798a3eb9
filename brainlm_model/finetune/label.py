"""Learn a column of recordings.parquet, and score it on test subjects."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from brainlm_model.finetune import scores
from brainlm_model.finetune.labels import read_labels
from brainlm_model.finetune.learn import WITHOUT_TEST, FinetuneResults, counts, windows_of_splits
from brainlm_model.finetune.linear import ridge
from brainlm_model.finetune.loop import FIRST_WEIGHTS, fit
from brainlm_model.finetune.settings import Settings
from brainlm_model.finetune.tasks import LabelTask
from brainlm_model.finetune.windows import Windows
from brainlm_model.models.masking import generator
from brainlm_model.trained.head import PredictionHead
from brainlm_model.trained.transform import Transform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from brainlm_model.trained.checkpoint import TrainedModel


def learn_label(model: TrainedModel, store: Any, settings: Settings) -> FinetuneResults:
    """Learn a column of recordings.parquet. Raises InputError for labels that cannot be learnt."""
    classify = settings.task == "classification"
    labels = read_labels(store, settings.column, classify)
    windows = windows_of_splits(model, store, settings, labels)
    own = {split: np.asarray(data.labels, dtype=np.float64) for split, data in windows.items()}
    transform = Transform("none")
    if not classify:
        transform = Transform.fit(settings.transform, own["train"])
    targets = {split: transform.apply(values) for split, values in own.items()}
    # The head starts at what is best without any input: the classes' log frequencies, or the mean.
    if classify:
        base = np.bincount(own["train"].astype(int), minlength=len(labels.classes)) / len(own["train"])
        start = np.log(np.maximum(base, 1e-3))  # a class whose recordings have no window would be at minus infinity
    else:
        base = start = np.array([targets["train"].mean()])
    torch.manual_seed(int(generator(settings.seed, FIRST_WEIGHTS).initial_seed()))
    head = PredictionHead(settings.head, model.config.width, len(start), start.tolist()).to(model.network.cls.device)
    task = LabelTask(model.network, head, windows, targets, len(labels.classes), settings)
    log = fit(task, settings)
    predicted = {split: task.predict(split) for split in windows}
    linear, strength = _linear(windows, targets, len(labels.classes))
    report: dict[str, Any] = {"task": settings.task, "column": settings.column, "split": "test"}
    report["ridge_strength"] = strength
    if "test" not in windows:
        report["note"] = WITHOUT_TEST
    else:
        draws = (windows["test"].subjects, settings.bootstrap, settings.seed)
        methods = {"model": predicted["test"], "ridge_on_correlations": linear["test"]}
        methods["training_mean"] = np.tile(base, (len(own["test"]), 1))
        if classify:
            report |= scores.classes(methods, own["test"].astype(int), *draws)
        else:
            transformed = {name: values[:, 0] for name, values in methods.items()}
            in_units = {name: transform.invert(values) for name, values in transformed.items()}
            report |= scores.numbers(in_units, own["test"], *draws)
            report["transformed"] = scores.numbers(transformed, targets["test"], *draws)["methods"]
            report["units"] = "methods: of the label (mse: squared); transformed: after the transform"
    rows = _predictions(windows, own, predicted, transform, labels.classes)
    facts = {"transform": asdict(transform), "classes": labels.classes}
    notes = [*labels.notes]
    if labels.left_out:
        notes.append(f"left out, of a class that no training subject has: {', '.join(labels.left_out)}")
    return FinetuneResults(log, report, rows, counts(windows), head, facts, notes)


def _linear(
    windows: dict[str, Windows], targets: dict[str, NDArray[np.float64]], classes: int
) -> tuple[dict[str, NDArray[np.float64]], float]:
    """Ridge regression on correlations; of classes on their indicators."""
    features, outputs = {}, {}
    for split, data in windows.items():
        features[split] = np.stack([data.correlations(i) for i in range(len(data))])
        outputs[split] = targets[split][:, None]
        if classes:
            outputs[split] = np.eye(classes)[targets[split].astype(int)]
    return ridge(features, outputs)


def _predictions(
    windows: dict[str, Windows], own: dict[str, Any], predicted: dict[str, Any], transform: Transform,
    classes: list[str],
) -> list[dict[str, Any]]:  # fmt: skip
    """One row per recording: id, subject, split, truth, predicted; of classes also each one's probability."""
    rows = []
    for split, data in windows.items():
        for i, (name, subject) in enumerate(zip(data.ids, data.subjects, strict=True)):
            row: dict[str, Any] = {"id": name, "subject": subject, "split": split}
            output = predicted[split][i]
            if classes:
                row |= {"truth": classes[int(own[split][i])], "predicted": classes[int(output.argmax())]}
                for name_of_class, probability in zip(classes, output, strict=True):
                    row[f"probability_{name_of_class}"] = f"{probability:.6g}"
            else:
                row |= {"truth": f"{own[split][i]:.9g}", "predicted": f"{float(transform.invert(output[0])):.9g}"}
            rows.append(row)
    return rows
