"""confounds: nuisance time courses, named and defined as in fMRIPrep's confounds table.

FD (Power et al., 2012), DVARS (Power et al., 2012; Nichols, 2013), aCompCor and tCompCor (Behzadi et al., 2007;
nipype's implementation), cosines, mean signals, 24 motion terms (Friston et al., 1996), non-steady-state volumes.
"""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainlm_data.methods.operators import cosines
from brainlm_data.stage import Facts, Files, Stage, StageConfig

Array = NDArray[np.float64]
MASKS = {"a": "combined", "c": "CSF", "w": "WM"}  # fMRIPrep's words, by the first letter of a column


class Config(StageConfig):
    """Confounds."""

    fd_radius_mm: float = Field(50.0, gt=0, description="radius that turns rotations into mm (Power et al.)")
    n_compcor: int = Field(5, ge=0, le=50, description="components of each of CSF, WM and high-variance voxels")
    compcor_high_pass_s: float = Field(128.0, gt=0, description="longest period kept before CompCor, s; cosines")
    tissue_threshold: float = Field(0.9, gt=0, le=1, description="probability of a voxel that counts as CSF or WM")


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write one row a volume (T), `n/a` where a column is not defined (first volume of FD, DVARS, derivatives)."""
    from brainlm_data.methods.rigid import COLUMNS, displacement
    from brainlm_data.tables import read_table, write_table

    facts = inputs.facts("voxel_sample")
    tr = float(facts["RepetitionTime"])
    image: Any = nib.load(inputs["voxel_sample"])
    mask = np.asarray(nib.load(inputs["sample_mask"]).dataobj) > 0  # type: ignore[attr-defined]
    tissue = np.asarray(nib.load(inputs["sample_probseg"]).dataobj)[mask]  # type: ignore[attr-defined]
    data = np.asarray(image.dataobj, dtype=np.float32)[mask]  # (voxels, T)
    motion = read_table(inputs["motion_params"])[1]
    steady = _non_steady(data.mean(0))

    table: dict[str, Array] = {"global_signal": data.mean(0, dtype=np.float64)}
    regions = {}
    for name, column in (("csf", 2), ("white_matter", 1)):
        regions[name] = _region(tissue[:, column], config.tissue_threshold)
        table[name] = (
            data[regions[name]].mean(0, dtype=np.float64) if regions[name].any() else np.full(len(motion), np.nan)
        )
    table["std_dvars"], table["dvars"] = _dvars(data)
    table["framewise_displacement"] = np.asarray(displacement(motion, config.fd_radius_mm), dtype=np.float64)
    basis = cosines(len(motion) - steady, tr, 1 / config.compcor_high_pass_s)[:, :-1]  # nipype counts the constant
    sources: dict[str, Facts] = {}
    if config.n_compcor:
        for prefix, chosen in _compcor_regions(data[:, steady:], regions).items():
            parts, share = _compcor(data[chosen, steady:], basis, config.n_compcor)
            for i, part in enumerate(parts.T):
                name = f"{prefix}{i:02d}"
                table[name] = np.concatenate([np.zeros(steady), part])
                sources[name] = {
                    "Method": "tCompCor" if prefix.startswith("t") else "aCompCor",
                    "Retained": True,
                    "NumberOfVoxels": int(chosen.sum()),
                    "VarianceExplained": float(share[i]),
                    "CumulativeVarianceExplained": float(share[: i + 1].sum()),
                } | ({"Mask": MASKS[prefix[0]]} if prefix[0] in MASKS else {})
    for i, column in enumerate(basis.T):
        table[f"cosine{i:02d}"] = np.concatenate([np.zeros(steady), column])
    for i in range(steady):
        table[f"non_steady_state_outlier{i:02d}"] = (np.arange(len(motion)) == i).astype(float)
    table |= _motion_terms(COLUMNS, motion)
    write_table(outputs["confounds"], list(table), np.stack(list(table.values()), 1))
    fd = table["framewise_displacement"][1:]
    return {
        "RepetitionTime": tr,
        "SamplingFrequency": 1 / tr,
        "NumberOfNonSteadyStates": steady,
        "MeanFramewiseDisplacement": float(np.nanmean(fd)) if len(fd) else 0.0,
        "FdRadiusMm": config.fd_radius_mm,
        "NumberOfCompCor": config.n_compcor,
        "TissueVoxels": {name: int(chosen.sum()) for name, chosen in regions.items()},
        "confounds": {name: _meaning(name) | sources.get(name, {}) for name in table},
    }


def _non_steady(mean: Array) -> int:
    """Number of non-steady-state volumes at the start: nipype's rule, on the mean signal of the first 50 volumes."""
    from nipype.algorithms.confounds import is_outlier

    start = np.asarray(mean[:50], dtype=float)
    if len(start) < 5 or not np.median(np.abs(start - np.median(start))) > 0:
        return 0  # no spread to compare with
    return int(is_outlier(start))


