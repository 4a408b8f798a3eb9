"""Parcel series that exist already, brought into a store: `brainlm-data import KIND PATH OUTDIR`.

One module a kind says which recordings there are and how to read one; `write.py` does the rest for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = tuple[NDArray[np.floating], tuple[str, ...]]


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
    """

    id: str
    subject: str
    load: Callable[[], Values]
    tr_s: float | None = None
    session: str | None = None
    task: str | None = None
    run: str | None = None
    volumes: int | None = None
    start_s: float = np.nan
    mean_fd_mm: float = np.nan
    file: str = ""
    phenotypes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """What an import starts from.

    Attributes
    ----------
    series: the recordings, in order. files: every file that was or will be read.
    atlas: name of the parcellation, "" where it is not known. band: of the source's filters, Hz; None: not known.
    known, unknown: sentences of the card. oriented: False where nothing but the shapes shows that series are
        (time, parcel).
    """

    series: Sequence[Series]
    files: Sequence[Path]
    atlas: str
    known: Sequence[str]
    unknown: Sequence[str]
    band: tuple[float, float] | None = None
    oriented: bool = True


@dataclass(frozen=True)
class Options:
    """What the caller adds: one TR for all (s), a table of the participants, one of the parcels."""

    tr_s: float | None = None
    participants: Path | None = None
    labels: Path | None = None


KINDS = {
    "abide": "an .npz of many people (data, offset, scale, file_id) and a TSV of the same name beside it",
    "pcp": "*.1D files of the ABIDE Preprocessed Connectomes Project",
    "arrays": "*.npy or *.tsv files, (time, parcel)",
}


def read(kind: str, path: Path, options: Options) -> Source:
    """The recordings of `path`. Raises InputError where it is not what the kind says."""
    source: Source = import_module(f"brainlm_data.imports.{kind}").read(path, options)
    return source
