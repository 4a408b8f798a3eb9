"""qc: quality metrics of a recording, with warnings, and one self-contained page to look at."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from brainlm_data.files.reads import reads
from brainlm_data.files.sidecar import write_json
from brainlm_data.stage import Facts, Files, Need, Stage, StageConfig


class Config(StageConfig):
    """Quality metrics and page. Thresholds only warn; `collate.exclude` excludes."""

    pages: bool = Field(True, description="write a page for every recording")
    max_mean_fd_mm: float | None = Field(0.5, gt=0, description="warn above this mean framewise displacement, mm")
    min_tsnr: float | None = Field(20.0, gt=0, description="warn below this median tSNR")
    min_coverage: float | None = Field(
        0.5, ge=0, le=1, description="warn if a parcel's coverage is below this fraction"
    )
    min_overlap: float | None = Field(
        0.7, ge=0, le=1, description="warn if less than this fraction of the template's brain is covered"
    )
    max_offset_mm: float | None = Field(
        4.0, gt=0, description="warn if tissue maps would fit better this far away, mm: registration failed"
    )
    min_fit: float | None = Field(
        0.2, ge=0, le=1, description="warn if tissue maps explain a smaller fraction of the image's local contrast"
    )
    n_components_shown: int = Field(
        12, ge=0, description="components that are shown at once, those with most variance first; the others on a click"
    )
    carpet_voxels: int = Field(900, ge=50, le=5000, description="voxels in the carpet plots")


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write the metrics and, where asked for, the page."""
    import pandas as pd

    from brainlm_data.quality.measures import Sample, non_steady, of_registration, of_series, tsnr_of

    sample = Sample.of(inputs)
    with reads(inputs["confounds"]):
        confounds = pd.read_csv(inputs["confounds"], sep="\t", na_values=["n/a"])
    with reads(inputs["ica_metrics"]):
        verdicts = pd.read_csv(inputs["ica_metrics"], sep="\t", na_values=["n/a"], keep_default_na=False)
    tsnr = tsnr_of(sample.series, int(non_steady(confounds).sum()))
    metrics = of_series(inputs, confounds, verdicts, tsnr) | of_registration(inputs, sample)
    metrics["warnings"] = _warnings(inputs, metrics, config)
    write_json(outputs["qc_metrics"], metrics)
    if config.pages:
        from brainlm_data.quality.page import page

        html = page(inputs, sample, confounds, verdicts, tsnr, metrics, config.n_components_shown, config.carpet_voxels)
        outputs["qc_page"].write_text(html, encoding="utf-8")
    return {"Warnings": metrics["warnings"], "Thresholds": config.model_dump(exclude={"pages"})}


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
    warnings = []
    for name, limit, sign, meaning in limits:
        if limit is None or name not in metrics:
            continue
        if sign * metrics[name] > sign * limit:  # with sign -1: metric < limit
            side = "above" if sign == above else "below"
            warnings.append(f"{name} {metrics[name]:.3g} is {side} {limit:g}: {meaning}")
    if "epi_r2" not in metrics:
        warnings.append("too little of the brain was scanned to check its registration: look at the overlay")
    for name in inputs:  # facts are inherited, so that the same warning comes from several files
        own = [str(warning) for warning in inputs.facts(name).get("Warnings", [])]
        warnings += [warning for warning in own if warning not in warnings]
    return warnings


def describe(facts: Facts) -> str:
    """Methods sentence."""
    limits = facts["Thresholds"]
    listed = []
    for key, words, unit in (
        ("max_mean_fd_mm", "mean framewise displacement above", " mm"),
        ("min_tsnr", "median tSNR below", ""),
        ("min_coverage", "parcel coverage below", ""),
        ("min_overlap", "overlap with the template's brain below", ""),
        ("max_offset_mm", "registration offset above", " mm"),
        ("min_fit", "fit of tissue maps below", ""),
    ):
        if limits[key] is not None:
            listed.append(f"{words} {limits[key]:g}{unit}")
    return f"Recordings were flagged for: {'; '.join(listed) or 'nothing (no threshold was set)'}."


STAGE = Stage(
    name="qc",
    version=7,
    level="recording",
    summary="Measure the quality of a recording, warn, and draw its page.",
    Config=Config,
    inputs=(  # in the order of the methods text
        "template_t1w", "template_mask", "template_probseg", "atlas_dseg", "atlas_table", "t1w_mni", "motion_params",
        "slice_times", "boldref", "bold_mask", "bold_to_t1w", "bold_to_mni", "distortion", "fieldmap",
        "boldref_undistorted", "undistorted_to_t1w", "t1w_wm", "voxel_sample", "sample_mask", "sample_probseg",
        "parcels_raw", "coverage", "confounds", "filter_recipe", "ica_mixing", "ica_components", "ica_metrics",
        "denoise_recipe", "parcels_native",
    ),
    outputs=("qc_metrics", "qc_page"),
    run=run,
    describe=describe,
    optional=(
        "t1w_mni", "slice_times", "bold_to_t1w", "bold_to_mni", "distortion", "fieldmap", "boldref_undistorted",
        "undistorted_to_t1w", "t1w_wm", "qc_page",
    ),
    goes_without=("distortion",),
    routes=("native", "fmriprep"),
    need=Need(800, 0.5, 40, 0.05, disk_mb=3),
)  # fmt: skip
