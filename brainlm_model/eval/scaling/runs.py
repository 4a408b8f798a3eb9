"""The trainings of stage `scaling`, and their scores on the same windows and masks."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainlm_model.eval.masked import scoring
from brainlm_model.eval.statistics.masked_r2 import Array

if TYPE_CHECKING:
    from brainlm_model.baselines import Predictor
    from brainlm_model.eval.scaling.section import Config
    from brainlm_model.trained.checkpoint import TrainedModel
    from brainlm_model.windows.dataset import WindowDataset

Piece = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One training."""

    model: str
    ratio: float | tuple[float, ...]  # mask ratio in training; several: one per step
    share: float
    seed: int

    @property
    def ratio_text(self) -> str:
        """`0.75`, or `0.2/0.5/0.75`."""
        return "/".join(f"{r:g}" for r in self.ratio) if isinstance(self.ratio, tuple) else f"{self.ratio:g}"

    @property
    def name(self) -> str:
        """Of its files, and in the list of comparisons."""
        return f"{self.model}_ratio-{self.ratio_text.replace('/', '-')}_share-{self.share:g}_seed-{self.seed}"

    @property
    def label(self) -> str:
        """As figures and tables call it."""
        return f"{self.model}, trained at {self.ratio_text} on {100 * self.share:g} %"

    def step_from(self, other: Run, config: Config) -> str | None:
        """`data`, `model` or `training ratio`, where this one has the next larger (or next listed) one and no other."""
        ratios = [_ratio(ratio) for ratio in config.training_ratios]
        shares = sorted(config.shares)
        steps = {
            "data": shares.index(self.share) - shares.index(other.share),
            "model": config.models.index(self.model) - config.models.index(other.model),  # type: ignore[arg-type]
            "training ratio": ratios.index(self.ratio) - ratios.index(other.ratio),
        }
        if self.seed != other.seed or sorted(steps.values()) != [0, 0, 1]:
            return None
        return max(steps, key=lambda kind: steps[kind])


def _ratio(value: float | Sequence[float]) -> float | tuple[float, ...]:
    return tuple(value) if isinstance(value, Sequence) else value


def grid(config: Config) -> list[Run]:
    """Every training that the section asks for."""
    runs: dict[Run, None] = {}  # each once, in this order, though a value may be listed twice
    for seed, share, model, ratio in product(config.seeds, config.shares, config.models, config.training_ratios):
        runs[Run(model, _ratio(ratio), share, seed)] = None
    return list(runs)


def baseline(name: str, share: float, seed: int) -> str:
    """A baseline on the people of a share; on everybody the seed does not matter."""
    return name if share == 1 else f"{name}@{share:g}@{seed}"


class Bench:
    """Held-out windows, and what is scored on them.

    Attributes
    ----------
    held: split -> its windows.
    """

    def __init__(self, store: Any, path: Path, config: Config, splits: Sequence[str], checkpoint: TrainedModel) -> None:
        self.store, self.path, self.config, self.model = store, path, config, checkpoint
        self.held = {split: self._windows(split) for split in splits}
        self.conditions = [scoring.Condition("random", ratio) for ratio in config.mask_ratios]

    def _windows(self, split: str, share: float = 1.0, seed: int = 0) -> WindowDataset:
        from brainlm_model.windows.dataset import WindowDataset

        return WindowDataset(self.store, split, self.model.config.window, seed, fill=float(np.nan), share=share)

    def chosen(self, split: str) -> set[int]:
        """Places of at most `config.recordings` recordings of a split."""
        order = np.random.default_rng(self.config.seed).permutation(len(self.held[split]))
        return set(order[: self.config.recordings].tolist())

    def _sums(self, methods: Mapping[str, Predictor]) -> Piece:
        """`split/ratio/method` -> (recording, parcel, 4); ids and subjects of each split."""
        piece: Piece = {}
        for split, data in self.held.items():
            chosen = self.chosen(split)
            is_chosen = [place in chosen for place in range(len(data))]
            recordings = compress(scoring.recordings(data, 1), is_chosen)  # read one by one, as they are scored
            scores = scoring.score(recordings, methods, self.conditions, self.model.config.patch, self.config.seed)
            for (method, condition), sums_RP4 in scores.sums.items():
                piece[f"{split}/{condition.ratio:g}/{method}"] = sums_RP4
            piece[f"{split}/ids"], piece[f"{split}/subjects"] = np.array(scores.ids), np.array(scores.subjects)
        return piece

    def checkpoint(self) -> Piece:
        """Scores of the trained model of this run, of itself untrained, and of baselines on all training subjects."""
        methods = {"model": scoring.ModelPredictor(self.model.network), "untrained": scoring.untrained(self.model)}
        train = self._windows("train")
        return self._sums({**methods, **self._fit(train)}) | {"subjects": len(set(train.subjects))}

    def baselines(self, share: float, seed: int) -> Piece:
        """Scores of baselines on the people of a share."""
        fitted = self._fit(self._windows("train", share, seed))
        return self._sums({baseline(name, share, seed): method for name, method in fitted.items()})

    def _fit(self, train: WindowDataset) -> dict[str, Predictor]:
        """Baselines; what one chooses is chosen on validation subjects."""
        config = self.config
        tuning = None
        if (self.store.recordings["split"] == "validation").any():
            tuning = self._windows("validation")
        names, patch = ["gaussian", *config.baselines], self.model.config.patch
        return scoring.fit_baselines(names, train, tuning, patch, config.mask_ratios, config.seed + 1)

    def trained(self, run: Run, folder: Path | None) -> Piece:
        """Train and score; `folder` holds the step checkpoint meanwhile."""
        from brainlm_model.training.recipe import Config as Recipe
        from brainlm_model.training.worker import make_trainer

        config, ours = self.config, self.model.config
        recipe = Recipe.model_validate(
            {"model": run.model, "mask_ratio": list(run.ratio) if isinstance(run.ratio, tuple) else run.ratio,
             "share": run.share, "seed": run.seed, "steps": config.steps, "batch_size": config.batch_size,
             "lr": config.lr, "window": ours.window, "patch": ours.patch, "eval_every": max(1, config.steps // 3),
             "threads": config.threads, "device": config.device}
        )  # fmt: skip
        trainer = make_trainer(self.path, recipe, 0)
        begin = time.process_time()
        log = trainer.fit(folder)
        spent = (time.process_time() - begin) / 60
        piece = self._sums({run.name: scoring.ModelPredictor(trainer.network)})
        piece |= {
            "parameters": sum(p.numel() for p in trainer.network.parameters()), "steps": log[-1]["step"],
            "subjects": len(set(trainer.train.subjects)), "cpu_minutes": spent,
        }  # fmt: skip
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        return piece

    def scores(self, split: str, done: Mapping[Any, Piece]) -> scoring.Scores:
        """All of a split as one table of sums: the same recordings, the same masks."""
        sums: dict[tuple[str, scoring.Condition], NDArray[np.float64] | Array] = {}
        first = next(iter(done.values()))
        for piece in done.values():
            for key, values in piece.items():
                parts = key.split("/", 2)
                if parts[0] == split and len(parts) == 3:
                    sums[parts[2], scoring.Condition("random", float(parts[1]))] = values
        return scoring.Scores(sums, first[f"{split}/ids"].tolist(), first[f"{split}/subjects"].tolist())
