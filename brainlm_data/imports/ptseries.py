"""Kind `ptseries`: CIFTI series of parcels, `*.ptseries.nii` (time x parcels; CIFTI-2, nitrc.org/projects/cifti).

Parcels are known by their names: recordings that have the same ones in another order are sorted, and
`--atlas-labels` is matched by `name`. The TR is the file's.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from brainlm_data.errors import InputError, Refused
from brainlm_data.imports import LoadedSeries, Options, Series, Source
from brainlm_data.imports.files import NO_SUBJECT, found
from brainlm_data.imports.participants import atlas_of, described, entities, read_participants

ENDING = ".ptseries.nii"


def read(path: Path, options: Options) -> Source:
    """The recordings of a folder, or of one file. Raises InputError where there are none, or two of one name."""
    files, left_aside = found(path, ENDING)
    if not files or not all(file.name.endswith(ENDING) for file in files):
        raise InputError(f"{path}: no {ENDING} file", "wb_command -cifti-parcellate makes them of a .dtseries.nii")
    people = read_participants(options.participants)
    series: dict[str, Series] = {}
    for file in files:
        stem = file.name.removesuffix(ENDING)
        who = entities(stem)
        row = people.find(str(who["subject"]), stem)
        if "sub-" not in stem and (person := next((row[k] for k in row if k.lower() == "participant_id"), None)):
            who["subject"] = str(person).removeprefix("sub-")
        if stem in series:
            raise InputError(f"{path}: two files are called {file.name}", "import a folder with one file per recording")
        about = described(row, options.tr_s)
        load = partial(_load, file, about["tr_s"])
        series[stem] = Series(
            stem, str(who["subject"]), load, session=who["session"], task=who["task"], run=who["run"], file=file.name,
            files=(file,), **about,
        )  # fmt: skip
    known = ["Parcels are those that the files name; the TR is theirs, too."]
    if options.tr_s is not None:
        known[0] = "Parcels are those that the files name. One TR was given for all."
    if any("sub-" not in name for name in series):
        known.append(NO_SUBJECT)
    unknown = [
        "Which filters and which noise regressors were applied, and whether slice timing was corrected.",
        "Whether recordings were scaled to one grand mean, and the units.",
        "How much of each parcel had data.",
    ]
    used = [*files, *([options.participants] if options.participants else [])]
    return Source(
        list(series.values()), used, atlas_of(files[0].name), known, unknown, people=people,
        left_aside=tuple(left_aside),
    )  # fmt: skip


def _load(file: Path, tr_s: float | None) -> LoadedSeries:
    """Values (time, parcel), the names of the parcels, and the file's TR. Raises Refused where it is another kind."""
    import nibabel as nib

    try:
        image: Any = nib.load(file)
        axes = [image.header.get_axis(i) for i in range(image.ndim)]
        values = np.asarray(image.dataobj, dtype=np.float64)
    except Exception as error:  # nibabel raises many kinds on a damaged file
        raise Refused(f"not a readable CIFTI file ({error})", "export or fetch it again") from error
    kinds = [type(axis).__name__ for axis in axes]
    if sorted(kinds) != ["ParcelsAxis", "SeriesAxis"]:
        raise Refused(f"axes {', '.join(kinds)}, not time and parcels", "wb_command -cifti-parcellate")
    if kinds[0] == "ParcelsAxis":
        values, axes = values.T, axes[::-1]
    if axes[0].unit != "SECOND":
        raise Refused(f"its series is in {axes[0].unit.lower()}, not in seconds", "a time series")
    names = tuple(str(name) for name in axes[1].name)
    if len(set(names)) < len(names):
        raise Refused("two parcels of one name", "make the names unique")
    return LoadedSeries(values, tr_s or float(axes[0].step), columns=names)
