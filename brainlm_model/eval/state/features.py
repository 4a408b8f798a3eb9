"""Features of events: of the series, of a network's tokens around each, and of their times alone.

Shapes: n samples, T steps, P parcels, N time patches, D width, F features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainlm_model.eval.parcels import connectivity, known_mean
from brainlm_model.eval.state.probes import Features
from brainlm_model.eval.state.samples import Samples

UNITED = 16  # windows a forward pass
CORRELATED = 10  # steps that correlations need
HIGHEST = 0.999  # correlation that Fisher's z takes
PLACED = 8  # windows whose contents are put at every place, to see what tokens say of the place

# order of tables and figures; the first are the model's
LABELS = {
    "tokens": "BrainLM: parcel tokens, linear",
    "probe": "BrainLM: parcel tokens, attention probe",
    "cls": "BrainLM: CLS, linear",
    "tokens_untrained": "untrained network: parcel tokens, linear",
    "probe_untrained": "untrained network: attention probe",
    "cls_untrained": "untrained network: CLS, linear",
    "parcels": "parcel means, linear",
    "parcels_z": "parcel means, z-scored in each run, linear",
    "course": "course of each parcel, linear",
    "connectivity": "correlations within the answer, linear",
    "times": "times of the events alone",
}
OURS = ("tokens", "probe", "cls")
LINEAR = ("parcels", "parcels_z", "course", "connectivity")


@dataclass(frozen=True)
class Tokens:
    """What a network says of the samples: CLS of the window around (n, D), tokens of the answer (n, P, D)."""

    cls: Features
    parcels: Features


def of_series(name: str, series: Mapping[str, Features], samples: Samples, patch: int) -> Features | None:
    """Features (n, F) of a linear method of `LINEAR`; None where answers are too short for them.

    `series`: recording -> (T, P), scaled, NaN where unknown.
    """
    if name == "connectivity" and np.ptp(samples.answer, axis=1).min() < CORRELATED:
        return None
    values = series
    if name == "parcels_z":
        values = {one: _standardised(x_TP) for one, x_TP in series.items()}
    rows = []
    for place, recording in enumerate(samples.recording):
        x_TP = values[recording]
        if name == "course":
            first, end = samples.start[place] + patch * samples.tokens[place]
            rows.append(x_TP[first:end].reshape(-1, patch, x_TP.shape[1]).mean(0).ravel())
            continue
        answer_TP = x_TP[slice(*samples.answer[place])]
        rows.append(_correlations(answer_TP) if name == "connectivity" else answer_TP.mean(0))
    return np.stack(rows).astype(np.float32)


def _standardised(x_TP: Features) -> Features:
    """Each parcel with mean 0 and SD 1 over the run; a parcel without variance is 0."""
    values = x_TP.astype(np.float64)
    mean = known_mean(values)
    scale = np.sqrt(known_mean((values - mean) ** 2))
    return ((values - mean) / np.where(scale > 1e-12, scale, np.inf)).astype(np.float32)


def _correlations(x_TP: Features) -> NDArray[np.float64]:
    """Fisher's z of the correlation of each pair of parcels."""
    r_PP = connectivity(x_TP)
    pairs: NDArray[np.float64] = r_PP[np.triu_indices(len(r_PP), 1)]
    return np.arctanh(np.clip(pairs, -HIGHEST, HIGHEST))


def of_times(samples: Samples) -> Features:
    """What the design alone knows (n, F): radial functions of when the answer begins and of how long it is.

    Where these tell the condition, the order of events does, or their length: so may anything that changes over a run.
    Their widths go from half of the shortest answer to the whole run, as blocks alternate that fast, and some changes
    are slow: a drift tells what tends to come late, even where no two runs have it at the same time.
    """
    finest = np.ptp(samples.answer, axis=1).min() / 2
    columns = []
    for steps_n in (samples.answer[:, 0], np.ptp(samples.answer, axis=1)):
        # the same centres for every width, so that all widths count the same
        centres = np.arange(steps_n.min(), steps_n.max() + finest, finest)
        width = finest
        while width < 2 * (np.ptp(steps_n) + finest):
            columns.append(np.exp(-0.5 * ((steps_n[:, None] - centres) / width) ** 2))
            width *= 2
    return np.concatenate(columns, axis=1).astype(np.float32)


def of_network(network: Any, series: Mapping[str, Features], samples: Samples, place_PND: Any) -> Tokens:
    """Run a network over the window around each sample; tokens are the mean over the patches that hold the answer.

    `place_PND`: what tokens say of their place (`of_places`), which is taken off. A token that is not known, such as of
    a parcel outside the field of view, is 0.
    """
    window, patches = network.config.window, network.config.window // network.config.patch
    cls, parcels = [], []
    for first in range(0, len(samples), UNITED):
        places = range(first, min(first + UNITED, len(samples)))
        windows = [series[samples.recording[i]][samples.start[i] : samples.start[i] + window].T for i in places]
        cls_BD, known_BPND = _states(network, windows)
        cls.append(cls_BD.cpu().numpy())
        known_BPND = known_BPND - place_PND
        for row, i in enumerate(places):
            # a network of images has another number of tokens in time than of patches
            start, end = samples.tokens[i] * known_BPND.shape[2] / patches
            own_PD = known_BPND[row, :, int(start) : math.ceil(end)].nanmean(1)
            parcels.append(own_PD.nan_to_num().cpu().numpy())
    return Tokens(np.concatenate(cls), np.stack(parcels))


def of_places(network: Any, series: Mapping[str, Features], seed: int) -> Any:
    """The mean token (P, N, D) of each parcel at each place of the window, of the same contents everywhere.

    A token knows its place, and where runs share the order of conditions, the place tells them. Windows drawn by the
    seed are turned round patch by patch, so that places differ in nothing but the place. NaN: never known.
    """
    rng = np.random.default_rng(seed)
    names = [name for name in sorted(series) if len(series[name]) >= network.config.window]
    turned = []
    for name in rng.choice(names, PLACED):
        first = rng.integers(len(series[name]) - network.config.window + 1)
        window_PT = series[name][first : first + network.config.window].T
        for shift in range(0, network.config.window, network.config.patch):
            turned.append(np.roll(window_PT, shift, axis=1))
    total_PND: Any = 0
    count_PND: Any = 0
    for first in range(0, len(turned), UNITED):
        tokens_BPND = _states(network, turned[first : first + UNITED])[1]
        total_PND = total_PND + tokens_BPND.nansum(0)
        count_PND = count_PND + tokens_BPND.isfinite().sum(0)
    return total_PND / count_PND


def _states(network: Any, windows: Sequence[Features]) -> tuple[Any, Any]:
    """CLS (B, D) and tokens (B, P, N, D) of windows (P, T); NaN where a token is not known."""
    import torch

    with torch.inference_mode():
        states = network.states(torch.from_numpy(np.stack(windows)).to(network.cls.device))
        tokens_BPND = states.tokens_BPND.where(states.visible_BPN[..., None], torch.nan)
        return states.cls_BD.float(), tokens_BPND.float()
