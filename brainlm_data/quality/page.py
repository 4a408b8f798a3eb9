"""The quality page of a recording: which figures, in which order, with which words."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.files.reads import reads
from brainlm_data.files.tables import read_table
from brainlm_data.methods.overrides import USER
from brainlm_data.quality import plots
from brainlm_data.quality.measures import MEANINGS, Sample, censored, is_noise
from brainlm_data.reading.image import load_output
from brainlm_data.stage import Files

if TYPE_CHECKING:
    import pandas as pd

YELLOW, CYAN, RED = "#F0E442", "#56B4E9", "#D55E00"
TITLE = 60  # characters of a rationale; a user's note may be long
Figure = tuple[bytes, str]  # PNG, caption


def page(
    inputs: Files,
    sample: Sample,
    confounds: pd.DataFrame,
    verdicts: pd.DataFrame,
    tsnr: NDArray[np.float64],
    metrics: Mapping[str, Any],
    components: int,
    voxels: int,
) -> str:
    """One self-contained HTML page; images are embedded."""
    import pandas as pd
    from jinja2 import Environment

    with reads(inputs["atlas_table"]):
        table = pd.read_csv(inputs["atlas_table"], sep="\t", keep_default_na=False)
    sections = []
    for name, title, figures in (
        ("registration", "Registration", _registration(inputs, sample)),
        ("distortion", "Susceptibility distortion", _distortion(inputs)),
        ("motion", "Motion and global signals", _motion(inputs, confounds, metrics)),
        ("carpet", "Signal over time", _carpet(inputs, sample, confounds, metrics, voxels)),
        ("components", "Independent components", _components(inputs, verdicts, metrics, components)),
        ("signal", "Temporal signal-to-noise ratio", _tsnr(sample, tsnr, metrics)),
        ("parcels", "Parcels", _parcels(inputs, table, metrics)),
    ):
        if figures:
            embedded = [{"png": base64.b64encode(png).decode(), "caption": caption} for png, caption in figures]
            sections.append({"name": name, "title": title, "figures": embedded})
    rows = []
    for name, meaning in MEANINGS.items():
        if name in metrics:
            rows.append((name, _number(metrics[name]), meaning))
    raw, meta = inputs.facts("parcels_raw"), inputs.meta
    template = Path(__file__).with_suffix(".html")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template.read_text()).render(
        id=meta["id"], subject=meta.get("subject"), session=meta.get("session"), task=meta.get("task"),
        run=meta.get("run"), phase_encoding=meta.get("metadata", {}).get("PhaseEncodingDirection"),
        not_done=_not_done(raw),
        space=raw["Space"], atlas=raw["AtlasName"], metrics=metrics, sections=sections, rows=rows,
        methods=methods(inputs),
    )  # fmt: skip


def _not_done(raw: Mapping[str, Any]) -> list[str]:
    """Corrections that others do and this run did not have; fMRIPrep (its `Image` is named) says so on its own page."""
    if "Image" in raw:
        return []
    left = [] if raw["SliceTimingCorrected"] else ["slice timing correction"]
    if raw.get("DistortionCorrection", "none") == "none":
        left.append("susceptibility distortion correction")
    return left


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def methods(inputs: Files) -> list[str]:
    """The sentences of the stages that wrote the inputs, from their sidecars, in order."""
    sentences: dict[str, str] = {}
    for name in inputs:
        generated_by = inputs.facts(name).get("GeneratedBy", {})
        if generated_by.get("Description"):
            sentences.setdefault(generated_by["Name"], generated_by["Description"])
    return list(sentences.values())


def _read(path: Path) -> plots.Volume:
    image = load_output(path)
    return plots.Volume(np.asarray(image.dataobj, dtype=np.float32), image.affine)


def _registration(inputs: Files, sample: Sample) -> list[Figure]:
    reference, mask = _read(inputs["boldref"]), _read(inputs["bold_mask"])
    mean = plots.Volume(sample.volume(sample.series.mean(0)), sample.affine)
    brain, tissues = _read(inputs["template_mask"]), load_output(inputs["template_probseg"])
    affine = np.asarray(tissues.affine)
    grey = plots.Volume(np.asarray(tissues.dataobj[..., 0], np.float32), affine)
    white = plots.Volume(np.asarray(tissues.dataobj[..., 1], np.float32), affine)
    figures = [
        (
            plots.slices(mean, [(brain, 0.5, YELLOW), (white, 0.5, CYAN)]),
            "Mean of the voxel sample in template space, with the template's brain (yellow) and white matter (blue)."
            " Ventricles and the rim of the brain must fit.",
        )
    ]
    if str(inputs.facts("sample_probseg").get("Source", "")).startswith("T1w"):
        own = plots.Volume(sample.tissues[..., 1], sample.affine)
        figures.append(
            (
                plots.slices(mean, [(own, 0.5, RED)]),
                "The same with the white matter of the subject's own T1w (red): how well EPI and T1w fit each other,"
                " whatever the normalization.",
            )
        )
    if "t1w_mni" in inputs:
        figures.append(
            (
                plots.slices(_read(inputs["t1w_mni"]), [(grey, 0.5, YELLOW), (white, 0.5, CYAN)]),
                "T1w normalized to the template, with the template's grey (yellow) and white matter (blue).",
            )
        )
    figures.append(
        (
            plots.slices(reference, [(mask, 0.5, RED)], axes=(2, 1)),
            "Reference of motion correction, in its own space, with the brain mask (red).",
        )
    )
    return figures


def _distortion(inputs: Files) -> list[Figure]:
    """The reference before and after correction, and the field; nothing where none was kept."""
    if "fieldmap" not in inputs:
        return []
    field, facts = _read(inputs["fieldmap"]), inputs.facts("fieldmap")
    field.data = field.data * (_read(inputs["bold_mask"]).data > 0)
    limit = max(float(np.percentile(np.abs(field.data), 99.5)), 1e-3)
    figures = []
    for name, route, cost, words in (
        ("boldref", "bold_to_t1w", "BoundaryCostBefore", "before correction"),
        ("boldref_undistorted", "undistorted_to_t1w", "BoundaryCost", "after it"),
    ):
        caption = (
            f"Reference {words}, with the white matter of the T1w (blue); boundary cost {facts[cost]:.3f} (0: the"
            " signal rises across it everywhere; 1: as often as not)."
        )
        figures.append((plots.slices(_read(inputs[name]), [(_white(inputs, route), 0.5, CYAN)], axes=(2, 0)), caption))
    caption = (
        f"How far away, along the phase encoding ({facts['PhaseEncodingAxis']}, mm), the signal of each place had been"
        f" seen: {facts['MeanShift']:.1f} mm on average within the brain. The reversed field has a boundary cost of"
        f" {facts['BoundaryCostReversed']:.3f}."
    )
    return [*figures, (plots.slices(field, axes=(2, 0), cmap="RdBu_r", limits=(-limit, limit), label="mm"), caption)]


def _white(inputs: Files, route: str) -> plots.Volume:
    """White-matter probability of the T1w on the grid of the BOLD reference."""
    from scipy.ndimage import affine_transform

    from brainlm_data.methods.rigid import read_itk

    white, reference = load_output(inputs["t1w_wm"]), load_output(inputs["boldref"])
    # voxel of the reference -> mm -> mm of the T1w -> its voxel
    chain = np.linalg.inv(white.affine) @ np.linalg.inv(read_itk(inputs[route])[0]) @ reference.affine
    values = np.asarray(white.dataobj, dtype=np.float32)
    there = affine_transform(values, chain[:3, :3], chain[:3, 3], reference.shape, order=1)
    return plots.Volume(there, reference.affine)


def _motion(inputs: Files, confounds: pd.DataFrame, metrics: Mapping[str, Any]) -> list[Figure]:
    names, values = read_table(inputs["motion_params"])
    parts = dict(zip(names, values.T, strict=True))
    panels = [
        ("mm", [(name, parts[name]) for name in names if name.startswith("trans")]),
        ("deg", [(name, np.degrees(parts[name])) for name in names if name.startswith("rot")]),
    ]
    signals = []
    for column in ("global_signal", "white_matter", "csf"):
        if column in confounds:
            signal = confounds[column].to_numpy(float)
            signals.append((column, 100 * (signal / np.nanmean(signal) - 1)))
    if signals:
        panels.append(("% of mean", signals))
    png = plots.traces(panels, np.arange(len(values)) * metrics["tr_s"], censored(inputs))
    caption = (
        "Rigid motion against the reference (FSL's convention), and the mean signals of brain, white matter and CSF"
        " before cleaning. Grey lines: dropped or censored volumes."
    )
    return [(png, caption)]


def _carpet(
    inputs: Files, sample: Sample, confounds: pd.DataFrame, metrics: Mapping[str, Any], voxels: int
) -> list[Figure]:
    from brainlm_data.methods.operators import Temporal

    tissue = sample.tissues[sample.mask].argmax(1)
    order = np.argsort(tissue, kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, min(voxels, len(order))).round().astype(int)]
    series = sample.series[:, chosen].astype(np.float64)
    percent = 100 / float(inputs.facts("parcels_raw")["GrandMean"]) * series  # of the grand mean
    cleaned = Temporal.load(inputs["filter_recipe"], inputs["denoise_recipe"], 1.0, None).apply(percent)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nothing is known of a voxel: stays NaN
        before, after = (values - np.nanmean(values, 0) for values in (percent, cleaned))
    png = plots.carpets(
        before, after, tissue[chosen],
        confounds["framewise_displacement"].to_numpy(float), confounds["std_dvars"].to_numpy(float),
        np.arange(len(series)) * metrics["tr_s"], censored(inputs),
    )  # fmt: skip
    caption = (
        f"Framewise displacement and standardized DVARS (grey lines: dropped or censored volumes), then {len(chosen)}"
        " voxels by tissue, before and after filtering and denoising, on the same scale (Power, 2017)."
    )
    return [(png, caption)]


def _components(inputs: Files, verdicts: pd.DataFrame, metrics: Mapping[str, Any], count: int) -> list[Figure]:
    image = load_output(inputs["ica_components"])
    mixing = read_table(inputs["ica_mixing"])[1]
    if not count or not len(verdicts):
        return []
    largest = np.argsort(-verdicts["variance_explained"].to_numpy(float), kind="stable")[:count].tolist()
    by_hand = np.flatnonzero(verdicts["rationale"].astype(str).str.startswith(USER)).tolist()
    chosen = list(dict.fromkeys([*largest, *by_hand]))  # each once
    shown = verdicts.iloc[chosen]
    maps, titles = [], []
    for place in chosen:
        maps.append(plots.Volume(np.asarray(image.dataobj[..., place], dtype=np.float32), image.affine))
        row = verdicts.iloc[place]
        title = f"{row['component']}: {row['classification']}"
        if isinstance(row["rationale"], str) and row["rationale"]:
            title += f" ({shorten(row['rationale'], TITLE)})"
        titles.append(title)
    png = plots.components(maps, np.nan_to_num(mixing[:, chosen]), titles, is_noise(shown).tolist(), metrics["tr_s"])
    also = ""
    if by_hand:
        also = f", and all {len(by_hand)} whose verdict the user set"
    caption = (
        f"The {len(largest)} largest of {len(verdicts)} components{also}: z-map at its peak, time course, power"
        f" spectrum. Orange: noise, removed ({metrics['n_ica_noise']} of all); green: kept."
    )
    return [(png, caption)]


def _tsnr(sample: Sample, tsnr: NDArray[np.float64], metrics: Mapping[str, Any]) -> list[Figure]:
    volume = plots.Volume(sample.volume(tsnr), sample.affine)
    limits = (0.0, float(np.percentile(tsnr, 98)) or 1.0)
    png = plots.slices(volume, axes=(2,), cmap="viridis", limits=limits, label="tSNR")
    return [(png, f"Mean / SD in time of motion-corrected data; median {metrics['median_tsnr']:.1f}.")]


def _parcels(inputs: Files, table: pd.DataFrame, metrics: Mapping[str, Any]) -> list[Figure]:
    coverage = read_table(inputs["coverage"])[1][0]
    raw, native = read_table(inputs["parcels_raw"])[1], read_table(inputs["parcels_native"])[1]
    low = [str(name) for name in table["name"].to_numpy()[coverage < 0.5]]
    if len(low) > 12:
        low = [*low[:12], "..."]
    listed = ""
    if low:
        listed = f" Below 0.5: {', '.join(low)}."
    return [
        (
            plots.connectivity(raw, native, table),
            f"Functional connectivity of {len(table)} parcels by network, before and after cleaning."
            f" Grey: parcels without data ({metrics['n_missing_parcels']}).",
        ),
        (
            plots.coverage(coverage, table),
            f"Share of each parcel inside the field of view: smallest {metrics['coverage_min']:.2f}.{listed}",
        ),
    ]
