"""Quality metrics of a recording: what each means, and how it is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.files.tables import read_table
from brainlm_data.methods.nuisance import FILTERED_FD
from brainlm_data.quality.alignment import Alignment, resampled
from brainlm_data.reading.image import load_output
from brainlm_data.stage import Files

Array = NDArray[np.float64]
MEANINGS = {
    "n_volumes": "acquired volumes",
    "tr_s": "repetition time, s",
    "mean_fd_mm": "mean framewise displacement, mm (Power et al., 2012)",
    "max_fd_mm": "largest framewise displacement, mm",
    "fd_over_05": "share of volumes with a framewise displacement above 0.5 mm",
    "mean_fd_filtered_mm": "mean framewise displacement without breathing, mm (at TR below 1.5 s; Fair et al., 2020)",
    "fd_filtered_over_05": "share of volumes with a framewise displacement without breathing above 0.5 mm",
    "mean_dvars": "mean DVARS, as in the confounds table",
    "mean_std_dvars": "mean standardized DVARS (Nichols, 2017)",
    "median_tsnr": "median over brain voxels of mean / SD in time, linear trend removed",
    "coverage_min": "smallest coverage of a parcel",
    "coverage_mean": "mean coverage of the parcels",
    "n_missing_parcels": "parcels without data",
    "n_non_steady": "non-steady-state volumes at the start",
    "n_censored": "volumes censored or dropped",
    "n_ica": "independent components",
    "n_ica_noise": "of them classified as noise",
    "brain_overlap": "share of the template's brain that the run's brain covers",
    "grand_mean": "mean over brain voxels and volumes before scaling, scanner units",
    "epi_r2": "share of the mean EPI's local contrast that the tissue maps explain",
    "epi_offset_mm": "shift at which the tissue maps would fit the mean EPI best, mm",
    "coreg_mi": "mutual information of EPI and T1w (or template) after coregistration",
    "t1w_template_r": "correlation of the normalized T1w with the template within its brain",
    "t1w_r2": "share of the normalized T1w's local contrast that the template's tissue maps explain",
    "t1w_offset_mm": "shift at which the template's tissue maps would fit the normalized T1w best, mm",
}
WORSE = {  # on which side of the median a value is bad: 1 above, -1 below; on both where it is not listed
    "mean_fd_mm": 1, "max_fd_mm": 1, "fd_over_05": 1, "mean_fd_filtered_mm": 1, "fd_filtered_over_05": 1,
    "mean_dvars": 1, "mean_std_dvars": 1, "median_tsnr": -1, "coverage_min": -1, "coverage_mean": -1,
    "n_missing_parcels": 1, "n_non_steady": 1, "n_censored": 1, "brain_overlap": -1, "epi_r2": -1, "epi_offset_mm": 1,
    "coreg_mi": -1, "t1w_template_r": -1, "t1w_r2": -1, "t1w_offset_mm": 1,
}  # fmt: skip
PANELS = {  # the main metrics: drawn, and compared between groups
    "mean_fd_mm": "mean FD (mm)",
    "mean_std_dvars": "mean standardized DVARS",
    "median_tsnr": "median tSNR",
    "n_ica_noise": "noise components",
    "epi_offset_mm": "EPI: offset (mm)",
    "epi_r2": "EPI: fit of the tissue maps",
    "t1w_r2": "T1w: fit of the tissue maps",
    "coverage_min": "smallest coverage of a parcel",
}


@dataclass(frozen=True)
class Sample:
    """The voxel sample: series (T, voxels) where `mask` is true on a grid with `affine`; tissues (x, y, z, 3)."""

    series: NDArray[np.float32]
    mask: NDArray[np.bool_]
    affine: Array
    tissues: NDArray[np.float32]

    @classmethod
    def of(cls, inputs: Files) -> Sample:
        """Read it a volume at a time, keeping the brain's voxels only."""
        image = load_output(inputs["voxel_sample"])
        mask = np.asarray(load_output(inputs["sample_mask"]).dataobj) > 0
        series = np.asarray(image.dataobj, dtype=np.float32)[mask].T
        tissues = np.asarray(load_output(inputs["sample_probseg"]).dataobj, np.float32)[..., :3]
        return cls(np.ascontiguousarray(series), mask, image.affine, tissues)

    def volume(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """(voxels,) as an image; 0 outside the brain."""
        image = np.zeros(self.mask.shape, np.float32)
        image[self.mask] = values
        return image


def non_steady(confounds: Any) -> NDArray[np.bool_]:
    """(T,) true on the volumes before the steady state."""
    columns = [column for column in confounds if column.startswith("non_steady_state_outlier")]
    if not columns:
        return np.zeros(len(confounds), bool)
    return confounds[columns].to_numpy(float).any(1)


def tsnr_of(series: NDArray[np.float32], skip: int) -> Array:
    """(voxels,) mean / SD of the residual of a linear trend, without the first `skip` volumes; 0 where SD is 0."""
    # Orthonormal constant and line Q: x - Q Q' x is the residual, with T - 2 degrees of freedom.
    used = series[skip:].astype(np.float64)
    trend = np.linalg.qr(np.stack([np.ones(len(used)), np.arange(len(used), dtype=float)], 1))[0]
    residual = used - trend @ (trend.T @ used)
    spread = np.sqrt(np.square(residual).sum(0) / max(len(used) - 2, 1))
    mean = used.mean(0)
    return np.divide(mean, spread, out=np.zeros(used.shape[1]), where=spread > 1e-9 * np.abs(mean))  # else constant


def of_series(inputs: Files, confounds: Any, verdicts: Any, tsnr: Array) -> dict[str, Any]:
    """Motion, signal, coverage and components."""
    fd = confounds["framewise_displacement"].to_numpy(float)[1:]  # of the first volume there is none
    coverage = read_table(inputs["coverage"])[1][0]
    raw, native = inputs.facts("parcels_raw"), read_table(inputs["parcels_native"])[1]
    skip = int(non_steady(confounds).sum())  # DVARS of the next volume is the step out of them, so one more is left out
    filtered = {}
    if FILTERED_FD in confounds:
        values = confounds[FILTERED_FD].to_numpy(float)[1:]
        filtered = {"mean_fd_filtered_mm": _mean(values), "fd_filtered_over_05": float((values > 0.5).mean())}
    return {
        "n_volumes": len(confounds),
        "tr_s": float(raw["RepetitionTime"]),
        "mean_fd_mm": _mean(fd),
        "max_fd_mm": float(np.nanmax(fd, initial=0.0)),
        "fd_over_05": float((fd > 0.5).mean()) if len(fd) else 0.0,
        **filtered,
        "mean_dvars": _mean(confounds["dvars"].to_numpy(float)[skip + 1 :]),
        "mean_std_dvars": _mean(confounds["std_dvars"].to_numpy(float)[skip + 1 :]),
        "median_tsnr": float(np.median(tsnr)),
        "coverage_min": float(coverage.min()),
        "coverage_mean": float(coverage.mean()),
        "n_missing_parcels": int(np.isnan(native).all(0).sum()),
        "n_non_steady": skip,
        "n_censored": len(censored(inputs)),
        "n_ica": len(verdicts),
        "n_ica_noise": int(is_noise(verdicts).sum()),
        "brain_overlap": float(raw["BrainOverlap"]),
        "grand_mean": float(raw["GrandMean"]),
    }


def _mean(values: Array) -> float:
    """Mean of what is known; 0 where nothing is."""
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0
    return float(known.mean())


def censored(inputs: Files) -> list[int]:
    """Volumes that were dropped (non-steady state, the first ones) or censored."""
    facts = inputs.facts("parcels_native")
    return sorted({*range(int(facts["Dropped"])), *facts["Censored"]})


def is_noise(verdicts: Any) -> NDArray[np.bool_]:
    """(components,) true where a component was removed."""
    return (verdicts["classification"] == "rejected").to_numpy()


def of_registration(inputs: Files, sample: Sample) -> dict[str, float]:
    """Fit and offset of the mean EPI on its tissue maps, and of the T1w on the template's."""
    epi = Alignment(sample.volume(sample.series.mean(0)), sample.tissues, sample.mask, sample.affine)
    measures = {"epi_r2": epi.r2, "epi_offset_mm": epi.offset_mm}  # NaN where there is too little of the brain
    for route in ("bold_to_t1w", "bold_to_mni"):
        if route not in inputs:
            continue
        information = inputs.facts(route).get("MutualInformation")
        if information is not None:
            measures["coreg_mi"] = float(information)
    if "t1w_mni" in inputs:
        template = resampled(inputs["template_probseg"], sample.affine, sample.mask.shape)
        brain = resampled(inputs["template_mask"], sample.affine, sample.mask.shape) > 0.5
        t1w = Alignment(resampled(inputs["t1w_mni"], sample.affine, sample.mask.shape), template, brain, sample.affine)
        measures |= {"t1w_r2": t1w.r2, "t1w_offset_mm": t1w.offset_mm}
        correlation = inputs.facts("t1w_mni").get("TemplateCorrelation")
        if correlation is not None:
            measures["t1w_template_r"] = float(correlation)
    return {name: value for name, value in measures.items() if np.isfinite(value)}
