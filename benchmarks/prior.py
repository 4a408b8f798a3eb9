"""The prior on whole batches against the same maths written plainly (`benchmarks/plain_prior.py`).

    python -m benchmarks.prior --json [--parcels 424] [--batch 8] [--device cpu|cuda]

Windows of 200 steps in patches of 20, .2, .5, .75 and .9 hidden; one thread on a CPU. Keys by mask ratio: `plain_s` and
`s`, seconds per window (CPU seconds on a CPU, wall seconds on a GPU); `difference`: largest of the expectations. And
`windows_per_s` and `ratio` over the four mask ratios together.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import numpy as np
import torch

from benchmarks.plain_prior import PlainPrior
from brainlm_model.models.masking import generator, random_mask
from brainlm_model.models.prior import GaussianPrior

RATIOS = (0.2, 0.5, 0.75, 0.9)


def windows(parcels: int, batch: int) -> tuple[np.ndarray, torch.Tensor]:
    """A covariance (parcels, parcels) of forty factors and noise, and windows (batch, parcels, 10, 20) that have it."""
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((parcels, 40)) * np.linspace(2, 0.2, 40)
    covariance = factors @ factors.T
    covariance += 0.15 * np.diag(covariance).mean() * np.eye(parcels)
    series = np.linalg.cholesky(covariance) @ rng.standard_normal((batch, parcels, 200))
    return covariance, torch.from_numpy(series.astype(np.float32)).view(batch, parcels, 10, 20)


def timed(call: Callable[[], Any], device: str) -> tuple[float, Any]:
    """Seconds of a call after one that does not count, and what it gives."""
    call()
    clock = time.process_time if device == "cpu" else time.perf_counter
    if device == "cuda":
        torch.cuda.synchronize()
    begin = clock()
    result = call()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - begin, result


def main() -> None:
    options = tools.parser(__doc__)
    options.add_argument("--parcels", type=int, default=424)
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    given = options.parse_args()
    torch.set_num_threads(1)
    covariance, x_BPNS = windows(given.parcels, given.batch)
    sides = []
    for kind in (PlainPrior, GaussianPrior):
        prior = kind(given.parcels, 100.0)
        prior.covariance.copy_(torch.from_numpy(covariance))
        sides.append(prior.to(given.device))
    x_BPNS = x_BPNS.to(given.device)
    result: dict[str, Any] = {"device": given.device, "parcels": given.parcels, "batch": given.batch}
    total = [0.0, 0.0]
    with torch.no_grad():
        for ratio in RATIOS:
            hidden = random_mask(given.batch, given.parcels, 10, ratio, generator(1)).to(given.device)
            (plain_s, plain), (ours_s, ours) = (timed(partial(prior, x_BPNS, hidden), given.device) for prior in sides)
            total = [total[0] + plain_s, total[1] + ours_s]
            result[f"{ratio:g}"] = {
                "plain_s": plain_s / given.batch, "s": ours_s / given.batch,
                "difference": float((plain.filled - ours.filled).abs().max()),
            }  # fmt: skip
    result["windows_per_s"] = len(RATIOS) * given.batch / total[1]
    result["ratio"] = total[0] / total[1]
    tools.show(result, given.json)


if __name__ == "__main__":
    main()
