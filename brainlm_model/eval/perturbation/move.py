"""Part one: move the CLS token of rest to that of a task, and to that of another rest, which is the null.

Shapes: S subjects, P parcels, T steps, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from brainlm_data import InputError, Progress
from brainlm_model.eval.parcels import Array
from brainlm_model.eval.perturbation.shift import smallest
from brainlm_model.eval.perturbation.windows import Person, scaled
from brainlm_model.eval.pieces import Pieces
from brainlm_model.trained.embedding import cut

TOGETHER = 5  # subjects whose windows are moved at once


def move(
    store: Any, model: Any, networks: Mapping[str, Any], people: Sequence[Person],
    training: Mapping[str, Sequence[str]] | None, share: float, steps: int, pieces: Pieces,
) -> tuple[list[Person], dict[str, Array], list[str]]:  # fmt: skip
    """Subjects that could be moved, arrays `<method>/<task or null>` (S, P), and who is left out, with the reason.

    Arrays: root mean square over the window's steps of the change of each parcel, in scaled units, NaN where it is
    unknown; `<method>/<task or null>/distance` (S, 2): distance of CLS before and after. Method `sd`: |SD of the
    target's recording - SD of the subject's|, no model. `training`: task and null -> training recordings whose mean
    is the target of all; None: each subject's own.
    """
    common = None
    if training:
        common = _common(store, model, networks, training)
    arrays: dict[str, list[Array]] = {}
    kept: list[Person] = []
    left_out: list[str] = []
    progress = Progress("perturbation: CLS", len(people))
    for first in range(0, len(people), TOGETHER):
        batch = people[first : first + TOGETHER]
        group: list[Person] = []
        series: dict[str, Array] = {}
        for person in batch:
            try:
                series |= {name: scaled(store, name, model) for name in person.recordings}
            except InputError as error:
                left_out.append(str(error.message))
                continue
            group.append(person)
        if group:
            make = partial(_part, model, networks, group, series, common, share, steps)
            for key, values in pieces.get(f"move-{first:04d}", make).items():
                arrays.setdefault(key, []).append(values)
            kept += group
        progress.step(first + len(batch))
    return kept, {key: np.concatenate(parts) for key, parts in arrays.items()}, left_out


def _cls(model: Any, network: Any, series_TP: Array) -> Any:
    """(D,) CLS embedding, mean over the windows."""
    import torch

    with torch.no_grad():
        return network.embed(cut(series_TP, model.config).to(network.cls.device)).mean(0)


def _spread(series_TP: Array) -> Array:
    """(P,) SD over the steps of each parcel that is known throughout."""
    sd_P: Array = series_TP[np.isfinite(series_TP).any(1)].std(0)
    return sd_P


def _common(
    store: Any, model: Any, networks: Mapping[str, Any], training: Mapping[str, Sequence[str]]
) -> dict[str, Any]:  # fmt: skip
    """`<method>/<task or null>` -> mean CLS, or mean SD, of training recordings that have a window."""
    collected: dict[str, list[Any]] = {}
    for what, names in training.items():
        for name in names:
            try:
                series = scaled(store, name, model)
            except InputError:
                continue
            for method, network in networks.items():
                collected.setdefault(f"{method}/{what}", []).append(_cls(model, network, series))
            collected.setdefault(f"sd/{what}", []).append(_spread(series))
    for what in training:
        if f"sd/{what}" not in collected:
            raise InputError(f"perturbation: no training recording for the {what}", "perturbation.target: own")
    means: dict[str, Any] = {}
    for key, each in collected.items():
        if key.startswith("sd"):
            means[key] = np.nanmean(each, 0)  # a parcel is unknown in some recordings
        else:
            means[key] = sum(each) / len(each)  # tensors, of which nothing is unknown
    return means


def _part(
    model: Any, networks: Mapping[str, Any], group: Sequence[Person], series: Mapping[str, Array],
    common: Mapping[str, Any] | None, share: float, steps: int,
) -> dict[str, Array]:  # fmt: skip
    """The arrays of `move` for some subjects."""
    import torch

    arrays: dict[str, Array] = {}
    window = model.config.window
    x_SPT = torch.from_numpy(np.stack([series[person.rest][:window].T for person in group]).astype(np.float32))
    unknown = ~np.isfinite(x_SPT.numpy()).all(2)
    spread_SP = np.stack([_spread(series[person.rest]) for person in group])
    for what in ("task", "null"):
        targets = [str(getattr(person, what)) for person in group]  # recordings; not used where targets are common
        if common:
            target_SP = np.stack([common[f"sd/{what}"]] * len(group))
        else:
            target_SP = np.stack([_spread(series[name]) for name in targets])
        arrays[f"sd/{what}"] = np.abs(target_SP - spread_SP)
        for method, network in networks.items():
            if common:
                target_SD = torch.stack([common[f"{method}/{what}"]] * len(group))
            else:
                target_SD = torch.stack([_cls(model, network, series[name]) for name in targets])
            shift = smallest(network.embed, x_SPT.to(network.cls.device), target_SD, share, steps)
            size_SP = shift.delta_BPT.square().mean(2).sqrt().double().cpu().numpy()  # root mean square over steps
            distance_S2 = torch.stack([shift.before_B, shift.after_B], 1).double().cpu().numpy()
            arrays[f"{method}/{what}"] = np.where(unknown, np.nan, size_SP)
            arrays[f"{method}/{what}/distance"] = distance_S2
    return arrays
