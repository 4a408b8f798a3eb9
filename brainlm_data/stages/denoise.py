"""denoise: ICA on the filtered voxel sample, AROMA's verdicts, confounds by strategy, and the regression operator D.

Components and confounds are filtered as the data are. Confounds go as a whole; of the components, fitted jointly, only
the noise part goes (non-aggressive). D is the mean over several ICAs, because which components fall on which side of
AROMA's cut-offs depends on their number and start. Filter-before-ICA is this pipeline's order:
docs/decisions/filter-before-ica.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from brainlm_data import strategies
from brainlm_data.errors import InputError
from brainlm_data.methods import aroma
from brainlm_data.methods.chain import before_regression, confounds_of, regression_of
from brainlm_data.methods.courses import Courses, courses_of
from brainlm_data.methods.ica import MOST, Components, decompose, optimal_rank, principal, smoother
from brainlm_data.methods.operators import Recipe
from brainlm_data.methods.overrides import overridden, read_overrides
from brainlm_data.methods.regression import Limits, Regression
from brainlm_data.reading.image import load_output
from brainlm_data.stage import Facts, Files, Need, Sentence, Stage, StageConfig
from brainlm_data.strategies import Strategy

Array = NDArray[np.float64]
FWHM = float(2 * np.sqrt(2 * np.log(2)))  # of a Gaussian, in its standard deviations
MOST_REJECTED = 0.75  # share of the components beyond which a warning is due
ALIKE = 0.5  # |r| of the maps of two fits' components, from which a verdict set by hand holds for both
CSF = 0.6  # probability of a voxel in AROMA's CSF mask; on a 4 mm grid hardly any is purer

COLUMNS = {
    "edge_fraction": {"Description": "share of strong |z| at the rim of the brain, of that outside CSF"},
    "csf_fraction": {"Description": "share of strong |z| in CSF"},
    "high_frequency_content": {"Description": "where half of the power lies, 0 (.01 Hz) to 1 (Nyquist frequency)"},
    "max_motion_correlation": {"Description": "largest |r| with 36 motion terms, mean over random splits"},
    "variance_explained": {"Description": "share of the filtered sample's variance"},
    "classification": {"Levels": {"rejected": "noise", "accepted": "signal"}},
    "rationale": {
        "Description": "AROMA's rules that hold: high_frequency, csf, motion; user: set by hand, with the note"
    },
}


class Config(StageConfig):
    """ICA and confound regression."""

    strategy: str | list[str | Strategy] | None = Field(
        "ica", description=f"{', '.join(strategies.names())}, joined by + (ica+24P), or your own .yaml file"
    )
    n_components: Literal["auto"] | Annotated[int, Field(ge=2, le=500)] = Field(
        "auto", description="number of components; auto: docs/stages/denoise.md"
    )
    smooth_mm: float = Field(
        4.0,
        ge=0,
        le=20,
        description="FWHM of the smoothing before ICA (the series themselves are not smoothed), mm; 0: none",
    )
    confounds: list[str] = Field([], description="columns of the confounds table to remove as well; * ? [0-4] match")
    fits: int = Field(
        5,
        ge=1,
        le=25,
        description="ICAs, of one component more or less and other starts each, whose operators are averaged",
    )
    seed: int = Field(
        0, ge=0, description="seed of the first ICA's start and of the splits in AROMA's motion correlation"
    )
    # no part of the signature: its rows reach the recordings that they name, and rerun those alone
    overrides: Path | None = Field(
        None,
        exclude=True,
        description="TSV of your own verdicts on components: recording, component, classification, note",
    )

    @field_validator("strategy", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        return strategies.parse(value)

    @model_validator(mode="after")
    def _overrides_need_components(self) -> Config:
        if self.overrides and not any(strategy.ica for strategy in strategies.resolve(self.strategy)):
            raise ValueError("overrides need strategy: ica, without it there are no components")
        return self


def by_unit(config: Config, recordings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The rows of `overrides`, by recording."""
    return read_overrides(config.overrides, recordings) if config.overrides else {}


