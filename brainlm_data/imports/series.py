"""One imported series at the common rate: what is missing in it, and whether it can be used at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.errors import InputError, Refused
from brainlm_data.files.present import check_present
from brainlm_data.imports import LoadedSeries, Series, Source
from brainlm_data.methods.operators import highest_hz, invalid_steps
from brainlm_data.reading.resampling import resampled_values
from brainlm_data.stage import Sentence

AMBIGUOUS = "All series have {} rows and {} columns, so nothing shows that they are (time, parcel)."


@dataclass(frozen=True)
class SeriesFacts:
    """What reading a recording showed of it.

    Attributes
    ----------
    shape: (volumes, parcels) as it was read. columns: their names, or empty. tr_s: s.
    steps: at the common rate. invalid: those without data of their own. missing: parcels without data.
    high_hz: highest frequency that TR and rate leave.
    band, measured, methods: of a recording that was made here (`LoadedSeries`).
    """

    shape: tuple[int, int]
    columns: tuple[str, ...]
    tr_s: float
    steps: int
    invalid: list[int]
    missing: int
    high_hz: float
    band: tuple[float, float] | None = None
    measured: Mapping[str, Any] = field(default_factory=dict)
    methods: Mapping[str, str] = field(default_factory=dict)


def as_read(series: Series) -> tuple[NDArray[np.floating], tuple[str, ...], LoadedSeries | None]:
    """Values and columns of a recording, and what more is known where it was made here. Raises Refused."""
    if series.files:
        check_present(series.files[0])
    loaded = series.load()
    return (loaded.values, loaded.columns, loaded) if isinstance(loaded, LoadedSeries) else (*loaded, None)


def resampled(series: Series, hz: float) -> tuple[NDArray[np.float32], SeriesFacts]:
    """Read a recording and bring it to `hz`: (steps, parcel), and its facts.

    A parcel that is constant, or that has a value that is not finite, becomes NaN. Volumes without any data count as
    dropped (at the start) or censored: they are interpolated and not valid.

    Raises
    ------
    Refused: no TR, or an impossible one; not (time, parcel); too short; other volumes than the table says; no data.
    """
    raw, columns, made = as_read(series)
    tr_s = made.tr_s if made else series.tr_s
    values = np.asarray(raw, dtype=np.float64)
    if values.ndim != 2:
        raise Refused(f"shape {values.shape}, not (time, parcel)", "give one two-dimensional array per recording")
    if tr_s is None:
        raise Refused("no TR", "give --tr, a sidecar's RepetitionTime, or a column repetition_time_s of --participants")
    total = len(values)
    if series.volumes is not None and series.volumes != total:
        raise Refused(f"{total} volumes, its table says {series.volumes}", "fix the table or the series")
    moved = resampled_values(values, tr_s, hz)
    out, dropped = moved.values, moved.dropped
    filled = moved.censored if made is None else tuple(sorted({*moved.censored, *made.censored}))
    invalid = invalid_steps(len(out), hz, tr_s, dropped, filled)
    missing = int((~moved.covered).sum())
    about = SeriesFacts((total, values.shape[1]), columns, tr_s, len(out), invalid, missing, highest_hz(tr_s, hz))
    return out, about if made is None else replace(about, band=made.band, measured=made.measured, methods=made.methods)


def parcel_count(shapes: Sequence[tuple[int, int]], labels: int | None) -> int:
    """The number of parcels of a cohort: the labels', else what most recordings have as columns.

    Raises
    ------
    InputError: no series has the labels' number of columns, or they have none in common; says so where they are
        (parcel, time).
    """
    if labels is not None:
        if shapes and not any(labels in shape for shape in shapes):
            seen = _listed(sorted({columns for _, columns in shapes}))
            raise InputError(
                f"--atlas-labels: {labels} rows, the series have {seen} columns", "give the table of their parcellation"
            )
        return labels
    counts = {columns: sum(1 for _, c in shapes if c == columns) for _, columns in shapes}
    best = max(counts, key=lambda c: counts[c])
    if len(counts) > 1 and len({rows for rows, _ in shapes}) == 1:
        raise InputError(
            f"every series has {shapes[0][0]} rows, and they differ in columns ({_listed(sorted(counts))}):"
            " they are (parcel, time)",
            "transpose them: one row per volume, one column per parcel",
        )
    if 2 * counts[best] <= len(shapes) and len(counts) > 1:
        raise InputError(
            f"the series have no number of columns in common: {_listed(sorted(counts))}",
            "import recordings of one parcellation",
        )
    return best


def check_shape(shape: tuple[int, int], parcels: int) -> None:
    """Raises Refused where a series has other columns than the cohort, and says whether it looks transposed."""
    rows, columns = shape
    if columns == parcels:
        return
    said = f"{rows} rows x {columns} columns, {parcels} parcels expected"
    if rows == parcels or columns > rows:
        raise Refused(
            f"{said}: it looks like (parcel, time)", "transpose it: one row per volume, one column per parcel"
        )
    raise Refused(said, "import recordings of one parcellation")


def order_of(about: SeriesFacts, parcels: int, columns: tuple[str, ...]) -> list[int] | None:
    """Which of its columns are the cohort's, in their order; None: as they are. Raises Refused where they are not."""
    check_shape(about.shape, parcels)
    if not about.columns or about.columns == columns:
        return None
    if len(set(columns)) == len(columns) and set(about.columns) == set(columns):
        return [about.columns.index(name) for name in columns]
    raise Refused("its columns are not those of the other files", "import recordings of one parcellation")


def band_of(about: SeriesFacts, source: Source) -> tuple[float, float]:
    """Edges of all filters, Hz; the lower one is NaN where nobody knows it."""
    low, high = about.band or source.band or (np.nan, np.inf)
    return low, min(high, about.high_hz)


def doubts(source: Source, shapes: Sequence[tuple[int, int]], named: bool) -> list[str]:
    """What nothing shows: that series are (time, parcel). `named`: their columns or the parcels are."""
    if source.oriented or named or len(set(shapes)) != 1 or shapes[0][1] <= shapes[0][0]:
        return []
    return [AMBIGUOUS.format(*shapes[0])]


def sentence(kind: str, made_here: bool, tr_s: float, hz: float) -> Sentence:
    """Of the methods text."""
    how = "made here from preprocessed images" if made_here else "imported as they were"
    return Sentence(
        "Parcel series were {how} (kind {kind}), and resampled from TR {tr_s:g} s to {rate_hz:g} Hz.",
        how=how,
        kind=kind,
        tr_s=tr_s,
        rate_hz=hz,
    )


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
