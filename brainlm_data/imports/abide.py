"""Kind `abide`: many people in one .npz, and a TSV of the same name beside it.

data      (volumes of all people, parcel), integers
offset    (people + 1), first row of each
scale     (people) or (people, parcel): what a value is multiplied by
file_id   (people), as participant_id in the TSV
"""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.errors import InputError, Refused
from brainlm_data.files.arrays import reads_arrays
from brainlm_data.imports import Options, Series, Source, Values
from brainlm_data.imports.participants import atlas_of, described, read_participants

ARRAYS = ("data", "offset", "scale", "file_id")


def read(path: Path, options: Options) -> Source:
    """The people of an .npz (or of the only one in a folder).

    Raises
    ------
    InputError: it is not such a file, its arrays do not fit together, or there is no table.
    """
    file = _file(path)
    data, offset, scale, ids = _arrays(file, file.stat().st_mtime_ns)
    table = options.participants or file.with_suffix(".tsv")
    if not table.is_file():
        raise InputError(f"{table}: there is no such table", "put it beside the .npz, or give --participants TSV")
    people = read_participants(table)
    series = []
    for number, name in enumerate(map(str, ids)):
        rows = data[int(offset[number]) : int(offset[number + 1])]
        row = people.find(name, name)
        load = partial(_load, rows, scale[number], bool(row), table.name)
        series.append(
            Series(name, name, load, task="rest", file=file.name, files=(file,), **described(row, options.tr_s))
        )
    known = [
        "The TR of each person is the table's." if options.tr_s is None else "One TR was given for all.",
        f"Values were kept as {data.dtype} times one number per person: they are rounded to that step.",
        "Resting state. One recording a person.",
    ]
    unknown = [
        "Which filters and which noise regressors were applied, and whether slice timing was corrected.",
        "Whether recordings were scaled to one grand mean, and the units.",
        "How much of each parcel lay inside the field of view.",
    ]
    return Source(series, [file, table], atlas_of(file.name), known, unknown, people=people)


def _file(path: Path) -> Path:
    if not path.is_dir():
        return path
    archives = sorted(path.glob("*.npz"))
    if len(archives) != 1:
        raise InputError(f"{path}: {len(archives)} .npz files in it", "give the one that is meant")
    return archives[0]


@lru_cache(maxsize=1)  # a job reads the file once, not once per recording
def _arrays(file: Path, _mtime_ns: int) -> tuple[NDArray[Any], ...]:
    with reads_arrays(file, "give the .npz of kind abide, or another KIND") as arrays:
        if absent := [name for name in ARRAYS if name not in arrays]:
            raise InputError(f"{file}: no array {', '.join(absent)}", f"it needs {', '.join(ARRAYS)}")
        data, offset, scale, ids = (np.asarray(arrays[name]) for name in ARRAYS)
        for name in ids.ravel():
            str(name)  # of damaged text, a character beyond Unicode
    _check(file, data, offset, scale, ids)
    return data, offset, scale, ids


def _check(
    file: Path,
    data: NDArray[np.number],
    offset: NDArray[np.integer],
    scale: NDArray[np.floating],
    ids: NDArray[np.str_],
) -> None:
    people = ids.size
    named = {"data": data, "offset": offset, "scale": scale, "file_id": ids}
    shapes = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in named.items())
    numbers = data.dtype.kind in "iuf" and offset.dtype.kind in "iu" and scale.dtype.kind in "iuf"
    fits = (
        numbers
        and ids.ndim == 1
        and data.ndim == 2
        and offset.shape == (people + 1,)
        and scale.shape in {(people,), (people, data.shape[-1])}
    )
    if not fits or offset[0] != 0 or offset[-1] != len(data) or (np.diff(offset) < 0).any():
        raise InputError(
            f"{file}: arrays that do not fit together: {shapes}",
            "data (sum of volumes, parcel), offset from 0 to that sum (people + 1), scale and file_id (people)",
        )


def _load(rows: NDArray[np.number], scale: NDArray[np.floating], listed: bool, table: str) -> Values:
    if not listed:
        raise Refused(f"has no row in {table}", "add one, with its repetition_time_s")
    return rows.astype(np.float64) * scale, ()
