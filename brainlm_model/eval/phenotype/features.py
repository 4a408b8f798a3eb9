"""Features of people: what is measured once per recording, and what is fitted in a training fold.

Shapes: N people, P parcels, T steps, D width of the model, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data import BrainLMError, InputError, Progress, atomic, reads_arrays
from brainlm_model.baselines import coskewness, tangent
from brainlm_model.eval.parcels import networks_of
from brainlm_model.trained import connectivity

if TYPE_CHECKING:
    from torch import Tensor

    from brainlm_model.trained.checkpoint import TrainedModel

Array = NDArray[np.floating]
Places = NDArray[np.intp]
STEPS = 200  # of the start of a recording, as "raw" features
WINDOW, WINDOWS = 100, 3  # steps that a network on recordings sees at once; of how many its outputs are averaged
EDGE = 0.999999  # largest correlation of which Fisher's z is taken


@dataclass(frozen=True)
class Recorded:
    """What was measured of recordings, averaged over those of a person; float32, NaN where nothing is known.

    Attributes
    ----------
    z: (N, P (P - 1) / 2) Fisher z of the correlations. shrinkage: (N,) Ledoit & Wolf's, of correlations.
    z_global: the same without the global mean. log: (N, 3, P (P + 1) / 2), see `connectivity.copies`.
    third: (N, P, P), see `coskewness.third_moments`. variance: (N, P) of a parcel's course.
    raw: (N, STEPS, P) demeaned start of the recording (shorter where all people have less).
    cls, mean: (N, D). parcels: (N, P, D). adapted, attention: (N, F), see `trained.connectivity`; no column where the
        model has no such thing.
    series: courses (T, P) of every recording, demeaned; a list a person.
    networks: of each parcel, by name.
    """

    z: Array
    z_global: Array
    log: Array
    shrinkage: Array
    third: Array
    variance: Array
    raw: Array
    cls: Array
    mean: Array
    parcels: Array
    adapted: Array
    attention: Array
    series: list[list[Array]]
    networks: list[str]

    def take(self, rows: Places) -> Recorded:
        """The same of some people."""
        if np.array_equal(rows, np.arange(len(self.z))):
            return self
        arrays = {name: getattr(self, name)[rows] for name in ARRAYS}
        return Recorded(**arrays, series=[self.series[person] for person in rows], networks=self.networks)


ARRAYS = tuple(name for name in Recorded.__annotations__ if name not in ("series", "networks"))
EMBEDDINGS = ("cls", "mean", "parcels", "adapted", "attention")


def embed(
    model: TrainedModel, store: Any, workdir: Path | None, key: str
) -> tuple[dict[str, dict[str, Array]], list[str]]:
    """`EMBEDDINGS` by recording, and who is left out and why; kept in `workdir`.

    A kind that the model does not have (an official one has no population covariance) is without columns.
    """
    from brainlm_model.trained.embedding import embeddings, recordings_of
    from brainlm_model.trained.second_order import missing

    file = None
    if workdir is not None:
        file = workdir / f"embeddings-{key}.npz"
    if file is not None and file.is_file():
        return _kept(file)
    chosen = recordings_of(store, model.card.data)
    absent = missing(model.network)
    by_recording, left_out, progress = {}, [], Progress("phenotype: embeddings", len(chosen))
    for done, (recording, result) in enumerate(embeddings(model.network, model.scaler, chosen), 1):
        try:
            by_recording[recording.id] = _vectors(model, store.series(recording.id), result, absent)
        except BrainLMError as error:
            left_out.append(f"{recording.id}: {error.message}")
        progress.step(done)
    if file is not None and by_recording:
        stacked: dict[str, Any] = {}
        for kind in EMBEDDINGS:
            stacked[kind] = np.stack([vectors[kind] for vectors in by_recording.values()])
        with atomic(file) as part:
            np.savez(part, ids=np.array(list(by_recording)), left_out=np.array(left_out, dtype=str), **stacked)
    return by_recording, left_out


def _vectors(model: TrainedModel, series_TP: Array, result: Any, absent: Mapping[str, str]) -> dict[str, Array]:
    """`EMBEDDINGS` of a recording, whose `Embedding` (or error, which is raised) is `result`."""
    from brainlm_model.trained.second_order import of_model

    if isinstance(result, BrainLMError):
        raise result
    vectors = {kind: getattr(result, kind) for kind in ("cls", "mean", "parcels")}
    for kind in ("adapted", "attention"):
        vectors[kind] = np.zeros(0)
        if kind not in absent:
            vectors[kind] = of_model(model.network, model.scaler, series_TP, kind)
    return vectors


def _kept(file: Path) -> tuple[dict[str, dict[str, Array]], list[str]]:
    """What `embed` wrote earlier."""
    with reads_arrays(file, "delete it: it is computed again") as kept:
        arrays = {kind: kept[kind] for kind in EMBEDDINGS}  # an npz reads all of an array every time it is asked for
        by_recording = {}
        for row, name in enumerate(kept["ids"].tolist()):
            by_recording[name] = {kind: vectors[row] for kind, vectors in arrays.items()}
        return by_recording, kept["left_out"].tolist()


def record(
    store: Any, recordings: list[list[str]], embedded: dict[str, dict[str, Array]]
) -> tuple[Recorded, list[str], list[str]]:
    """Measure the recordings (ids by person). Also: which of them were measured, and who was left out and why.

    A person of whose recordings none can be measured is left out.

    Raises
    ------
    InputError: no recording can be measured.
    """
    used = list(chain.from_iterable(recordings))
    steps = min(STEPS, int(store.recordings.set_index("id").loc[used, "n_steps"].min()))
    columns: dict[str, list[Array]] = {name: [] for name in ARRAYS}
    kept: list[str] = []
    left_out: list[str] = []
    series, progress = [], Progress("phenotype: recordings", len(recordings))
    for done, ids in enumerate(recordings, 1):
        courses, measured = [], []
        for name in ids:
            course = _demeaned(store.series(name))
            try:
                measured.append({**_measured(course, steps, store.rate_hz), **embedded[name]})
            except InputError as error:  # such as a recording without two parcels that are known throughout
                left_out.append(f"{name}: {error.message}")
                continue
            courses.append(course)
            kept.append(name)
        progress.step(done)
        if not measured:
            continue
        for name, column in columns.items():
            column.append(_mean(np.stack([values[name] for values in measured])))
        series.append(courses)
    if not series:
        raise InputError(f"phenotype: no recording can be measured; {left_out[0]}", "other recordings")
    stacked = {name: np.stack(column) for name, column in columns.items()}
    return Recorded(**stacked, series=series, networks=networks_of(store.parcels)[0]), kept, left_out


def _mean(values: Array) -> Array:
    """Mean over the first axis of what is known, float32."""
    known = np.isfinite(values)
    count = known.sum(0)
    total = np.where(known, values, 0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _demeaned(series: Array) -> Array:
    """Steps that have data, each parcel without its mean; NaN for a parcel that lacks any of them or does not vary."""
    values = np.asarray(series, dtype=np.float64)
    values = values[~np.isnan(values).all(axis=1)]
    spread = values.std(axis=0)
    values = np.where(spread > 0, values - values.mean(axis=0), np.nan)
    return values.astype(np.float32)


def _measured(x_TP: Array, steps: int, rate_hz: float) -> dict[str, Array]:
    from sklearn.covariance import ledoit_wolf_shrinkage

    log = connectivity.copies(x_TP, rate_hz)  # refuses what cannot be measured
    parcels = x_TP.shape[1]
    known = np.isfinite(x_TP).all(axis=0)
    scaled = x_TP[:, known].astype(np.float64)
    scaled = scaled / scaled.std(axis=0)
    # of columns with mean 0 and variance 1 the second moments, X'X / T, are the correlations
    correlations, third = np.full((2, parcels, parcels), np.nan)
    correlations[np.ix_(known, known)] = scaled.T @ scaled / len(scaled)
    third[np.ix_(known, known)] = coskewness.third_moments(scaled)
    raw = np.full((steps, parcels), np.nan, np.float32)
    raw[: len(x_TP)] = x_TP[:steps]
    without = np.full((parcels, parcels), np.nan)
    z_TK = connectivity.without_global_mean(scaled)
    without[np.ix_(known, known)] = z_TK.T @ z_TK / len(z_TK)
    upper = np.triu_indices(parcels, 1)
    return {
        "z": np.arctanh(np.clip(correlations[upper], -EDGE, EDGE)),
        "z_global": np.arctanh(np.clip(without[upper], -EDGE, EDGE)),
        "log": log,
        "shrinkage": np.array(ledoit_wolf_shrinkage(scaled, assume_centered=True)),
        "third": third,
        "variance": x_TP.var(axis=0),
        "raw": raw,
    }


def filled(values: Array, train: Places) -> Array:
    """Unknown values replaced by the mean of training people who have them; 0 where none has. float32 copy."""
    if np.isfinite(values).all():
        return values.astype(np.float32)
    return np.where(np.isfinite(values), values, np.nan_to_num(_mean(values[train]))).astype(np.float32)


def correlations(of: Recorded, train: Places) -> Array:
    """(N, P, P) correlations, unknown ones filled in."""
    r = np.tanh(filled(of.z, train))
    parcels = of.variance.shape[1]
    matrices = np.zeros((len(r), parcels, parcels), np.float32)
    rows, columns = np.triu_indices(parcels, 1)
    matrices[:, rows, columns] = matrices[:, columns, rows] = r
    matrices[:, np.arange(parcels), np.arange(parcels)] = 1
    return matrices


def _tangent(of: Recorded, train: Places) -> list[Array]:
    """Tangent vectors of shrunk correlations (1 - s) R + s I."""
    shrunk = correlations(of, train) * (1 - of.shrinkage[:, None, None])
    shrunk[:, np.arange(shrunk.shape[1]), np.arange(shrunk.shape[1])] = 1  # (1 - s) 1 + s
    return [tangent.features(shrunk, train)]


def _coskewness(of: Recorded, train: Places) -> list[Array]:
    matrices, moments = correlations(of, train), filled(of.third, train)
    return [coskewness.features(matrices, moments, train, share) for share in coskewness.SHARES]


def scale_of(of: Recorded, train: Places) -> Array:
    """(P,) standard deviation of a parcel's course over training people; 1 where nobody has it."""
    variance = _mean(of.variance[train])
    return np.sqrt(np.where(variance > 0, variance, 1)).astype(np.float32)


