"""One window of a recording beside what a model makes of it.

Shapes: P parcels, T steps, N time patches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from brainlm_data import FIGURE_STYLE, UNKNOWN, InputError, ParcelSeries, Scaler, by_network, mark_networks, prepare

if TYPE_CHECKING:
    from brainlm_model.models.network import Network


def draw_reconstruction(
    network: Network, scaler: Scaler, series: ParcelSeries, mask_ratio: float, seed: int, start: int
) -> np.ndarray:
    """The axes (3,) of recording, what is visible, and reconstruction; see `TrainedModel.plot_reconstruction`."""
    import matplotlib.pyplot as plt

    truth_PT, visible_PT, model_PT = reconstructed(network, scaler, series, mask_ratio, seed, start)
    order, groups = by_network(series.networks)
    hidden = np.isnan(visible_PT) & ~np.isnan(truth_PT)
    panels = {"Recording": truth_PT, "What the model sees": visible_PT}
    panels[f"Model: R² {_r2(truth_PT[hidden], model_PT[hidden]):.2f} where hidden"] = model_PT
    limit = float(np.nanpercentile(np.abs(truth_PT), 98)) or 1.0
    rate = series.rate_hz or 1
    with plt.rc_context(FIGURE_STYLE):  # type: ignore[arg-type]
        figure, axes = plt.subplots(1, 3, figsize=(11, 4.2), sharex=True)
        for panel, (title, values) in zip(axes, panels.items(), strict=True):
            image = panel.imshow(
                values[order], aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest",
                extent=(start / rate, (start + values.shape[1]) / rate, len(order) - 0.5, -0.5),
            )  # fmt: skip
            panel.set_facecolor(UNKNOWN)
            panel.set_title(title)
            panel.set_xlabel("time (s)" if series.rate_hz else "time (steps)")
            mark_networks(panel, groups, names=panel is axes[0])
        figure.colorbar(image, ax=axes, label="scaled BOLD (interquartile ranges)", shrink=0.7, pad=0.01)
        figure.suptitle(f"{series.id}, {100 * mask_ratio:g} % of the tokens hidden".lstrip(", "), fontsize=8.5)
    return np.asarray(axes)


def reconstructed(
    network: Network, scaler: Scaler, series: ParcelSeries, mask_ratio: float, seed: int, start: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A scaled window, the same with hidden tokens NaN, and its reconstruction; each (P, T).

    Raises
    ------
    InputError: another number of parcels, a window beyond the recording, or a share that hides nothing or everything.
    """
    import torch

    from brainlm_model.models.masking import generator, random_mask

    config = network.config
    scaled = np.asarray(prepare(series.values, scaler), dtype=np.float32)
    if not 0 <= start <= len(scaled) - config.window:
        raise InputError(
            f"a window of {config.window} steps from step {start}, the recording has {len(scaled)}",
            "start: 0 to the steps less the window",
        )
    if not 0 < mask_ratio < 1:
        raise InputError(f"mask_ratio {mask_ratio:g}", "above 0 and below 1")
    x_1PT = torch.from_numpy(scaled[start : start + config.window].T[None].copy())
    if len(network.mask_shape) != 2 or network.mask_shape != (config.parcels, config.patches):
        raise InputError("this network masks squares of several parcels", "a BrainLM masks tokens of one parcel")
    mask_1PN = random_mask(1, config.parcels, config.patches, mask_ratio, generator(seed))
    with torch.inference_mode():
        model_PT = network(x_1PT.to(network.cls.device), mask_1PN.to(network.cls.device))[0].float().cpu().numpy()
    truth_PT = x_1PT[0].numpy()
    return truth_PT, np.where(network.steps(mask_1PN)[0].numpy(), np.nan, truth_PT), model_PT


def _r2(truth: np.ndarray, predicted: np.ndarray) -> float:
    """1 - squared error / variance, over all hidden values together."""
    return float(1 - ((truth - predicted) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())
