"""The parcel series of one recording, and what was done or taken for granted when it was read."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ParcelSeries:
    """`values`: (time, parcel), unscaled, NaN where unknown; `stated`: what was done or taken for granted, in words."""

    values: NDArray[np.floating]
    stated: list[str] = field(default_factory=list)