def _raw(of: Recorded, train: Places) -> list[Array]:
    return [np.nan_to_num(of.raw / scale_of(of, train)).reshape(len(of.raw), -1)]


def _embedding(name: str) -> Callable[[Recorded, Places], list[Array]]:
    def columns(of: Recorded, train: Places) -> list[Array]:
        values = filled(getattr(of, name).reshape(len(of.cls), -1), train)
        mean, spread = values[train].mean(0), values[train].std(0)
        return [(values - mean) / np.where(spread > 1e-8, spread, 1)]

    return columns


def _copy(place: int) -> Callable[[Recorded, Places], list[Array]]:
    return lambda of, train: [filled(of.log[:, place], train)]


# features by name: (people, training people) -> variants (N, F) of which one is chosen
SPACES: dict[str, Callable[[Recorded, Places], list[Array]]] = {
    "cls": _embedding("cls"),
    "mean": _embedding("mean"),
    "parcels": _embedding("parcels"),
    "adapted": lambda of, train: [of.adapted],
    "attention": lambda of, train: [filled(of.attention, train)],
    "log": _copy(0),
    "log_band": _copy(1),
    "log_global": _copy(2),
    "correlations": lambda of, train: [filled(of.z, train)],
    "correlations_global": lambda of, train: [filled(of.z_global, train)],
    "tangent": _tangent,
    "coskewness": _coskewness,
    "raw": _raw,
}


