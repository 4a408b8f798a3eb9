"""Parcel series of a preprocessed 4-D NIfTI, made as the card of a model says that its training data were made.

Parcel means at the atlas's voxels, grand-mean scaling, filter and resampling are the pipeline's own operators. Not
repeated are motion correction, normalization and denoising: the image comes from fMRIPrep, or from anything like it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data.dataset.card import Card, compare, of_sidecar
from brainlm_data.dataset.series import ParcelSeries, recording_name
from brainlm_data.errors import InputError
from brainlm_data.files.json import read_sidecar
from brainlm_data.files.sidecar import digest, sidecar_path
from brainlm_data.methods.chain import Requested, recipe_of
from brainlm_data.methods.operators import Temporal, at_rate, highest_hz
from brainlm_data.methods.regression import Regression
from brainlm_data.reading.image import Run, load_image, repetition_time
from brainlm_data.reading.parcel_means import ParcelReader, grand_mean, leading, scale_to


def parcel_series(path: Path, card: Card | None, atlas: Path | None = None, tr: float | None = None) -> ParcelSeries:
    """(time, parcel) of a 4-D image at the card's rate, in its band and units; see `sources.read_series`.

    The TR is `tr`, else the sidecar's, else the header's. An image whose sidecar says that it was scaled and filtered
    already (`keep: [denoised]` of this pipeline) is only parcellated and resampled.

    Raises
    ------
    InputError: no card, an atlas that is not the card's, or another space.
    Refused: an unreadable image, none of the atlas's voxels in it, means that were removed, or a TR that cannot hold
        the card's band.
    """
    if card is None:
        raise InputError(
            f"{path}: the model's card does not say how its data were made", "give the parcel series, as .tsv or .npy"
        )
    run, meta = Run(path), read_sidecar(sidecar_path(path))
    tr, stated = repetition_time(run, {"RepetitionTime": tr} if tr is not None else meta)
    stated += run.warnings
    found = {**of_sidecar(meta), "space": meta.get("Space") or _entity(path, "space")}
    finished = str(meta.get("Units", "")).startswith("grand mean")
    labels, affine = find_atlas(card, atlas)
    series, brain = ParcelReader.of(run, labels, affine).read(path, stated)
    dropped, empty = leading(series)
    if not finished and not dropped:
        dropped = _non_steady(series)
    stated += [f"{dropped} volumes at the start were dropped"] if dropped else []
    stated += [f"{len(empty)} empty volumes were interpolated"] if empty else []

    hz = card.rate_hz
    edge = highest_hz(tr, hz)
    recipe, notes = recipe_of(str(path), _requested(card, edge), tr, run.n_volumes, dropped, empty)
    stated += notes
    if finished:
        if not card.units.startswith("grand mean"):
            raise InputError(f"{path}: {meta['Units']}, the card says {card.units}", "give it in those units")
        series *= grand_mean(card.units) / grand_mean(meta["Units"])
        stated.append("its sidecar says that it is scaled and filtered: neither was done again")
    else:
        scale = scale_to(card.units, series, brain, recipe, path, stated)
        series = Temporal(recipe, Regression.of_nothing(run.n_volumes - dropped), scale).apply(series)
        low = f"high-pass {recipe.low_hz:g} Hz ({recipe.method})" if recipe.low_hz else "no high-pass"
        high = f"low-pass {recipe.high_hz:g} Hz" if recipe.high_hz else "no low-pass"
        stated.append(f"filtered as the card says: {low}, {high}")
    values = at_rate(series, tr, hz, dropped)
    if values is not series:
        stated.append(f"resampled from TR {tr:g} s to {hz:g} Hz")
    done = {"rate_hz": hz, "band_low_hz": card.band_low_hz, "atlas": card.atlas}
    done |= {"band_high_hz": float(min(recipe.band[1], edge)), "units": card.units}
    stated += compare(card, {**found, **done}, str(path))
    stated.append(_denoising(path, meta, finished))
    return ParcelSeries(values, stated, id=recording_name(path), rate_hz=hz, units=card.units)


def _entity(path: Path, name: str) -> str | None:
    """A BIDS entity of a file's name."""
    found = re.search(rf"(?:^|_){name}-([A-Za-z0-9]+)", path.name)
    return found.group(1) if found else None


def _denoising(path: Path, meta: Mapping[str, Any], finished: bool) -> str:
    raw = _entity(path, "desc") == "preproc" and not finished
    said = meta.get("Denoised")
    if said is False or (said is None and raw):
        return "it is not denoised (desc-preproc, or its sidecar says so), and was not denoised here"
    return "it is taken to be denoised already"


def find_atlas(card: Card, atlas: Path | None) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Label image (x, y, z) and affine of a card's atlas: embedded, from the cache (A424), or `atlas`.

    Raises
    ------
    InputError: an atlas that is not available without `atlas`, or whose sha256 is not the card's.
    """
    from brainlm_data.files.fetch import obtain
    from brainlm_data.spaces.a424 import A424
    from brainlm_data.spaces.demo424 import embedded_atlas

    name, sha = card.atlas, card.atlas_sha256
    path = obtain(A424, "atlas") if atlas is None and name == "A424" else atlas
    if path is None and name != "demo424":
        raise InputError(f"atlas {name} does not come with this package", "give its label image: atlas, or --atlas")
    if path is not None and not path.is_file():
        raise InputError(f"{path}: no such file", "give the label image of the model's atlas")
    remedy = "give the label image of the model's atlas"
    image = embedded_atlas()[0] if path is None else load_image(path, InputError, remedy)
    labels = np.squeeze(np.asarray(image.dataobj))
    # stage atlas: the file's digest, and of the embedded atlas, which is no file, that of its labels
    own = {hashlib.sha256(labels.astype("<i4").tobytes()).hexdigest()} | ({digest(path)} if path else set())
    if sha not in own:
        raise InputError(
            f"{path or name}: sha256 {min(own)}, the card's atlas {name} has {sha or 'none'}",
            "give the label image that the model was trained with",
        )
    return labels.astype(np.int64), np.asarray(image.affine, dtype=np.float64)


def _non_steady(series: NDArray[np.float64]) -> int:
    from brainlm_data.methods.nuisance import non_steady

    return non_steady(np.nanmean(series[~np.isnan(series).all(1)], axis=1))


def _requested(card: Card, edge: float) -> Requested:
    """The filters that give the card's band. `edge`: where the band ends anyway, by the TR and the card's rate."""
    low = card.band_low_hz.high or None  # of several bands the narrowest; an edge at 0 is none
    high = card.band_high_hz.high
    if high is not None and edge <= 1.01 * high:
        high = None
    return Requested(low, high, "butterworth" if card.filter is None else card.filter.method)
