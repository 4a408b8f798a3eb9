"""Part one: move the CLS token of rest to that of a task, and to that of another rest, which is the null.

Shapes: S subjects, P parcels, T steps, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    common = _common(store, model, networks, training) if training else None
    arrays: list[dict[str, Array]] = []
    kept, left_out, progress = [], [], Progress("perturbation: CLS", len(people))
    for first in range(0, len(people), TOGETHER):
        group: list[Person] = []
        series: dict[str, Array] = {}
        for person in people[first : first + TOGETHER]:
            try:
                names = [n for n in (person.rest, person.task, person.null) if n is not None]
                series |= {n: scaled(store, n, model) for n in names}
            except InputError as error:
                left_out.append(str(error.message))
                continue
            group.append(person)
        if group:
            part = pieces.get(f"move-{first:04d}", lambda g=group, s=series: _part(model, networks, g, s, common, share, steps))  # type: ignore[misc]  # fmt: skip  # noqa: E501
            arrays.append(part)
            kept += group
        progress.step(first + len(people[first : first + TOGETHER]))
    return kept, {k: np.concatenate([part[k] for part in arrays]) for k in (arrays[0] if arrays else {})}, left_out


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
    missing = [w for w in training if f"sd/{w}" not in collected]
    if missing:
        raise InputError(f"perturbation: no training recording for the {missing[0]}", "perturbation.target: own")
    return {key: np.nanmean(v, 0) if key.startswith("sd") else sum(v) / len(v) for key, v in collected.items()}


def _part(
    model: Any, networks: Mapping[str, Any], group: Sequence[Person], series: Mapping[str, Array],
    common: Mapping[str, Any] | None, share: float, steps: int,
) -> dict[str, Array]:  # fmt: skip
    import torch

    arrays: dict[str, Array] = {}
    window = model.config.window
    x_SPT = torch.from_numpy(np.stack([series[p.rest][:window].T for p in group]).astype(np.float32))
    unknown = ~np.isfinite(x_SPT.numpy()).all(2)
    for what in ("task", "null"):
        names = [p.task if what == "task" else p.null for p in group]
        own = [common[f"sd/{what}"] if common else _spread(series[str(n)]) for n in names]
        arrays[f"sd/{what}"] = np.abs(np.stack(own) - np.stack([_spread(series[p.rest]) for p in group]))
        for method, network in networks.items():
            device = network.cls.device
            goal = [common[f"{method}/{what}"] if common else _cls(model, network, series[str(n)]) for n in names]
            shift = smallest(network.embed, x_SPT.to(device), torch.stack(goal), share, steps)
            size = shift.delta_BPT.square().mean(2).sqrt().double().cpu().numpy()
            arrays[f"{method}/{what}"] = np.where(unknown, np.nan, size)
            arrays[f"{method}/{what}/distance"] = torch.stack([shift.before_B, shift.after_B], 1).double().cpu().numpy()
    return arrays