def space(name: str, of: Recorded, train: Places, confounds: Array | None) -> list[NDArray[np.float64]]:
    """Variants (N, k) of the features `name`, fitted on people `train`.

    Confounds are regressed out, then features are turned to the principal axes of training people. All axes are kept,
    which changes no distance between training people, and makes learning fast.
    """
    scores = []
    for values in SPACES[name](of, train):
        if confounds is not None:
            values = residual(values, confounds, train)
        x = values - values[train].mean(0)
        # There are fewer people than features. With X_train = U S V', the scores X V are X X_train' U / S, so that
        # the eigenvectors U and eigenvalues S^2 of the small matrix X_train X_train' suffice.
        products = (x @ x[train].T).astype(np.float64)
        size, axes = np.linalg.eigh(products[train])  # in rising order
        kept = np.flatnonzero(size > 1e-6 * max(size[-1], 1e-30))[::-1]
        if len(kept):
            scores.append(products @ (axes[:, kept] / np.sqrt(size[kept])))
        else:  # nothing varies among training people; no learner takes features without a column
            scores.append(np.zeros((len(x), 1)))
    return scores


def residual(values: Array, confounds: Array, train: Places) -> Array:
    """Features without what a linear regression on confounds, fitted on training people, explains."""
    mean, spread = confounds[train].mean(0), confounds[train].std(0)
    design = np.column_stack([(confounds - mean) / np.where(spread > 1e-8, spread, 1), np.ones(len(confounds))])
    weights = np.linalg.pinv(design[train]).astype(np.float32) @ values[train]
    return values - design.astype(np.float32) @ weights