def _region(probability: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    """Voxels above the threshold; on a coarse grid few may be pure, then the 50 purest above one half."""
    chosen = probability > threshold
    if chosen.sum() < 50:
        chosen = probability > max(0.5, np.sort(probability)[-50] if len(probability) >= 50 else 0.5)
    return chosen


def _dvars(data: NDArray[np.float32]) -> tuple[Array, Array]:
    """(std_dvars, dvars), NaN for the first volume. Data are scaled to a median of 1000 as nipype does."""
    scaled = data * np.float32(1000 / max(float(np.median(data)), 1e-6))
    spread = np.subtract(*np.percentile(scaled, [75, 25], axis=1, method="lower")) / 1.349
    moving = spread > 0
    scaled, spread = scaled[moving], spread[moving]
    centred = scaled - scaled.mean(1, keepdims=True)
    auto = (centred[:, 1:] * centred[:, :-1]).sum(1) / np.maximum(
        np.square(centred).sum(1), 1e-12
    )  # AR(1), Yule-Walker
    steps = np.sqrt(np.square(np.diff(scaled, axis=1), dtype=np.float64).mean(0))
    expected = float((np.sqrt(2 * (1 - auto)) * spread).mean()) if len(spread) else np.nan
    return np.concatenate([[np.nan], steps / expected]), np.concatenate([[np.nan], steps])


def _compcor_regions(data: NDArray[np.float32], regions: dict[str, NDArray[np.bool_]]) -> dict[str, NDArray[np.bool_]]:
    """fMRIPrep's prefixes and their voxels: c_comp_cor (CSF), w_comp_cor (WM), a_comp_cor (both), t_comp_cor (2% most
    variable)."""
    # as nipype: spread after a quadratic trend, or drift would decide
    basis = np.linalg.qr(np.vander(np.linspace(-1, 1, data.shape[1]), 3))[0].astype(np.float32)
    variance = (data - (data @ basis) @ basis.T).std(1)
    either = regions["csf"] | regions["white_matter"]
    found = {
        "c_comp_cor_": regions["csf"], "w_comp_cor_": regions["white_matter"], "a_comp_cor_": either,
        "t_comp_cor_": variance >= np.percentile(variance, 98),
    }  # fmt: skip
    return {name: chosen for name, chosen in found.items() if chosen.sum() > 10}


def _compcor(data: NDArray[np.float32], basis: Array, count: int) -> tuple[Array, Array]:
    """First principal time courses (T, count) of voxels (n, T) after cosines are removed, and their variance shares."""
    centred = data - data.mean(1, keepdims=True, dtype=np.float64)
    centred = centred - (centred @ basis) @ basis.T
    spread = centred.std(1, keepdims=True)
    centred = centred / np.where(spread > 0, spread, 1)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    order = np.argsort(values)[::-1][: min(count, len(values) - 1)]
    parts = vectors[:, order]
    parts = parts * np.sign(parts[np.abs(parts).argmax(0), np.arange(parts.shape[1])])  # a sign that does not flip
    return parts, values[order] / values.sum()


def _motion_terms(columns: tuple[str, ...], motion: Array) -> dict[str, Array]:
    """The 24 terms of Friston et al. (1996), in fMRIPrep's order and names."""
    table: dict[str, Array] = {}
    for name, values in zip(columns, motion.T, strict=True):
        derivative = np.concatenate([[np.nan], np.diff(values)])
        table[name] = values
        table[f"{name}_derivative1"] = derivative
        table[f"{name}_derivative1_power2"] = derivative**2
        table[f"{name}_power2"] = values**2
    return table


def _meaning(column: str) -> Facts:
    """Description and, where it has one, unit of a column."""
    exact = {
        "global_signal": ("mean of the brain", "scanner units"),
        "csf": ("mean of CSF", "scanner units"),
        "white_matter": ("mean of white matter", "scanner units"),
        "std_dvars": ("DVARS divided by its expectation under temporal AR(1) noise (Nichols, 2013)", ""),
        "dvars": ("RMS over voxels of the temporal difference; data scaled to a median of 1000", ""),
        "framewise_displacement": ("framewise displacement (Power et al., 2012)", "mm"),
    }
    families = {
        "a_comp_cor": ("aCompCor, CSF and white matter", ""), "c_comp_cor": ("aCompCor, CSF", ""),
        "w_comp_cor": ("aCompCor, white matter", ""), "t_comp_cor": ("tCompCor", ""),
        "cosine": ("discrete cosine", ""), "non_steady": ("1 at one non-steady-state volume", ""),
        "trans": ("translation", "mm"), "rot": ("rotation", "rad"),
    }  # fmt: skip
    text, unit = exact.get(column) or next(v for prefix, v in families.items() if column.startswith(prefix))
    kinds = {"derivative1": "difference to the volume before", "power2": "squared"}
    text = ", ".join([text, *(meaning for suffix, meaning in kinds.items() if suffix in column)])
    square = "power2" in column
    return {"Description": text} | ({"Units": f"{unit}^2" if square else unit} if unit else {})


def describe(facts: Facts) -> str:
    """Methods sentence."""
    return (
        f"Confounds were framewise displacement (radius {facts['FdRadiusMm']:g} mm) and DVARS (Power et al., 2012), the"
        f" means of CSF, white matter and brain, {facts['NumberOfCompCor']} aCompCor and tCompCor components each"
        f" (Behzadi et al., 2007), cosines, and 24 motion terms (Friston et al., 1996);"
        f" {facts['NumberOfNonSteadyStates']} volumes were found to be non-steady-state."
    )


STAGE = Stage(
    name="confounds",
    version=2,
    level="recording",
    summary="Compute confounds: FD, DVARS, CompCor, cosines, motion terms, non-steady-state volumes.",
    Config=Config,
    inputs=("voxel_sample", "sample_mask", "sample_probseg", "motion_params"),
    outputs=("confounds",),
    run=run,
    describe=describe,
)
