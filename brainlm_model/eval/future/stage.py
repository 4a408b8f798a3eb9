"""The next steps of every parcel: the fine-tuned model beside networks from scratch, ODEs and linear forecasts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
from pydantic import Field

from brainlm_data import ConfigError, Facts, InputError, Progress, StageConfig
from brainlm_model.eval.pieces import Pieces
from brainlm_model.eval.rows import Row
from brainlm_model.eval.statistics.paired import LEVEL
from brainlm_model.eval.statistics.subjects import ENOUGH_SUBJECTS, subject_draws
from brainlm_model.eval.task import Results, Split, Start, task
from brainlm_model.eval.writing import plain

COLUMNS = (
    "horizon", "method", "metric", "step", "value", "low", "high", "n_subjects", "n_recordings", "model_error", "label",
)  # fmt: skip
REFERENCE = "finetuned"  # what every other method is compared with
Begin = Literal["auto", "ar_process", "prior"]
Name = Literal[
    "finetuned", "pretrained", "untrained", "lstm", "neural_ode", "latent_ode", "ar", "ar_process", "var",
    "state_space", "gaussian", "persistence", "mean",
]  # fmt: skip


class Config(StageConfig):
    """Section `future` of config.yaml."""

    splits: list[Split] = Field(["test"], min_length=1, description="splits to score: subjects not trained on")
    horizons: list[int] = Field(
        [20], min_length=1, description="steps to forecast at a window's end: multiples of the model's patch"
    )
    methods: list[Name] = Field(list(get_args(Name)), min_length=1, description="forecasts that are compared")
    start: Begin = Field(
        "auto",
        description="forecast that fine-tuned networks see and add to; prior: their own expectation; auto: ar_process "
        "where the architecture has a prior",
    )
    recordings: int = Field(200, ge=1, description="recordings to score, at most, drawn by the seed")
    train_recordings: int = Field(
        200, ge=2, description="recordings to learn from, at most; a quarter of them for validation"
    )
    windows: int = Field(2, ge=1, description="windows per recording that is scored, spread over it")
    epochs: int = Field(5, ge=1, description="largest number of epochs of fine-tuning and of training from scratch")
    network_epochs: int = Field(
        40, ge=1, description="largest number of epochs of the LSTM and the ODEs; they stop early"
    )
    batch_size: int = Field(8, ge=1, description="windows per training step")
    max_invalid: float = Field(
        0.2, ge=0, le=1, description="largest fraction of interpolated (censored) steps in a window"
    )
    bootstrap: int = Field(1000, ge=100, description="draws of subjects for the 95% intervals")
    seed: int = Field(0, ge=0, description="seed of recordings, weights, windows, draws and sign flips")
    threads: int = Field(2, ge=1, description="CPU threads")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU if there is one")


def evaluate(start: Start, config: Config) -> Results:
    """Fit every method for every horizon on training subjects, and score it on held-out ones.

    Raises
    ------
    ConfigError: a horizon that does not fit the model's patch and window.
    InputError: another number of parcels than the model's; no recording of a split that is needed.
    """
    from brainlm_model.eval.future import data, scores
    from brainlm_model.eval.future.methods import METHODS
    from brainlm_model.eval.future.published import published

    store, model = start.store, start.model
    _check(config, model, len(store.parcels))
    begin = _start(config, model)
    any_settings = _settings(config, config.horizons[0])
    held_out = data.held(store, config.splits, config.recordings, model, any_settings, config.windows)
    learning = data.learning(store, config.train_recordings, model, any_settings)
    weights = subject_draws(held_out.subjects, config.bootstrap, config.seed)
    shared = {"n_subjects": len(set(held_out.subjects)), "n_recordings": len(held_out.ids)}
    rows: list[Row] = []
    compared: list[Row] = []
    by_split: list[Row] = []
    chosen: dict[str, Any] = {}
    arrays: dict[str, Any] = {"ids": np.array(held_out.ids, str), "subjects": np.array(held_out.subjects, str),
                              "splits": np.array(held_out.splits, str)}  # fmt: skip
    progress = Progress("future", len(config.horizons) * len(config.methods))
    for steps in config.horizons:
        example = data.typical(held_out, steps)
        outcomes = _horizon(config, steps, (model, learning, held_out, begin), example, start.pieces, progress)
        sums = {name: outcome["sums"] for name, outcome in outcomes.items()}
        rows += scores.table(sums, weights, {"horizon": steps, **shared})
        for row in scores.comparisons(sums, REFERENCE, held_out.subjects, weights, config.seed):
            compared.append({"horizon": steps, **row})
        people = held_out.splits, held_out.subjects
        for row in scores.by_split(sums, REFERENCE, *people, config.bootstrap, config.seed):
            by_split.append({"horizon": steps, **row})
        chosen[str(steps)] = {name: json.loads(str(outcome["chosen"])) for name, outcome in outcomes.items()}
        arrays |= _arrays(held_out, steps, example, outcomes)
    for row in rows:
        row["label"] = METHODS[row["method"]].label
    scores.with_verdicts(rows, compared)
    facts: Facts = {
        "Splits": config.splits,
        "Subjects": shared["n_subjects"],
        "Recordings": shared["n_recordings"],
        "Skipped": held_out.skipped,
        "TrainingRecordings": len(learning.train),
        "ValidationRecordings": len(learning.validation),
        "Window": model.config.window,
        "Horizons": config.horizons,
        "Methods": {name: METHODS[name].label for name in config.methods},
        "Windows": config.windows,
        "Start": begin,
        "Epochs": config.epochs,
        "NetworkEpochs": config.network_epochs,
        "Bootstrap": config.bootstrap,
        "Seed": config.seed,
        "ModelSteps": model.training.get("Steps"),
    }
    ours = f"{len(store.parcels)} parcels, {len(held_out.ids)} recordings"
    more = {"Chosen": chosen, "BySplit": by_split}
    return Results(facts, rows, arrays, compared, _warnings(facts), published(ours), more)


def _check(config: Config, model: Any, parcels: int) -> None:
    patch, window = model.config.patch, model.config.window
    remedy = f"multiples of {patch} below {window}"
    if patch >= window:
        remedy = "another architecture: this one has no patches in time"
    for steps in config.horizons:
        if steps < 1 or steps % patch or steps >= window:
            raise ConfigError(f"future.horizons: {steps}; the model's patch is {patch}, its window {window}", remedy)
    if len(set(config.horizons)) < len(config.horizons):
        raise ConfigError("future.horizons: a value is repeated", "give each once")
    if parcels != model.config.parcels:
        raise InputError(
            f"store: {parcels} parcels, the model has {model.config.parcels}", "a store of the model's atlas"
        )


def _start(config: Config, model: Any) -> str:
    """What fine-tuned networks start from: an architecture without a prior has nothing that a forecast could stand for.

    Raises
    ------
    ConfigError: a start is asked for that the architecture cannot have.
    """
    if model.config.prior != "zero":
        return "ar_process" if config.start == "auto" else config.start
    if config.start == "ar_process":
        raise ConfigError("future.start: ar_process, but this architecture has no prior", "start: auto, or prior")
    return "prior"


def _settings(config: Config, steps: int) -> Any:
    from brainlm_model.finetune.settings import Settings

    return Settings(
        task="future", future=steps, epochs=config.epochs, patience=max(config.epochs // 3, 2), seed=config.seed,
        batch_size=config.batch_size, windows=config.windows, max_invalid=config.max_invalid, bootstrap=1,
    )  # fmt: skip


def _horizon(
    config: Config, steps: int, sources: tuple[Any, ...], example: int, pieces: Pieces, progress: Progress
) -> dict[str, dict[str, Any]]:
    """Each method's sums, chosen setting (JSON), and forecast of the example (P, F).

    `sources`: the model, what is learnt from, the held-out windows, and what fine-tuned networks start from.
    """
    from brainlm_model.eval.future.data import score
    from brainlm_model.eval.future.methods import METHODS, ForecastInputs, best

    model, learning, held_out, begin = sources
    inputs = ForecastInputs(model, learning, steps, _settings(config, steps), config.network_epochs, begin)
    done = config.horizons.index(steps) * len(config.methods)

    def piece(name: str) -> Mapping[str, Any]:
        forecast, setting = best(METHODS[name], inputs)
        past_BPH = held_out.windows(example)[:1, :, :-steps]
        return {
            "sums": score(held_out, forecast, steps),
            "chosen": np.array(json.dumps(plain(setting))),
            "example": forecast(past_BPH, steps)[0].astype(np.float32),
        }

    outcomes: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(config.methods):
        outcomes[name] = pieces.get(f"{steps}-{name}", partial(piece, name))
        progress.step(done + number + 1, name)
    return outcomes


def _arrays(held_out: Any, steps: int, example: int, outcomes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Of a horizon: mean squared error of each recording, (R, 1 + F): all steps, then each; and the example."""
    from brainlm_model.eval.future.scores import errors

    arrays: dict[str, Any] = {f"{steps}/id": np.array(held_out.ids[example], str)}
    arrays[f"{steps}/truth"] = held_out.windows(example)[0].astype(np.float32)
    for name, outcome in outcomes.items():
        arrays[f"{steps}/example/{name}"] = outcome["example"]
        arrays[f"{steps}/mse/{name}"] = errors(outcome["sums"]).astype(np.float32)
    return arrays