def run(inputs: Files, outputs: Files, config: Config) -> Facts:
    """Write mixing, maps, features with verdicts, and D.

    Raises
    ------
    Refused: a confound or an overridden component that there is not; fewer volumes than regressors.
    InputError: the strategy needs volumes to be censored that stage filter did not censor.
    """
    from brainlm_data.files.tables import read_table, write_table

    recipe = Recipe.load(inputs["filter_recipe"])
    chosen = strategies.resolve(config.strategy)
    _check_censoring(chosen, inputs.facts("filter_recipe")["CensorThresholdMm"])
    names, table = read_table(inputs["confounds"])
    patterns = [*(pattern for strategy in chosen for pattern in strategy.columns), *config.confounds]
    columns = dict(zip(names, table.T, strict=True))
    confounds = confounds_of(patterns, columns, recipe, inputs["confounds"])
    image = load_output(inputs["sample_mask"])
    mask = np.asarray(image.dataobj) > 0
    if any(strategy.ica for strategy in chosen):
        fits = _decompositions(inputs, outputs, mask, image.affine, recipe, config)
    else:
        steps = recipe.n_volumes - recipe.dropped
        fits = [Components(np.empty((steps, 0)), np.empty((0, int(mask.sum())), np.float32), np.empty(0), True)]
    each = _features(inputs, fits, mask, recipe, config.seed)
    found, features = fits[0], each[0]
    labels = [f"ica_{i:02d}" for i in range(found.mixing.shape[1])]
    noisy, reasons, by_hand = overridden(labels, features.reasons(), inputs.meta)
    verdicts = [noisy]
    for fit, theirs in zip(fits[1:], each[1:], strict=True):
        automatic = np.array([bool(reason) for reason in theirs.reasons()])
        verdicts.append(_with_those_by_hand(automatic, fit, found, noisy, [labels.index(name) for name in by_hand]))
    regression, limits = _operator(inputs, recipe, confounds.values, fits, verdicts)
    regression.save(outputs["denoise_recipe"])

    whole = np.full((recipe.n_volumes, len(labels)), np.nan)
    whole[recipe.dropped :] = found.mixing
    write_table(outputs["ica_mixing"], labels, whole)
    _write_maps(outputs["ica_components"], found.z, mask, image.affine)
    _write_metrics(outputs["ica_metrics"], labels, features, found.variance, noisy, reasons)
    return {
        "Strategy": "+".join(strategy.name for strategy in chosen),
        "Text": [strategy.text.strip() for strategy in chosen],
        "Citations": sorted({source for strategy in chosen for source in strategy.citations}),
        "Ica": any(strategy.ica for strategy in chosen),
        "SmoothingFwhmMm": config.smooth_mm,
        "NumberOfComponents": len(labels),
        "NumberOfNoiseComponents": int(noisy.sum()),
        "VarianceRemovedShare": float(found.variance[noisy].sum()),
        "Confounds": confounds.columns,
        "FurtherConfounds": strategies.select(config.confounds, names, inputs["confounds"]),
        "ConfoundsOutsideBand": confounds.outside,
        **({"UserVerdicts": by_hand} if by_hand else {}),
        "Converged": all(fit.converged for fit in fits),
        "Fits": [
            {"Components": len(bad), "NoiseComponents": int(bad.sum()), "Converged": fit.converged}
            for fit, bad in zip(fits, verdicts, strict=True)
        ],
        "HighFrequencyCut": features.cut,
        "SingularValueLimit": limits.singular_value,
        "SlowDirectionsRemoved": limits.directions,
        "Warnings": _warnings(fits, verdicts, features.cut, recipe.tr_s),
        "ica_metrics": COLUMNS,
        "ica_components": {"Units": "standard deviations of each map over the brain"},
        "denoise_recipe": {"Arrays": "noise (steps, k), readout (k, steps): D x = x - noise @ (readout @ x)"},
    }


def _check_censoring(chosen: list[Strategy], limit: float | None) -> None:
    """Censoring lives in stage filter, before the filter; a strategy can only say what it needs."""
    for strategy in chosen:
        if strategy.lacks_censoring(limit):
            wanted = strategy.censor_fd_mm
            raise InputError(
                f"denoise.strategy: {strategy.name} needs filter.censor_fd_mm of {wanted:g} or less, not {limit}",
                f"set filter.censor_fd_mm: {wanted:g}, or leave {strategy.name} out",
            )


