"""The quality page of a recording: which figures, in which order, with which words."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import importlib.metadata
import json
import platform
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.files.reads import reads
from brainlm_data.files.tables import read_table
from brainlm_data.methods.overrides import USER
from brainlm_data.quality import mosaic, plots
from brainlm_data.quality.measures import MEANINGS, Sample, censored, is_noise
from brainlm_data.quality.mosaic import Contour
from brainlm_data.reading.image import load_output
from brainlm_data.stage import Files

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup

YELLOW, BLUE, ORANGE, GREEN = "#F0E442", "#56B4E9", "#E8743B", "#3DC99B"  # as the captions call them; on black
TITLE = 60  # characters of a rationale; a user's note may be long
SHOWN_FROM = 2.0  # |z| of a component's map from which it is coloured
MAP_WIDTH = 600  # pixels of the three cuts of a component
CONFOUNDS = (
    "framewise_displacement", "dvars", "std_dvars", "rmsd", "global_signal", "white_matter", "csf",
    "trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z",
    *(f"{kind}_comp_cor_0{i}" for kind in "acwt" for i in range(3)), "cosine00", "cosine01",
)  # fmt: skip
MASKS = {"a": "aCompCor, both masks", "c": "CSF", "w": "white matter", "t": "tCompCor"}


@dataclass(frozen=True)
class Figure:
    """A picture and its caption; or two pictures of the same place, which the page can flicker between."""

    picture: bytes
    caption: str
    second: bytes = b""
    names: tuple[str, str] = ("", "")  # what each of two shows

    def sources(self) -> list[str]:
        """The pictures as data URLs."""
        return [data_url(picture) for picture in (self.picture, self.second) if picture or picture is self.picture]


def data_url(picture: bytes) -> str:
    """A PNG or WebP picture as an address."""
    kind = "webp" if picture[:4] == b"RIFF" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


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
    from jinja2 import Environment, FileSystemLoader

    with reads(inputs["atlas_table"]):
        table = pd.read_csv(inputs["atlas_table"], sep="\t", keep_default_na=False)
    sections = []
    for name, title, figures in (
        ("registration", "Registration", _registration(inputs, sample)),
        ("distortion", "Susceptibility distortion", _distortion(inputs)),
        ("regions", "Regions", _regions(inputs, sample, table)),
        ("motion", "Motion and global signals", _motion(inputs, confounds, metrics)),
        ("confounds", "Confounds", _confounds(inputs, confounds)),
        ("carpet", "Signal over time", _carpet(inputs, sample, confounds, metrics, voxels)),
        ("components", "Independent components", []),
        ("signal", "Temporal signal-to-noise ratio", _tsnr(sample, tsnr, metrics)),
        ("parcels", "Parcels", _parcels(inputs, table, metrics)),
    ):
        sections.append({"name": name, "title": title, "figures": figures})
    rows = []
    for name, meaning in MEANINGS.items():
        if name in metrics:
            rows.append((name, _number(metrics[name]), meaning))
    raw, meta = inputs.facts("parcels_raw"), inputs.meta
    drawn = _components(inputs, verdicts, metrics)
    by_hand = [component for component in drawn[components:] if component["by_hand"]]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html").render(
        id=meta["id"], subject=meta.get("subject"), session=meta.get("session"), task=meta.get("task"),
        run=meta.get("run"), phase_encoding=meta.get("metadata", {}).get("PhaseEncodingDirection"),
        not_done=_not_done(raw), up=_up(meta),
        space=raw["Space"], atlas=raw["AtlasName"], networks=inputs.facts("atlas_table").get("NetworkSource"),
        metrics=metrics, rows=rows, methods=methods(inputs), about=_about(inputs),
        components=[*drawn[:components], *by_hand],
        rest=[component for component in drawn[components:] if not component["by_hand"]], shown_from=SHOWN_FROM,
        sections=[part for part in sections if part["figures"] or (part["name"] == "components" and drawn)],
    )  # fmt: skip


def _up(meta: Mapping[str, Any]) -> str:
    """From the folder of the recording's page to the outdir: the group page and the index lie there."""
    return "../" * (4 if meta.get("session") else 3)


