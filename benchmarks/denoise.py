"""ICA of the voxel sample: cost, convergence and recovery of known sources, beside sklearn's FastICA.

    python -m benchmarks.denoise --json [--volumes 200] [--voxels 8000] [--components 40] [--sources 30] [--sample FILE]

Spatial sources (smooth blobs, rims, sparse specks; half positively skewed, half not) with coloured time courses, in
Gaussian noise; fewer sources than components, so that noise components remain, as they do in practice. Both get the
same variance-normalized data, reduce it to `components` dimensions and unmix it: `decompose` by an eigendecomposition
and Picard, FastICA with its own whitening, logcosh and at most 500 iterations, tolerance 1e-4 (its default).
The criteria differ, so `reproducibility` says how much a result is worth: mean over maps of the largest |r| with a map
of a second run from another start. `map_r`: mean over sources of the largest |r| with a found map; `course_r` likewise
with time courses. `removed`, `kept`: half of the sources are called noise, the components that match them best are
regressed out non-aggressively by the same `Regression`; how much of the noise sources' power is gone, and how much of
the others' stays.

With `--sample` (a recording's `*_desc-sample_bold.nii.gz`) the data are real: high-passed at .01 Hz, and there is no
truth; `agreement` is the mean over our maps of the largest |r| with one of FastICA's.
"""

from __future__ import annotations

import warnings
from typing import Any

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import numpy as np
from numpy.typing import NDArray

from brainlm_data.methods.regression import Regression

Array = NDArray[np.float64]
PASSES = 500  # of FastICA


def simulate(volumes: int, voxels: int, sources: int) -> tuple[Array, Array, Array]:
    """Data (T, voxels) without mean, true time courses (T, sources), true maps (sources, voxels)."""
    rng = np.random.default_rng(0)
    side = round(voxels ** (1 / 3))
    place = np.indices((side, side, side)).reshape(3, -1).T[:voxels] / side
    maps = []
    for i in range(sources):
        if i % 3 == 0:  # a blob
            values = np.exp(-((place - rng.random(3)) ** 2).sum(1) / (2 * rng.uniform(0.06, 0.15) ** 2))
        elif i % 3 == 1:  # part of a rim, of either sign
            rim = np.abs(place - 0.5).max(1) > 0.42
            values = rim * np.tanh(4 * ((place - rng.random(3)) @ rng.normal(0, 1, 3)))
        else:  # specks
            values = rng.laplace(0, 1, len(place)) * (rng.random(len(place)) < 0.2)
        maps.append(values / values.std())
    courses = rng.standard_normal((volumes + 8, sources))
    kernel = np.exp(-(np.arange(-4, 5) ** 2) / 4)
    smooth = np.stack([np.convolve(c, kernel, "valid") for c in courses.T], 1)
    mixed = np.where(np.arange(sources) % 2 == 0, smooth / smooth.std(0), courses[: len(smooth)])
    mixed = mixed - mixed.mean(0)
    strength = rng.uniform(0.4, 1.2, sources)
    data = (mixed * strength) @ np.array(maps) + rng.normal(0, 1.0, (volumes, len(place)))
    return data - data.mean(0), mixed * strength, np.array(maps)


def real(path: str) -> Array:
    """Filtered voxels (T, n) of a voxel sample."""
    import nibabel as nib

    from brainlm_data.methods.operators import Recipe, high_pass

    image: Any = nib.load(path)
    voxels = np.asarray(image.dataobj, dtype=np.float64).reshape(-1, image.shape[3]).T
    tr = float(image.header.get_zooms()[3])
    return high_pass(voxels[:, voxels.std(0) > 0], Recipe(tr, len(voxels), low_hz=0.01))


def ours(size: tuple[int, int, int], components: int, sample: str | None) -> tuple[dict[str, Any], Array]:
    from brainlm_data.methods.ica import decompose, principal

    data, courses, maps = (real(sample), None, None) if sample else simulate(*size)
    decompose(principal([(np.arange(500), data[:30, :500])], 3), 3)
    blocks = [(np.arange(data.shape[1]), data)]
    with tools.Cost() as cost:
        found = decompose(principal(blocks, components), components)
    result = {"cpu_s": cost.seconds, "peak_mb": cost.mb, "converged": found.converged}
    result["reproducibility"] = agreement(found.z, decompose(principal(blocks, components), components, seed=1).z)
    return result | scores(found.mixing, found.z, courses, maps), found.z


def theirs(size: tuple[int, int, int], components: int, sample: str | None) -> tuple[dict[str, Any], Array]:
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    data, courses, maps = (real(sample), None, None) if sample else simulate(*size)
    x = data / data.std(0)
    FastICA(3, random_state=0, whiten="unit-variance").fit(x[:30, :500].T)
    with tools.Cost() as cost, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = FastICA(components, whiten="unit-variance", max_iter=PASSES, random_state=0)
        z = model.fit_transform(x.T).T
    second = FastICA(components, whiten="unit-variance", max_iter=PASSES, random_state=1).fit_transform(x.T).T
    converged = not any(issubclass(w.category, ConvergenceWarning) for w in caught)
    result = {"cpu_s": cost.seconds, "peak_mb": cost.mb, "converged": converged, "iterations": model.n_iter_}
    result["reproducibility"] = agreement(z, second)
    return result | scores(model.mixing_, z, courses, maps), z


def agreement(first: Array, second: Array) -> float:
    """Mean over the first maps of the largest |r| with one of the second."""
    return float(np.abs(np.corrcoef(first, second)[: len(first), len(first) :]).max(1).mean())


def scores(mixing: Array, z: Array, courses: Array | None, maps: Array | None) -> dict[str, float]:
    """Recovery of the sources, and what regression of half of them does; nothing without a truth."""
    if courses is None or maps is None:
        return {}
    sources = len(maps)
    by_map = np.abs(np.corrcoef(maps, z)[:sources, sources:])
    by_course = np.abs(np.corrcoef(courses.T, mixing.T)[:sources, sources:])
    noise = np.zeros(mixing.shape[1], bool)
    noise[by_map[::2].argmax(1)] = True
    d = Regression.fit(mixing[:, noise], mixing[:, ~noise])

    def left(which: slice) -> float:
        return float((d.apply(courses[:, which]) ** 2).sum() / (courses[:, which] ** 2).sum())

    return {
        "map_r": float(by_map.max(1).mean()), "course_r": float(by_course.max(1).mean()),
        "removed": 1 - left(slice(0, None, 2)), "kept": left(slice(1, None, 2)),
    }  # fmt: skip


def main() -> None:
    parser = tools.parser(__doc__)
    parser.add_argument("--volumes", type=int, default=200)
    parser.add_argument("--voxels", type=int, default=8000)
    parser.add_argument("--components", type=int, default=40)
    parser.add_argument("--sources", type=int, default=30)
    parser.add_argument("--sample", help="a real voxel sample instead of simulated data")
    arguments = parser.parse_args()
    size = (arguments.volumes, arguments.voxels, arguments.sources)
    mine, z = tools.apart(ours, size, arguments.components, arguments.sample)
    peer, other = tools.apart(theirs, size, arguments.components, arguments.sample)
    result = {
        "volumes": arguments.volumes, "voxels": z.shape[1], "components": arguments.components,
        "sources": None if arguments.sample else arguments.sources, **mine,
        **{f"fastica_{name}": value for name, value in peer.items()}, "ratio": peer["cpu_s"] / mine["cpu_s"],
        "agreement": agreement(z, other),
    }  # fmt: skip
    if arguments.sample:
        del result["volumes"]
    tools.show(result, arguments.json)


if __name__ == "__main__":
    main()