@dataclass(frozen=True)
class _Filtered:
    """Blocks of voxels as they are before the regression; voxels pass through a file, so memory does not grow."""

    courses: Courses
    recipe: Recipe

    def __iter__(self) -> Iterator[tuple[NDArray[np.intp], Array]]:
        for places, values in self.courses.blocks():
            yield places, before_regression(values.T.astype(np.float64), self.recipe)


def _decompositions(
    inputs: Files, outputs: Files, mask: NDArray[np.bool_], affine: Array, recipe: Recipe, config: Config
) -> list[Components]:
    """The ICAs whose operators are averaged; the first has the number of components that was asked for, or `auto`."""
    with courses_of(inputs["voxel_sample"], mask, outputs["denoise_recipe"].parent) as courses:
        if config.smooth_mm:
            size = float(nib.affines.voxel_sizes(affine).mean())
            smooth = smoother(mask, config.smooth_mm / FWHM / size)
            for number, volume in enumerate(courses):
                courses[number] = smooth(volume)
        most = (MOST if config.n_components == "auto" else config.n_components) + config.fits // 2
        pca = principal(_Filtered(courses, recipe), most)
    count = config.n_components
    if count == "auto":
        count = optimal_rank(pca.values, len(pca.values), pca.scores.shape[1])
    fits = []
    for number in range(config.fits):
        further = (number + 1) // 2 * (-1 if number % 2 else 1)  # 0, -1, 1, -2, 2, ...
        fits.append(decompose(pca, max(2, count + further), config.seed + number))
    return fits


def _operator(
    inputs: Files, recipe: Recipe, confounds: Array, fits: list[Components], verdicts: list[NDArray[np.bool_]]
) -> tuple[Regression, Limits]:
    """D: confounds and the noise of each fit, averaged, so that no parcel gains variance; and what that took."""
    from brainlm_data.files.tables import read_table

    components = []
    for fit, noisy in zip(fits, verdicts, strict=True):
        components.append((fit.mixing[:, noisy], fit.mixing[:, ~noisy]))
    series = read_table(inputs["parcels_raw"])[1]
    return regression_of(inputs.meta["id"], confounds, series, recipe, components)


def _features(
    inputs: Files, fits: list[Components], mask: NDArray[np.bool_], recipe: Recipe, seed: int
) -> list[aroma.Features]:
    """AROMA's four features of each component of each fit."""
    from scipy.ndimage import binary_erosion

    from brainlm_data.files.tables import read_table

    csf = np.asarray(load_output(inputs["sample_probseg"]).dataobj)[..., 2][mask] > CSF
    rim = (mask & ~binary_erosion(mask))[mask]
    terms = aroma.motion_terms(before_regression(read_table(inputs["motion_params"])[1], recipe))
    # Of all fits at once: the random splits are the same, and most of the work.
    motion = aroma.motion_correlation(np.hstack([fit.mixing for fit in fits]), terms, seed)
    cut, features, start = aroma.frequency_cut(recipe.tr_s), [], 0
    for fit in fits:
        end = start + fit.mixing.shape[1]
        high = aroma.high_frequency(fit.mixing, recipe.tr_s)
        features.append(aroma.Features(*aroma.spatial(fit.z, rim, csf), high, motion[start:end], cut))
        start = end
    return features


def _with_those_by_hand(
    automatic: NDArray[np.bool_], fit: Components, first: Components, verdicts: NDArray[np.bool_], by_hand: list[int]
) -> NDArray[np.bool_]:
    """Verdicts on a further fit's components; one that looks most like a component set by hand gets its verdict."""
    out = automatic.copy()
    if by_hand:
        alike = np.abs(fit.z @ first.z.T) / fit.z.shape[1]  # maps have mean near 0 and unit variance
        nearest = alike.argmax(1)
        for place in by_hand:
            out[(nearest == place) & (alike[:, place] > ALIKE)] = verdicts[place]
    return out


def _warnings(fits: list[Components], verdicts: list[NDArray[np.bool_]], cut: float | None, tr_s: float) -> list[str]:
    """What a reader of the results has to know of the components."""
    warnings = []
    if not all(fit.converged for fit in fits):
        warnings.append("ICA did not converge: its components are less certain")
    count, bad = len(verdicts[0]), int(verdicts[0].sum())
    if bad > MOST_REJECTED * count:
        warnings.append(f"{bad} of {count} components were rejected: little is left of the recording")
    if count and cut is None:
        warnings.append(f"no component was judged by its frequency: at TR {tr_s:g} s there is none above 0.09 Hz")
    return warnings


