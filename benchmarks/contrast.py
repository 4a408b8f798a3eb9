"""Does a network that learns by gradient to know a person again know age, sex and diagnosis better than its start?

    python -m benchmarks.contrast STORE --json [--steps 150] [--window 60] [--negatives site] [--seeds 0 1]

The network transforms the parcel series, and a person's vector is `log_connectivity` of what comes out (connectivity of
the output, as in VarCoNet, arXiv 2510.02120). Its last layers start at zero, so that it begins as the
log connectivity of the series itself. Objective: of two windows of one person, one from either half of the recording,
each is the nearest to the other among `PEOPLE` people (InfoNCE, van den Oord et al., 2018), of one site where
`--negatives site` says so, so that the scanner is of no help; training people only, and the step that is best for
validation people is kept.

`identification`: rank 1 of halves of unseen people's recordings. `traits`: what the same ridge regression (penalty
chosen by site within training people) tells of people of the splits `test` and `external`, trained on the split
`train`, from `start` (step 0), `learnt`, `tangent` and `readout` (three copies), and `learnt_minus_start`,
`learnt_minus_tangent` with paired 95 % intervals over people. Age: r of its logarithm; classes: area under the ROC
curve; both within sites.
"""

from __future__ import annotations

import copy
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import numpy as np
import torch
from sklearn.covariance import ledoit_wolf_shrinkage
from torch import Tensor, nn
from torch.nn import functional

from brainlm_data import open_store
from brainlm_model.baselines import tangent
from brainlm_model.baselines.readout import TraitClassifier, TraitRegressor
from brainlm_model.baselines.spdnet import raised_logarithm
from brainlm_model.eval.latent.identify import scores as ranks
from brainlm_model.eval.latent.identify import similarity
from brainlm_model.eval.phenotype.scores import HeldOutPredictions, measure
from brainlm_model.eval.statistics.intervals import interval
from brainlm_model.eval.statistics.subjects import subject_draws
from brainlm_model.trained import connectivity

PEOPLE, LR, EVERY, DRAWS = 32, 1e-3, 25, 1000


@dataclass(frozen=True)
class Person:
    """One recording of one person: series (P, T) with 0 where a parcel is not known."""

    site: str
    split: str
    x_PT: Tensor
    row: Any  # of the store's table


class Residual(nn.Module):
    """x + a filter of each parcel, a mixture of parcels of low rank, and a filter back; (B, P, T) to the same."""

    def __init__(self, parcels: int, channels: int = 8, taps: int = 9, rank: int = 16) -> None:
        super().__init__()
        self.into = nn.Conv1d(1, channels, taps, padding="same")
        self.mix = nn.Sequential(nn.Linear(parcels, rank), nn.Linear(rank, parcels))
        self.out = nn.Conv1d(channels, 1, taps, padding="same")
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(torch.as_tensor(self.out.bias))

    def forward(self, x_BPT: Tensor) -> Tensor:
        """See the class."""
        batch, parcels, steps = x_BPT.shape
        h_BPKT = self.into(x_BPT.reshape(batch * parcels, 1, steps)).view(batch, parcels, -1, steps)
        h_BPKT = functional.gelu(h_BPKT + self.mix(h_BPKT.transpose(1, -1)).transpose(1, -1))
        return x_BPT + torch.as_tensor(self.out(h_BPKT.flatten(0, 1))).view(batch, parcels, steps)


class OutputConnectivity(nn.Module):
    """Series (B, P, T) -> upper triangles (B, F) of log(.7 C + .3 I), C: correlations of the transformed series."""

    def __init__(self, parcels: int, blocks: int = 2) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Residual(parcels) for _ in range(blocks)))
        self.sharpness = nn.Parameter(torch.tensor(math.log(20.0)))
        self.register_buffer("places", torch.stack(tuple(torch.triu_indices(parcels, parcels))))

    def forward(self, x_BPT: Tensor) -> Tensor:
        """See the class."""
        y_BPT = self.blocks(x_BPT)
        y_BPT = y_BPT - y_BPT.mean(2, keepdim=True)
        y_BPT = y_BPT / y_BPT.norm(dim=2, keepdim=True).clamp(min=1e-6)
        own = connectivity.SHRINKAGE
        identity_PP = torch.eye(y_BPT.shape[1])
        log_BPP = raised_logarithm((1 - own) * y_BPT @ y_BPT.mT + own * identity_PP)
        rows, columns = torch.as_tensor(self.places)
        return log_BPP[:, rows, columns] * torch.where(rows == columns, 1.0, math.sqrt(2))

    def loss(self, one_BPT: Tensor, other_BPT: Tensor) -> Tensor:
        """InfoNCE of two windows of each person, both ways."""
        both = self(torch.cat([one_BPT, other_BPT]))
        both = functional.normalize(both - both.mean(0), dim=1)
        one_BF, other_BF = both.chunk(2)
        logits_BB = self.sharpness.exp() * one_BF @ other_BF.T
        own = torch.arange(len(logits_BB))
        return (functional.cross_entropy(logits_BB, own) + functional.cross_entropy(logits_BB.T, own)) / 2


