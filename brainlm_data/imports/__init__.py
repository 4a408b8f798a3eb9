"""Existing parcel series and preprocessed images into a store: `brainlm-data import KIND PATH OUTDIR`.

One module a kind says which recordings there are and how to read one; `write.py` does the rest for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.errors import InputError
from brainlm_data.paths import not_plain
from brainlm_data.reading.people import People, beside

if TYPE_CHECKING:
    import pandas as pd

Values = tuple[NDArray[np.floating], tuple[str, ...]]
UNITS = "as in the source"


@dataclass(frozen=True)
class LoadedSeries:
    """A recording with what its file alone says of it; one that was made here, from an image.

    Attributes
    ----------
    values: (time, parcel) at the native TR; NaN rows: dropped volumes; NaN columns: parcels without data.
    tr_s: s. band: Hz, of all filters; the upper edge is infinite where there was no low-pass; None: as `Source` says.
    censored: volumes that were interpolated. measured: columns of recordings.parquet. methods: sentences by stage.
    columns: names of the parcels, empty: unknown.
    """

    values: NDArray[np.floating]
    tr_s: float
    band: tuple[float, float] | None = None
    censored: tuple[int, ...] = ()
    measured: Mapping[str, Any] = field(default_factory=dict)
    methods: Mapping[str, str] = field(default_factory=dict)
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Series:
    """One recording that can be read.

    Attributes
    ----------
    id, subject, session, task, run: of the recording; ids are unique.
    load: its values (time, parcel) and the names of the columns (empty: unknown). Raises Refused.
    tr_s: s; None where nothing says so. volumes: how many there should be, where a table says so.
    start_s: time of the first volume, s (BIDS StartTime). mean_fd_mm: NaN where it was not measured.
    file: its name, for messages. phenotypes: columns of the participants' table.
    files: all that is its own, the series or image first. place: what `read` finds it in; None: that first file.
    """

    id: str
    subject: str
    load: Callable[[], Values | LoadedSeries]
    tr_s: float | None = None
    session: str | None = None
    task: str | None = None
    run: str | None = None
    volumes: int | None = None
    start_s: float = np.nan
    mean_fd_mm: float = np.nan
    file: str = ""
    phenotypes: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    place: Path | None = None


@dataclass(frozen=True)
class Source:
    """What an import starts from.

    Attributes
    ----------
    series: the recordings, in order. files: every file that was or will be read.
    atlas: name of the parcellation, "" where it is not known. band: of the source's filters, Hz; None: not known.
    known, unknown: sentences of the card. oriented: False where nothing but the shapes shows that series are
        (time, parcel).
    units, space, sha256 (of the atlas), mismatch (of its space): where they are known. parcels: the table of the
        parcels, where the atlas is at hand, and where its networks come from. made_here: from images.
    """

    series: Sequence[Series]
    files: Sequence[Path]
    atlas: str
    known: Sequence[str]
    unknown: Sequence[str]
    band: tuple[float, float] | None = None
    oriented: bool = True
    units: str = UNITS
    space: str = ""
    sha256: str = ""
    mismatch: str = ""
    parcels: pd.DataFrame | None = None
    networks: str = "none"
    made_here: bool = False
    people: People = field(default_factory=People)
    left_aside: tuple[str, ...] = ()  # files whose names cannot be names of recordings, each with the reason


@dataclass(frozen=True)
class Treatment:
    """What is done to images (kinds fmriprep, hcp, ukb); None: as the kind has it.

    Attributes
    ----------
    space: as fMRIPrep is asked for it (`MNI152NLin6Asym:res-2`). atlas: `A424`, `demo424` or a label image's path.
    strategy: of stage denoise, without ICA. low_hz, high_hz: edges of the filters, 0 for none.
    censor_fd_mm: volumes that moved more are interpolated. mismatch: an atlas of another space is accepted.
    scale: of stage parcellate, grand_mean or percent.
    """

    space: str | None = None
    atlas: str | None = None
    strategy: str | None = None
    low_hz: float | None = None
    high_hz: float | None = None
    censor_fd_mm: float | None = None
    mismatch: bool = False
    scale: str | None = None


@dataclass(frozen=True)
class Options:
    """What the caller adds: one TR for all (s), a table of the participants, one of the parcels, what images need."""

    tr_s: float | None = None
    participants: Path | None = None
    labels: Path | None = None
    images: Treatment = Treatment()


IMAGES = ("fmriprep", "hcp", "ukb", "dtseries")
KINDS = {
    "abide": "an .npz of many people (data, offset, scale, file_id) and a TSV of the same name beside it",
    "pcp": "*.1D files of the ABIDE Preprocessed Connectomes Project",
    "arrays": "*.npy or *.tsv files, (time, parcel)",
    "fmriprep": "derivatives of fMRIPrep: images, confounds; made into series here",
    "hcp": "volumes of the Human Connectome Project, cleaned by ICA-FIX",
    "ukb": "UK Biobank's bulk field 20227, cleaned by ICA-FIX: zips, or folders",
    "dtseries": "*.dtseries.nii, CIFTI series of grayordinates, with a dlabel (--atlas)",
    "ptseries": "*.ptseries.nii, CIFTI series of parcels",
    "dat": "*.dat files of the BrainLM toolkit, A424",
    "parcellated": "any of abide, pcp, arrays, ptseries, dat: which one, the files' endings tell",
}
ENDINGS = {".npz": "abide", ".1D": "pcp", ".ptseries.nii": "ptseries", ".dat": "dat", ".npy": "arrays"}


def read(kind: str, path: Path, options: Options) -> Source:
    """The recordings of `path`. Raises InputError where it is not what the kind says."""
    if not path.exists():
        raise InputError(f"{path}: there is no such file", "give a path that exists")
    kind = kind_of(path) if kind == "parcellated" else kind
    if kind not in IMAGES and options.images != Treatment():
        raise InputError(f"kind {kind}: atlas, space, filters, strategy and scale are for images", "leave them out")
    options = replace(options, participants=participants_of(kind, path, options.participants))
    source: Source = import_module(f"brainlm_data.imports.{kind}").read(path, options)
    return _with_plain_names(source, path)


def participants_of(kind: str, path: Path, given: Path | None) -> Path | None:
    """The table of the participants: the one that is given, else participants.tsv in the folder (abide has its own).

    Raises InputError as `people.beside`.
    """
    return given or (None if kind == "abide" else beside(path))


def _with_plain_names(source: Source, path: Path) -> Source:
    """The source without recordings whose names cannot be part of commands, or contradict their folders.

    Raises InputError where none is left.
    """
    from brainlm_data.imports.files import strange_folder

    good, left_aside = list[Series](), list[str]()
    for series in source.series:
        problem = not_plain(series.id, series.subject, series.session)
        if not problem and series.files:
            problem = strange_folder(series.files[0], path, series.subject, series.session)
        if problem:
            left_aside.append(f"{series.file or series.id}: {problem}")
        else:
            good.append(series)
    if left_aside and not good:
        raise InputError(f"{path}: no recording can be used: {left_aside[0]}", "give names of letters, digits, _ and -")
    return replace(source, series=good, left_aside=(*source.left_aside, *left_aside))


def label_image(atlas: str | None) -> Path | None:
    """The atlas of images, where it is a file of the caller's."""
    return None if atlas in (None, "A424", "demo424") else Path(str(atlas))


def atlas_name(atlas: str | None) -> str:
    """What an atlas of images is called: by letters and digits alone, as file names want it."""
    own = label_image(atlas)
    return (atlas or "A424") if own is None else re.sub(r"[^A-Za-z0-9]", "", own.name.split(".")[0])


def kind_of(path: Path) -> str:
    """The kind of parcel series by the endings of the files; `.tsv` counts where there is no other.

    Raises InputError where there are files of two kinds, or none.
    """
    from brainlm_data.imports.files import files_of

    names = [file.name for file in files_of(path, "")]
    kinds = sorted({kind for ending, kind in ENDINGS.items() if any(name.endswith(ending) for name in names)})
    if not kinds and any(name.endswith(".tsv") for name in names):
        kinds = ["arrays"]
    if len(kinds) != 1:
        said = f"files of kinds {' and '.join(kinds)}" if kinds else f"no file that ends in {', '.join(ENDINGS)}, .tsv"
        raise InputError(f"{path}: {said}", "say which kind, or give another folder")
    return kinds[0]