class Matrices:
    """Correlations (B, P, P) of people, as a `small_networks.Source`: there is one input of each person."""

    def __init__(self, of: Recorded, train: Places) -> None:
        import torch

        self.correlations_NPP = torch.from_numpy(correlations(of, train))

    def draw(self, people: Places, random: np.random.Generator) -> tuple[Tensor, ...]:
        """The matrices of these people; nothing is drawn."""
        return (self.correlations_NPP[people],)

    def every(self, people: Places) -> Iterator[tuple[Tensor, ...]]:
        """The same."""
        yield (self.correlations_NPP[people],)


class Courses:
    """Windows of people's recordings for networks: scaled by training people, 0 where nothing is known.

    A `small_networks.Source`. With `graphs` correlations (B, P, P) and their graphs come with them.
    """

    def __init__(self, of: Recorded, train: Places, graphs: bool) -> None:
        self._series, self._scale = of.series, scale_of(of, train)
        self._graphs: tuple[Tensor, ...] = ()
        if graphs:
            self._graphs = self._joined(correlations(of, train))
        shortest = min(map(len, chain.from_iterable(of.series)))
        self.steps = min(WINDOW, shortest)

    @staticmethod
    def _joined(matrices_NPP: Array) -> tuple[Tensor, Tensor]:
        """Correlations of all people, and their graphs."""
        import torch

        from brainlm_model.baselines.small_networks import graph

        every = torch.from_numpy(matrices_NPP)
        return every, torch.cat([graph(part) for part in every.split(32)])

    def draw(self, people: Places, random: np.random.Generator) -> tuple[Tensor, ...]:
        """A window at random of a recording at random of each person."""
        return self._inputs(people, [self._cut(person, random.random(), random.random()) for person in people])

    def every(self, people: Places) -> Iterator[tuple[Tensor, ...]]:
        """Windows spread evenly over each person's recordings."""
        for share in (np.arange(WINDOWS) + 0.5) / WINDOWS:
            windows = []
            for person in people:
                # laid end to end: the whole part of share x recordings is the recording, the rest the place in it
                within = share * len(self._series[person]) % 1
                windows.append(self._cut(person, share, within))
            yield self._inputs(people, windows)

    def _cut(self, person: int, which: float, where: float) -> Array:
        """A window; `which` (0 to 1) recording of the person, and `where` (0 to 1) in it."""
        courses = self._series[person]
        course = courses[int(which * len(courses))]
        first = int(where * (len(course) - self.steps + 1))
        return course[first : first + self.steps]

    def _inputs(self, people: Places, windows: list[Array]) -> tuple[Tensor, ...]:
        import torch

        x_BTP = torch.from_numpy(np.nan_to_num(np.stack(windows) / self._scale))
        return (x_BTP, *(matrices[torch.from_numpy(people)] for matrices in self._graphs))


class Rows:
    """Rows of features as inputs of a network: a `small_networks.Source`."""

    def __init__(self, values: Array, train: Places) -> None:
        self._values = (values / max(float(values[train].std()), 1e-12)).astype(np.float32)

    def draw(self, people: Places, random: np.random.Generator) -> tuple[Tensor, ...]:
        """The rows."""
        import torch

        return (torch.from_numpy(self._values[people]),)

    def every(self, people: Places) -> list[tuple[Tensor, ...]]:
        """The rows."""
        return [self.draw(people, np.random.default_rng(0))]
