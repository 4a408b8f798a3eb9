"""Kind `hcp`: volumes of the Human Connectome Project that ICA-FIX has cleaned.

`<subject>/MNINonLinear/Results/<run>/<run>_hp<seconds>_clean[_rclean_tclean].nii.gz`, run being
`rfMRI_REST1_LR` or the like (HCP S1200 reference manual; Glasser et al., 2013,
doi:10.1016/j.neuroimage.2013.04.127).
The pipelines have corrected motion and distortion, normalized, scaled to a grand mean of 10,000, high-passed and
cleaned: none of it is done again.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from brainlm_data.errors import ConfigError, InputError
from brainlm_data.files.sidecar import sidecar_path
from brainlm_data.imports import LoadedSeries, Options, Series, Source
from brainlm_data.imports.files import found
from brainlm_data.imports.images import Image, Plan, made, planned
from brainlm_data.imports.participants import described, read_participants

NAME = re.compile(
    r"(?P<run>rfMRI_REST(?P<number>\d*[a-z]?)(?P<field>_7T)?_(?P<dir>LR|RL|AP|PA))_hp(?P<hp>\d+)_clean"
    r"(?P<again>_rclean_tclean)?\.nii\.gz"
)
SPACE = "MNI152NLin6Asym"
TR_S = {"": 0.72, "_7T": 1.0}  # of the protocols at 3 T and at 7 T


def read(path: Path, options: Options) -> Source:
    """The cleaned resting-state runs below a folder of subjects (or of one).

    Raises
    ------
    InputError: there are none, and whether there are CIFTI files instead. ConfigError: a strategy, another space.
    """
    if options.images.strategy is not None or options.images.space is not None:
        raise ConfigError("kind hcp: images are denoised and in MNI space already", "leave out --strategy and --space")
    recordings: dict[tuple[str, str], tuple[re.Match[str], Path]] = {}
    double = 0
    files, left_aside = found(path, "_clean.nii.gz", "_rclean_tclean.nii.gz", only=False)
    for file in files:
        match = NAME.fullmatch(file.name)
        if match and "MNINonLinear" in file.parts:
            who = file.parts[file.parts.index("MNINonLinear") - 1]
            double += (who, match["run"]) in recordings  # sorted: the plain one comes first and stays
            recordings.setdefault((who, match["run"]), (match, file))
    if not recordings:
        cifti = next(path.rglob("*.dtseries.nii"), None)
        raise InputError(
            f"{path}: no SUBJECT/MNINonLinear/Results/*/rfMRI_REST*_hp*_clean.nii.gz"
            + (f"; there are CIFTI files ({cifti.name})" if cifti else ""),
            "kind dtseries averages them over the parcels of a dlabel" if cifti else "give the folder of the subjects",
        )
    plan, facts = planned(options, SPACE, scaled=True)
    people = read_participants(options.participants)
    series = []
    for (who, run), (match, file) in recordings.items():
        name = f"sub-{who}_task-rest_run-{match['number']}{match['field'] or ''}{match['dir']}".replace("_7T", "7T")
        load = partial(_load, file, options.tr_s, TR_S[match["field"] or ""], int(match["hp"]), plan)
        row = described(people.find(who, name), options.tr_s)
        beside = [file.with_name("Movement_Regressors.txt"), sidecar_path(file)]
        own = (file, *(f for f in beside if f.is_file()))
        place = Path(*file.parts[: file.parts.index("MNINonLinear")])
        series.append(
            Series(
                name, who, load, task="rest", run=name.rpartition("run-")[2], file=f"{who}/{run}", files=own,
                place=place, **row,
            )
        )  # fmt: skip
    passes = sorted({match["hp"] for match, _ in recordings.values()})
    known = [
        "HCP's pipelines have done it: correction of motion and distortion, normalization, grand mean 10000, regression"
        " of 24 motion terms and of ICA-FIX's noise components. Not done again.",
        f"High-pass by the source with a cutoff of {', '.join(passes)} s (0: a linear trend); the band's lower edge"
        " is taken to be its inverse, as its roll-off is slow.",
        "Slice timing was not corrected (multiband, TR .72 s).",
    ]
    if any(match["again"] for match, _ in recordings.values()):
        known.append("Runs of which only rclean_tclean is there: components were also classified by hand.")
    if double:
        known.append(f"{double} files rclean_tclean stand beside a plain one, which was taken.")
    unknown = [
        "Who is related to whom: the cohort has twins and siblings, and splits are by subject, not by family.",
        "tSNR and DVARS were not measured here.",
    ]
    table = [options.participants] if options.participants else []
    files = [file for one in series for file in one.files]
    return Source(
        series, [*files, *table], known=known, unknown=unknown, people=people, left_aside=tuple(left_aside), **facts
    )


def _load(file: Path, tr_s: float | None, usual_s: float, cutoff_s: int, plan: Plan) -> LoadedSeries:
    low = 1 / cutoff_s if cutoff_s else 0.0
    return made(Image(file, tr_s, usual_s, motion=motion_of(file), source_low_hz=low), plan)


def motion_of(file: Path) -> np.ndarray | None:
    """(T, 6), mm and rad: the first six columns of Movement_Regressors.txt, which has degrees."""
    try:
        table = np.loadtxt(file.with_name("Movement_Regressors.txt"), ndmin=2)[:, :6]
    except (OSError, ValueError, IndexError):
        return None  # FD then stays missing
    return table * np.array([1, 1, 1, *[np.pi / 180] * 3]) if table.shape[1] == 6 else None
