"""From a preprocessed image to parcel series, by the pipeline's own operators: kinds fmriprep, hcp and ukb.

Parcel means at the atlas's voxels, censoring, grand-mean scaling, high-pass, joint regression of confounds, low-pass:
what stages sample, filter, denoise and parcellate do. What the source has done already is not done again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data import strategies
from brainlm_data.errors import ConfigError, InputError, Refused
from brainlm_data.files.json import read_sidecar
from brainlm_data.files.sidecar import sidecar_path
from brainlm_data.imports import LoadedSeries, Options, Treatment, atlas_name, label_image
from brainlm_data.methods.chain import Confounds, Requested, confounds_of, recipe_of, regression_of
from brainlm_data.methods.operators import ORDER, PERCENT, Recipe, Temporal
from brainlm_data.reading.image import Run, repetition_time
from brainlm_data.reading.parcel_means import ParcelReader, leading, places, scale_to
from brainlm_data.reading.table import read_table
from brainlm_data.stage import Sentence
from brainlm_data.stages import atlas as atlas_stage
from brainlm_data.stages import filter as filter_stage
from brainlm_data.stages import parcellate as parcellate_stage
from brainlm_data.strategies import Strategy

Points = NDArray[np.float64]
GRAND_MEAN = "grand mean 10000"
MIN_VOLUMES = filter_stage.Config().min_volumes
PLAUSIBLE = (5_000.0, 20_000.0)  # brain mean of an image that is said to be scaled to 10,000
MASKS = {"CSF": "c", "WM": "w"}  # fMRIPrep's masks of a_comp_cor, by the letter of the column that they get here


@dataclass(frozen=True)
class Plan:
    """What is done to every image of an import.

    Attributes
    ----------
    points, parcel: labelled voxels of the atlas, mm in its space, and the parcel of each from 0. count: of parcels.
    low_hz, high_hz: edges of the filters that are applied here; None: none. chosen: strategies of stage denoise.
    censor_fd_mm: volumes that moved more are interpolated. scaled: the source has done the grand-mean scaling.
    units: of the series.
    """

    points: Points
    parcel: NDArray[np.int64]
    count: int
    low_hz: float | None = None
    high_hz: float | None = None
    chosen: tuple[Strategy, ...] = ()
    censor_fd_mm: float | None = None
    scaled: bool = False
    units: str = GRAND_MEAN


@dataclass(frozen=True)
class Image:
    """One image, and what is known of it.

    Attributes
    ----------
    bold: 4-D NIfTI. tr_s: s, as given; None: sidecar or header. usual_tr_s: of the protocol, where they are silent.
    confounds: fMRIPrep's table. motion: (T, 6) mm and rad, for FD. warp: atlas points (n, 3) -> mm in the image.
    source_low_hz: lower edge of the source's own filter.
    """

    bold: Path
    tr_s: float | None = None
    usual_tr_s: float | None = None
    confounds: Path | None = None
    motion: NDArray[np.float64] | None = None
    warp: Callable[[Points, Run], Points] | None = None
    source_low_hz: float = 0.0


@lru_cache(maxsize=2)  # a job reads an atlas once, not once per recording
def planned(options: Options, space: str, **source: Any) -> tuple[Plan, dict[str, Any]]:
    """What is done to images in `space`, and keywords of `Source`: atlas, parcels and all that belongs to them.

    Parameters
    ----------
    source: fields of `Plan` by which the kind differs; an option of the caller wins over `low_hz`.

    Raises
    ------
    InputError: the atlas is not available, or is in another space. ConfigError: filters or strategy are impossible.
    """
    asked = options.images
    given = asked.atlas or "A424"
    name = atlas_name(given)
    try:
        config = atlas_stage.Config(name=name, path=label_image(given), labels=options.labels)
        found = atlas_stage.parcellation(config, space)
    except InputError as error:
        raise InputError(error.message, error.remedy.replace("atlas.path", "--atlas")) from error
    except ValueError as error:  # pydantic's: the name says nothing, or "none"
        raise InputError(
            f"--atlas {given}: {name!r} is no name of an atlas", "rename the file: letters, digits"
        ) from error
    mismatch = f"atlas in {found.space}, images in {space}" if found.space != space else ""
    if mismatch and not asked.mismatch:
        raise InputError(
            f"atlas {name} is in {found.space}, the images are in {space}",
            "another --space or --atlas, or --allow-space-mismatch (differences of some millimetres)",
        )
    points, parcel = places(np.asarray(found.image.dataobj, dtype=np.int64), found.image.affine)
    edges = {"low_hz": source.pop("low_hz", None), "high_hz": None}
    edges |= {key: value or None for key in edges if (value := getattr(asked, key)) is not None}
    low, high = edges["low_hz"], edges["high_hz"]
    if low is not None and high is not None and low >= high:
        raise ConfigError(f"--low-hz {low:g} is not below --high-hz {high:g}", "a band, in Hz")
    units = PERCENT if asked.scale == "percent" else GRAND_MEAN
    plan = Plan(points, parcel, len(found.table), low, high, censor_fd_mm=asked.censor_fd_mm, units=units, **source)
    facts = {
        "atlas": name, "parcels": found.table[atlas_stage.COLUMNS], "networks": found.networks, "space": space,
        "sha256": found.sha256, "mismatch": mismatch, "units": units, "made_here": True,
    }  # fmt: skip
    return plan, facts


def chosen_strategies(asked: Treatment, default: str) -> tuple[Strategy, ...]:
    """The strategies of `--strategy`. Raises ConfigError for an unknown one, and for ICA."""
    try:
        found = strategies.resolve(strategies.parse(asked.strategy or default))
    except ValueError as error:
        raise ConfigError(f"--strategy: {error}", "see docs/stages/denoise.md") from error
    for strategy in found:
        if strategy.ica:
            raise ConfigError("--strategy: ica needs the raw image", "run the pipeline on the BIDS dataset, or another")
        if strategy.lacks_censoring(asked.censor_fd_mm):
            needed = f"--censor-fd-mm {strategy.censor_fd_mm:g}"
            raise ConfigError(f"--strategy {strategy.name} needs {needed}", "add it")
    return tuple(found)


def made(image: Image, plan: Plan) -> LoadedSeries:
    """The series of one image. Raises Refused where it cannot be used."""
    try:
        return _made(image, plan)
    except InputError as error:  # of this recording alone: the others go on
        raise Refused(error.message, error.remedy) from error


def _made(image: Image, plan: Plan) -> LoadedSeries:
    run = Run(image.bold)
    tr, stated = _tr(run, image)
    stated += run.warnings
    points = plan.points if image.warp is None else image.warp(plan.points, run)
    reader = ParcelReader(run, points, plan.parcel, plan.count)
    series, mean = reader.read(image.bold, stated)
    dropped, empty = leading(series)
    table = _confounds(image.confounds) if image.confounds else {}
    rows = len(next(iter(table.values()))) if table else run.n_volumes
    if rows != run.n_volumes:
        raise Refused(f"{rows} rows of confounds, {run.n_volumes} volumes", "are they of this recording?")
    dropped = max(dropped, sum(name.startswith("non_steady_state_outlier") for name in table))
    fd = _displacement(image, table)
    requested = Requested(plan.low_hz, plan.high_hz, censor_fd_mm=plan.censor_fd_mm, min_volumes=MIN_VOLUMES)
    recipe, notes = recipe_of(image.bold.name, requested, tr, run.n_volumes, dropped, empty, fd)
    stated += notes
    scale: float | NDArray[np.float64] = 1.0
    as_it_is = plan.scaled and plan.units == GRAND_MEAN
    if as_it_is:
        if not PLAUSIBLE[0] < mean < PLAUSIBLE[1]:
            stated.append(f"its mean is {mean:.4g}, not about 10000: removed, or another scale")
    else:
        scale = scale_to(plan.units, series, mean, recipe, image.bold, stated)
    confounds = _regressors(image, plan, recipe, table)
    columns = confounds.columns if confounds else []
    if not as_it_is or recipe.low_hz or recipe.high_hz or columns or plan.censor_fd_mm is not None:
        noise = confounds.values if confounds else np.empty((run.n_volumes - dropped, 0))
        regression, _ = regression_of(image.bold.name, noise, series, recipe)
        series = Temporal(recipe, regression, scale).apply(series)
    low, high = recipe.band
    measured: dict[str, Any] = {
        "coverage_min": float(reader.coverage.min()), "coverage_mean": float(reader.coverage.mean()),
        "n_dropped": dropped, "n_censored": len(recipe.censored), "n_confounds": len(columns), "source_mean": mean,
        "notes": "; ".join(stated),
    }  # fmt: skip
    if fd is not None and np.isfinite(fd).any():
        measured["mean_fd_mm"] = float(np.nanmean(fd))
    band = (max(low, image.source_low_hz), high if recipe.high_hz else np.inf)
    return LoadedSeries(series, tr, band, recipe.censored, measured, _methods(plan, recipe, columns))


def _tr(run: Run, image: Image) -> tuple[float, list[str]]:
    meta = read_sidecar(sidecar_path(image.bold)) if image.tr_s is None else {"RepetitionTime": image.tr_s}
    if image.usual_tr_s is not None and "RepetitionTime" not in meta and run.header_tr is None:
        return image.usual_tr_s, [f"no TR in the file: the protocol's {image.usual_tr_s:g} s was taken"]
    tr, stated = repetition_time(run, meta)
    return float(f"{tr:.6g}"), stated  # a header has it in single precision


def _confounds(path: Path) -> dict[str, NDArray[np.float64]]:
    """fMRIPrep's table, by column. Where it has no c_comp_cor and w_comp_cor, a_comp_cor by mask (its JSON) is them.

    Raises
    ------
    InputError: no table of numbers; names the line.
    """
    table = read_table(path)
    columns = {name: table.numbers(name) for name in table.columns}
    about = read_sidecar(sidecar_path(path))
    for mask, letter in MASKS.items():
        prefix = f"{letter}_comp_cor_"
        if not any(name.startswith(prefix) for name in columns):
            own = [n for n in columns if n.startswith("a_comp_cor_") and about.get(n, {}).get("Mask") == mask]
            columns |= {f"{prefix}{place:02d}": columns[name] for place, name in enumerate(own)}
    return columns


def _displacement(image: Image, table: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64] | None:
    from brainlm_data.methods.rigid import displacement

    if "framewise_displacement" in table:
        return table["framewise_displacement"]
    return None if image.motion is None else np.asarray(displacement(image.motion), dtype=np.float64)


def _regressors(image: Image, plan: Plan, recipe: Recipe, table: Mapping[str, NDArray[np.float64]]) -> Confounds | None:
    """What D of the chosen strategies removes; None without a strategy, or without confounds."""
    if not plan.chosen or image.confounds is None:
        return None
    patterns = [pattern for strategy in plan.chosen for pattern in strategy.columns]
    return confounds_of(patterns, table, recipe, image.confounds)


def _methods(plan: Plan, recipe: Recipe, columns: Sequence[str]) -> dict[str, str]:
    """Sentences of the card, by stage."""
    found = {"ingest": f"Preprocessed images were averaged over the voxels of {plan.count} parcels, trilinear."}
    as_it_is = plan.scaled and plan.units == GRAND_MEAN
    if recipe.low_hz or recipe.high_hz or not as_it_is:
        found["filter"] = filter_stage.STAGE.describe({
            "EffectiveBand": list(recipe.band), "RequestedBand": [plan.low_hz, plan.high_hz], "Method": recipe.method,
            "Order": ORDER, "NyquistFrequency": 0.5 / recipe.tr_s, "Dropped": recipe.dropped,
            "Censored": list(recipe.censored), "CensorThresholdMm": plan.censor_fd_mm,
        })  # fmt: skip
    if plan.chosen:
        text = " ".join(strategy.text.strip() for strategy in plan.chosen)
        found["denoise"] = Sentence("{strategies} {columns} columns of the source's confounds.",
                                    strategy="+".join(strategy.name for strategy in plan.chosen),
                                    strategies=text, columns=len(columns))  # fmt: skip
    if plan.units == PERCENT:
        found["parcellate"] = parcellate_stage.PERCENT_SENTENCE
    elif not plan.scaled:
        found["parcellate"] = "Parcel series were scaled to a grand mean of 10000; their means were removed."
    return found
