"""Slice timing correction: every slice of a run moved to one time within the TR, by windowed-sinc interpolation.

Not linear in whole volumes, so no operator of the pipeline: it acts slice by slice on raw volumes as they are read,
through a ring buffer of 2 * RADIUS + 1 volumes, before any resampling in space (Henson et al., 1999; Sladky et al.,
2011, doi:10.1016/j.neuroimage.2011.06.078).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainlm_data.files.reads import reads
from brainlm_data.reading.image import Volume, cleaned

RADIUS = 4  # volumes on either side; Lanczos window


@dataclass(frozen=True)
class SliceTimes:
    """When the slices of a run were acquired.

    Attributes
    ----------
    axis: of the image, that slices are stacked along. tr_s: repetition time.
    times_s: of each slice along that axis, from the start of the volume. reference_s: the time that all are moved to.
    n_steady: volumes at the start that are left as they are and that no later volume is made from.
    """

    axis: int
    tr_s: float
    times_s: tuple[float, ...]
    reference_s: float
    n_steady: int = 0

    @classmethod
    def load(cls, path: Path) -> SliceTimes | None:
        """Read what stage slicetiming wrote; None where the run is not to be corrected."""
        with reads(path):
            content = json.loads(path.read_text(encoding="utf-8"))
            if not content["corrected"]:
                return None
            known = {name: content[name] for name in cls.__dataclass_fields__}
            return cls(**{**known, "times_s": tuple(known["times_s"])})

    def weights(self) -> NDArray[np.float32]:
        """(2 RADIUS + 1, slices): what each neighbouring volume counts for in a slice; each column's sum is 1."""
        # A slice that is acquired t_s after its volume's start has samples at (n + t_s / TR) TR. Its value at the
        # reference time t_r of volume 0 is  sum_n x_n L(n - (t_r - t_s) / TR),  with Lanczos' kernel L(d) = sinc(d)
        # sinc(d / RADIUS) for |d| < RADIUS. The sinc alone would be exact for a band-limited series without ends; the
        # window makes it short, and the division by the sum keeps a constant series constant.
        offset = np.arange(-RADIUS, RADIUS + 1)[:, None]
        distance = offset - (self.reference_s - np.asarray(self.times_s)) / self.tr_s
        kernel = np.where(np.abs(distance) < RADIUS, np.sinc(distance) * np.sinc(distance / RADIUS), 0)
        return np.asarray(kernel / kernel.sum(0), np.float32)


def held(volumes: Iterable[Volume], empty: Collection[int]) -> Iterator[Volume]:
    """Finite volumes; one without an image (`empty`) is replaced by the one before it.

    The replacement keeps what is fitted on the run from seeing a gap; the volume itself is censored later. Zeros where
    there is none before it.
    """
    last: Volume | None = None
    for index, volume in enumerate(volumes):
        clean = cleaned(volume)
        if index in empty:
            yield np.zeros_like(clean) if last is None else last
        else:
            last = clean
            yield clean


def corrected(volumes: Iterable[Volume], times: SliceTimes) -> Iterator[Volume]:
    """Volumes (x, y, z) with every slice at the reference time; beyond the run's ends, its end volumes repeat."""
    shape = [1, 1, 1]
    shape[times.axis] = -1
    weights = [row.reshape(shape) for row in times.weights()]
    stream = iter(volumes)
    yield from islice(stream, times.n_steady)
    ring: deque[Volume] = deque(maxlen=len(weights))  # full: the volume to make is in its middle
    for volume in chain(stream, repeat(None, RADIUS)):
        # Before the first volume stand copies of it, after the last one copies of that: RADIUS each.
        if not ring:
            if volume is None:
                return  # nothing after the non-steady-state volumes
            ring.extend([volume] * RADIUS)
        ring.append(ring[-1] if volume is None else volume)
        if len(ring) == len(weights):
            out = weights[0] * ring[0]
            for weight, neighbour in zip(weights[1:], islice(ring, 1, None), strict=True):
                out += weight * neighbour
            yield out
