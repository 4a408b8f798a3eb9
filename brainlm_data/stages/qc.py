"""qc: quality metrics of a recording, with warnings, and one self-contained page to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainlm_data.sidecar import write_json
from brainlm_data.stage import Facts, Files, Stage, StageConfig
from brainlm_data.tables import read_table

Array = NDArray[np.float64]
MEANINGS = {
    "n_volumes": "acquired volumes",
    "tr_s": "repetition time, s",
    "mean_fd_mm": "mean framewise displacement, mm (Power et al., 2012)",
    "max_fd_mm": "largest framewise displacement, mm",
    "fd_over_05": "share of volumes with a framewise displacement above 0.5 mm",
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


class Config(StageConfig):
    """Quality metrics and page. Thresholds only warn; `collate.exclude` excludes."""

    pages: bool = Field(True, description="write a page for every recording")
    max_mean_fd_mm: float | None = Field(0.5, gt=0, description="warn above this mean framewise displacement, mm")
    min_tsnr: float | None = Field(20.0, gt=0, description="warn below this median tSNR")
    min_coverage: float | None = Field(0.5, ge=0, le=1, description="warn where a parcel's coverage is below")
    min_overlap: float | None = Field(0.7, ge=0, le=1, description="warn below this share of the template's brain")
    max_offset_mm: float | None = Field(
        4.0, gt=0, description="warn where tissue maps would fit better this far off, mm: a registration that failed"
    )
    min_fit: float | None = Field(
        0.2, ge=0, le=1, description="warn where tissue maps explain less of the image's local contrast than this share"
    )
    n_components_shown: int = Field(12, ge=0, le=60, description="components on the page, by variance")
    carpet_voxels: int = Field(900, ge=50, le=5000, description="voxels in the carpet plots")


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
        image: Any = nib.load(inputs["voxel_sample"])
        mask = np.asarray(nib.load(inputs["sample_mask"]).dataobj) > 0  # type: ignore[attr-defined]
        series = np.asarray(image.dataobj, dtype=np.float32)[mask].T
        tissues = np.asarray(nib.load(inputs["sample_probseg"]).dataobj, np.float32)  # type: ignore[attr-defined]
        return cls(np.ascontiguousarray(series), mask, image.affine, tissues)

    def volume(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """(voxels,) as an image; 0 outside the brain."""
        image = np.zeros(self.mask.shape, np.float32)
        image[self.mask] = values
        return image


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write the metrics and, where asked for, the page."""
    import pandas as pd

    sample = Sample.of(inputs)
    confounds = pd.read_csv(inputs["confounds"], sep="\t", na_values=["n/a"])
    verdicts = pd.read_csv(inputs["ica_metrics"], sep="\t", na_values=["n/a"], keep_default_na=False)
    tsnr = _tsnr(sample.series, int(_non_steady(confounds).sum()))
    metrics = _metrics(inputs, confounds, verdicts, tsnr) | _registration(inputs, sample)
    metrics["warnings"] = _warnings(inputs, metrics, config)
    write_json(outputs["qc_metrics"], metrics)
    if config.pages:
        from brainlm_data.qcpage import page

        html = page(inputs, sample, confounds, verdicts, tsnr, metrics, config.n_components_shown, config.carpet_voxels)
        outputs["qc_page"].write_text(html)
    return {"Warnings": metrics["warnings"], "Thresholds": config.model_dump(exclude={"pages"})}


def _non_steady(confounds: Any) -> NDArray[np.bool_]:
    """(T,) true on the volumes before the steady state."""
    columns = [c for c in confounds if c.startswith("non_steady_state_outlier")]
    return confounds[columns].to_numpy(float).any(1) if columns else np.zeros(len(confounds), bool)


def _tsnr(series: NDArray[np.float32], skip: int) -> Array:
    """(voxels,) mean / SD of the residual of a linear trend, without the first `skip` volumes; 0 where SD is 0."""
    used = series[skip:].astype(np.float64)
    trend = np.linalg.qr(np.stack([np.ones(len(used)), np.arange(len(used), dtype=float)], 1))[0]
    spread = np.sqrt(np.square(used - trend @ (trend.T @ used)).sum(0) / max(len(used) - 2, 1))
    mean = used.mean(0)
    return np.divide(mean, spread, out=np.zeros(used.shape[1]), where=spread > 1e-9 * np.abs(mean))  # else constant


