"""Kind `dtseries`: CIFTI series of grayordinates, averaged over the parcels of a dlabel (CIFTI-2).

`<subject>/MNINonLinear/Results/<run>/<run>_Atlas[_MSMAll]_hp<seconds>_clean[_rclean_tclean].dtseries.nii` of the Human
Connectome Project, cleaned by ICA-FIX, and any `sub-*.dtseries.nii` (fMRIPrep, XCP-D). `--atlas` names the dlabel:
HCP's own has Glasser's 360 areas of the cortex. One without labels below the cortex gets HCP's 19 structures there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.errors import ConfigError, InputError, Refused
from brainlm_data.files.sidecar import digest
from brainlm_data.imports import LoadedSeries, Options, Series, Source, Treatment, atlas_name, label_image
from brainlm_data.imports.files import found
from brainlm_data.imports.hcp import motion_of
from brainlm_data.imports.labels import parcels_of
from brainlm_data.imports.participants import described, entities, read_participants
from brainlm_data.reading.labels import read_labels
from brainlm_data.reading.parcel_means import MIN_COVERAGE

if TYPE_CHECKING:
    import pandas as pd

ENDING = ".dtseries.nii"
HCP = re.compile(
    r"(?P<run>(?P<kind>[rt]fMRI)_(?P<task>[A-Za-z]+)(?P<number>\d*[a-z]?)(?P<field>_7T)?(_(?P<dir>LR|RL|AP|PA))?)_Atlas"
    r"(?P<surface>_MSMAll|_MSMSulc)?_hp(?P<hp>\d+)_clean(?P<again>_rclean_tclean)?\.dtseries\.nii"
)
SURFACES = ("_MSMAll", "_MSMSulc", None)  # of several of one run, in the order of choice
SUBCORTEX = (
    "ACCUMBENS_LEFT", "ACCUMBENS_RIGHT", "AMYGDALA_LEFT", "AMYGDALA_RIGHT", "BRAIN_STEM", "CAUDATE_LEFT",
    "CAUDATE_RIGHT", "CEREBELLUM_LEFT", "CEREBELLUM_RIGHT", "DIENCEPHALON_VENTRAL_LEFT", "DIENCEPHALON_VENTRAL_RIGHT",
    "HIPPOCAMPUS_LEFT", "HIPPOCAMPUS_RIGHT", "PALLIDUM_LEFT", "PALLIDUM_RIGHT", "PUTAMEN_LEFT", "PUTAMEN_RIGHT",
    "THALAMUS_LEFT", "THALAMUS_RIGHT",
)  # of HCP's grayordinates  # fmt: skip
ROWS = 64  # volumes in memory at a time


@dataclass(frozen=True)
class Labels:
    """A dlabel.

    Attributes
    ----------
    names: of the parcels, in the order of the columns of the series.
    of_vertex: structure of the cortex -> (vertices of its mesh,) number of the parcel, -1 for none.
    of_voxel: (x, y, z) the same below the cortex, and its affine; None where the dlabel has no voxels: then parcels
        there are structures, by `of_structure`.
    """

    names: tuple[str, ...]
    of_vertex: dict[str, NDArray[np.int64]]
    of_voxel: tuple[NDArray[np.int64], NDArray[np.float64]] | None
    of_structure: dict[str, int]


def read(path: Path, options: Options) -> Source:
    """The recordings of a folder, or of one file, each once.

    Raises
    ------
    InputError: there are none, or two of one name; no readable dlabel. ConfigError: no `--atlas`, or options of images
        of voxels.
    """
    given = options.images
    file = label_image(given.atlas)
    if file is None or not file.name.endswith(".dlabel.nii"):
        raise ConfigError(
            f"kind dtseries: --atlas {given.atlas or '(none)'} is no .dlabel.nii",
            "give HCP's Glasser 2016 parcellation (balsa.wustl.edu) or another on the same mesh; A424 is of voxels",
        )
    if replace(given, atlas=None) != Treatment():
        raise ConfigError(
            "kind dtseries: space, strategy, filters, censoring and scale are for images", "leave them out"
        )
    if not file.is_file():
        raise InputError(f"--atlas {file}: no such file", "give a path that exists")
    labels = labels_of(file, digest(file))
    recordings, left_aside = _recordings(path)
    if not recordings:
        why = f" ({left_aside[0]})" if left_aside else ""
        raise InputError(f"{path}: no {ENDING} file that is a recording{why}", "give the folder of the subjects")
    people = read_participants(options.participants)
    series = []
    for name, (who, own, match) in recordings.items():
        row = described(people.find(str(who["subject"]), name), options.tr_s)
        motion = own.with_name("Movement_Regressors.txt")
        files = (own, motion) if match and motion.is_file() else (own,)
        load = partial(_load, own, row["tr_s"], labels, int(match["hp"]) if match else None)
        place = Path(*own.parts[: own.parts.index("MNINonLinear")]) if match else own
        series.append(
            Series(
                name, str(who["subject"]), load, session=who["session"], task=who["task"], run=who["run"],
                file=own.name, files=files, place=place, **row,
            )
        )  # fmt: skip
    table = _table(labels, options, atlas_name(given.atlas))
    networks = (
        options.labels.name if options.labels is not None and (table["network"] != "Unassigned").any() else "none"
    )
    known = [
        f"Series are means over the grayordinates of {len(labels.names)} parcels of {file.name}; the TR is the files'.",
        "The cortex is a surface: its parcels are not A424's, and have no coordinates but those of --atlas-labels.",
    ]
    if labels.of_voxel is None:
        known.append("The dlabel has no labels below the cortex: HCP's 19 structures are the parcels there.")
    if any(match for _, _, match in recordings.values()):
        known.append("HCP's ICA-FIX has cleaned them: motion terms and noise components are out. Not done again.")
    unknown = [
        "Which filters and noise regressors were applied to files that are not HCP's, and slice timing.",
        "Whether recordings were scaled to one grand mean, and the units.",
        "Who is related to whom: HCP has twins and siblings, and splits are by subject, not by family.",
    ]
    used = [f for one in series for f in one.files] + [file] + ([options.participants] if options.participants else [])
    return Source(
        series, used, atlas_name(given.atlas), known, unknown, space="fsLR", sha256=digest(file), parcels=table,
        networks=networks, made_here=True, people=people, left_aside=tuple(left_aside),
    )  # fmt: skip


Found = dict[str, tuple[dict[str, str | None], Path, re.Match[str] | None]]


def _recordings(path: Path) -> tuple[Found, list[str]]:
    """Recordings by name: who and what it is, its file, and the parts of a name of HCP's; and what is left aside."""
    files, left_aside = found(path, ENDING, only=False)
    if path.is_file() and not path.name.endswith(ENDING):
        raise InputError(f"{path}: no {ENDING} file", "give one, or a folder")
    hcp, recordings = list[tuple[str, re.Match[str], Path]](), Found()
    for file in files:
        match = HCP.fullmatch(file.name)
        if match and "MNINonLinear" in file.parts:
            hcp.append((file.parts[file.parts.index("MNINonLinear") - 1], match, file))
        elif file.name.startswith("sub-"):
            name = file.name.removesuffix(ENDING)
            if name in recordings:
                raise InputError(
                    f"{path}: two files are called {file.name}", "import a folder with one file per recording"
                )
            recordings[name] = (entities(name), file, None)
        else:
            is_raw = re.match("[rt]fMRI_", file.name) and "_clean" not in file.name
            why = "not cleaned by ICA-FIX" if is_raw else "its name and folders do not say whose it is"
            left_aside.append(f"{file.name}: {why} (sub-*, or SUBJECT/MNINonLinear/Results/*/*_Atlas*_hp*_clean)")
    # by surface registration as in SURFACES, then the plain cleaning before the one after which components were
    # classified again, as kind hcp has it
    for who, match, file in sorted(hcp, key=lambda one: (SURFACES.index(one[1]["surface"]), bool(one[1]["again"]))):
        task = match["task"].lower()
        run = f"{match['number']}{'7T' if match['field'] else ''}{match['dir'] or ''}" or None
        name = f"sub-{who}_task-{task}" + (f"_run-{run}" if run else "")
        if name in recordings:
            left_aside.append(f"{file.name}: of {who}, the same run as {recordings[name][1].name}, which is used")
        else:
            recordings[name] = ({"subject": who, "session": None, "task": task, "run": run}, file, match)
    return dict(sorted(recordings.items())), left_aside


