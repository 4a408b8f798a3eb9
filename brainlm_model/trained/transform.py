"""Numeric labels as a head learns them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from brainlm_data import InputError

Array = NDArray[np.float64]
TransformKind = Literal["z", "log", "minmax", "logminmax", "none"]


@dataclass(frozen=True)
class Transform:
    """Numbers in the label's units -> what is learnt: (f(x) - shift) / scale.

    f is log(x) for `log`, log(1 + x) for `logminmax`, else x.
    """

    kind: TransformKind
    shift: float = 0.0
    scale: float = 1.0

    @classmethod
    def fit(cls, kind: TransformKind, training: Array) -> Transform:
        """From the labels of training subjects, and of nobody else.

        Raises
        ------
        InputError: one value only, or negative ones for a logarithm.
        """
        if not np.ptp(training) > 0:
            raise InputError(
                f"all {len(training)} training recordings have the label {training[0]:g}", "another column"
            )
        if kind == "none":
            return cls(kind)
        if kind == "log" and training.min() <= 0:
            raise InputError(f"transform log: a label is {training.min():g}", "labels above 0; or transform z")
        if kind == "logminmax" and training.min() < 0:
            raise InputError(
                f"transform logminmax: a label is {training.min():g}", "labels of 0 and more; or --transform z"
            )
        values = np.log1p(training) if kind == "logminmax" else training
        if kind == "log":
            values = np.log(training)
        if kind in ("z", "log"):
            return cls(kind, float(values.mean()), float(values.std()))
        return cls(kind, float(values.min()), float(np.ptp(values)))

    def apply(self, values: Array) -> Array:
        """Label's units -> what is learnt. A held-out label below 0 counts as 0 for `logminmax`; for `log` one of 0 or
        less counts as the smallest that a logarithm has.
        """
        moved = np.log1p(np.maximum(values, 0)) if self.kind == "logminmax" else values
        if self.kind == "log":
            moved = np.log(np.maximum(values, np.finfo(float).tiny))
        return (moved - self.shift) / self.scale

    def invert(self, values: Array) -> Array:
        """What is learnt -> the label's units."""
        moved = np.asarray(values, dtype=np.float64) * self.scale + self.shift
        if self.kind == "log":
            return np.exp(moved)
        return np.expm1(moved) if self.kind == "logminmax" else moved