def people_of(store: Any) -> list[Person]:
    """One recording of every person, each known parcel standardised."""
    table = store.recordings
    table = table[table["status"] == "done"].drop_duplicates("subject")
    found = []
    for row in table.itertuples():
        series_PT = np.asarray(store.series(row.id), np.float64).T
        centred = series_PT - series_PT.mean(1, keepdims=True)
        scaled = centred / np.maximum(centred.std(1, keepdims=True), 1e-9)
        x_PT = torch.from_numpy(np.nan_to_num(scaled)).float()
        found.append(Person(str(row.site), str(row.split), x_PT, row))
    return found


def windows(people: list[Person], steps: int, random: np.random.Generator | None) -> tuple[Tensor, Tensor]:
    """(B, P, steps) of either half; `random` None: the first steps of each half."""
    one, other = [], []
    for person in people:
        middle = person.x_PT.shape[1] // 2
        shift = [0, 0] if random is None else random.integers(0, middle - steps + 1, 2).tolist()
        one.append(person.x_PT[:, shift[0] : shift[0] + steps])
        other.append(person.x_PT[:, middle + shift[1] : middle + shift[1] + steps])
    return torch.stack(one), torch.stack(other)


def batch(train: list[Person], of_one_site: bool, random: np.random.Generator) -> list[Person]:
    """`PEOPLE` people, or as many as a site has, drawn by the number of its people."""
    if of_one_site:
        site = train[int(random.integers(len(train)))].site
        train = [p for p in train if p.site == site]
    return [train[k] for k in random.choice(len(train), min(PEOPLE, len(train)), replace=False)]


