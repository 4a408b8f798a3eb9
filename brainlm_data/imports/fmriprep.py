"""Kind `fmriprep`: a folder of fMRIPrep's derivatives (20.2 and later; fmriprep.org, "Outputs").

`*_space-<S>[_cohort-<C>][_res-<R>]_desc-preproc_bold.nii.gz`, with its JSON and brain mask beside it, and
`*_desc-confounds_timeseries.tsv`. They are motion-corrected and normalized; all else is done here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from brainlm_data.errors import InputError, Refused
from brainlm_data.files.json import read_sidecar
from brainlm_data.files.sidecar import sidecar_path
from brainlm_data.imports import LoadedSeries, Options, Series, Source
from brainlm_data.imports.files import facts_beside, found
from brainlm_data.imports.images import Image, Plan, chosen_strategies, made, planned
from brainlm_data.imports.participants import described, entities, number, read_participants
from brainlm_data.reading.parcel_means import mask_file

NAME = re.compile(
    r"(?P<id>sub-[\w+-]+?)_space-(?P<space>[A-Za-z0-9]+)(?P<more>(_(cohort|res)-[A-Za-z0-9]+)*)_desc-preproc_bold\.nii(\.gz)?"
)
LOW_HZ = 0.01  # as filter.low_hz
STRATEGY = "acompcor"
NATIVE = ("T1w", "func", "boldref", "run")  # spaces that no atlas is in
PREFERRED = {"A424": "MNI152NLin6Asym", "demo424": "MNI152NLin2009aSym"}


def read(path: Path, options: Options) -> Source:
    """The recordings of a derivatives folder in one space.

    Raises
    ------
    InputError: no such image, or none in the requested space (the message lists the others); what `planned` raises.
    """
    if not path.is_dir():
        raise InputError(f"{path}: no folder", "give the folder of fMRIPrep's derivatives")
    files, left_aside = found(path, "_desc-preproc_bold.nii", "_desc-preproc_bold.nii.gz", only=False)
    matches = list[tuple[re.Match[str], Path]]()
    for file in files:
        match = NAME.fullmatch(file.name)
        if match is None or "_echo-" in file.name:
            why = "one echo" if "_echo-" in file.name else "no space- in its name"
            left_aside.append(f"{file.name}: {why}, no image of a template space")
        else:
            matches.append((match, file))
    if not matches:
        raise InputError(
            f"{path}: no *_space-*_desc-preproc_bold.nii.gz in it", "give the folder of fMRIPrep's derivatives"
        )
    space = _space(Counter(_called(m) for m, _ in matches), options, path)
    chosen = [(m["id"], file) for m, file in matches if _called(m) == space]
    plan, facts = planned(options, space.split(":")[0], low_hz=LOW_HZ)
    plan = Plan(**{**vars(plan), "chosen": chosen_strategies(options.images, STRATEGY)})
    people = read_participants(options.participants)
    series = []
    for name, file in chosen:
        who = entities(name)
        confounds = _confounds(file, name)
        row = people.find(str(who["subject"]), name)
        about, refuse = facts_beside(file)
        load = refuse or partial(_load, file, confounds, name, plan, options.tr_s)
        start = number(about.get("StartTime"))
        beside = [sidecar_path(file), mask_file(file), *([confounds, sidecar_path(confounds)] if confounds else [])]
        own = (file, *(f for f in beside if f.is_file()))
        place = next((p for p in file.parents if p.name == f"sub-{who['subject']}"), path)
        series.append(
            Series(
                name, str(who["subject"]), load, session=who["session"], task=who["task"], run=who["run"],
                start_s=np.nan if start is None else start, file=file.name, files=own, place=place,
                **described(row, options.tr_s),
            )
        )  # fmt: skip
    made_by = _version(read_sidecar(path / "dataset_description.json"))
    known = [
        f"Images are fMRIPrep's{made_by} in {space}: motion-corrected and normalized, not denoised.",
        "Confounds are fMRIPrep's; regression, filter, scaling and parcel means are this package's (see Methods).",
    ]
    elsewhere = len({m["id"] for m, _ in matches}) - len(chosen)
    if elsewhere:
        known.append(f"{elsewhere} recordings have images in other spaces only, and are left aside.")
    unknown = [
        "Whether slice timing and distortion were corrected: fMRIPrep's report of each subject says so.",
        "tSNR and DVARS were not measured here.",
    ]
    files = [file for one in series for file in one.files]
    table = [options.participants] if options.participants else []
    return Source(
        series, [*files, *table], known=known, unknown=unknown, people=people, left_aside=tuple(left_aside), **facts
    )


def _called(match: re.Match[str]) -> str:
    """The space as fMRIPrep is asked for it: `MNI152NLin6Asym:res-2`."""
    return match["space"] + match["more"].replace("_", ":")


def _space(spaces: Mapping[str, int], options: Options, path: Path) -> str:
    """The one space that is meant: asked for, else the atlas's own, else the only one."""
    listed = ", ".join(f"{name} ({count})" for name, count in sorted(spaces.items()))
    asked = options.images.space
    wanted = asked or PREFERRED.get(options.images.atlas or "A424")
    standard = [name for name in spaces if name.split(":")[0] not in NATIVE]
    pool = standard if wanted is None else [name for name in spaces if name == wanted or name.startswith(f"{wanted}:")]
    if wanted in pool:
        return str(wanted)
    if len(pool) == 1:
        return pool[0]
    if not pool:
        what = f"no image in space {wanted}" if wanted else "no image in a template space"
        raise InputError(f"{path}: {what}; there are: {listed}", "give another --space (and an --atlas in it)")
    raise InputError(f"{path}: more than one space: {listed}", f"choose one: --space {sorted(pool)[0]}")


def _confounds(file: Path, name: str) -> Path | None:
    beside = file.with_name(f"{name}_desc-confounds_timeseries.tsv")
    return beside if beside.is_file() else None


def _version(description: Mapping[str, object]) -> str:
    made = description.get("GeneratedBy") or description.get("PipelineDescription") or []
    for item in made if isinstance(made, list) else [made]:
        if isinstance(item, Mapping) and str(item.get("Name", "")).lower() == "fmriprep":
            return f" ({item.get('Version', 'version unknown')})"
    return ""


def _load(file: Path, confounds: Path | None, name: str, plan: Plan, tr_s: float | None) -> LoadedSeries:
    if confounds is None:
        raise Refused(f"no {name}_desc-confounds_timeseries.tsv beside it", "did fMRIPrep finish?")
    return made(Image(file, tr_s, confounds=confounds), plan)
