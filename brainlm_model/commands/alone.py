"""`brainlm-model train STORE`, `evaluate STORE MODEL`, `paper STORE MODEL`: stages on a store alone, without BIDS.

They call the stages' own `run`, which is what the DAG does, with files that the caller names.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from brainlm_data import ConfigError, Files, InputError, Stage, beside, call, open_store, read_config, section_from
from brainlm_model.trained.hub import MODEL_HELP, is_hub_name

BESIDE = {"recordings": "recordings.parquet", "scaler": "scaler.npz"}
EVENTS = "events.tsv"  # beside a store of tasks
MODEL = {
    "model_config": "config.json", "model_scaler": "scaler.npz", "model_card_data": "card.json",
    "model_card": "card.md", "train_log": "log.csv", "model_checksums": "SHA256SUMS", "model": "model.safetensors",
}  # fmt: skip
ENDINGS = {"arrays": "npz"}  # of a task's outputs, where it is not the output's own name
METRICS = {"masked_csv": "masked.csv", "masked_example": "masked_example.npz", "masked_json": "masked.json"}


def add_commands(commands: Any) -> None:
    """Add `train`, `evaluate` and `paper` to the parser."""
    from brainlm_model.stages import PAPER_TASKS

    train = commands.add_parser("train", help="train on a store alone (`run train` is the same within the DAG)")
    train.add_argument("store", type=Path, help="store.zarr with its tables beside it")
    train.add_argument("--out", type=Path, required=True, metavar="MODELDIR", help="new folder of the model")
    train.add_argument(
        "--force",
        action="store_true",
        help="replace the model in MODELDIR, and another run that was stopped on its way there",
    )
    train.add_argument(
        "--restart", action="store_true", help="begin anew where a training into MODELDIR was stopped on its way"
    )
    train.set_defaults(call=_train)
    evaluate = commands.add_parser("evaluate", help="score a model on a store alone, beside every baseline")
    evaluate.add_argument("store", type=Path, help="store.zarr with its tables beside it")
    evaluate.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    evaluate.add_argument("--out", type=Path, metavar="FOLDER", help="of the tables (MODEL/metrics/<split>)")
    evaluate.set_defaults(call=_evaluate)
    for parser, name in ((train, "train"), (evaluate, "evaluate")):
        parser.add_argument("--configfile", type=Path, help=f"a config.yaml; its section {name} is used")
        parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help=f"{name}.seed=1 ...")
        parser.set_defaults(bids_dir=None, outdir=None)
    paper = commands.add_parser("paper", help="the paper's tasks on a store alone")
    paper.add_argument("store", type=Path, help="store.zarr with its tables beside it")
    paper.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    paper.add_argument("--tasks", nargs="+", choices=list(PAPER_TASKS), help="(all)")
    paper.add_argument("--out", type=Path, metavar="FOLDER", help="of tables and figures (MODEL/paper)")
    paper.add_argument("--configfile", type=Path, help="a config.yaml; the sections of the tasks are used")
    paper.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="TASK.seed=1 ...")
    paper.set_defaults(call=_paper, bids_dir=None, outdir=None)


def _train(arguments: argparse.Namespace) -> None:
    from brainlm_model.training.stage import STAGE
    from brainlm_model.training.state import WRITTEN

    out = arguments.out
    config = _section(arguments, STAGE, {"name": _name(out)})
    if (out / MODEL["model"]).exists() and not arguments.force:
        raise InputError(f"{out}: there is a model in it already", "give another folder, or --force to replace it")
    inputs = _inputs(arguments.store, {"card_data": arguments.store.absolute().parent / "card.json"})
    state = out.absolute().parent / f".{out.absolute().name}.training"  # a killed run goes on from there
    with _written(out, MODEL) as outputs:
        if arguments.restart:
            shutil.rmtree(state, ignore_errors=True)
        elif arguments.force and state.is_dir():
            (state / WRITTEN).touch()  # as that of a finished run: another one may take its place
        call(STAGE, Files(inputs, {"workdir": str(state)}), outputs, config)
        shutil.rmtree(out / "metrics", ignore_errors=True)  # of the model that was there
        if (state / "tensorboard").is_dir():
            shutil.copytree(state / "tensorboard", out / "tensorboard", dirs_exist_ok=True)
        shutil.rmtree(state, ignore_errors=True)
    print(f"{out}: model.safetensors, config.json, scaler.npz, card.json, card.md, log.csv, SHA256SUMS")


def _name(folder: Path) -> str:
    """Of the model, by its folder, in the characters that a name may have: `run 0.1 (b)` is called run-0.1-b."""
    words = re.sub(r"[^A-Za-z0-9_.]+", "-", folder.absolute().name)
    return words.strip(".-") or "model"


def _evaluate(arguments: argparse.Namespace) -> None:
    from brainlm_model.eval.masked.stage import STAGE

    config = _section(arguments, STAGE, {})
    model, out = _model_and_out(arguments, f"metrics/{config.split}")
    inputs = _inputs(arguments.store, {name: model / file for name, file in MODEL.items()})
    with _written(out, METRICS) as outputs:
        facts = call(STAGE, inputs, outputs, config)
    print(f"{out}: masked.json, masked.csv of {facts['Recordings']} recordings ({facts['Split']})")


def _paper(arguments: argparse.Namespace) -> None:
    from brainlm_model.stages import PAPER_TASKS

    model, out = _model_and_out(arguments, "paper")
    tasks = arguments.tasks or list(PAPER_TASKS)
    if other := [word for word in arguments.set if word.split(".")[0] not in tasks]:
        raise ConfigError(f"--set {other[0]}", f"keys of sections {', '.join(tasks)} only")
    files = {name: model / file for name, file in MODEL.items()}
    events = arguments.store.absolute().parent / EVENTS
    if events.exists():
        files["events"] = events
    elif lacking := [task for task in tasks if "events" in PAPER_TASKS[task].inputs]:
        if arguments.tasks is not None:
            raise InputError(
                f"{events}: there is no such file", f"{', '.join(lacking)} needs it: docs/stages/events.md"
            )
        print(f"without {', '.join(lacking)}: there is no {events}", file=sys.stderr)
        tasks = [task for task in tasks if task not in lacking]
    inputs = _inputs(arguments.store, files)
    raw = read_config(arguments)
    sections = {task: section_from(raw.get(task) or {}, PAPER_TASKS[task]) for task in tasks}
    for task, config in sections.items():
        kinds = {name: name.removeprefix(f"{task}_") for name in PAPER_TASKS[task].outputs}
        written = {name: f"{task}.{ENDINGS.get(kind, kind)}" for name, kind in kinds.items()}
        state = out.absolute().parent / f".{out.absolute().name}.{task}"  # a killed run goes on from there
        with _written(out, written) as outputs:
            call(PAPER_TASKS[task], Files(inputs, {"workdir": str(state)}), outputs, config)
        shutil.rmtree(state, ignore_errors=True)
        print(f"{out}: {', '.join(written.values())}")
    _page(inputs, out)


def _model_and_out(arguments: argparse.Namespace, below: str) -> tuple[Path, Path]:
    """The model's folder, and where results go: `--out`, else `below` it, but never into the cache of the Hub."""
    from brainlm_model.trained.load import model_folder

    model = model_folder(arguments.model)
    if arguments.out is None and is_hub_name(arguments.model):
        raise InputError(f"{arguments.model}: a model of the Hub", "say where results go: --out FOLDER")
    return model, arguments.out or model / below


