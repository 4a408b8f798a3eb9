"""confounds: nuisance time courses, named and defined as in fMRIPrep's confounds table.

FD (Power et al., 2012), DVARS (Power et al., 2012; Nichols, 2013), aCompCor and tCompCor (Behzadi et al., 2007;
nipype's implementation), cosines, mean signals, 24 motion terms (Friston et al., 1996), outliers.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from brainlm_data.methods import nuisance
from brainlm_data.methods.courses import Courses, courses_of
from brainlm_data.methods.nuisance import FILTERED_FD
from brainlm_data.methods.operators import cosines
from brainlm_data.reading.image import load_output
from brainlm_data.stage import Facts, Files, Need, Sentence, Stage, StageConfig

Array = NDArray[np.float64]
KINDS = {"c": "aCompCor, CSF", "w": "aCompCor, white matter", "a": "aCompCor, CSF and white matter", "t": "tCompCor"}


class Config(StageConfig):
    """Confounds."""

    fd_radius_mm: float = Field(50.0, gt=0, description="radius that turns rotations into mm (Power et al.)")
    n_compcor: Literal["half"] | Annotated[int, Field(ge=0, le=50)] = Field(
        "half",
        description="CompCor components of each mask: a number, or half: as many as explain half of its variance",
    )
    compcor_high_pass_s: float = Field(128.0, gt=0, description="longest period kept before CompCor, s; cosines")
    tissue_threshold: float = Field(
        0.5, gt=0, le=1, description="probability of a voxel that counts as CSF or WM, once these are eroded"
    )
    fd_filter: Literal["notch", "lowpass"] | None = Field(
        "notch",
        description="of framewise_displacement_filtered, which is there at TR below 1.5 s: notch (between the two of"
        " fd_filter_bpm), lowpass (at the first); null: no such column",
    )
    fd_filter_bpm: list[float] = Field([12, 18], min_length=2, max_length=2, description="breaths per minute, from, to")
    fd_spike_mm: float = Field(0.5, gt=0, description="a volume that moved more (FD) is a motion_outlier")
    dvars_spike: float = Field(1.5, gt=0, description="a volume with a larger std_dvars is a motion_outlier")

    @model_validator(mode="after")
    def _ordered(self) -> Config:
        low, high = self.fd_filter_bpm
        if not 0 < low < high:
            raise ValueError(f"fd_filter_bpm {low:g}, {high:g}: the first must be positive and below the second")
        return self


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write one row a volume (T), `n/a` where a column is not defined (first volume of FD, DVARS, derivatives).

    Voxels pass through a scratch file, so memory does not grow with the number of volumes.
    """
    mask = np.asarray(load_output(inputs["sample_mask"]).dataobj) > 0
    with courses_of(inputs["voxel_sample"], mask, outputs["confounds"].parent) as courses:
        return _written(inputs, outputs, config, courses, mask)


