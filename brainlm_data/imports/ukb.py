"""Kind `ukb`: resting-state fMRI of UK Biobank, bulk field 20227, cleaned by ICA-FIX, in its native space.

`<eid>_20227_<instance>_<array>.zip`, or folders, with `fMRI/rfMRI.ica/filtered_func_data_clean.nii.gz` and,
below `reg/`, the warp to MNI152 (UK Biobank brain imaging documentation; Alfaro-Almagro et al., 2018,
doi:10.1016/j.neuroimage.2017.10.034). The atlas's points are taken into the native image; the image is not warped.
"""

from __future__ import annotations

import errno
import re
import shutil
import tempfile
import zipfile
import zlib
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainlm_data.errors import ConfigError, InputError, Refused
from brainlm_data.files.space import check_space, size
from brainlm_data.imports import LoadedSeries, Options, Series, Source
from brainlm_data.imports.files import found
from brainlm_data.imports.images import Image, Plan, Points, made, planned
from brainlm_data.imports.participants import described, read_participants
from brainlm_data.methods.fnirt import Field, places_in, read_matrix
from brainlm_data.reading.image import Run

NAME = re.compile(r"(?P<eid>\d+)(?:_20227_(?P<instance>\d+)_(?P<array>\d+))?")
SPACE = "MNI152NLin6Asym"
TR_S = 0.735
LOW_HZ = 0.01  # Gaussian-weighted straight lines with a sigma of 50 s: FSL's high-pass of 100 s
ICA = "rfMRI.ica/"
BOLD = "filtered_func_data_clean.nii.gz"
WARPS = ("reg/example_func2standard_warp.nii.gz", "reg/highres2standard_warp.nii.gz")
BEFORE = "reg/example_func2highres.mat"
MOTION = "mc/prefiltered_func_data_mcf.par"
MOST_BYTES = 1 << 34  # of what is needed of a zip; a usual one has 1 GB
WANTED = (BOLD, *WARPS, BEFORE, MOTION)


def read(path: Path, options: Options) -> Source:
    """The recordings of a folder of zips or of unpacked zips, or of one zip.

    Raises
    ------
    InputError: there are none. ConfigError: a strategy, another space.
    """
    if options.images.strategy is not None or options.images.space is not None:
        raise ConfigError("kind ukb: images are denoised, their warp leads to MNI152", "leave out --strategy, --space")
    files, left_aside = found(path, ".zip", BOLD, only=False)
    zips = [file for file in files if path.is_file() or re.search(r"_20227_.*\.zip$", file.name)]
    folders = [file.parent for file in files if file.match(f"{ICA}{BOLD}")]
    taken = set(zips)  # of 76,000
    other = [file for file in files if file.suffix == ".zip" and file not in taken]
    left_aside += [f"{file.name}: its name has no _20227_" for file in other]
    if not zips and not folders:
        raise InputError(f"{path}: no *_20227_*.zip and no fMRI/{ICA}{BOLD} in it", "give the folder of the bulk zips")
    plan, facts = planned(options, SPACE, scaled=True)
    people = read_participants(options.participants)
    series = []
    for place in [*zips, *folders]:
        called = place.stem if place.suffix == ".zip" else place.parents[1].name
        match = NAME.match(called)
        who, instance = (match["eid"], match["instance"]) if match else (called, None)
        name = f"sub-{who}{f'_ses-{instance}' if instance else ''}_task-rest"
        array = match["array"] if match else None
        if array and array != "0":
            name += f"_run-{array}"
        load = partial(_load_zip if place.suffix == ".zip" else _load_folder, place, options.tr_s, plan)
        row = described(people.find(who, name), options.tr_s)
        run = array if array != "0" else None
        own = (place,) if place.suffix == ".zip" else tuple(f for name in WANTED if (f := place / name).is_file())
        whole = place if place.suffix == ".zip" else place.parents[1]
        series.append(
            Series(name, who, load, session=instance, task="rest", run=run, file=called, files=own, place=whole, **row)
        )
    known = [
        "UK Biobank's pipeline has done it: correction of motion and distortion, grand mean 10000, high-pass (sigma"
        " 50 s, about .01 Hz), ICA-FIX. Not done again.",
        "Images are in native space; the atlas's voxels were taken there by the warp of FNIRT, and read trilinear.",
        "Slice timing was not corrected (multiband, TR .735 s).",
    ]
    unknown = [
        "Whether some participants are related (splits are by subject).",
        "tSNR and DVARS were not measured here.",
    ]
    table = [options.participants] if options.participants else []
    files = [file for one in series for file in one.files]
    return Source(
        series, [*files, *table], known=known, unknown=unknown, people=people, left_aside=tuple(left_aside), **facts
    )


