"""Masked reconstruction: how well hidden patches of unseen people are predicted, by the model and by every baseline.

All methods get the same windows and the same masks, and masked values are NaN before any method sees them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data import Progress
from brainlm_model.baselines import LABELS, Mask, Predictor, Windows, module
from brainlm_model.eval.statistics import masked_r2
from brainlm_model.eval.statistics.subjects import subject_draws
from brainlm_model.models.masking import Masking, generator, make_mask

if TYPE_CHECKING:
    from torch import Tensor

    from brainlm_model.models.network import Network
    from brainlm_model.trained.checkpoint import TrainedModel
    from brainlm_model.windows.dataset import WindowDataset

VALIDATION_WINDOWS = 8  # on which ridges and ranks of baselines are chosen


@dataclass(frozen=True)
class HeldOutRecording:
    """The windows of one held-out recording."""

    id: str
    subject: str
    x_BPT: Windows
    place_P3: Tensor | None = None  # coordinates of the parcels, which some kinds of masking need


@dataclass(frozen=True)
class Condition:
    """One way of masking."""

    masking: Masking
    ratio: float


@dataclass(frozen=True)
class Scores:
    """What every method reached.

    Attributes
    ----------
    sums: (method, condition) -> (recording, parcel, 4), see `masked_r2.sums`.
    ids, subjects: of the recordings.
    """

    sums: dict[tuple[str, Condition], NDArray[np.float64]]
    ids: list[str]
    subjects: list[str]


class ModelPredictor:
    """A network as a `Predictor`."""

    def __init__(self, network: Network) -> None:
        self.network = network.eval()

    def predict(self, x_BPT: Windows, mask_BPT: Mask) -> Windows:
        """See `baselines.Predictor`. A patch is masked where its first step is."""
        import torch

        device = self.network.cls.device
        patches = torch.from_numpy(np.ascontiguousarray(mask_BPT[:, :, :: self.network.config.patch]))
        with torch.inference_mode():
            predicted = self.network(torch.from_numpy(x_BPT).float().to(device), patches.to(device))
        return predicted.float().cpu().numpy()


def untrained(model: TrainedModel) -> ModelPredictor:
    """The model before its first optimiser step: same architecture, same seed, same buffers (what is not trained).

    Where the architecture has a Gaussian prior, this is the prior alone, whose covariance is that of training subjects.
    """
    import torch

    from brainlm_model.training.loop import FIRST_WEIGHTS

    torch.manual_seed(int(generator(model.training["Seed"], FIRST_WEIGHTS).initial_seed()))
    return ModelPredictor(model.network.fresh().to(model.network.cls.device))


def fit_baselines(
    names: Sequence[str],
    train: WindowDataset,
    validation: WindowDataset | None,
    patch: int,
    ratios: Sequence[float],
    seed: int,
) -> dict[str, Predictor]:
    """Baselines by name (`baselines.LABELS`), fitted on training subjects.

    What one chooses (a ridge, a rank) is chosen on validation subjects; without any it is the module's default.
    """
    series = [train.series(i).T for i in range(len(train))]
    held_out: list[tuple[Windows, Mask]] = []
    if validation is not None:
        for recording in islice(recordings(validation, 1), VALIDATION_WINDOWS):
            for ratio in ratios:
                mask_BPT = draw_mask(recording, Condition("random", ratio), patch, seed)
                held_out.append((recording.x_BPT, mask_BPT))
    fitted: dict[str, Predictor] = {}
    for name in LABELS:  # always in this order
        if name not in names:
            continue
        baseline = module(name)
        if held_out and hasattr(baseline, "fit_tuned"):
            fitted[name] = baseline.fit_tuned(series, held_out)
        else:
            fitted[name] = baseline.fit(series)
    return fitted


def recordings(data: WindowDataset, windows: int) -> Iterator[HeldOutRecording]:
    """`windows` windows of every recording, spread evenly over it; all of them where there are fewer places."""
    from brainlm_model.finetune.windows import spread

    for index, (name, subject) in enumerate(zip(data.ids, data.subjects, strict=True)):
        yield HeldOutRecording(name, subject, spread(data, index, windows).numpy(), data.coordinates)


def draw_mask(recording: HeldOutRecording, condition: Condition, patch: int, seed: int) -> Mask:
    """Boolean (batch, parcel, time), true where masked; depends on the recording's id and the seed alone."""
    batch, parcels, steps = recording.x_BPT.shape
    random = generator(seed, zlib.crc32(recording.id.encode()), round(condition.ratio * 1e6))
    mask_BPN = make_mask(condition.masking, batch, parcels, steps // patch, condition.ratio, random, recording.place_P3)
    return np.repeat(mask_BPN.numpy(), patch, axis=2)


def hide(x_BPT: Windows, mask_BPT: Mask) -> Windows:
    """Windows with NaN where they are masked, so that no method can look."""
    return np.where(mask_BPT, np.float32(np.nan), x_BPT)


def score(
    data: Iterable[HeldOutRecording],
    methods: Mapping[str, Predictor],
    conditions: Sequence[Condition],
    patch: int,
    seed: int,
    total: int = 0,
) -> Scores:
    """Every method on every recording under every condition.

    Parameters
    ----------
    total: number of recordings, for the progress on stderr; 0: silent.
    """
    # Methods first: this is the order of the table, whatever the order of the work below.
    sums: dict[tuple[str, Condition], list[NDArray[np.float64]]] = {key: [] for key in product(methods, conditions)}
    ids, subjects, progress = [], [], Progress("evaluate", total)
    for recording in data:
        for condition in conditions:
            mask_BPT = draw_mask(recording, condition, patch, seed)
            hidden = hide(recording.x_BPT, mask_BPT)
            scored = mask_BPT & np.isfinite(recording.x_BPT)
            for name, method in methods.items():
                predicted = method.predict(hidden, mask_BPT)
                sums[name, condition].append(masked_r2.sums(recording.x_BPT, predicted, scored))
        ids.append(recording.id)
        subjects.append(recording.subject)
        progress.step()
    return Scores({key: np.stack(value) for key, value in sums.items()}, ids, subjects)


def table(scores: Scores, draws: int, seed: int) -> list[dict[str, Any]]:
    """One row per method, masking, mask ratio and metric: value and 95% interval over subjects."""
    weights = subject_draws(scores.subjects, draws, seed)
    rows = []
    for (method, condition), sums_RP4 in scores.sums.items():
        for metric in masked_r2.METRICS:
            estimate = masked_r2.estimate(metric, sums_RP4, weights)
            rows.append(
                {"method": method, "masking": condition.masking, "mask_ratio": condition.ratio, "metric": metric,
                 "value": estimate.value, "low": estimate.low, "high": estimate.high,
                 "n_subjects": len(set(scores.subjects)), "n_recordings": len(scores.ids),
                 "n_values": int(sums_RP4[..., 0].sum())}
            )  # fmt: skip
    return rows


def comparisons(scores: Scores, draws: int, seed: int, method: str = "model") -> list[dict[str, Any]]:
    """`method` against every other one: difference of flat R2 with its paired interval, and the verdict."""
    weights = subject_draws(scores.subjects, draws, seed)
    rows = []
    for (other, condition), sums_RP4 in scores.sums.items():
        if other != method:
            comparison = masked_r2.compare(scores.sums[method, condition], sums_RP4, scores.subjects, weights)
            rows.append(
                {"method": method, "against": other, "masking": condition.masking, "mask_ratio": condition.ratio,
                 "difference": comparison.difference.value, "low": comparison.difference.low,
                 "high": comparison.difference.high,
                 "verdict": comparison.verdict, "subjects_ahead": comparison.ahead, "n_subjects": comparison.subjects,
                 "firm": comparison.firm}
            )  # fmt: skip
    return rows


def example(
    recording: HeldOutRecording, methods: Mapping[str, Predictor], condition: Condition, patch: int, seed: int
) -> dict[str, Any]:
    """The first window of a recording: truth, mask and every method's reconstruction, each (parcel, time)."""
    first = replace(recording, x_BPT=recording.x_BPT[:1])
    mask_BPT = draw_mask(first, condition, patch, seed)
    hidden = hide(first.x_BPT, mask_BPT)
    arrays = {"truth": first.x_BPT[0].astype(np.float32), "mask": mask_BPT[0]}
    for name, method in methods.items():
        arrays[f"x_{name}"] = method.predict(hidden, mask_BPT)[0].astype(np.float32)
    return arrays