def _metrics(inputs: Files, confounds: Any, verdicts: Any, tsnr: Array) -> dict[str, Any]:
    """Motion, signal, coverage and components."""
    fd = confounds["framewise_displacement"].to_numpy(float)[1:]
    coverage = read_table(inputs["coverage"])[1][0]
    raw, native = inputs.facts("parcels_raw"), read_table(inputs["parcels_native"])[1]
    skip = int(_non_steady(confounds).sum())
    return {
        "n_volumes": len(confounds),
        "tr_s": float(raw["RepetitionTime"]),
        "mean_fd_mm": _mean(fd),
        "max_fd_mm": float(np.nanmax(fd, initial=0.0)),
        "fd_over_05": float((fd > 0.5).mean()) if len(fd) else 0.0,
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
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else 0.0


def censored(inputs: Files) -> list[int]:
    """Volumes that were dropped (non-steady state, the first ones) or censored."""
    facts = inputs.facts("parcels_native")
    return sorted({*range(int(facts["Dropped"])), *facts["Censored"]})


def is_noise(verdicts: Any) -> NDArray[np.bool_]:
    """(components,) true where a component was removed."""
    return (verdicts["classification"] == "rejected").to_numpy()


def _registration(inputs: Files, sample: Sample) -> dict[str, float]:
    """Fit and offset of the mean EPI on its tissue maps, and of the T1w on the template's."""
    from brainlm_data.alignment import Alignment, resampled

    epi = Alignment(sample.volume(sample.series.mean(0)), sample.tissues, sample.mask, sample.affine)
    found = {"epi_r2": epi.r2, "epi_offset_mm": epi.offset_mm}  # NaN where there is too little of the brain
    for route in ("bold_to_t1w", "bold_to_mni"):
        if route in inputs and (facts := inputs.facts(route)).get("MutualInformation") is not None:
            found["coreg_mi"] = float(facts["MutualInformation"])
    if "t1w_mni" in inputs:
        template = resampled(inputs["template_probseg"], sample.affine, sample.mask.shape)
        brain = resampled(inputs["template_mask"], sample.affine, sample.mask.shape) > 0.5
        t1w = Alignment(resampled(inputs["t1w_mni"], sample.affine, sample.mask.shape), template, brain, sample.affine)
        found |= {"t1w_r2": t1w.r2, "t1w_offset_mm": t1w.offset_mm}
        if (r := inputs.facts("t1w_mni").get("TemplateCorrelation")) is not None:
            found["t1w_template_r"] = float(r)
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _warnings(inputs: Files, metrics: dict[str, Any], config: Config) -> list[str]:
    """What is beyond a threshold, and what earlier stages warned of."""
    above, below = 1, -1
    limits = [
        ("mean_fd_mm", config.max_mean_fd_mm, above, "strong head motion"),
        ("median_tsnr", config.min_tsnr, below, "weak signal"),
        ("coverage_min", config.min_coverage, below, "a parcel is largely outside the field of view"),
        ("brain_overlap", config.min_overlap, below, "partial field of view, or the registration failed"),
        ("epi_offset_mm", config.max_offset_mm, above, "the functional images may be registered wrongly"),
        ("t1w_offset_mm", config.max_offset_mm, above, "the T1w may be normalized wrongly"),
        ("epi_r2", config.min_fit, below, "the functional images may be registered wrongly"),
        ("t1w_r2", config.min_fit, below, "the T1w may be normalized wrongly"),
    ]
    found = [
        f"{name} {metrics[name]:.3g} is {'above' if sign > 0 else 'below'} {limit:g}: {meaning}"
        for name, limit, sign, meaning in limits
        if limit is not None and name in metrics and sign * metrics[name] > sign * limit
    ]
    if "epi_r2" not in metrics:
        found.append("too little of the brain was scanned to check its registration: look at the overlay")
    for name in inputs:
        found += [str(w) for w in inputs.facts(name).get("Warnings", []) if str(w) not in found]
    return found


def describe(facts: Facts) -> str:
    """Methods sentence."""
    limits = facts["Thresholds"]
    listed = [
        f"{words} {limits[key]:g}{unit}"
        for key, words, unit in (
            ("max_mean_fd_mm", "mean framewise displacement above", " mm"),
            ("min_tsnr", "median tSNR below", ""),
            ("min_coverage", "parcel coverage below", ""),
            ("min_overlap", "overlap with the template's brain below", ""),
            ("max_offset_mm", "registration offset above", " mm"),
            ("min_fit", "fit of tissue maps below", ""),
        )
        if limits[key] is not None
    ]
    return f"Recordings were flagged for: {'; '.join(listed) or 'nothing (no threshold was set)'}."


STAGE = Stage(
    name="qc",
    version=1,
    level="recording",
    summary="Measure the quality of a recording, warn, and draw its page.",
    Config=Config,
    inputs=(
        "motion_params", "boldref", "bold_mask", "voxel_sample", "sample_mask", "sample_probseg", "parcels_raw",
        "coverage", "confounds", "filter_recipe", "ica_mixing", "ica_components", "ica_metrics", "denoise_recipe",
        "parcels_native", "atlas_table", "template_t1w", "template_mask", "template_probseg", "t1w_mni",
        "bold_to_t1w", "bold_to_mni",
    ),
    outputs=("qc_metrics", "qc_page"),
    run=run,
    describe=describe,
    optional=("t1w_mni", "bold_to_t1w", "bold_to_mni", "qc_page"),
)  # fmt: skip
