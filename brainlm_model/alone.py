"""`brainlm-model train STORE`, `evaluate STORE MODEL`, `paper STORE MODEL`: stages on a store alone, without BIDS data.

They call the stages' own `run`, which is what the DAG does, with files that the caller names.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from brainlm_data import ConfigError, Files, InputError, Stage, read_config, section_from

BESIDE = {"recordings": "recordings.parquet", "scaler": "scaler.npz", "card": "card.md"}
MODEL = {
    "model_config": "config.json", "model_scaler": "scaler.npz", "model_card": "card.md", "train_log": "log.csv",
    "model": "model.safetensors",
}  # fmt: skip
METRICS = {"masked_csv": "masked.csv", "masked_example": "masked_example.npz", "masked_json": "masked.json"}


def add_commands(commands: Any) -> None:
    """Add `train`, `evaluate` and `paper` to the parser."""
    train = commands.add_parser("train", help="train on a store alone (`run train` is the same within the DAG)")
    train.add_argument("store", type=Path, help="store.zarr with its tables beside it")
    train.add_argument("--out", type=Path, required=True, metavar="MODELDIR", help="new folder of the model")
    train.add_argument("--force", action="store_true", help="replace the model in MODELDIR")
    train.set_defaults(call=_train)
    evaluate = commands.add_parser("evaluate", help="score a model on a store alone, beside every baseline")
    evaluate.add_argument("store", type=Path, help="store.zarr with its tables beside it")
    evaluate.add_argument("model", type=Path, metavar="MODELDIR", help="folder of a trained model")
    evaluate.add_argument("--out", type=Path, metavar="FOLDER", help="of the tables (MODELDIR/metrics/<split>)")
    evaluate.set_defaults(call=_evaluate)
    paper = commands.add_parser("paper", help="the paper's other evaluations of a model, on a store alone")
    paper.add_argument("store", type=Path, help="store.zarr with its tables beside it")
    paper.add_argument("model", type=Path, metavar="MODELDIR", help="folder of a trained model")
    paper.add_argument("--tasks", nargs="+", metavar="T", help="names of stages (all)")
    paper.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="of tables and figures")
    paper.set_defaults(call=_paper)
    for parser, name in ((train, "train"), (evaluate, "evaluate"), (paper, "T")):
        parser.add_argument("--configfile", type=Path, help=f"a config.yaml; its section {name} is used")
        parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help=f"{name}.seed=1 ...")
        parser.set_defaults(bids_dir=None, outdir=None)


def _train(arguments: argparse.Namespace) -> None:
    from brainlm_model.train import STAGE

    out = arguments.out
    config = _section(arguments, STAGE, {"name": out.absolute().name})
    if (out / MODEL["model"]).exists() and not arguments.force:
        raise InputError(f"{out}: there is a model in it already", "give another folder, or --force to replace it")
    inputs = _inputs(arguments.store)
    state = out.absolute().parent / f".{out.absolute().name}.training"  # a killed run goes on from there
    with _written(out, MODEL) as outputs:
        STAGE.run(inputs, Files(outputs, {"workdir": str(state)}), config)
    shutil.rmtree(state, ignore_errors=True)
    shutil.rmtree(out / "metrics", ignore_errors=True)  # of the model that was there
    print(f"{out}: model.safetensors, config.json, scaler.npz, card.md, log.csv")


def _evaluate(arguments: argparse.Namespace) -> None:
    from brainlm_model.evaluate import STAGE

    config = _section(arguments, STAGE, {})
    inputs = _inputs(arguments.store, _model(arguments.model))
    out = arguments.out or arguments.model / "metrics" / config.split
    with _written(out, METRICS) as outputs:
        facts = STAGE.run(inputs, Files(outputs), config)
    print(f"{out}: masked.json, masked.csv of {facts['Recordings']} recordings ({facts['Split']})")


def _paper(arguments: argparse.Namespace) -> None:
    from brainlm_model.stages import PAPER_TASKS

    tasks = list(dict.fromkeys(arguments.tasks or PAPER_TASKS))
    if unknown := [name for name in tasks if name not in PAPER_TASKS]:
        raise ConfigError(f"--tasks {unknown[0]}", f"one of {', '.join(PAPER_TASKS)}")
    stages = [PAPER_TASKS[name] for name in tasks]
    configs = [_section(arguments, stage, {}, tasks) for stage in stages]  # all are checked before the first runs
    inputs = _inputs(arguments.store, _model(arguments.model))
    out = arguments.out.absolute()
    for stage, config in zip(stages, configs, strict=True):
        state = out / f".{stage.name}.state"  # a killed run goes on from there
        files = {name: _file(name) for name in stage.outputs}
        with _written(out, files) as outputs:
            stage.run(inputs, Files(outputs, {"workdir": str(state)}), config)
        shutil.rmtree(state, ignore_errors=True)
        print(f"{arguments.out}: {', '.join(files.values())}")


def _file(artifact: str) -> str:
    """`phenotype_json` -> `phenotype.json`; arrays are .npz."""
    name, _, kind = artifact.rpartition("_")
    return f"{name}.{'npz' if kind == 'arrays' else kind}"


def _model(folder: Path) -> dict[str, Path]:
    """Files of a trained model. Raises InputError where there is none."""
    if not (folder / MODEL["model"]).is_file():
        raise InputError(f"{folder}: no {MODEL['model']} in it", "give the folder of a trained model")
    return {name: folder / file for name, file in MODEL.items()}


def _section(arguments: argparse.Namespace, stage: Stage, given: dict[str, Any], known: Sequence[str] = ()) -> Any:
    """The stage's section of the configuration. Raises ConfigError for a key of another one on the command line.

    `known`: all sections of which keys may be given, where it is not this one alone.
    """
    names = tuple(known) or (stage.name,)
    if other := [word for word in arguments.set if word.partition(".")[0] not in names]:
        raise ConfigError(f"--set {other[0]}", f"keys of section {', '.join(names)} only: {names[0]}.seed=1")
    return section_from({**given, **(read_config(arguments).get(stage.name) or {})}, stage)


def _inputs(store: Path, more: dict[str, Path] | None = None) -> Files:
    """A store and its tables. Raises InputError where one is not there."""
    beside = {name: store.absolute().parent / file for name, file in BESIDE.items()}
    for path in (store, *beside.values()):
        if not path.exists():
            raise InputError(f"{path}: there is no such file", "keep a store and its tables together")
    return Files({"store": store, **beside, **(more or {})})


@contextmanager
def _written(folder: Path, files: dict[str, str]) -> Iterator[dict[str, Path]]:
    """Temporary paths in `folder`, moved to their names at the end, the last of `files` last; nothing half is left."""
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / f".{os.getpid()}"
    scratch.mkdir()
    try:
        yield {name: scratch / file for name, file in files.items()}
        for file in files.values():
            os.replace(scratch / file, folder / file)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