def _page(inputs: Files, out: Path) -> None:
    """The page and the card of all tasks that are in the folder, also of earlier calls.

    The card's first lines are of the tables of `evaluate`, too, where they lie in the model's folder.
    """
    from brainlm_model.paper.sections import section
    from brainlm_model.paper.stage import Config, write
    from brainlm_model.stages import PAPER_TASKS

    there = [stage for task, stage in PAPER_TASKS.items() if (out / f"{task}.json").exists()]
    sections = [section(stage, out / f"{stage.name}.json", out / f"{stage.name}.svg") for stage in there]
    files = {"paper_card": "README.md", "paper_page": "paper.html"}
    with _written(out, files) as outputs:
        masked = sorted(inputs["model"].parent.glob("metrics/*/masked.json"), reverse=True)  # test, then external
        write(outputs, inputs, Config().title, sections, masked)
    print(f"{out}: {', '.join(files.values())}: {', '.join(stage.name for stage in there)}")


def _section(arguments: argparse.Namespace, stage: Stage, given: dict[str, Any]) -> Any:
    """The stage's section of the configuration. Raises ConfigError for a key of another one on the command line."""
    if other := [word for word in arguments.set if not word.startswith(f"{stage.name}.")]:
        raise ConfigError(f"--set {other[0]}", f"keys of section {stage.name} only: {stage.name}.seed=1")
    return section_from({**given, **(read_config(arguments).get(stage.name) or {})}, stage)


def _inputs(store: Path, more: dict[str, Path] | None = None) -> Files:
    """A store and its tables. Raises InputError where one is not there."""
    open_store(store)
    beside = {name: store.absolute().parent / file for name, file in BESIDE.items()}
    for path in beside.values():
        if not path.exists():
            raise InputError(f"{path}: there is no such file", "keep a store and its tables together")
    return Files({"store": store, **beside, **(more or {})})


@contextmanager
def _written(folder: Path, files: dict[str, str]) -> Iterator[dict[str, Path]]:
    """Temporary paths, moved into `folder` at the end, the last of `files` last; one process at a time, nothing half.

    Raises
    ------
    InputError: another process is writing into `folder`.
    """
    with beside(folder, "writing") as scratch:
        yield {name: scratch / file for name, file in files.items()}
        folder.mkdir(parents=True, exist_ok=True)
        for file in files.values():
            if (folder / file).is_dir():
                shutil.rmtree(folder / file)
            os.replace(scratch / file, folder / file)
