"""Kind `pcp`: series of the ABIDE Preprocessed Connectomes Project, as they are distributed.

`<site>_<number>_rois_<atlas>.1D`: a line of labels that starts with `#`, one row per volume, columns apart by white
space. A folder is searched with the folders below it.
"""

from __future__ import annotations

import re
import warnings
from functools import partial
from pathlib import Path

import numpy as np

from brainlm_data.errors import InputError, Refused
from brainlm_data.imports import Options, Series, Source, Values
from brainlm_data.imports.files import found
from brainlm_data.imports.participants import atlas_of, described, read_participants

NAME = re.compile(r"(?P<id>(?P<site>.+?)_(?P<number>\d+))_rois_\w+")
STRATEGY = re.compile(r"(no)?filt_(no)?global")
BAND = (0.01, 0.1)  # Hz, of the strategies that filter (preprocessed-connectomes-project.org/abide)
MISSING = ("n/a", "-9999", "-9999.0", "no_filename")  # of the project's phenotypes


def read(path: Path, options: Options) -> Source:
    """The recordings of a folder, or of one file. Raises InputError where there are none."""
    files, left_aside = found(path, ".1D")
    if not files:
        raise InputError(f"{path}: no .1D file in it", "give the folder of *_rois_*.1D files")
    people = read_participants(options.participants, MISSING)
    series = []
    for file in files:
        match = NAME.match(file.stem)
        name, subject = (match["id"], match["number"]) if match else (file.stem, file.stem)
        row = people.find(subject, name)
        if match and "site" not in row:
            row["site"] = match["site"]
        load = partial(load_file, file)
        more = described(row, options.tr_s)
        series.append(Series(name, subject, load, task="rest", file=file.name, files=(file,), **more))
    band, strategy = _strategy(files)
    known = ["Resting state. One recording a person, by the number in the file's name.", *strategy]
    known.append("One TR was given for all." if options.tr_s is not None else "The TR of each person is the table's.")
    unknown = [
        "Whether recordings were scaled to one grand mean, and the units.",
        "How much of each parcel lay inside the field of view; a parcel of zeros was outside.",
    ]
    if not strategy:
        unknown.insert(0, "Which filters and which noise regressors were applied.")
    table = [options.participants] if options.participants else []
    return Source(
        series, [*files, *table], atlas_of(files[0].name), known, unknown, band, people=people,
        left_aside=tuple(left_aside),
    )  # fmt: skip


def _strategy(files: list[Path]) -> tuple[tuple[float, float] | None, list[str]]:
    """Band and sentence of the strategy that all files' folders name, if they do."""
    names = {next((p for p in reversed(file.absolute().parts) if STRATEGY.fullmatch(p)), "") for file in files}
    name = names.pop() if len(names) == 1 else ""
    if not name:
        return None, []
    filtered, globally = not name.startswith("no"), "noglobal" not in name
    said = (
        f"{'band-pass' if filtered else 'no band-pass'}, {'with' if globally else 'without'} global signal regression"
    )
    return (BAND if filtered else None), [f"Strategy {name} by the folder's name: {said}."]


def load_file(file: Path) -> Values:
    """Values (time, parcel) and the parcels' numbers. Raises Refused where it is no such table."""
    try:
        with file.open(encoding="utf-8") as stream:
            head = stream.readline()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a file without rows: its shape says so
            values = np.loadtxt(file, comments="#", ndmin=2)
    except (OSError, ValueError) as error:
        raise Refused(f"not a table of numbers ({str(error).splitlines()[0]})", "fetch the file again") from error
    labels = tuple(re.findall(r"#\s*(\d+)", head)) if head.startswith("#") else ()
    return values, labels if len(labels) == values.shape[1] else ()