def _load_zip(file: Path, tr_s: float | None, plan: Plan) -> LoadedSeries:
    """Only what is needed of a zip goes to the disk (TMPDIR), and only while this recording is read."""
    with tempfile.TemporaryDirectory(prefix="brainlm-ukb-") as name:
        folder = Path(name)
        try:
            with zipfile.ZipFile(file) as archive:
                members = [one for one in archive.infolist() if one.filename.partition(ICA)[2] in WANTED]
                _check_room(folder, sum(one.file_size for one in members))  # no member is longer than is stated
                for member in members:
                    target = folder / member.filename.partition(ICA)[2]
                    target.parent.mkdir(exist_ok=True)
                    with archive.open(member) as source, target.open("wb") as sink:
                        shutil.copyfileobj(source, sink, 1 << 20)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
            raise Refused(f"not a whole zip ({error})", "fetch it again") from error
        except OSError as error:
            if error.errno != errno.EINVAL:  # else the zip's directory names a place that no file has
                raise
            raise Refused(f"not a whole zip ({error.strerror})", "fetch it again") from error
        return _load_folder(folder, tr_s, plan)


def _check_room(folder: Path, needed: int) -> None:
    """Raises Refused for a zip that cannot be UK Biobank's, InputError where there is no room for one that can."""
    if needed > MOST_BYTES:
        raise Refused(f"unpacked it would have {size(needed)}, more than {size(MOST_BYTES)}", "fetch it again")
    check_space(folder, needed, "unpacking a zip", "free space there, or set TMPDIR to another folder")


def _load_folder(folder: Path, tr_s: float | None, plan: Plan) -> LoadedSeries:
    bold = folder / BOLD
    if not bold.is_file():
        raise Refused(f"no fMRI/{ICA}{BOLD} in it", "ICA-FIX did not run on this recording: leave it out")
    warp = next((folder / name for name in WARPS if (folder / name).is_file()), None)
    if warp is None:
        raise Refused(f"no {WARPS[0]} in it", "an affine alone is too coarse: convertwarp --relout makes the warp")
    field, before = Field.read(warp), None
    if warp.name == Path(WARPS[1]).name:
        if not (folder / BEFORE).is_file():
            raise Refused(f"{WARPS[1]} without {BEFORE}", "fetch the zip again")
        before = read_matrix(folder / BEFORE)
    lead = partial(_lead, field, before)
    return made(Image(bold, tr_s, TR_S, motion=_motion(folder / MOTION), warp=lead, source_low_hz=LOW_HZ), plan)


def _lead(field: Field, before: NDArray[np.float64] | None, points: Points, run: Run) -> Points:
    return places_in(field, points, run.affine, run.shape, before)


def _motion(file: Path) -> NDArray[np.float64] | None:
    """(T, 6), mm and rad, of MCFLIRT's .par, which has the rotations first."""
    try:
        table = np.loadtxt(file, ndmin=2)
    except (OSError, ValueError):
        return None  # FD then stays missing
    return table[:, [3, 4, 5, 0, 1, 2]] if table.ndim == 2 and table.shape[1] == 6 else None