def _write_maps(path: Path, z: NDArray[np.float32], mask: NDArray[np.bool_], affine: Array) -> None:
    from brainlm_data.reading.image import Writer

    image = np.zeros(mask.shape, np.float32)
    with Writer(path, (*mask.shape, max(len(z), 1)), affine, np.float32) as writer:
        for row in z if len(z) else np.zeros((1, int(mask.sum()))):
            image[mask] = row
            writer.add(image)


def _write_metrics(
    path: Path,
    labels: list[str],
    features: aroma.Features,
    variance: Array,
    noisy: NDArray[np.bool_],
    reasons: list[str],
) -> None:
    import pandas as pd

    table = pd.DataFrame(
        {
            "component": labels,
            "edge_fraction": features.edge,
            "csf_fraction": features.csf,
            "high_frequency_content": features.high_frequency,
            "max_motion_correlation": features.motion,
            "variance_explained": variance,
            "classification": np.where(noisy, "rejected", "accepted"),
            "rationale": reasons,
        }
    )
    table.to_csv(path, sep="\t", index=False, na_rep="n/a", float_format="%.6g")


def describe(facts: Facts) -> str:
    """Methods sentence."""
    count = len(facts["FurtherConfounds"])
    text = [] if facts["Strategy"] == "none" and count else ["{strategies}"]
    values: dict[str, Any] = {"strategy": facts["Strategy"], "strategies": " ".join(facts["Text"])}
    if facts["Ica"]:
        size = facts["SmoothingFwhmMm"]
        smoothed = f" (smoothed to {size:g} mm FWHM for this fit)" if size else ""
        text.append(f"Of {{components}} components of the filtered voxel sample{smoothed}, {{noise}} were noise.")
        values |= {"components": facts["NumberOfComponents"], "noise": facts["NumberOfNoiseComponents"]}
        if len(facts["Fits"]) > 1:
            text.append(
                "The operator is the mean of those of {fits} decompositions, which differ in start and by up to"
                " {further_components} components."
            )
            values |= {"fits": len(facts["Fits"]), "further_components": len(facts["Fits"]) // 2}
    by_hand = facts.get("UserVerdicts", {}).values()
    if changed := [v["classification"] for v in by_hand if v["classification"] != v["automatic"]]:
        text.append(
            f"{len(changed)} verdict{'s' * (len(changed) > 1)} on components {'was' if len(changed) == 1 else 'were'}"
            f" overridden by the user ({changed.count('accepted')} to signal, {changed.count('rejected')} to noise)."
        )
    if count:
        further = ", ".join(facts["FurtherConfounds"])
        text.append(f"{count} further confound{'s' * (count > 1)} ({{further}}) were regressed out.")
        values["further"] = further
    if facts["Ica"] or facts["Confounds"]:
        text.append("Regressors were filtered as the data (Lindquist et al., 2019).")
    if facts["Ica"] and facts["Confounds"]:
        text.append(
            "Confounds were removed from data and components first; then the components were fitted jointly and only"
            " the noise part was subtracted."
        )
    elif facts["Ica"]:
        text.append("Components were fitted jointly, and only the noise part was subtracted.")
    if facts["SingularValueLimit"] is not None:
        text.append("The operator's singular values were limited so that no parcel gained variance.")
    if facts["SlowDirectionsRemoved"]:
        text.append(
            "Behind the low-pass, what was left of the regressors was removed in {slow} directions, so that no parcel"
            " gained variance."
        )
        values["slow"] = facts["SlowDirectionsRemoved"]
    return Sentence(" ".join(text), **values)


STAGE = Stage(
    name="denoise",
    version=7,
    level="recording",
    summary="Find noise components by ICA and AROMA's rule; write the operator that removes them and confounds.",
    Config=Config,
    inputs=(
        "voxel_sample",
        "sample_mask",
        "sample_probseg",
        "confounds",
        "motion_params",
        "parcels_raw",
        "filter_recipe",
    ),
    outputs=("ica_mixing", "ica_components", "ica_metrics", "denoise_recipe"),
    run=run,
    describe=describe,
    by_unit=by_unit,
    routes=("native", "fmriprep"),
    need=Need(900, 0.1, 30, 0.1, disk_mb=1, disk_mb_per_mb=0.07),
)
