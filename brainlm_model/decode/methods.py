"""The pictures that every method makes of the test patterns, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data import Patterns
from brainlm_model.decode import baselines
from brainlm_model.decode.pictures import measured, summary

if TYPE_CHECKING:
    from brainlm_model.decode.stages.diffusion import Painted

Array = NDArray[np.float64]
# method -> what it is, in the order of every table
LABELS = {
    "decoded": "diffusion with SC-MBM: mean picture of the samples",
    "decoded_sample": "the same, one sample at a time (mean over samples)",
    "no_pretraining": "without SC-MBM: the encoder starts untrained",
    "shuffled": "learnt with each pattern beside another one's picture",
    "ridge_pixels": "ridge regression to the pixels",
    "ridge_latents": "ridge regression to the latents, decoded",
    "nearest": "picture of the nearest training pattern",
    "mean": "mean training picture",
}
MEASURES = {
    "two_way": "two-way identification",
    "n_way_top1": "n-way, top 1",
    "pixel_r": "pixel r",
    "ssim": "SSIM",
}  # fmt: skip


def simple(patterns: Patterns, painted: Painted) -> dict[str, Array]:
    """Pictures (M, h, w[, 3]) of the test rows by the simpler methods."""
    train, test = patterns.of("train"), patterns.of("test")
    x, new = train.patterns.astype(np.float64), test.patterns.astype(np.float64)
    seen = train.seen() / 255
    latents = baselines.ridge(x, painted.autoencoder.encoded(seen), new)
    return {
        "ridge_pixels": baselines.ridge_pixels(x, seen, new),
        "ridge_latents": painted.autoencoder.decoded(latents),
        "nearest": baselines.nearest(x, seen, new),
        "mean": baselines.mean(seen, len(new)),
    }


def painted_samples(
    patterns: Patterns, painted: Painted, compat: bool, sampler: str, steps: int, count: int, seed: int
) -> dict[str, Array]:
    """Pictures (count, M, h, w[, 3]) of the test rows by each painter."""
    from brainlm_model.decode.diffusion import schedulers
    from brainlm_model.decode.second_stage import as_input, samples

    _, scheduler = schedulers(sampler)
    drawn = {}
    for name, painter in painted.painters.items():
        x_NV = as_input(patterns.of("test").patterns, painter.encoder.size, compat)
        drawn[name] = samples(painter, x_NV, painted.autoencoder, scheduler, steps, count, seed)
    return drawn


def scores(
    samples: Mapping[str, Array], others: Mapping[str, Array], test: Patterns, among_N: NDArray[Any] | None, n: int
) -> dict[str, dict[str, Array]]:
    """Method -> measure -> score (M,) of each row. A painter counts by the mean picture of its samples.

    `decoded_sample`: each sample is scored by itself, and the scores are averaged, as published. The best sample of a
    picture is nowhere: who does not know the picture cannot choose it.
    """
    seen = test.seen() / 255
    found = {name: measured(each.mean(axis=0), seen, test.stimulus, among_N, n) for name, each in samples.items()}
    each_sample = [measured(one, seen, test.stimulus, among_N, n) for one in samples["decoded"]]
    found["decoded_sample"] = {name: np.mean([one[name] for one in each_sample], axis=0) for name in each_sample[0]}
    found |= {name: measured(each, seen, test.stimulus, among_N, n) for name, each in others.items()}
    return {name: found[name] for name in LABELS}


def summaries(found: Mapping[str, Mapping[str, Array]], test: Patterns, seed: int) -> dict[str, dict[str, Any]]:
    """Method -> measure -> value with its interval; and `less_ridge`, paired: the method less ridge to the pixels."""
    table: dict[str, dict[str, Any]] = {}
    for method, by_measure in found.items():
        table[method] = {}
        for name, each in by_measure.items():
            row = summary(each, test.stimulus, test.subject, seed)
            row["less_ridge"] = summary(each - found["ridge_pixels"][name], test.stimulus, test.subject, seed)
            table[method][name] = row
    return table
