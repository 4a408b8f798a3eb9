"""The pictures that every method makes of the test patterns, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data import Patterns
from brainlm_model.decode import baselines
from brainlm_model.decode.classifier import DIGITS, Judge
from brainlm_model.decode.pictures import measured, summary

if TYPE_CHECKING:
    from brainlm_model.decode.second_stage import Sampling
    from brainlm_model.decode.stages.diffusion import Painted

Array = NDArray[np.float64]
# method -> what it is, in the order of every table
LABELS = {
    "decoded": "diffusion with SC-MBM: mean picture of the samples",
    "decoded_sample": "the same, one sample at a time (mean over samples)",
    "from_noise": "the same network, samples from noise alone, as published",
    "no_pattern": "the same network with the mean pattern: what was seen comes from ridge alone",
    "no_pretraining": "without SC-MBM: the encoder starts untrained",
    "no_pretraining_from_noise": "without SC-MBM, samples from noise alone",
    "pca": "principal components in place of SC-MBM",
    "shuffled": "learnt with each pattern beside another one's picture",
    "ridge_pixels": "ridge regression to the pixels",
    "ridge_latents": "ridge regression to the latents, decoded",
    "ridge_features": "training picture nearest to what ridge says of the judge's features",
    "nearest": "picture of the nearest training pattern",
    "mean": "mean training picture",
}
# with samples that start from ridge: what the same painter makes of noise alone
FROM_NOISE = {"decoded": "from_noise", "no_pretraining": "no_pretraining_from_noise"}
# paired differences -> method that is taken away
LESS = {
    "less_ridge": "ridge_pixels", "less_ridge_latents": "ridge_latents", "less_mean": "mean",
    "less_no_pretraining": "no_pretraining",
}  # fmt: skip
MEASURES = {
    "two_way": "two-way identification",
    "n_way_top1": "n-way, top 1",
    "pixel_r": "pixel r",
    "ssim": "SSIM",
}  # fmt: skip


def simple(patterns: Patterns, painted: Painted, judge: Judge = DIGITS) -> dict[str, Array]:
    """Pictures (M, h, w[, 3]) of the test rows by the simpler methods."""
    train, test = patterns.of("train"), patterns.of("test")
    x, new = train.patterns.astype(np.float64), test.patterns.astype(np.float64)
    seen = train.seen() / 255
    latents = baselines.ridge(x, painted.autoencoder.encoded(seen), new)
    return {
        "ridge_pixels": baselines.ridge_pixels(x, seen, new),
        "ridge_latents": painted.autoencoder.decoded(latents),
        "ridge_features": baselines.ridge_features(x, judge.features(seen), seen, new),
        "nearest": baselines.nearest(x, seen, new),
        "mean": baselines.mean(seen, len(new)),
    }


def painted_samples(patterns: Patterns, painted: Painted, compat: bool, how: Sampling) -> dict[str, Array]:
    """Pictures (samples, M, h, w[, 3]) of the test rows by each painter.

    With `how.strength` below 1, samples start from what ridge regression says of the latents, noised. That of
    `shuffled` is fitted to the same wrong pairs as its painter, so that no right pair reaches it by this way. More of
    them say what comes from where: those of `FROM_NOISE` are the same painters without ridge, `no_pattern` is that of
    `decoded` with the mean pattern (zeros) in place of every pattern, so that ridge alone says what was seen.
    """
    from brainlm_model.decode.second_stage import as_input, samples

    train, test = patterns.of("train"), patterns.of("test")
    starts: dict[str, Array | None] = dict.fromkeys(painted.painters)
    if how.strength < 1:
        x, new = train.patterns.astype(np.float64), test.patterns.astype(np.float64)
        z_N = painted.autoencoder.encoded(train.seen() / 255)
        right, wrong = baselines.ridge(x, z_N, new), baselines.ridge(x, z_N[painted.partner], new)
        starts = {name: wrong if name == "shuffled" else right for name in painted.painters}
    drawn = {}
    for name, painter in painted.painters.items():
        x_NV = as_input(test.patterns, painter.encoder.size, compat)
        drawn[name] = samples(painter, x_NV, painted.autoencoder, how, starts[name])
        if name in FROM_NOISE and how.strength < 1:
            drawn[FROM_NOISE[name]] = samples(painter, x_NV, painted.autoencoder, replace(how, strength=1.0))
        if name == "decoded" and how.strength < 1:
            drawn["no_pattern"] = samples(painter, 0 * x_NV, painted.autoencoder, how, starts[name])
    return drawn


def scores(
    samples: Mapping[str, Array],
    others: Mapping[str, Array],
    test: Patterns,
    among_N: NDArray[Any] | None,
    n: int,
    judge: Judge = DIGITS,
) -> dict[str, dict[str, Array]]:
    """Method -> measure -> score (M,) of each row. A painter counts by the mean picture of its samples.

    `decoded_sample`: each sample is scored by itself, and the scores are averaged, as published. The best sample of a
    picture is nowhere: who does not know the picture cannot choose it.
    """
    seen = test.seen() / 255

    def measures(pictures_M: Array) -> dict[str, Array]:
        return measured(pictures_M, seen, test.stimulus, among_N, n, judge)

    found = {name: measures(each.mean(axis=0)) for name, each in samples.items()}
    each_sample = [measures(one) for one in samples["decoded"]]
    found["decoded_sample"] = {name: np.mean([one[name] for one in each_sample], axis=0) for name in each_sample[0]}
    found |= {name: measures(each) for name, each in others.items()}
    return {name: found[name] for name in LABELS if name in found}


def summaries(found: Mapping[str, Mapping[str, Array]], test: Patterns, seed: int) -> dict[str, dict[str, Any]]:
    """Method -> measure -> value with its interval, and that of the paired differences `LESS`."""
    table: dict[str, dict[str, Any]] = {}
    for method, by_measure in found.items():
        table[method] = {}
        for name, each in by_measure.items():
            row = summary(each, test.stimulus, test.subject, seed)
            for difference, other in LESS.items():
                if (method, other) == ("from_noise", "no_pretraining"):
                    other = FROM_NOISE[other]  # what starts alike
                row[difference] = summary(each - found[other][name], test.stimulus, test.subject, seed)
            table[method][name] = row
    return table
