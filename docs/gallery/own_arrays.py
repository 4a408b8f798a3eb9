# %% [markdown]
# # Arrays that you have already
#
# Parcel series as `.npy` files, (time, parcel), and a table of the people become a store with splits, scaler and
# card. One of the files is broken: it is refused with its reason, and the others go through. All kinds that can be
# imported: [import](../import.md).

# %%
import subprocess
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from brainlm_data import open_store

random = np.random.default_rng(0)
folder = Path("mine")
folder.mkdir()
rows = []
for number in range(1, 13):
    shared = random.standard_normal((240, 1)).cumsum(axis=0) / 5
    series = 1000 + shared + random.standard_normal((240, 30))
    np.save(folder / f"sub-{number:02d}_task-rest.npy", series.astype(np.float32))
    rows.append({"participant_id": f"sub-{number:02d}", "age": 20 + number, "site": "north" if number < 7 else "south"})
pd.DataFrame(rows).to_csv(folder / "participants.tsv", sep="\t", index=False)
(folder / "sub-05_task-rest.npy").write_bytes(b"not an array")

# %%
run = "brainlm-data import arrays mine out --tr 2 --test .2 --validation .2 --external site=south"
subprocess.run(run.split(), check=True, capture_output=True)
store = open_store("out/store.zarr")
print(store.recordings[["id", "site", "age", "n_steps", "split", "status"]].to_string(index=False))
print(store.recordings.set_index("id")["reason"]["sub-05_task-rest"])

# %% [markdown]
# `--external site=south` keeps a whole site as a test of its own: nobody of it is in the training set, or in the
# scaler.

# %%
counts = pd.crosstab(store.recordings["site"], store.recordings["split"].fillna("refused"))
axes = counts.plot.barh(stacked=True, figsize=(7, 2.2))
axes.set(xlabel="recordings", ylabel="site", title="Who is in which split")
axes.legend(title="", loc="upper left", bbox_to_anchor=(1.02, 1))
plt.tight_layout()
plt.savefig("own_arrays.png", dpi=80, metadata={"Software": None})

# %% [markdown]
# ![Recordings of each site by split](own_arrays.png)
