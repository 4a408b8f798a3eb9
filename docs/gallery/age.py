# %% [markdown]
# # Age, by a model and by a line
#
# A model is worth its trouble where it does better than ridge regression on correlations, which needs none. Here, as
# in our results on [ABIDE](../results/abide/README.md), it does not: measure before you believe. The cohort is
# simulated; age lowers the share that parcels take from their networks ([simulate](../stages/simulate.md)).

# %%
import subprocess

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from brainlm_data import open_store
from brainlm_model import load

simulate = "brainlm-data simulate --out cohort --subjects 60 --volumes 200 --tr 2 --seed 3 --parcels-only --quiet"
train = "brainlm-model train cohort/store.zarr --out tiny --set train.steps=10 train.batch_size=4 train.threads=1"
for command in (simulate, train):
    subprocess.run(command.split(), check=True, capture_output=True)

# %%
store = open_store("cohort/store.zarr")
model = load("tiny")
age = store.recordings["age"].to_numpy(float)
embeddings, correlations = [], []
for name in store.recordings["id"]:
    series = store.series(name)
    embeddings.append(model.embed(series))  # (width,): the state of the CLS token
    matrix = np.corrcoef(series.T)
    correlations.append(matrix[np.triu_indices_from(matrix, k=1)])

# %% [markdown]
# Five folds of people; nothing is fitted with those who are predicted. (The model itself has seen most of these
# people's series, never their ages.)

# %%
ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 6, 15)))
folds = KFold(5, shuffle=True, random_state=0)
figure, panels = plt.subplots(1, 2, figsize=(8, 3.6), sharey=True, layout="constrained")
for axes, name, features in zip(panels, ("Embeddings", "Correlations"), (embeddings, correlations), strict=True):
    predicted = cross_val_predict(ridge, np.array(features), age, cv=folds)
    r2 = 1 - ((age - predicted) ** 2).sum() / ((age - age.mean()) ** 2).sum()
    axes.scatter(age, predicted, s=14)
    axes.axline((50, 50), slope=1, color="#888888", linewidth=1)
    axes.set(title=f"{name}: R² {r2:.2f}", xlabel="age (years)")
    print(f"{name}: R2 {r2:.2f} in {len(age)} people")
panels[0].set_ylabel("predicted (years)")
figure.savefig("age.png", dpi=80, metadata={"Software": None})

# %% [markdown]
# ![Age and predicted age, from embeddings and from correlations](age.png)