def _written(inputs: Files, outputs: Files, config: Config, courses: Courses, mask: NDArray[np.bool_]) -> Facts:
    from brainlm_data.files.tables import read_table, write_table
    from brainlm_data.methods.rigid import COLUMNS, displacement, rms_displacement

    facts = inputs.facts("voxel_sample")
    tr = float(facts["RepetitionTime"])
    tissue = np.asarray(load_output(inputs["sample_probseg"]).dataobj)[mask]
    motion = read_table(inputs["motion_params"])[1]
    total = len(motion)
    seen = inputs.facts("motion_params")  # fMRIPrep's derivatives do not say
    steady = int(seen.get("NumberOfNonSteadyStates", -1))
    regions, is_eroded = {}, {}
    for name, column, eroded in (("csf", 2, 4), ("white_matter", 1, 3)):
        regions[name], is_eroded[name] = nuisance.region(tissue[:, column], tissue[:, eroded], config.tissue_threshold)
    both = regions["csf"] | regions["white_matter"]
    means = _means(courses, {"global_signal": np.ones(courses.voxels, bool), **regions, "csf_wm": both})
    if steady < 0:
        steady = nuisance.non_steady(means["global_signal"])
    table: dict[str, Array] = {}
    for name in ("global_signal", *regions):
        table |= nuisance.expanded(name, means[name])
    table["csf_wm"] = means["csf_wm"]
    table["std_dvars"], table["dvars"] = nuisance.dvars(courses)
    table["framewise_displacement"] = np.asarray(displacement(motion, config.fd_radius_mm), dtype=np.float64)
    filtered, about_filter = _filtered(motion, tr, config)
    table |= filtered
    table["rmsd"] = np.asarray(rms_displacement(motion), dtype=np.float64)
    basis = cosines(total - steady, tr, 1 / config.compcor_high_pass_s)[:, :-1]  # nipype counts the constant
    compcor, sources = _compcor(courses, steady, regions, basis, config.n_compcor)
    cosine = {f"cosine{i:02d}": column for i, column in enumerate(basis.T)}
    table |= {name: np.concatenate([np.zeros(steady), column]) for name, column in (compcor | cosine).items()}
    table |= nuisance.one_hot("non_steady_state_outlier", np.arange(total) < steady)
    for name, values in zip(COLUMNS, motion.T, strict=True):
        table |= nuisance.expanded(name, values)
    with np.errstate(invalid="ignore"):  # the first volume has neither
        moved = (table["framewise_displacement"] > config.fd_spike_mm) | (table["std_dvars"] > config.dvars_spike)
    moved[seen.get("EmptyVolumes", [])] = True
    table |= nuisance.one_hot("motion_outlier", moved)
    write_table(outputs["confounds"], list(table), np.stack(list(table.values()), 1))
    fd = table["framewise_displacement"][1:]
    return {
        "SamplingFrequency": 1 / tr,
        "NumberOfNonSteadyStates": steady,
        "NumberOfMotionOutliers": int(moved.sum()),
        "MeanFramewiseDisplacement": float(np.nanmean(fd)) if len(fd) else 0.0,
        "FdRadiusMm": config.fd_radius_mm,
        **about_filter,
        "FdSpikeMm": config.fd_spike_mm,
        "DvarsSpike": config.dvars_spike,
        "CompCorCriterion": config.n_compcor,
        "NumberOfCompCor": {kind: sum(name.startswith(f"{kind}_") for name in compcor) for kind in KINDS},
        "TissueVoxels": {name: int(chosen.sum()) for name, chosen in regions.items()},
        "TissueEroded": is_eroded,
        "confounds": {name: _meaning(name) | sources.get(name, {}) for name in table},
    }


def _filtered(motion: Array, tr_s: float, config: Config) -> tuple[dict[str, Array], Facts]:
    """FD of the motion parameters without breathing, and facts about it; both empty at a longer TR."""
    from brainlm_data.methods.rigid import displacement

    how, band = config.fd_filter, (config.fd_filter_bpm[0], config.fd_filter_bpm[1])
    if how is None or not nuisance.holds_breathing(tr_s, band):
        return {}, {}
    still = nuisance.without_breathing(motion, tr_s, how, band)
    fd = np.asarray(displacement(still, config.fd_radius_mm), dtype=np.float64)
    mean = float(np.nanmean(fd[1:])) if len(fd) > 1 else 0.0
    about = {"FdFilter": how, "FdFilterBreathsPerMinute": list(band), "MeanFilteredFramewiseDisplacement": mean}
    return {FILTERED_FD: fd}, about


def _means(courses: Courses, regions: dict[str, NDArray[np.bool_]]) -> dict[str, Array]:
    """Mean of the voxels of each region, (T,); NaN where there is none."""
    means = {name: np.full(courses.volumes, np.nan) for name in regions}
    for t, volume in enumerate(courses):
        for name, chosen in regions.items():
            if chosen.any():
                means[name][t] = volume[chosen].mean(dtype=np.float64)
    return means


def _compcor(
    courses: Courses,
    steady: int,
    regions: dict[str, NDArray[np.bool_]],
    basis: Array,
    count: int | Literal["half"],
) -> tuple[dict[str, Array], dict[str, Facts]]:
    """Columns of every mask, and what fMRIPrep's JSON says of each (nilearn reads `Mask` from there)."""
    columns: dict[str, Array] = {}
    sources: dict[str, Facts] = {}
    if count == 0:
        return columns, sources
    for kind, chosen in nuisance.compcor_regions(courses, steady, regions).items():
        parts, singular, share = nuisance.compcor(courses, steady, chosen, basis, count)
        for i, part in enumerate(parts.T):
            name = f"{kind}_comp_cor_{i:02d}"
            columns[name] = part
            sources[name] = {
                "Method": "tCompCor" if kind == "t" else "aCompCor",
                "Retained": True,
                "NumberOfVoxels": int(chosen.sum()),
                "SingularValue": float(singular[i]),
                "VarianceExplained": float(share[i]),
                "CumulativeVarianceExplained": float(share[: i + 1].sum()),
            } | ({"Mask": nuisance.MASKS[kind]} if kind in nuisance.MASKS else {})
    return columns, sources