@lru_cache(maxsize=2)  # a job reads it once, not once per recording
def labels_of(file: Path, sha256: str) -> Labels:
    """A dlabel's parcels. Raises InputError where it is none, or has no label."""
    import nibabel as nib

    try:
        image: Any = nib.load(file)
        axes = [image.header.get_axis(i) for i in range(image.ndim)]
        kinds = [type(axis).__name__ for axis in axes]
        keys = np.asarray(image.dataobj).astype(np.int64)
    except Exception as error:  # nibabel raises many kinds on a damaged file
        raise InputError(f"{file}: not a readable CIFTI file ({error})", "fetch it again") from error
    if kinds != ["LabelAxis", "BrainModelAxis"]:
        raise InputError(f"{file}: axes {', '.join(kinds)}, not labels of grayordinates", "give a .dlabel.nii")
    if len(keys) != 1:
        raise InputError(f"{file}: {len(keys)} maps of labels", "wb_command -cifti-merge takes out one")
    said = axes[0].label[0]  # key -> (name, colour)
    present = [int(key) for key in np.unique(keys) if key > 0 and said.get(int(key), ("???",))[0] != "???"]
    if not present:
        raise InputError(f"{file}: none of its labels is in its brain", "give a parcellation")
    number = {key: place for place, key in enumerate(present)}
    parcel = np.array([number.get(int(key), -1) for key in keys[0]], dtype=np.int64)
    names = [str(said[key][0]) for key in present]
    models: Any = axes[1]
    of_vertex: dict[str, NDArray[np.int64]] = {}
    of_voxel = None
    for structure, part, model in models.iter_structures():
        if structure in models.nvertices:
            of_vertex[structure] = np.full(models.nvertices[structure], -1)
            of_vertex[structure][model.vertex] = parcel[part]
            continue
        if of_voxel is None:
            of_voxel = (np.full(models.volume_shape, -1), np.asarray(models.affine, dtype=np.float64))
        of_voxel[0][tuple(model.voxel.T)] = parcel[part]
    of_structure: dict[str, int] = {}
    if of_voxel is None or (of_voxel[0] < 0).all():
        of_voxel = None
        of_structure = {f"CIFTI_STRUCTURE_{name}": len(names) + place for place, name in enumerate(SUBCORTEX)}
        names += SUBCORTEX
    if len(set(names)) < len(names):
        raise InputError(f"{file}: two labels of one name", "make the names unique")
    return Labels(tuple(names), of_vertex, of_voxel, of_structure)


