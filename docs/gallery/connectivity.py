# %% [markdown]
# # A recording, and who goes with whom
#
# Six simulated people, without images (seconds); their store; the series of one recording as a carpet, and the
# correlations of its parcels, both ordered by network. The networks of simulated cohorts are a geometric stand-in,
# not Yeo's.

# %%
import subprocess

import matplotlib.pyplot as plt
import numpy as np

from brainlm_data import open_store

simulate = "brainlm-data simulate --out cohort --subjects 6 --volumes 200 --tr 2 --seed 1 --parcels-only --quiet"
subprocess.run(simulate.split(), check=True)
store = open_store("cohort/store.zarr")
print(store.recordings[["id", "n_steps", "tr_s", "age", "sex", "split"]].to_string(index=False))

# %%
series = store.series("sub-01_task-rest")  # (time, parcel) float32
order = np.argsort(store.parcels["network"].to_numpy(), kind="stable")
carpet = (series - series.mean(axis=0))[:, order].T
correlations = np.corrcoef(carpet)

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
limit = np.percentile(np.abs(carpet), 98)
image = left.imshow(carpet, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
left.set(title="Series", xlabel="time (s)", ylabel="parcel, by network")
figure.colorbar(image, ax=left, label="deviation (grand mean 10,000)")
image = right.imshow(correlations, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
right.set(title="Correlations", xlabel="parcel, by network")
figure.colorbar(image, ax=right, label="r")
figure.savefig("connectivity.png", dpi=60, metadata={"Software": None})

# %% [markdown]
# ![Carpet of one recording and the correlations of its parcels](connectivity.png)
