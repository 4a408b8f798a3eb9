"""Does denoising ever add variance?

    python -m benchmarks.inflation --json [--recordings 6]

Every strategy, alone and joined with `ica`, with every high-pass and with and without a low-pass, on the recordings of
`benchmarks.stability`. `worst_ratio`: variance of a parcel's series after stage denoise's operator / without it, both
behind the filters; the largest over all of these and all parcels. `median_ratio`: of all of them. `by`: the worst of
each strategy and filter. `limited`: how many operators had their singular values limited so that nothing is added.

ICA does not depend on the confounds that go with it, so its fits and their features are made once per recording and
filter, and all strategies of these use them; everything else is stage denoise as it is.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import numpy as np

from benchmarks.recordings import everyone, parcels, refiltered
from benchmarks.scoring import call
from brainlm_data import strategies
from brainlm_data.errors import Refused
from brainlm_data.methods.operators import low_pass
from brainlm_data.methods.regression import Regression
from brainlm_data.stages import denoise

FILTERS = {
    "butterworth": {},
    "cosine": {"method": "cosine"},
    "butterworth, low-pass": {"high_hz": 0.1},
    "cosine, low-pass": {"method": "cosine", "high_hz": 0.1},
}
CENSORED = {"censor_fd_mm": 0.5}  # what `scrubbing` needs


def combinations() -> list[str]:
    """Every strategy that removes something, alone and with `ica`."""
    alone = [name for name in strategies.names() if name != "none"]
    return alone + [f"ica+{name}" for name in alone if name != "ica"]


@contextmanager
def fitted_once() -> Iterator[None]:
    """Stage denoise remembers its decompositions, and the features of each of them, by the filter's recipe."""
    known: dict[Any, Any] = {}

    def remembered(function: Callable[..., Any], level: int) -> Callable[..., Any]:
        """`function`, called once per voxel sample and recipe; features also differ with the number of components."""

        def call_once(*arguments: Any) -> Any:
            inputs = arguments[0]
            components = [fit.mixing.shape for fit in arguments[1]] if level else []
            key = (level, inputs["voxel_sample"], inputs["filter_recipe"].read_bytes(), str(components))
            if key not in known:
                known[key] = function(*arguments)
            return known[key]

        return call_once

    with (
        patch.object(denoise, "_decompositions", remembered(denoise._decompositions, 0)),
        patch.object(denoise, "_features", remembered(denoise._features, 1)),
    ):
        yield


def main() -> None:
    parser = tools.parser(__doc__)
    parser.add_argument("--recordings", type=int, help="only this many of the simulated ones")
    options = parser.parse_args()
    by: dict[str, float] = {}
    ratios: list[Any] = []
    limited, refused = 0, 0
    with tempfile.TemporaryDirectory() as name, fitted_once():
        folder = Path(name)
        for files in everyone(folder, options.recordings).values():
            for (how, section), strategy in itertools.product(FILTERS.items(), combinations()):
                censoring = CENSORED if "scrubbing" in strategy else {}
                filtered = refiltered(files, folder, **section, **censoring)
                try:
                    written, facts, _ = call(denoise.STAGE, filtered, folder / "denoise", strategy=strategy)
                except Refused:
                    refused += 1  # more regressors than volumes
                    continue
                x, recipe = parcels(filtered)
                after = low_pass(Regression.load(written["denoise_recipe"]).apply(x), recipe)
                ratio = after.var(0) / low_pass(x, recipe).var(0)
                ratios.append(ratio)
                limited += facts["SingularValueLimit"] is not None
                key = f"{strategy}, {how}"
                by[key] = max(by.get(key, 0.0), float(ratio.max()))
    result = {
        "worst_ratio": max(by.values()),
        "median_ratio": float(np.median(np.concatenate(ratios))),
        "operators": len(ratios),
        "limited": limited,
        "refused": refused,
        "by": by,
    }
    tools.show(result, options.json)


if __name__ == "__main__":
    main()
