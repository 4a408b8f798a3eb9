"""Evaluate the trained model on held-out subjects, beside every baseline: the stage, its section and its files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from brainlm_data import Artifact, Facts, Files, InputError, Need, Stage, StageConfig
from brainlm_model.baselines import LABELS as BASELINES
from brainlm_model.baselines import Baseline
from brainlm_model.eval.masked.words import counted, held_out
from brainlm_model.eval.statistics.subjects import ENOUGH_SUBJECTS
from brainlm_model.eval.writing import write_csv, write_json
from brainlm_model.training.machine import use_threads

if TYPE_CHECKING:
    import pandas as pd

    from brainlm_model.eval.masked.scoring import Condition, Scores
    from brainlm_model.trained.checkpoint import TrainedModel

COLUMNS = (
    "method", "masking", "mask_ratio", "metric", "value", "low", "high", "n_subjects", "n_recordings", "n_values",
    "label", "band",
)  # fmt: skip
PRIORS = {
    "gaussian": "Gaussian adapted to the window (untrained model)",
    "spacetime": "joint Gaussian over space and time (untrained model)",
}
LABELS = {"model": "BrainLM, trained", "untrained": "BrainLM, untrained", **BASELINES}
EXAMPLE_RATIO = 0.75


class Config(StageConfig):
    """Section `evaluate` of config.yaml. Window and patch are the model's own."""

    mask_ratios: list[float] = Field(
        [0.2, 0.5, 0.75, 0.9], min_length=1, description="fractions of tokens that are masked"
    )
    masking: list[Literal["random", "future"]] = Field(
        ["random", "future"], min_length=1, description="random: any tokens; future: the last patches of all parcels"
    )
    baselines: list[Baseline] = Field(
        ["spacetime", "pca", "mean", "interpolation"],
        description="beside the conditional Gaussian; spacetime: one Gaussian over parcels and time, adapted to the"
        " window; lagged: the Gaussian over three steps, some 80 times slower",
    )
    split: Literal["test", "validation", "external"] = Field(
        "test", description="subjects to score, none of them trained on; external: those of collate.external"
    )
    windows_per_recording: int = Field(2, ge=1, description="windows per recording, spread evenly over it")
    max_invalid: float = Field(
        0.2, ge=0, le=1, description="largest fraction of interpolated (censored) steps in a window"
    )
    bootstrap: int = Field(1000, ge=100, description="draws of subjects for the 95% intervals")
    seed: int = Field(0, ge=0, description="seed of masks and bootstrap")
    threads: int = Field(2, ge=1, description="CPU threads")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU if there is one")

    @field_validator("mask_ratios")
    @classmethod
    def _between(cls, value: list[float]) -> list[float]:
        if not all(0 < ratio < 1 for ratio in value):
            raise ValueError("mask ratios lie between 0 and 1")
        return sorted(set(value))


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Score the model, the untrained model and every baseline on the same windows and masks.

    Raises
    ------
    InputError: no recording to test on; the store is not as the model's card says, or was scaled differently.
    """
    from brainlm_data import compare_store, open_store
    from brainlm_model.eval.masked import scoring
    from brainlm_model.trained.load import load
    from brainlm_model.windows.dataset import WindowDataset

    use_threads(config.threads)
    model = load(inputs["model"].parent, config.device)
    store = open_store(inputs["store"])
    compare_store(store.attrs, model.card.data, str(store.path))
    _check_scaler(model, store)
    patch, window = model.config.patch, model.config.window

    def windows(split: str) -> WindowDataset:
        return WindowDataset(store, split, window, config.seed, max_invalid=config.max_invalid, fill=np.nan)

    train, held_out = windows("train"), windows(config.split)
    tuning = None  # people on whom a baseline chooses its ridge: neither trained on nor scored
    if (store.recordings["split"] == "validation").any():
        tuning = windows("validation")
    baselines = scoring.fit_baselines(
        ["gaussian", *config.baselines], train, tuning, patch, config.mask_ratios, config.seed + 1
    )
    methods = {"model": scoring.ModelPredictor(model.network), "untrained": scoring.untrained(model), **baselines}
    conditions = [scoring.Condition(kind, ratio) for kind, ratio in product(config.masking, config.mask_ratios)]
    recordings = scoring.recordings(held_out, config.windows_per_recording)
    scores = scoring.score(recordings, methods, conditions, patch, config.seed, total=len(held_out))

    facts: Facts = {
        "Split": config.split,
        "Subjects": len(set(scores.subjects)),
        "Recordings": len(scores.ids),
        "Skipped": list(held_out.skipped.values()),
        "TrainingSubjects": len(set(train.subjects)),
        "Window": window,
        "Patch": patch,
        "WindowsPerRecording": config.windows_per_recording,
        "MaskRatios": config.mask_ratios,
        "Masking": config.masking,
        "Bootstrap": config.bootstrap,
        "Seed": config.seed,
        "SamplingFrequency": float(store.rate_hz) if store.rate_hz else None,
        "EffectiveBands": _bands(store.recordings.set_index("id").loc[scores.ids]),
        "Ridge": getattr(baselines["gaussian"], "ridge", None),
        "RidgeChosenOn": "validation subjects" if tuning is not None else "default: there are no validation subjects",
        "Baselines": list(config.baselines),
        "Prior": model.config.prior,
    }  # fmt: skip
    _write_tables(outputs, scores, facts, methods)
    # the example is a window of the typical recording, hidden as much as the configuration comes near to 75 %
    shown = scoring.Condition(config.masking[0], min(config.mask_ratios, key=lambda r: abs(r - EXAMPLE_RATIO)))
    again = scoring.recordings(held_out, config.windows_per_recording)
    recording = next(islice(again, typical(scores, shown), None))
    arrays = scoring.example(recording, methods, shown, patch, config.seed)
    _write_example(outputs["masked_example"], arrays, recording.id, shown, facts, store.parcels)
    return facts


def _write_example(
    path: Path, arrays: dict[str, Any], recording: str, shown: Condition, facts: Facts, parcels: pd.DataFrame
) -> None:
    """What the figure of one window needs; see `scoring.example`."""
    np.savez_compressed(
        path,
        **arrays,
        recording=recording,
        masking=shown.masking,
        mask_ratio=shown.ratio,
        rate_hz=facts["SamplingFrequency"] or np.nan,
        parcel=np.array(parcels["name"].astype(str).tolist(), dtype=str),
        network=np.array(parcels["network"].astype(str).tolist(), dtype=str),
    )


def _write_tables(outputs: Files, scores: Scores, facts: Facts, methods: Iterable[str]) -> None:
    """JSON and CSV of the scores."""
    from brainlm_model.eval.masked import scoring

    band = band_text(facts["EffectiveBands"])
    rows = []
    for row in scoring.table(scores, facts["Bootstrap"], facts["Seed"]):
        rows.append({**row, "label": label(row["method"], facts), "band": band})
    content = {
        **facts,
        "Methods": {name: label(name, facts) for name in methods},
        "Results": rows,
        "Comparisons": scoring.comparisons(scores, facts["Bootstrap"], facts["Seed"]),
        "Warnings": warnings(facts),
    }
    write_json(outputs["masked_json"], content)
    write_csv(outputs["masked_csv"], COLUMNS, rows)


def label(name: str, facts: Facts) -> str:
    """A method as figures and tables call it."""
    if name == "untrained" and facts["Prior"] in PRIORS:
        return PRIORS[facts["Prior"]]
    return LABELS[name]


def band_text(bands: Sequence[Sequence[float | None]]) -> str:
    """Effective bands of the recordings in words, for example "0.01 to 0.45 Hz"; a lower edge may be unknown."""
    if len(bands) > 3:
        return f"{len(bands)} different bands"
    texts = []
    for low, high in bands:
        start = "unknown" if low is None else f"{low:.3g}"
        end = "no low-pass" if high is None else f"{high:.3g} Hz"
        texts.append(f"{start} to {end}")
    return " or ".join(texts)


def typical(scores: Scores, condition: Any) -> int:
    """The recording whose R2 is the median of the model's: an example that was not picked by hand."""
    from brainlm_model.eval.statistics.masked_r2 import r2

    values = r2(scores.sums["model", condition].sum(axis=1))  # over parcels: one value per recording
    order = np.argsort(values, kind="stable")
    return int(order[(len(order) - 1) // 2])


def warnings(facts: Facts) -> list[str]:
    """What a reader must know before believing the numbers."""
    lines = [f"not evaluated: {reason}" for reason in facts["Skipped"]]
    if facts["Subjects"] < ENOUGH_SUBJECTS:
        people = counted(facts["Subjects"], held_out(facts))
        lines.append(
            f"only {people}: intervals over so few people are too narrow, and no test on fewer than"
            f" {ENOUGH_SUBJECTS} can reach p < .05"
        )
    if not facts["RidgeChosenOn"].startswith("validation"):
        lines.append(
            f"the ridge of the conditional Gaussian ({facts['Ridge']:g}) was not tuned: no validation subjects"
        )
    elif facts["Split"] == "validation":
        lines.append("validation subjects are scored, on whom ridge and training were watched: not a test")
    if len(facts["EffectiveBands"]) > 1:
        lines.append("recordings differ in their frequency band, on which masked R2 depends")
    return lines


def _check_scaler(model: TrainedModel, store: Any) -> None:
    for key in ("median", "iqr"):
        ours, theirs = np.asarray(getattr(store.scaler, key)), getattr(model.scaler, key)
        if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=1e-5, equal_nan=True):
            raise InputError(
                f"model and store differ in their scaler's {key}", "train the model on this store, or use its own store"
            )


def _bands(table: pd.DataFrame) -> list[tuple[float | None, float | None]]:
    """The distinct effective bands (low, high) in Hz; None: open at that end."""
    distinct = set()
    for low, high in table[["band_low_hz", "band_high_hz"]].drop_duplicates().itertuples(index=False):
        distinct.add((_plain(low), _plain(high)))
    return sorted(distinct, key=lambda band: (band[0] or 0, band[1] or math.inf))


def _plain(value: Any) -> float | None:
    """A number for JSON; None for what is not set."""
    return None if value is None or value != value else float(value)


def describe(facts: Facts) -> str:
    """Methods sentence."""
    ratios = ", ".join(f"{ratio:g}" for ratio in facts["MaskRatios"])
    others = ", ".join(LABELS[name] for name in facts["Baselines"])
    return (
        f"Masked reconstruction was scored on {facts['WindowsPerRecording']} windows of each of {facts['Recordings']} "
        f"recordings of {facts['Subjects']} {facts['Split']} subjects with {' and '.join(facts['Masking'])} masking of "
        f"{ratios} of the tokens, as unclipped R2 with 95% intervals from {facts['Bootstrap']} bootstrap draws of "
        f"subjects (Efron & Tibshirani, 1993), beside the same network untrained, {others} and a conditional "
        f"Gaussian with the covariance of training subjects (ridge {facts['Ridge']:g}, {facts['RidgeChosenOn']})."
    )


ARTIFACTS = {
    "masked_json": Artifact(
        "cohort", "metrics/masked.json", "masked R2 of the model and every baseline, with intervals"
    ),
    "masked_csv": Artifact(
        "cohort", "metrics/masked.csv", "masked R² as a table: method, mask ratio, masking, metric, value, low, high"
    ),
    "masked_example": Artifact(
        "cohort", "metrics/masked_example.npz", "one held-out window: truth, mask and reconstructions"
    ),
}

STAGE = Stage(
    name="evaluate",
    version=5,
    level="cohort",
    summary="Score masked reconstruction on held-out subjects, beside baselines and the untrained model.",
    Config=Config,
    inputs=("store", "recordings", "scaler", "model", "model_config", "model_scaler"),
    outputs=tuple(ARTIFACTS),
    artifacts=ARTIFACTS,
    need=Need(8000, start=24 * 3600),
    run=run,
    describe=describe,
)