def _table(labels: Labels, options: Options, atlas: str) -> pd.DataFrame:
    """The table of the parcels, by `--atlas-labels` where that is given; hemispheres by the structures else."""
    given = None if options.labels is None else read_labels(options.labels)
    table = parcels_of(len(labels.names), labels.names, atlas, given)
    side = dict.fromkeys(labels.names, "n/a")
    for structure, parcels in labels.of_vertex.items():
        for place in np.unique(parcels[parcels >= 0]):
            side[labels.names[place]] = "L" if structure.endswith("LEFT") else "R"
    side |= {name: name.rpartition("_")[2][0] for name in SUBCORTEX if name.endswith(("LEFT", "RIGHT"))}
    unknown = table["hemisphere"] == "n/a"
    table.loc[unknown, "hemisphere"] = [side.get(name, "n/a") for name in table.loc[unknown, "name"]]
    return table


def _load(file: Path, tr_s: float | None, labels: Labels, cutoff_s: int | None) -> LoadedSeries:
    """Series of one recording (time, parcel). Raises Refused where it cannot be used."""
    import nibabel as nib

    from brainlm_data.methods.rigid import displacement

    try:
        image: Any = nib.load(file)
        axes = [image.header.get_axis(i) for i in range(image.ndim)]
        kinds = [type(axis).__name__ for axis in axes]
        if kinds != ["SeriesAxis", "BrainModelAxis"]:
            raise Refused(f"axes {', '.join(kinds)}, not time and grayordinates", "a .dtseries.nii")
        if axes[0].unit != "SECOND":
            raise Refused(f"its series is in {axes[0].unit.lower()}, not in seconds", "a time series")
        parcel = parcel_of(axes[1], labels)
        series, coverage = _means(image.dataobj, parcel, len(labels.names))
    except Refused:
        raise
    except Exception as error:
        raise Refused(f"not a readable CIFTI file ({error})", "export or fetch it again") from error
    measured: dict[str, Any] = {"coverage_min": float(coverage.min()), "coverage_mean": float(coverage.mean())}
    motion = motion_of(file) if cutoff_s is not None else None
    if motion is not None and len(motion) > 1:
        measured["mean_fd_mm"] = float(np.nanmean(displacement(motion)))
    band = None if cutoff_s is None else (1 / cutoff_s if cutoff_s else 0.0, np.inf)
    said = f"Series were averaged over the grayordinates of {len(labels.names)} parcels."
    return LoadedSeries(series, tr_s or float(axes[0].step), band, (), measured, {"ingest": said})


