"""Mean functional connectivity of the cohort, ordered by network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainlm_data import by_network, mark_networks
from brainlm_model.figures.style import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTION = "Mean functional connectivity of the cohort, parcels ordered by network."

MOST = 200  # recordings that are averaged, spread evenly over the cohort


def draw(store: Path) -> Figure:
    """Correlations of parcel series, Fisher-z averaged over recordings."""
    import matplotlib.pyplot as plt

    from brainlm_data import open_store

    opened = open_store(store)
    table = opened.recordings
    ids = table.loc[table["status"] == "done", "id"].to_numpy()
    spread = np.unique(np.linspace(0, len(ids) - 1, min(len(ids), MOST)).round().astype(int))
    chosen = ids[spread].tolist()
    mean = mean_connectivity(opened, chosen)
    order, groups = by_network(opened.parcels["network"].tolist())

    figure, axes = plt.subplots(figsize=(6.6, 5.6), layout="constrained")
    axes.set_facecolor("#D9D9D9")
    off_diagonal = mean[~np.eye(len(mean), dtype=bool)]
    known = off_diagonal[np.isfinite(off_diagonal)]
    limit = 1.0
    if known.size:
        limit = max(0.1, float(np.percentile(np.abs(known), 99)))
    image = axes.imshow(mean[np.ix_(order, order)], cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    mark_networks(axes, groups, both=True)
    figure.colorbar(image, ax=axes, label="Pearson correlation", shrink=0.7, extend="max")
    people = table.loc[table["id"].isin(chosen), "subject"].nunique()
    axes.set_title("Mean functional connectivity")
    of = f"{counted(len(chosen), 'recording')} of {counted(people, 'subject')}"
    axes.set_title(of, loc="right", fontsize=8.5, weight="normal")
    return figure


def mean_connectivity(store: Any, ids: list[str]) -> NDArray[np.float64]:
    """Mean over recordings of the correlation matrix (parcel, parcel), by Fisher's z; NaN where never known."""
    parcels = len(store.parcels)
    total, count = np.zeros((parcels, parcels)), np.zeros((parcels, parcels))
    for name in ids:
        z = np.arctanh(np.clip(store.recording(name).connectivity(), -0.999999, 0.999999))
        known = np.isfinite(z)
        total += np.where(known, z, 0)
        count += known
    with np.errstate(invalid="ignore"):
        return np.tanh(total / np.where(count > 0, count, np.nan))