def _meaning(column: str) -> Facts:
    """Description and, where it has one, unit of a column."""
    families = {
        "global_signal": ("mean of the brain", "scanner units"),
        "csf_wm": ("mean of CSF and white matter", "scanner units"),
        "csf": ("mean of CSF", "scanner units"),
        "white_matter": ("mean of white matter", "scanner units"),
        "std_dvars": ("DVARS divided by its expectation under temporal AR(1) noise (Nichols, 2013)", ""),
        "dvars": ("RMS over voxels of the temporal difference; data scaled to a median of 1000", ""),
        FILTERED_FD: ("framewise displacement of motion parameters without breathing (Fair et al., 2020)", "mm"),
        "framewise_displacement": ("framewise displacement (Power et al., 2012)", "mm"),
        "rmsd": ("RMS displacement of a sphere of 80 mm from the volume before (Jenkinson, 1999)", "mm"),
        **{f"{kind}_comp_cor": (text, "") for kind, text in KINDS.items()},
        "cosine": ("discrete cosine", ""),
        "non_steady": ("1 at one non-steady-state volume", ""),
        "motion_outlier": ("1 at one volume with a large framewise displacement or std_dvars, or without an image", ""),
        "trans": ("translation", "mm"),
        "rot": ("rotation", "rad"),
    }
    text, unit = next(v for prefix, v in families.items() if column.startswith(prefix))
    kinds = {"derivative1": "difference to the volume before", "power2": "squared"}
    text = ", ".join([text, *(meaning for suffix, meaning in kinds.items() if suffix in column)])
    square = "power2" in column
    return {"Description": text} | ({"Units": f"({unit})^2" if " " in unit else f"{unit}^2"} if square and unit else
                                    {"Units": unit} if unit else {})  # fmt: skip


def describe(facts: Facts) -> str:
    """Methods sentence."""
    number = facts["CompCorCriterion"]
    breathing, fields = "", dict[str, float]()
    if "FdFilter" in facts:
        low, high = facts["FdFilterBreathsPerMinute"]
        fields = {"low_bpm": low, "high_bpm": high}
        kind = "a notch at {low_bpm:g} to {high_bpm:g}" if facts["FdFilter"] == "notch" else "a low-pass at {low_bpm:g}"
        breathing = f", also after {kind} breaths per minute on the motion parameters (Fair et al., 2020),"
    how_many = "those that explain half of the variance" if number == "half" else f"{number} each"
    return Sentence(
        "Confounds were framewise displacement (radius {radius_mm:g} mm)"
        + breathing
        + " and DVARS (Power et al., 2012), the"
        " means of CSF, white matter and brain, aCompCor and tCompCor components ({how_many}; Behzadi et al., 2007),"
        " cosines, and 24 motion terms (Friston et al., 1996); {outliers} volumes were outliers"
        " (FD > {fd_spike_mm:g} mm or standardized DVARS > {dvars_spike:g}) and"
        " {non_steady} volumes were found to be non-steady-state.",
        radius_mm=facts["FdRadiusMm"],
        how_many=how_many,
        outliers=facts["NumberOfMotionOutliers"],
        fd_spike_mm=facts["FdSpikeMm"],
        dvars_spike=facts["DvarsSpike"],
        non_steady=facts["NumberOfNonSteadyStates"],
        **fields,
    )


STAGE = Stage(
    name="confounds",
    version=6,
    level="recording",
    summary="Compute confounds: FD, DVARS, CompCor, cosines, signals, motion terms, outliers.",
    Config=Config,
    inputs=("voxel_sample", "sample_mask", "sample_probseg", "motion_params"),
    outputs=("confounds",),
    run=run,
    describe=describe,
    routes=("native", "fmriprep"),
    need=Need(500, 0.1, 15, 0.05, disk_mb=0.1, disk_mb_per_mb=0.02),
)
