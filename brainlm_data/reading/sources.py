"""A recording from any kind of file, as a card's data are: (time, parcel), unscaled, ready for `prepare`.

What contradicts the card is refused; what the file cannot say is stated in words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.dataset.card import Card, compare, of_sidecar, of_store
from brainlm_data.dataset.series import ParcelSeries, recording_name
from brainlm_data.errors import InputError
from brainlm_data.files.json import read_sidecar
from brainlm_data.files.reads import reads
from brainlm_data.files.sidecar import sidecar_path
from brainlm_data.reading.nifti import parcel_series

SECONDS = {"SECOND": 1.0}  # the only unit of a CIFTI series that is time
KINDS = "a .tsv or .npy series (time x parcel), a .ptseries.nii, a preprocessed 4-D .nii or .nii.gz"


def read_series(
    path: str | Path, card: Card | None, atlas: str | Path | None = None, tr: float | None = None
) -> ParcelSeries:
    """The parcel series of a file, checked against a card: `Card.read(FOLDER)` of a store or of a model.

    Parameters
    ----------
    card: None where a model's does not say how its data were made; a 4-D NIfTI is then refused.
    path: `.tsv` (one named column a parcel, `n/a` for what is missing) or `.npy` (time, parcel), in the card's units,
        rate and band, compared with the JSON sidecar beside them; `.ptseries.nii` (CIFTI); named columns are put in
        the order of the card's parcels, where it names them; or a preprocessed 4-D NIfTI in the card's space, which is
        parcellated, scaled, filtered and resampled (`reading.nifti`).
    atlas, tr: for a 4-D NIfTI only: the label image, where the card's atlas is none that this package can get; and the
        repetition time in seconds, where neither sidecar nor header has it.

    Raises
    ------
    InputError, Refused: unreadable, or in contradiction to the card.

    Examples
    --------
    >>> from brainlm_data import Card, read_series
    >>> read_series("run.npy", Card.read("results"))
    ParcelSeries run: 260 steps at 1 Hz (260 s) x 24 parcels
    """
    path = Path(path)
    name = path.name.lower()
    if not path.is_file():
        raise InputError(f"{path}: no such file", KINDS)
    if name.endswith((".nii", ".nii.gz")) and not name.endswith(".ptseries.nii"):
        return parcel_series(path, card, Path(atlas) if atlas is not None else None, tr)
    if atlas is not None or tr is not None:
        raise InputError(f"{path}: atlas and tr are for 4-D NIfTI", "leave them out")
    if name.endswith(".ptseries.nii"):
        return _ptseries(path, card)
    if not name.endswith((".tsv", ".npy")):
        raise InputError(f"{path}: not a kind of file that is read", KINDS)
    columns: list[str] = []
    if name.endswith(".npy") and _is_npy(path):
        values = np.load(path, allow_pickle=False)
    else:
        columns, values = _table(path)
    found = of_sidecar(read_sidecar(sidecar_path(path)))
    return _as_card_says(_numbers(values, path), compare(card, found, str(path)), path, card, columns)


def _as_card_says(
    values: NDArray[np.floating], stated: list[str], path: Path, card: Card | None, columns: Sequence[str] = ()
) -> ParcelSeries:
    """A series that was compared with the card: its rate, its units and the order of its parcels are the card's."""
    import pandas as pd

    parcels = pd.DataFrame({"name": list(columns)}) if len(columns) == values.shape[1] else None
    series = ParcelSeries(values, stated, id=recording_name(path), parcels=parcels)
    if card is None:
        return series
    return replace(series, rate_hz=card.rate_hz, units=card.units).in_order_of(card.parcel_names, str(path))


def compare_store(attributes: Mapping[str, Any], card: Card | None, source: str) -> list[str]:
    """Compare a store (its attributes hold its card) with a model's card: see `card.compare`."""
    return compare(card, of_store(attributes, source), source)


def _is_npy(path: Path) -> bool:
    """True for what numpy can read without unpickling. Raises InputError for anything else."""
    with reads(path, "a .npy array of numbers (time, parcel)"):
        np.load(path, allow_pickle=False, mmap_mode="r")
    return True


def _table(path: Path) -> tuple[list[str], NDArray[np.float64]]:
    """Names of the columns, and values."""
    from brainlm_data.files.tables import read_table

    try:
        return read_table(path)
    except InputError as error:
        raise InputError(error.message, "a .tsv with one named column a parcel, n/a for what is missing") from error


def _numbers(values: Any, path: Path) -> NDArray[np.float64]:
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" or array.ndim != 2:
        raise InputError(f"{path}: {array.dtype} of shape {array.shape}", "real numbers (time, parcel)")
    values = array.astype(np.float64)
    if np.abs(values[np.isfinite(values)]).max(initial=0) > np.finfo(np.float32).max:
        raise InputError(f"{path}: values beyond those of 32-bit floats", "is it damaged? Else scale it")
    return values


def _ptseries(path: Path, card: Card | None) -> ParcelSeries:
    """A CIFTI parcellated series. It knows its rate and number of parcels; band, units and atlas are stated."""
    import nibabel as nib

    try:
        image: Any = nib.load(path)
        axes = [image.header.get_axis(i) for i in range(image.ndim)]
        values = np.asarray(image.dataobj)
    except Exception as error:  # nibabel raises many kinds on a damaged file
        raise InputError(f"{path}: not a readable CIFTI file ({error})", "export or download it again") from error
    kinds = [type(axis).__name__ for axis in axes]
    if kinds != ["SeriesAxis", "ParcelsAxis"] or axes[0].unit not in SECONDS:
        raise InputError(f"{path}: axes {', '.join(kinds)}", "a .ptseries.nii: time x parcels, in seconds")
    found = {**of_sidecar(read_sidecar(sidecar_path(path))), "rate_hz": 1 / (axes[0].step * SECONDS[axes[0].unit])}
    if card is not None and len(axes[1]) != card.parcels:
        raise InputError(f"{path}: {len(axes[1])} parcels, the card says {card.parcels}", "parcels of the card's atlas")
    names = [str(name) for name in axes[1].name]
    stated = compare(card, found, str(path))
    if card is None or sorted(names) != sorted(card.parcel_names):
        stated.append(f"the order of its parcels ({names[0]} ... {names[-1]}) is taken to be the card's")
    return _as_card_says(_numbers(values, path), stated, path, card, names)
