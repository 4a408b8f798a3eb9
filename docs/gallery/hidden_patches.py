# %% [markdown]
# # What a model fills in
#
# Half of the patches of a test person's window are hidden; a model that was trained for some seconds on 32 simulated
# people predicts them. With so little training this is close to what the model starts from, a Gaussian ([the
# model](../model.md#the-gaussian-prior)).

# %%
import subprocess

import matplotlib.pyplot as plt
import numpy as np
import torch

from brainlm_model import WindowDataset, load

simulate = "brainlm-data simulate --out cohort --subjects 40 --volumes 200 --tr 2 --seed 1 --parcels-only --quiet"
train = "brainlm-model train cohort/store.zarr --out tiny --set train.steps=10 train.batch_size=4 train.threads=1"
for command in (simulate, train):
    subprocess.run(command.split(), check=True, capture_output=True)

# %%
model = load("tiny")
windows = WindowDataset("cohort/store.zarr", split="test", window=200)
x_BPT = windows[0][None]  # (1, parcel, time): scaled, one window of the first test recording
patch = model.config.patch
hidden_BPN = torch.rand((1, x_BPT.shape[1], 200 // patch), generator=torch.Generator().manual_seed(0)) < 0.5
filled_BPT = model.reconstruct(x_BPT, hidden_BPN)
hidden = hidden_BPN.repeat_interleave(patch, dim=2)  # of every step
error = ((filled_BPT - x_BPT)[hidden] ** 2).mean() / x_BPT[hidden].var()
print(f"R2 of the hidden values of this window: {1 - error:.2f}")

# %%
figure, panels = plt.subplots(1, 3, figsize=(11, 3.6), sharey=True, layout="constrained")
seen = np.where(hidden[0], np.nan, x_BPT[0])
titles = ("Truth", "What the model sees", "Filled in")
for axes, values, title in zip(panels, (x_BPT[0], seen, filled_BPT[0]), titles, strict=True):
    axes.set_facecolor("#D9D9D9")
    image = axes.imshow(values, aspect="auto", cmap="RdBu_r", vmin=-2, vmax=2, interpolation="nearest")
    axes.set(title=title, xlabel="time (s)")
panels[0].set_ylabel("parcel")
figure.colorbar(image, ax=panels, label="scaled BOLD")
figure.savefig("hidden_patches.png", dpi=60, metadata={"Software": None})

# %% [markdown]
# ![A window as it is, as the model sees it, and as it fills it in](hidden_patches.png)
