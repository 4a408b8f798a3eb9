"""Training loss and validation R2 by step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brainlm_data import reads
from brainlm_model.figures.style import METHODS, SPLITS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTION = "Training loss, and masked R² on validation subjects from before the first step to after the last."


def draw(train_log: Path) -> Figure:
    """Loss of every step and its running mean; below, validation R2 from before the first step to after the last."""
    import matplotlib.pyplot as plt
    import pandas as pd
    from matplotlib.ticker import MaxNLocator

    with reads(train_log):
        log = pd.read_csv(train_log)
    figure, (loss, score) = plt.subplots(2, 1, figsize=(6.4, 4.8), sharex=True, layout="constrained")
    steps = log.dropna(subset=["loss"])
    span = max(len(steps) // 20, 1)
    mean = np.asarray(steps["loss"].rolling(span, min_periods=1, center=True).mean())
    blue = METHODS["model"][0]
    loss.plot(steps["step"], steps["loss"], color=blue, alpha=0.35, linewidth=0.9, label="each step")
    if span > 1:
        loss.plot(steps["step"], mean, color=blue, linewidth=1.8, label=f"running mean of {span} steps")
    loss.set_title("Training")
    loss.set_ylabel("loss: squared error of\nmasked, scaled values")
    loss.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.2)  # beside the title
    scored = log.dropna(subset=["validation_r2"])
    score.set_title("Validation subjects")
    if len(scored):
        score.plot(scored["step"], scored["validation_r2"], "o-", color=SPLITS["validation"], markersize=4)
        for row, name, away in ((scored.iloc[0], "untrained", -14), (scored.iloc[-1], "trained", 7)):
            score.annotate(
                f"{name} {row['validation_r2']:.3f}", (row["step"], row["validation_r2"]), (0, away),
                textcoords="offset points", fontsize=8, ha="left" if name == "untrained" else "right",
            )  # fmt: skip
        low, high = scored["validation_r2"].min(), scored["validation_r2"].max()
        room = max(0.25 * (high - low), 0.02)  # noise of less than .01 must not look like progress
        score.set_ylim(low - room, high + room)
    else:
        score.text(0.5, 0.5, "no validation subjects", transform=score.transAxes, ha="center")
    score.set_ylabel("masked R² (flat)")
    score.set_xlabel("optimiser step")
    score.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    figure.align_ylabels()
    return figure
