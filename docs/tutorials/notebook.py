# %% [markdown]
# # Dataset and model in a notebook
#
# For whoever comes from machine learning: a cohort, a PyTorch dataset, a model, embeddings, in a minute or two on a
# laptop and without data of your own. Every cell below was run; what it printed stands under it. With a store of your
# own ([your own data](own-data.md), [fMRIPrep](fmriprep.md), [import](../import.md)) begin at "The store".

# %%
import subprocess


def command(line: str) -> None:
    """A command as in a terminal; in Jupyter `!` does the same."""
    subprocess.run(line.split(), check=True, capture_output=True)


command("brainlm-data simulate --out cohort --subjects 40 --volumes 240 --tr 2 --seed 1 --parcels-only --quiet")

# %% [markdown]
# ## The store
#
# One Zarr folder of a cohort. Tables are pandas DataFrames; `recordings` has one row per recording, with its split
# (by subject), quality and whatever participants.tsv knows.

# %%
from brainlm_data import open_store

store = open_store("cohort/store.zarr")
print(store.recordings[["id", "age", "sex", "n_steps", "mean_fd_mm", "split"]].head(3).to_string(index=False))
print(store.recordings["split"].value_counts().to_string())

# %% [markdown]
# A series is (time, parcel), float32, unscaled; NaN where a parcel or a step has no data. `valid` is false where
# volumes were dropped or censored. `prepare` demeans it and scales it with the median and interquartile range of the
# **training** people.

# %%
from brainlm_data import prepare

series = store.series("sub-01_task-rest")
scaled = prepare(series, store.scaler)
print(series.shape, series.dtype, "valid steps:", store.valid("sub-01_task-rest").sum())

# %% [markdown]
# ## The dataset
#
# One window per recording and epoch, drawn from the seed, the epoch and the recording's id alone: it depends on
# neither the order nor the number of workers.

# %%
from torch.utils.data import DataLoader

from brainlm_model import WindowDataset

windows = WindowDataset(store, split="train", window=200)
windows.set_epoch(1)
for batch_BPT in DataLoader(windows, batch_size=8, shuffle=True):
    print(batch_BPT.shape, batch_BPT.dtype)
    break

# %% [markdown]
# ## A model
#
# `tiny` starts from a conditional Gaussian and learns the rest ([the model](../model.md)). Twenty steps are enough to
# see it work, not for a result. `evaluate` scores it on people that it has not seen, beside baselines.

# %%
command("brainlm-model train cohort/store.zarr --out tiny --set train.steps=20 train.batch_size=4 train.threads=1")
command("brainlm-model evaluate cohort/store.zarr tiny --set evaluate.masking=[random] evaluate.threads=1")

# %%
import pandas as pd

scores = pd.read_csv("tiny/metrics/test/masked.csv")
flat = scores[scores["metric"] == "r2_flat"]
print(flat.pivot_table(index="label", columns="mask_ratio", values="value").round(2).to_string())

# %% [markdown]
# Four test people: a check of the machinery. The column heads are shares of hidden tokens; the values are R², not
# clipped at 0 ([metrics](../metrics.md)). "untrained" is the Gaussian that the model starts from.
#
# ## Embeddings
#
# Nothing is masked and nothing is drawn, so the same recording always has the same embedding.

# %%
from brainlm_model import load

model = load("tiny")
embedding = model.embed((store, "sub-01_task-rest"))
print("CLS", embedding.cls.shape, "parcels", embedding.parcels.shape, "windows", embedding.windows)

# %% [markdown]
# All recordings into one table: `brainlm-model embed tiny cohort/store.zarr --out embeddings.parquet --kind cls`. A
# prediction from them, beside ridge regression on correlations: [gallery](../gallery/age.py). Fine-tuning:
# [finetune](../finetune.md).
#
# ## Fill in what is hidden

# %%
import torch

x_BPT = windows[0][None]
hidden_BPN = torch.rand((1, x_BPT.shape[1], 10), generator=torch.Generator().manual_seed(0)) < 0.5  # 10 patches of 20
filled_BPT = model.reconstruct(x_BPT, hidden_BPN)
hidden = hidden_BPN.repeat_interleave(20, dim=2)
error = ((filled_BPT - x_BPT)[hidden] ** 2).mean() / x_BPT[hidden].var()
print(f"R2 of the hidden values of this window: {1 - error:.2f}")

# %% [markdown]
# Next: [recipes for pretraining](../pretrain.md), with hardware, time and the numbers to expect; every function:
# [Python](../api/model.md).