def _about(inputs: Files) -> dict[str, Any]:
    """Versions, the parameters of every stage that made the inputs, and a digest of these parameters."""
    stages: dict[str, dict[str, Any]] = {}
    for name in inputs:
        facts = inputs.facts(name)
        made_by = facts.get("GeneratedBy", {})
        if made_by.get("StageVersion") is not None:
            stage = str(made_by["Name"]).removeprefix("brainlm-data ")
            about = {"version": made_by["StageVersion"], "package": made_by.get("Version")}
            stages.setdefault(stage, {**about, "parameters": facts.get("Parameters", {})})
    parameters = json.dumps({name: stage["parameters"] for name, stage in stages.items()}, sort_keys=True)
    for entry in stages.values():
        entry["parameters"] = json.dumps(entry["parameters"], sort_keys=True)
    versions = {"Python": platform.python_version()}
    for package in ("brainlm-pipeline", "numpy", "scipy", "nibabel", "nilearn", "antspyx", "nipype", "scikit-learn"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    digest = hashlib.sha256(parameters.encode()).hexdigest()[:12]
    return {"stages": stages, "digest": digest, "versions": versions}


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
    mean = plots.Volume(sample.volume(sample.series.mean(0)), sample.affine)
    brain, tissues = _read(inputs["template_mask"]), load_output(inputs["template_probseg"])
    affine = np.asarray(tissues.affine)
    grey = plots.Volume(np.asarray(tissues.dataobj[..., 0], np.float32), affine)
    white = plots.Volume(np.asarray(tissues.dataobj[..., 1], np.float32), affine)
    rows = mosaic.cuts_of(brain)
    figures = [
        Figure(
            mosaic.picture(mean, rows, [Contour(brain, YELLOW), Contour(white, BLUE)]),
            "Mean of the voxel sample in template space, with the template's brain (yellow) and white matter (blue)."
            " Ventricles and the rim of the brain must fit.",
        )
    ]
    if str(inputs.facts("sample_probseg").get("Source", "")).startswith("T1w"):
        own = plots.Volume(sample.tissues[..., 1], sample.affine)
        figures.append(
            Figure(
                mosaic.picture(mean, rows, [Contour(own, ORANGE)]),
                "The same with the white matter of the subject's own T1w (orange): how well EPI and T1w fit each other,"
                " whatever the normalization.",
            )
        )
    if "t1w_mni" in inputs:
        t1w = _read(inputs["t1w_mni"])
        alone = mosaic.picture(t1w, rows)
        figures += [
            Figure(
                mosaic.picture(mean, rows),
                "EPI and T1w, both in template space: nothing may move but the contrast.",
                alone,
                ("mean EPI", "T1w"),
            ),
            Figure(
                alone,
                "T1w normalized to the template, and the template.",
                mosaic.picture(_read(inputs["template_t1w"]), rows),
                ("T1w", "template"),
            ),
            Figure(
                mosaic.picture(t1w, rows, [Contour(grey, YELLOW), Contour(white, BLUE)]),
                "T1w normalized to the template, with the template's grey (yellow) and white matter (blue).",
            ),
        ]
    reference, mask = _read(inputs["boldref"]), _read(inputs["bold_mask"])
    figures.append(
        Figure(
            mosaic.picture(reference, mosaic.cuts_of(reference, axes=(2, 1)), [Contour(mask, ORANGE)]),
            "Reference of motion correction, in its own space, with the brain mask (orange).",
        )
    )
    return figures


def _distortion(inputs: Files) -> list[Figure]:
    """The reference before and after correction, and the field; nothing where none was kept."""
    if "fieldmap" not in inputs:
        return []
    field, facts = _read(inputs["fieldmap"]), inputs.facts("fieldmap")
    mask = _read(inputs["bold_mask"])
    field.data = field.data * (mask.data > 0)
    limit = max(float(np.percentile(np.abs(field.data), 99.5)), 1e-3)
    rows = mosaic.cuts_of(mask, axes=(2, 0))
    pictures = []
    for name, route in (("boldref", "bold_to_t1w"), ("boldref_undistorted", "undistorted_to_t1w")):
        pictures.append(mosaic.picture(_read(inputs[name]), rows, [Contour(_white(inputs, route), BLUE)]))
    before, after = pictures
    costs = (
        "Reference before and after correction, each with the white matter of the T1w (blue). Boundary cost"
        f" {facts['BoundaryCostBefore']:.3f} before, {facts['BoundaryCost']:.3f} after (0: the signal rises across the"
        " boundary everywhere; 1: as often as not)."
    )
    shift = (
        f"How far away, along the phase encoding ({facts['PhaseEncodingAxis']}, mm), the signal of each place had been"
        f" seen: {facts['MeanShift']:.1f} mm on average within the brain. The reversed field has a boundary cost of"
        f" {facts['BoundaryCostReversed']:.3f}."
    )
    return [
        Figure(before, costs, after, ("before", "after")),
        Figure(mosaic.picture(field, rows, cmap="RdBu_r", limits=(-limit, limit), label="shift, mm"), shift),
    ]


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


def _regions(inputs: Files, sample: Sample, table: pd.DataFrame) -> list[Figure]:
    """Where confounds and series are taken: masks of CSF and white matter, and the parcels."""
    mean = plots.Volume(sample.volume(sample.series.mean(0)), sample.affine)
    rows = mosaic.cuts_of(_read(inputs["template_mask"]), axes=(2, 1))
    figures = []
    maps = load_output(inputs["sample_probseg"])
    if maps.shape[3] == 5:  # with those that are eroded: of these, what is surely one tissue
        level = float(inputs.facts("confounds").get("Parameters", {}).get("tissue_threshold", 0.9))
        white, csf = (plots.Volume(np.asarray(maps.dataobj[..., i], np.float32), maps.affine) for i in (3, 4))
        figures.append(
            Figure(
                mosaic.picture(mean, rows, [Contour(white, BLUE, level), Contour(csf, YELLOW, level)]),
                "Where the signals of white matter (blue) and CSF (yellow), and CompCor, come from.",
            )
        )
    parcels = mosaic.picture(mean, rows, [Contour(_read(inputs["atlas_dseg"]), GREEN, None)])
    figures.append(Figure(parcels, f"The {len(table)} parcels (green) on the mean EPI."))
    return figures


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
    return [Figure(png, caption)]


def _confounds(inputs: Files, confounds: pd.DataFrame) -> list[Figure]:
    """How confounds hang together, and how many components of CompCor explain how much."""
    names = [name for name in CONFOUNDS if name in confounds and confounds[name].max() > confounds[name].min()]
    figures = []
    if len(names) > 1:
        values = confounds[names].dropna().to_numpy(float)
        if len(values) > 2:
            figures.append(
                Figure(
                    plots.confounds(names, values),
                    "Correlation of confounds (of CompCor, the first three of each mask). A signal that goes with"
                    " motion (first rows) carries motion.",
                )
            )
    facts = inputs.facts("confounds")
    masks = []
    for kind, label in MASKS.items():
        own = [facts[key] for key in sorted(facts) if key.startswith(f"{kind}_comp_cor_")]
        shares = [part["CumulativeVarianceExplained"] for part in own if "CumulativeVarianceExplained" in part]
        if shares:
            masks.append((label, np.array(shares)))
    if masks:
        caption = "Variance within its mask that the kept components of CompCor explain together (dotted: half of it)."
        figures.append(Figure(plots.explained(masks), caption))
    return figures


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
    return [Figure(png, caption)]


def _components(inputs: Files, verdicts: pd.DataFrame, metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every component, those that explain most first: its map, its time course and spectrum, and the verdict."""
    image = load_output(inputs["ica_components"])
    mixing = np.nan_to_num(read_table(inputs["ica_mixing"])[1])
    if not len(verdicts):
        return []
    maps = np.asarray(image.dataobj, dtype=np.float32)
    under, brain = _read(inputs["template_t1w"]), _read(inputs["template_mask"])
    noise = is_noise(verdicts)
    variance = verdicts["variance_explained"].to_numpy(float)
    drawn = []
    for place in np.argsort(-variance, kind="stable").tolist():
        row = verdicts.iloc[place]
        rationale = str(row["rationale"]) if isinstance(row["rationale"], str) else ""
        volume = plots.Volume(maps[..., place], image.affine)
        peak = np.unravel_index(np.argmax(np.abs(volume.data)), volume.data.shape)
        limit = max(float(np.abs(volume.data).max()), 1.5 * SHOWN_FROM)
        point = volume.affine[:3, 3] + volume.zooms * peak
        picture = mosaic.picture(
            under, mosaic.cuts_at(brain, point.tolist(), MAP_WIDTH), cmap="RdBu_r", limits=(-limit, limit), label="z",
            over=(volume, SHOWN_FROM),
        )  # fmt: skip
        where = ", ".join(f"{axis} {round(float(mm))}" for axis, mm in zip("xyz", point, strict=True))
        drawn.append(
            {
                "name": row["component"], "noise": bool(noise[place]), "why": shorten(rationale, TITLE),
                "by_hand": rationale.startswith(USER), "map": data_url(picture), "percent": 100 * variance[place],
                "peak": f"{volume.data[peak]:.1f} at {where} mm",
                "course": _course(mixing[:, place], metrics["tr_s"]),
            }
        )  # fmt: skip
    return drawn


def _course(course: NDArray[np.float64], tr: float) -> Markup:
    """A time course and its power spectrum as SVG; it holds nothing but numbers."""
    from markupsafe import Markup

    wide, high, low = 560, 66, 70  # of each drawing, in pixels; where the baseline lies
    power = np.abs(np.fft.rfft(course - course.mean())) ** 2
    seconds, hertz = len(course) * tr, 0.5 / tr
    parts = []
    for number, (values, end, unit) in enumerate(((course, seconds, "s"), (power, hertz, "Hz"))):
        top = 98 * number
        span = float(np.ptp(values)) or 1.0
        x = np.linspace(0, wide, len(values))
        y = top + low - high * (values - values.min()) / span
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
        parts.append(f'<polyline points="{points}"/><path d="M0 {top + low + 2}h{wide}"/>')
        for share, anchor in ((0, "start"), (0.5, "middle"), (1, "end")):
            label = html.escape(f"{share * end:.3g} {unit}")
            parts.append(f'<text x="{share * wide:g}" y="{top + low + 17}" text-anchor="{anchor}">{label}</text>')
    return Markup(f'<svg viewBox="-2 0 {wide + 4} 190" aria-hidden="true">{"".join(parts)}</svg>')  # numbers only


def _tsnr(sample: Sample, tsnr: NDArray[np.float64], metrics: Mapping[str, Any]) -> list[Figure]:
    volume = plots.Volume(sample.volume(tsnr), sample.affine)
    limits = (0.0, float(np.percentile(tsnr, 98)) or 1.0)
    picture = mosaic.picture(volume, mosaic.cuts_of(volume, axes=(2, 1)), cmap="viridis", limits=limits, label="tSNR")
    return [Figure(picture, f"Mean / SD in time of motion-corrected data; median {metrics['median_tsnr']:.1f}.")]


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
        Figure(
            plots.connectivity(raw, native, table),
            f"Functional connectivity of {len(table)} parcels by network, before and after cleaning."
            f" Grey: parcels without data ({metrics['n_missing_parcels']}).",
        ),
        Figure(
            plots.coverage(coverage, table),
            f"Share of each parcel inside the field of view: smallest {metrics['coverage_min']:.2f}.{listed}",
        ),
    ]
