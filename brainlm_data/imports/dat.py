"""Kind `dat`: series of the BrainLM toolkit (vandijklab/BrainLM, toolkit/BrainLM_Toolkit.py).

Its `.dat` is text: numpy's `savetxt`, tab-separated: rows are volumes, columns parcels of A424, 0 where a parcel
had no data. The official scripts for UK Biobank read .dat files of the other orientation, too. `A424_Coordinates.dat`
(number, x, y, z) lies beside them and is no recording. Neither TR nor anything else stands in a file.
"""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from brainlm_data.errors import InputError, Refused
from brainlm_data.imports import Options, Series, Source, Values
from brainlm_data.imports.files import NO_SUBJECT, found
from brainlm_data.imports.labels import parcels_of
from brainlm_data.imports.participants import described, entities, read_participants
from brainlm_data.reading.labels import read_labels

PARCELS = 424
COORDINATES = "A424_Coordinates.dat"
SPACE = "MNI152NLin6Asym"
NETWORKS = "majority of Yeo-7 (Yeo et al., 2011) over each parcel's voxels"


def read(path: Path, options: Options) -> Source:
    """The recordings of a folder, or of one file. Raises InputError where there are none."""
    listed, left_aside = found(path, ".dat")
    files = [file for file in listed if file.name != COORDINATES]
    if not files:
        raise InputError(f"{path}: no .dat file in it", "the toolkit writes one per recording")
    people = read_participants(options.participants)
    series: dict[str, Series] = {}
    for file in files:
        who = entities(file.stem)
        row = people.find(str(who["subject"]), file.stem)
        if file.stem in series:
            raise InputError(f"{path}: two files are called {file.name}", "import a folder with one file per recording")
        series[file.stem] = Series(
            file.stem, str(who["subject"]), partial(_load, file), session=who["session"], task=who["task"],
            run=who["run"], file=file.name, files=(file,), **described(row, options.tr_s),
        )  # fmt: skip
    places = [file for file in listed if file.name == COORDINATES]
    known = [
        "Parcels are A424's, in its order: means over the voxels of A424+2mm.nii.gz, as the toolkit takes them.",
        "A file of 424 rows and another number of columns was transposed.",
        "0 stands for a parcel without data: a column that is constant is missing.",
    ]
    if any("sub-" not in name for name in series):
        known.append(NO_SUBJECT)
    unknown = [
        "The TR, but for what the caller says. Filters and noise regressors: those of the images that it was given.",
        "Whether recordings were scaled to one grand mean, and the units.",
        "How much of each parcel lay inside the field of view.",
    ]
    parcels = _parcels(options.labels, places[0] if places else None)
    table = [options.participants] if options.participants else []
    return Source(
        list(series.values()), [*files, *places[:1], *table], "A424", known, unknown, space=SPACE, parcels=parcels,
        people=people, left_aside=tuple(left_aside), networks=options.labels.name if options.labels else NETWORKS,
    )  # fmt: skip


def _parcels(labels: Path | None, coordinates: Path | None) -> pd.DataFrame:
    """A424's table: networks as this package has them, places where a file gives them."""
    from importlib import resources

    if labels is not None:
        return parcels_of(PARCELS, (), "A424", read_labels(labels))
    with resources.as_file(resources.files("brainlm_data") / "data" / "A424_networks.tsv") as file:
        table = pd.read_csv(file, sep="\t", comment="#")
    if coordinates is not None:
        try:
            values = np.loadtxt(coordinates, ndmin=2)
        except (OSError, ValueError) as error:
            raise InputError(f"{coordinates}: not a table of numbers ({error})", "fetch it again") from error
        if values.shape != (PARCELS, 4):
            raise InputError(f"{coordinates}: shape {values.shape}, expected {(PARCELS, 4)}", "fetch it again")
        table[["x", "y", "z"]] = values[:, 1:]
    return parcels_of(PARCELS, (), "A424", table)


def _load(file: Path) -> Values:
    """Values (time, parcel). Raises Refused where it is binary, or has other parcels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a file without rows: its shape says so
            values = np.loadtxt(file, ndmin=2)
    except Exception as error:  # numpy raises many kinds
        said = str(error).splitlines()[0]
        raise Refused(
            f"not a table of numbers as text ({said})", "write it with the toolkit, or kind arrays"
        ) from error
    if values.shape == (PARCELS, PARCELS):
        raise Refused("424 x 424: nothing shows which axis is time", "kind arrays, (time, parcel)")
    if values.shape[0] == PARCELS:
        values = values.T
    if values.shape[1] != PARCELS:
        raise Refused(f"{values.shape[0]} rows x {values.shape[1]} columns, not 424 parcels of A424", "kind arrays")
    return values, ()