def parcel_of(models: Any, labels: Labels) -> NDArray[np.int64]:
    """The parcel of each grayordinate of a series, -1 for none.

    Raises
    ------
    Refused: the series is on another mesh, or its voxels on another grid, than the dlabel.
    """
    parcel = np.full(len(models), -1, dtype=np.int64)
    for structure, part, model in models.iter_structures():
        if structure in models.nvertices:
            known = labels.of_vertex.get(structure)
            if known is not None and len(known) != models.nvertices[structure]:
                raise Refused(
                    f"a mesh of {models.nvertices[structure]} vertices, the dlabel's has {len(known)}",
                    "a dlabel for this mesh (wb_command -label-resample)",
                )
            if known is not None:
                parcel[part] = known[model.vertex]
        elif labels.of_voxel is None:
            parcel[part] = labels.of_structure.get(structure, -1)
        else:
            voxels, affine = labels.of_voxel
            if tuple(models.volume_shape) != voxels.shape or not np.allclose(models.affine, affine):
                raise Refused("its voxels are on another grid than the dlabel's", "a dlabel for this grid")
            parcel[part] = voxels[tuple(model.voxel.T)]
    if (parcel < 0).all():
        raise Refused("none of its grayordinates has a label", "is the dlabel of these structures?")
    return parcel


def _means(data: Any, parcel: NDArray[np.int64], count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means (time, parcel) over a fixed set of grayordinates, and the share of each parcel's that are in it.

    A grayordinate counts where it is finite in every volume and not constant; a parcel with less than half of its own
    is NaN. Two passes, some volumes in memory at a time.
    """
    volumes = data.shape[0]
    low, high = np.full(len(parcel), np.inf), np.full(len(parcel), -np.inf)
    for start in range(0, volumes, ROWS):
        block = np.asarray(data[start : start + ROWS], dtype=np.float32)
        low, high = np.minimum(low, block.min(0)), np.maximum(high, block.max(0))  # NaN stays NaN
    usable = np.isfinite(low) & np.isfinite(high) & (high > low) & (parcel >= 0)
    size = np.bincount(parcel[parcel >= 0], minlength=count)
    counted = np.bincount(parcel[usable], minlength=count)
    coverage = counted / np.maximum(size, 1)
    series = np.empty((volumes, count))
    for start in range(0, volumes, ROWS):
        for row, values in enumerate(np.asarray(data[start : start + ROWS], dtype=np.float32)[:, usable], start):
            series[row] = np.bincount(parcel[usable], values, count) / np.maximum(counted, 1)
    series[:, (coverage < MIN_COVERAGE) | (counted == 0)] = np.nan
    return series, coverage