def learn(
    people: list[Person], window: int, steps: int, seed: int, of_one_site: bool
) -> tuple[OutputConnectivity, list[list[float]]]:
    """The network of the step with the least loss of validation people, and these losses."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    train = [p for p in people if p.split == "train"]
    held_out = windows([p for p in people if p.split == "validation"], window, None)
    network = OutputConnectivity(len(train[0].x_PT))
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR, weight_decay=0.01)
    best, log = copy.deepcopy(network), []
    for step in range(steps + 1):
        if step % EVERY == 0:
            with torch.no_grad():
                log.append([step, round(float(network.loss(*held_out)), 4)])
            print(f"seed {seed}: step {step}, validation loss {log[-1][1]}", file=sys.stderr, flush=True)
            if log[-1][1] <= min(loss for _, loss in log):
                best = copy.deepcopy(network)
        loss = network.loss(*windows(batch(train, of_one_site, random), window, random))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return best, log


def features(network: OutputConnectivity, series: list[Tensor]) -> np.ndarray:
    """(n, F) of series (P, T) of any lengths."""
    with torch.no_grad():
        return np.concatenate([network(x_PT[None]).numpy() for x_PT in series])


def rank1(network: OutputConnectivity, people: list[Person]) -> np.ndarray:
    """(S,) of halves of unseen people, without what all have in common."""
    unseen = [p.x_PT for p in people if p.split in ("test", "external")]
    first = features(network, [x_PT[:, : x_PT.shape[1] // 2] for x_PT in unseen])
    second = features(network, [x_PT[:, x_PT.shape[1] // 2 :] for x_PT in unseen])
    mean_F = first.mean(0)
    return np.asarray(ranks(similarity(first - mean_F, second - mean_F))[:, 0])


def held_out(x_nF: np.ndarray, blocks: int, people: list[Person], column: str, split: str) -> HeldOutPredictions:
    """Predictions of people of a split by a ridge regression of the people of `train`."""
    known = np.array([np.isfinite(float(getattr(p.row, column))) for p in people])
    train = known & np.array([p.split == "train" for p in people])
    test = known & np.array([p.split == split for p in people])
    y = np.array([float(getattr(p.row, column)) for p in people])
    sites = np.array([p.site for p in people])
    strata = np.unique(sites[test], return_inverse=True)[1]
    folds = np.zeros(test.sum(), np.intp)
    if len(np.unique(y[known])) > 2:
        y = np.log(y)
        told = TraitRegressor(blocks=blocks).fit(x_nF[train], y[train], sites[train]).predict(x_nF[test])[:, None]
        return HeldOutPredictions(told, told, y[test], y[test], folds, strata)
    places = np.unique(y[known], return_inverse=True)[1]
    labels = np.full(len(y), -1)
    labels[known] = places
    fit = TraitClassifier(blocks=blocks).fit(x_nF[train], labels[train], sites[train])
    score = fit.decision_function(x_nF[test])
    both = np.stack([-score, score], 1)
    truth = labels[test].astype(np.float64)
    return HeldOutPredictions(both, both, truth, truth, folds, strata)


def compared(held: dict[str, HeldOutPredictions]) -> dict[str, Any]:
    """Values of each method, and paired differences."""
    first = next(iter(held.values()))
    count = len(first.truth)
    weights = np.concatenate([np.ones((1, count)), subject_draws([str(k) for k in range(count)], DRAWS, 0)])
    metric = "auroc" if first.classes else "r_within"
    drawn = {name: measure(one, weights)[metric] for name, one in held.items()}
    found: dict[str, Any] = {"metric": metric, "people": count}
    for name, values in drawn.items():
        found[name] = _estimate(values)
    for learnt in [name for name in drawn if name.startswith("learnt")]:
        for against in ("start", "tangent"):
            found[f"{learnt}_minus_{against}"] = _estimate(drawn[learnt] - drawn[against])
    return found


def _estimate(drawn_B: np.ndarray) -> dict[str, float]:
    """The first is the value, the others are draws."""
    low, high = interval(drawn_B[1:])
    return {"value": round(float(drawn_B[0]), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def shrunk_correlations(x_PT: Tensor) -> np.ndarray:
    """(P, P) as `tangent_ridge` of stage `phenotype` takes them; 0 at parcels that do not vary, 1 on the diagonal."""
    z_PT = (x_PT - x_PT.mean(1, keepdim=True)).numpy().astype(np.float64)
    z_PT /= np.maximum(z_PT.std(1, keepdims=True), 1e-9)
    share = ledoit_wolf_shrinkage(z_PT[z_PT.any(1)].T, assume_centered=True)
    correlations_PP = (1 - share) * z_PT @ z_PT.T / z_PT.shape[1]
    np.fill_diagonal(correlations_PP, 1.0)
    return np.asarray(correlations_PP)


def main() -> None:
    options = tools.parser(__doc__)
    options.add_argument("store", type=Path)
    options.add_argument("--steps", type=int, default=150)
    options.add_argument("--window", type=int, default=60, help="steps of a window; few make the task hard")
    options.add_argument(
        "--negatives", choices=["all", "site"], default="all", help="site: people of one site in a step"
    )
    options.add_argument("--seeds", nargs="+", type=int, default=[0])
    options.add_argument("--columns", nargs="+", default=["age", "sex_1m_2f", "dx_1asd_2control"])
    given = options.parse_args()
    torch.set_num_threads(1)
    store = open_store(given.store)
    people = people_of(store)
    everybody = [p.x_PT for p in people]
    start = OutputConnectivity(len(everybody[0]))
    spaces: dict[str, tuple[np.ndarray, int]] = {"start": (features(start, everybody), 1)}
    known = {"start": rank1(start, people)}
    logs = {}
    for seed in given.seeds:
        network, logs[seed] = learn(people, given.window, given.steps, seed, given.negatives == "site")
        spaces[f"learnt_{seed}"] = features(network, everybody), 1
        known[f"learnt_{seed}"] = rank1(network, people)
    train = np.array([k for k, p in enumerate(people) if p.split == "train"])
    spaces["tangent"] = tangent.features(np.stack([shrunk_correlations(x_PT) for x_PT in everybody]), train), 1
    copies = [connectivity.copies(x_PT.numpy().T.astype(np.float64), store.rate_hz).ravel() for x_PT in everybody]
    spaces["readout"] = np.stack(copies), 3
    traits: dict[str, Any] = {}
    for column in given.columns:
        for split in ("test", "external"):
            held = {name: held_out(x_nF, blocks, people, column, split) for name, (x_nF, blocks) in spaces.items()}
            traits.setdefault(column, {})[split] = compared(held)
    weights = subject_draws([str(k) for k in range(len(known["start"]))], DRAWS, 0)
    identification = {}
    for name, each_S in known.items():
        low, high = interval(weights @ each_S / weights.sum(1))
        identification[name] = {"value": round(float(each_S.mean()), 4), "low": float(low), "high": float(high)}
    tools.show({"identification": identification, "validation": logs, "traits": traits}, given.json)


if __name__ == "__main__":
    main()
