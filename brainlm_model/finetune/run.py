"""A fine-tuning from a model's folder and a store to a folder of its own: train, score, write."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from brainlm_data import InputError, beside, compare_store, open_store, sum_folder
from brainlm_model.finetune.card import card
from brainlm_model.finetune.future import learn_future
from brainlm_model.finetune.label import learn_label
from brainlm_model.finetune.learn import FinetuneResults
from brainlm_model.finetune.settings import Settings
from brainlm_model.models.official.convert import NOTICE, from_authors
from brainlm_model.trained.checkpoint import TrainedModel, save_weights
from brainlm_model.trained.finetuned import HEAD_FILE
from brainlm_model.trained.load import load, model_folder, read_config_json


def run(given: str | Path, store_path: Path, out: Path, settings: Settings, device: str = "cpu") -> list[str]:
    """Fine-tune a model on a store; returns what is said on the terminal. `out` appears whole or not.

    `given`: the model's folder; or, as text, "owner/name" on the Hugging Face Hub.

    Raises
    ------
    InputError: `out` has files in it; a store that is not as the model's card says; labels that cannot be learnt.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: has files in it", "give a new folder")
    source = model_folder(given)
    model, store = load(source, device), open_store(store_path)
    if len(store.parcels) != model.config.parcels:
        raise InputError(
            f"{store_path}: {len(store.parcels)} parcels, the model has {model.config.parcels}", "a store of its atlas"
        )
    assumed = compare_store(store.attrs, model.card.data, str(store_path))
    learn = learn_future if settings.task == "future" else learn_label
    with beside(out, "writing") as scratch:
        results = learn(model, store, settings)
        folder = scratch / "model"
        folder.mkdir()
        origin = source.resolve().name if Path(given).exists() else f"{given} ({source.name[:7]})"  # of the Hub: commit
        _write(folder, source, origin, model, settings, results, assumed, out.name)
        if out.exists():
            out.rmdir()  # it is empty
        os.replace(folder, out)
    lines = [f"taken for granted: {text}" for text in assumed]
    lines += [*results.notes, *_summary(results.scores), f"{out}"]
    if from_authors({"training": model.training}):
        lines.append(f"licence: {NOTICE}")
    return lines


def _write(
    folder: Path, source: Path, origin: str, model: TrainedModel, settings: Settings, results: FinetuneResults,
    assumed: Sequence[str], name: str,
) -> None:  # fmt: skip
    """The files of a fine-tuned model."""
    from safetensors.torch import save_file

    if settings.train == "frozen":
        shutil.copyfile(source / "model.safetensors", folder / "model.safetensors")  # not one bit is other
    else:
        save_weights(model.network, folder / "model.safetensors")
    if results.head is not None:
        tensors = results.head.state_dict()
        save_file({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, folder / HEAD_FILE)
    content = read_config_json(source)
    content["finetune"] = {"settings": asdict(settings), **results.facts}
    (folder / "config.json").write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    shutil.copyfile(source / "scaler.npz", folder / "scaler.npz")
    official = "official" in content and from_authors(content)
    own_card = card(name, origin, model, settings, results, assumed, official)
    own_card.save(folder / "card.json", folder / "card.md")
    (folder / "scores.json").write_text(json.dumps(results.scores, indent=2) + "\n", encoding="utf-8")
    for file, rows, delimiter in (("log.csv", results.log, ","), ("predictions.tsv", results.predictions, "\t")):
        columns = list(rows[0]) if rows else ["id"]
        with (folder / file).open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns, delimiter=delimiter, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    sum_folder(folder)


def _summary(scores: dict[str, Any]) -> list[str]:
    """The scores in a few lines."""
    if "note" in scores:
        return [scores["note"]]
    lines = [f"test: {scores['n_subjects']} subjects, {scores['n_recordings']} recordings"]
    for method, values in scores["methods"].items():
        each = [f"{key} {_text(value)}" for key, value in values.items()]
        lines.append(f"  {method}: {', '.join(each)}")
    for other, value in scores["model_against"].items():
        few = "" if scores["enough_subjects"] else " (too few subjects to say so)"
        lines.append(f"  the model against {other}: {value['verdict']}{few}")
    return lines


def _text(value: dict[str, float | None]) -> str:
    if value["value"] is None:
        return "not defined"
    if value["low"] is None:
        return f"{value['value']:.3g}"
    return f"{value['value']:.3g} ({value['low']:.3g} to {value['high']:.3g})"