def _warnings(facts: Facts) -> list[str]:
    lines = [f"not scored, no window of {facts['Window']} steps: {name}" for name in facts["Skipped"]]
    subjects, others = facts["Subjects"], len(facts["Methods"]) - 1
    if subjects < ENOUGH_SUBJECTS:
        lines.append(f"only {subjects} subjects: intervals are too narrow, and no test can reach p < .05")
    else:
        smallest_p = 2.0 ** (1 - subjects)  # of a sign-flip test: all signs alike, on either side
        for steps in facts["Horizons"]:
            tests = others * steps
            if tests * smallest_p > LEVEL:
                lines.append(
                    f"{subjects} subjects are too few for a mark at a single step of {steps}: there are {tests} tests"
                )
    if REFERENCE not in facts["Methods"]:
        lines.append(f"method {REFERENCE} was left out: nothing is compared with it")
    return lines


def describe(facts: Facts) -> str:
    """Methods sentence."""
    horizons = " or ".join(str(steps) for steps in facts["Horizons"])
    started = ""
    if facts["Start"] != "prior":
        started = f" Fine-tuned networks added to the forecast of {facts['Start']}, which was the expectation they saw."
    return (
        f"The next {horizons} steps of every parcel were forecast from the rest of a window of {facts['Window']} steps "
        f"(Ortega Caro et al., 2024) by {', '.join(facts['Methods'])}, fitted on {facts['TrainingRecordings']} "
        f"recordings of training subjects, with settings chosen on {facts['ValidationRecordings']} of validation "
        f"subjects, and scored on {facts['Recordings']} recordings of {facts['Subjects']} other subjects."
        f"{started}"
    )


STAGE = task(
    "future",
    4,
    "Forecast the next steps of every parcel, beside LSTM, neural ODEs and linear forecasts.",
    Config,
    COLUMNS,
    evaluate,
    describe,
)
