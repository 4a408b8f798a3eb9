# %% [markdown]
# # ABIDE: people of sites that no training has seen
#
# The picture at the top of the [README](../../README.md), drawn from a table that is part of this repository:
# [masked_external.csv](../results/abide/masked_external.csv). 387 people of nine sites to train, 123 people of three
# other sites (whose TRs are not in training either) to test; patches of their series are hidden, and each method fills
# them in.
# How it was measured: [results](../results/README.md#abide-the-papers-tasks).

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import brainlm_data
from brainlm_model.figures.style import METHODS, style, with_bars

RESULTS = Path(brainlm_data.__file__).parents[1] / "docs/results"
table = pd.read_csv(RESULTS / "abide/masked_external.csv")
of_sites = table[(table["masking"] == "random") & (table["metric"] == "r2_flat")]
print(of_sites.pivot_table(index="method", columns="mask_ratio", values="value").round(3).to_string())

# %% [markdown]
# The bars are 95% bootstrap intervals over people. Nearly all that the model gains over a conditional Gaussian is in
# closed form: one Gaussian over parcels and time, adapted to each window, from which the network starts. Training adds
# too little to be seen here; that it is above 0 is in [masked_external.json](../results/abide/masked_external.json).

# %%
SHOWN = {
    "mean": "mean of the visible parcels",
    "pca": "PCA",
    "gaussian": "conditional Gaussian",
    "spacetime": "one Gaussian over parcels and time",
    "model": "our model (tiny), which starts there",
}
with style():
    figure, axes = plt.subplots(figsize=(7.2, 3.6))
    for number, (method, label) in enumerate(SHOWN.items()):
        rows = of_sites[of_sites["method"] == method].sort_values("mask_ratio")
        value, bars = with_bars(rows)
        colour, marker = METHODS[method]
        places = np.arange(len(rows)) + (number - 2) * 0.12
        axes.errorbar(places, value, bars, fmt=marker, color=colour, label=label, capsize=2.5)
    axes.set_xticks(range(len(rows)), [f"{ratio:.0%}" for ratio in rows["mask_ratio"]])
    axes.set_xlabel("share of the patches that is hidden")
    axes.set_ylabel("R² of the hidden values")
    axes.set_ylim(0, 1)
    axes.set_title(f"{rows['n_subjects'].iloc[0]} people of three unseen sites (ABIDE, 200 parcels)")
    axes.legend(loc="upper right", ncols=2, fontsize=8)
    figure.savefig("unseen_sites.png", dpi=110, metadata={"Software": None})

# %% [markdown]
# ![R² of hidden values on unseen sites, by method and share hidden](unseen_sites.png)
