"""`brainlm-model finetune`: a trained model learns a column of the cohort's table, or the next steps."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from brainlm_model.finetune.settings import Features, HeadKind, Settings, Task, Train
from brainlm_model.trained.hub import MODEL_HELP
from brainlm_model.trained.transform import TransformKind
from brainlm_model.training.machine import use_threads

CHOICES = {"head": HeadKind, "train": Train, "transform": TransformKind, "features": Features}
HELP = {
    "head": "after the encoder, for labels: one layer, or three",
    "features": "what the head sees: the CLS token, or the mean of the known tokens",
    "train": "the whole encoder, or the head alone",
    "layer_decay": "factor of the learning rate from one layer to the one below it",
    "transform": "of numeric labels, fitted on training subjects",
    "epochs": "at most; an epoch is one window of every training recording",
    "batch_size": "windows per step",
    "lr": "highest learning rate",
    "weight_decay": "of matrices",
    "warmup": "share of the steps before the highest rate",
    "patience": "epochs without a better validation loss before it stops",
    "max_invalid": "share of interpolated steps that a training window may have",
    "windows": "--future: windows of each held-out recording",
    "bootstrap": "draws of subjects for the intervals",
    "seed": "of weights, order and windows",
}


def add(commands: Any) -> None:
    """Add the command to those of `brainlm-model`."""
    parser = commands.add_parser(
        "finetune", help="let a trained model learn a column of recordings.parquet, or the next steps",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    parser.add_argument("model", help=f"{MODEL_HELP}; or of a converted one")
    parser.add_argument("store", type=Path, help="store.zarr, with recordings.parquet and scaler.npz beside it")
    parser.add_argument("--out", type=Path, required=True, help="new folder", default=argparse.SUPPRESS)
    goal = parser.add_mutually_exclusive_group(required=True)
    goal.add_argument("--column", default="", help="column of recordings.parquet to learn")
    goal.add_argument("--future", type=int, default=0, help="steps at a window's end to predict in every parcel")
    parser.add_argument("--task", choices=("regression", "classification"), default="regression", help="of --column")
    defaults = {field.name: field.default for field in fields(Settings)}
    for key, text in HELP.items():
        default: Any = defaults[key]
        values: dict[str, Any] = {"type": type(default)}
        if key in CHOICES:
            values = {"choices": get_args(CHOICES[key])}
        parser.add_argument(f"--{key.replace('_', '-')}", default=default, help=text, **values)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads; the same number gives the same numbers")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.set_defaults(call=run)


def run(arguments: argparse.Namespace) -> None:
    """Fine-tune, and say what was reached."""
    from brainlm_model.finetune.run import run as finetune

    options = {key: getattr(arguments, key) for key in HELP}
    task: Task = "future" if arguments.future else arguments.task
    settings = Settings(task=task, column=arguments.column, future=arguments.future, **options)
    use_threads(max(arguments.threads, 1))
    print("\n".join(finetune(arguments.model, arguments.store, arguments.out, settings, arguments.device)))
