"""Is the representation worth more than tangent-space connectivity, and does it know a person again?

    python -m benchmarks.worth STORE MODEL --json [--out FOLDER] [--only masked traits identification]
        [--columns age ...] [--sessions FILE.npz]

Masked reconstruction: stage `evaluate` on every split of unseen people (test, external). By split, masking and mask
ratio, differences of flat R2 with paired 95 % intervals over subjects: `model_minus_best_baseline` (`against`: the one
that reached most there, which favours the baselines) and `model_minus_untrained`: what training added.

Traits: stage `phenotype` with ridge regressions only, by its own splits (a site left out in turn where there is one,
and by TR or scanner). `representation_minus_tangent`: the recommended readout, which is closed-form connectivity and
takes nothing of the model; `model_minus_tangent`: features of the model, each with the same ridge regression. All have
paired 95 % intervals over people; p is corrected after Holm over columns, and over methods. `--out` keeps the stages'
files; what is there is read, and nothing is predicted again.

Identification: rank 1 of a person among all by the correlation of vectors, as they are and (`_centred`) without the
mean of all people's first parts. Of STORE halves of recordings of unseen
people (splits test and external); of `--sessions` (arrays data, offset, scale, subject, session: data/stages) two
sessions of the people who have them. `minus_connectivity`: paired, against Fisher z of the correlations.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import tools

tools.one_thread()

# ruff: noqa: E402
import numpy as np

from brainlm_data import BrainLMError, open_store
from brainlm_model.baselines.smoother import STRENGTHS
from brainlm_model.cli import main as brainlm_model
from brainlm_model.eval.latent.identify import scores, similarity
from brainlm_model.eval.parcels import connectivity as correlations
from brainlm_model.eval.rows import find, select
from brainlm_model.eval.statistics.intervals import interval
from brainlm_model.eval.statistics.subjects import subject_draws
from brainlm_model.paper.opening import best_baseline
from brainlm_model.trained import connectivity
from brainlm_model.trained.load import load
from brainlm_model.trained.second_order import missing, of_model

METHODS = (
    "cls_ridge", "mean_ridge", "parcels_ridge", "adapted_ridge", "attention_ridge", "readout", "readout_wide",
    "log_ridge", "correlations_ridge", "tangent_ridge",
)  # fmt: skip
UNSEEN = ("test", "external")
PARTS = ("masked", "traits", "identification")
DRAWS = 1000


def by_command(words: list[str]) -> None:
    """Run a command of brainlm-model; what it prints goes to stderr, as stdout has the result alone."""
    with contextlib.redirect_stdout(sys.stderr):
        status = brainlm_model(words)
    if status:
        sys.exit(status)


def predicted(store: Path, model: Path, out: Path, columns: list[str], threads: int) -> dict[str, Any]:
    """Content of the stage's phenotype.json, which is made where it is not there."""
    path = out / "phenotype.json"
    if not path.is_file():
        keys = [f"phenotype.threads={threads}", f"phenotype.methods=[{', '.join(METHODS)}]"]
        if columns:
            keys.append(f"phenotype.columns=[{', '.join(columns)}]")
        call = ["paper", str(store), str(model), "--tasks", "phenotype", "--out", str(out), "--set", *keys]
        by_command(call)
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def evaluated(store: Path, model: Path, out: Path, threads: int) -> dict[str, Any]:
    """By split of unseen people that the store has: content of the stage's masked.json, made where it is not there."""
    table = open_store(store).recordings
    found = {}
    for split in UNSEEN:
        if not (table["split"] == split).any():
            continue
        path = out / split / "masked.json"
        if not path.is_file():
            keys = [f"evaluate.split={split}", f"evaluate.threads={threads}"]
            by_command(["evaluate", str(store), str(model), "--out", str(path.parent), "--set", *keys])
        found[split] = json.loads(path.read_text())
    return found


def masked(contents: dict[str, Any]) -> dict[str, Any]:
    """By key, split, masking and mask ratio: the model minus the best baseline, and minus itself untrained."""
    found: dict[str, Any] = {"model_minus_best_baseline": {}, "model_minus_untrained": {}}
    for split, content in contents.items():
        values = select(content["Results"], metric="r2_flat")
        for row in values:
            if row["method"] != "model":
                continue
            place = {"masking": row["masking"], "mask_ratio": row["mask_ratio"]}
            best = best_baseline(content, row["masking"], row["mask_ratio"])["against"]
            for key, against in (("model_minus_best_baseline", best), ("model_minus_untrained", "untrained")):
                compared = find(content["Comparisons"], against=against, **place)
                by_masking = found[key].setdefault(split, {}).setdefault(row["masking"], {})
                by_masking[f"{row['mask_ratio']:g}"] = {
                    "value": compared["difference"], "low": compared["low"], "high": compared["high"],
                    "against": against, "model": row["value"], "n_subjects": compared["n_subjects"],
                }  # fmt: skip
    return found


def traits(content: dict[str, Any]) -> dict[str, Any]:
    """By column, split and metric: the readout, and each feature of the model, minus tangent space."""
    ours = {row["method"] for row in content["Results"] if row["group"] == "ours"} - {"ours_best"}
    found: dict[str, Any] = {"representation_minus_tangent": {}, "model_minus_tangent": {}, "scores": {}}
    for row in content["RepresentationMinusTangent"]:
        by_split = found["representation_minus_tangent"].setdefault(row["column"], {})
        by_split.setdefault(row["validation"], {})[row["metric"]] = _of(row, "difference", "p_holm")
    for row in content["Comparisons"]:
        if row["against"] == "tangent_ridge" and row["method"] in ours:
            by_split = found["model_minus_tangent"].setdefault(row["column"], {})
            by_method = by_split.setdefault(row["validation"], {}).setdefault(row["method"], {})
            by_method[row["metric"]] = _of(row, "difference", "p_holm")
    for row in content["Results"]:
        if row["metric"] in ("r2", "r2_within", "r_within", "auroc"):
            by_split = found["scores"].setdefault(row["column"], {})
            by_method = by_split.setdefault(row["validation"], {}).setdefault(row["method"], {})
            by_method[row["metric"]] = _of(row, "value", "p_permutation")
    return found


def _of(row: dict[str, Any], value: str, p: str) -> dict[str, Any]:
    return {"value": row[value], "low": row["low"], "high": row["high"], "p": row[p]}


def vectors_of(series_TP: np.ndarray, rate_hz: float, model: Any) -> dict[str, np.ndarray]:
    """Vectors of a part of a recording by method; `model` None: without those of a model."""
    r_PP = correlations(series_TP)
    upper = np.triu_indices(len(r_PP), 1)
    vectors = {"correlations": np.arctanh(np.clip(r_PP[upper], -0.999999, 0.999999))}
    for name in connectivity.COPIES:
        vectors[name] = connectivity.of_copy(name, series_TP, rate_hz)
    vectors["copies"] = np.concatenate([vectors[name] for name in connectivity.COPIES])
    if model is not None:
        absent = missing(model.network)
        window = model.config.window
        if len(series_TP) < window:  # the rest of the window is not known
            lacking = np.full((window - len(series_TP), series_TP.shape[1]), np.nan, series_TP.dtype)
            series_TP = np.concatenate([series_TP, lacking])
        vectors["cls"] = model.embed(series_TP)
        for kind in ("adapted", "attention"):
            if kind not in absent:
                vectors[kind] = of_model(model.network, model.scaler, series_TP, kind)
    return vectors


def halves(store: Any, model: Any) -> tuple[list[dict[str, np.ndarray]], list[dict[str, np.ndarray]], list[str]]:
    """Vectors of first and second halves of one recording each of unseen people."""
    table = store.recordings
    table = table[(table["status"] == "done") & table["split"].isin(UNSEEN)].drop_duplicates("subject")
    first, second, people = [], [], []
    for name, subject in zip(table["id"], table["subject"], strict=True):
        series_TP = np.asarray(store.series(name))
        middle = len(series_TP) // 2
        try:
            pair = [vectors_of(part, store.rate_hz, model) for part in (series_TP[:middle], series_TP[-middle:])]
        except BrainLMError as error:
            print(f"left out: {name}: {error}", file=sys.stderr)
            continue
        first.append(pair[0])
        second.append(pair[1])
        people.append(str(subject))
    return first, second, people


def sessions(path: Path, rate_hz: float) -> tuple[list[Any], list[Any], list[str]]:
    """Vectors of the first and the second session of people who have both."""
    with np.load(path, allow_pickle=False) as arrays:
        data, offset, scale = (arrays[key] for key in ("data", "offset", "scale"))
        subjects, numbers = arrays["subject"].tolist(), arrays["session"].tolist()
    of: dict[str, dict[str, int]] = {}
    for row, (subject, session) in enumerate(zip(subjects, numbers, strict=True)):
        of.setdefault(subject, {})[session] = row
    first, second, people = [], [], []
    for subject, rows in sorted(of.items()):
        if len(rows) > 1:
            pair = []
            for session in sorted(rows)[:2]:
                row = rows[session]
                pair.append(vectors_of(data[row] * scale[row] + offset[row], rate_hz, None))
            first.append(pair[0])
            second.append(pair[1])
            people.append(subject)
    return first, second, people


def identified(first: list[Any], second: list[Any], people: list[str]) -> dict[str, Any]:
    """Rank 1 of each method, and its difference to plain correlations, with intervals over people."""
    weights_BS = subject_draws(people, DRAWS, 0)
    found: dict[str, Any] = {"people": len(people)}
    for centred in (False, True):
        rank1 = {}
        for name in first[0]:
            rank1[name] = _rank1(*(np.stack([vectors[name] for vectors in part]) for part in (first, second)), centred)
        behind = "_centred" if centred else ""
        found[f"rank1{behind}"] = {name: _estimate(each_S, weights_BS) for name, each_S in rank1.items()}
        found[f"minus_connectivity{behind}"] = {
            name: _estimate(each_S - rank1["correlations"], weights_BS) for name, each_S in rank1.items()
        }
    return found


def _rank1(first_SF: np.ndarray, second_SF: np.ndarray, centred: bool) -> np.ndarray:
    """Share (S,) of both directions in which a person is the most similar; `centred`: without the first parts' mean."""
    # a person cannot be known by what is missing
    known_F = np.isfinite(first_SF).all(axis=0) & np.isfinite(second_SF).all(axis=0)
    first_SF, second_SF = first_SF[:, known_F], second_SF[:, known_F]
    if centred:  # what all people have in common tells nobody apart
        mean_F = first_SF.mean(axis=0)
        first_SF, second_SF = first_SF - mean_F, second_SF - mean_F
    return np.asarray(scores(similarity(first_SF, second_SF))[:, 0])


def _estimate(each_S: np.ndarray, weights_BS: np.ndarray) -> dict[str, float | None]:
    low, high = interval(weights_BS @ each_S / weights_BS.sum(1))
    ends = {"low": float(low), "high": float(high)} if np.isfinite(low) else {"low": None, "high": None}
    return {"value": float(each_S.mean()), **ends}


def main() -> None:
    """Run what is asked for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("model", type=Path, help="folder of a trained model")
    parser.add_argument("--out", type=Path, help="where files of stages evaluate and phenotype are, or are kept")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to do; all")
    parser.add_argument("--columns", nargs="*", default=[], help="names, or {name: sex, task: classification}")
    parser.add_argument("--sessions", type=Path, help=".npz of two sessions of people")
    parser.add_argument("--rate", type=float, default=0.5, help="sampling rate of --sessions, Hz")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        out = given.out or Path(scratch)
        if "masked" in given.only:
            found |= masked(evaluated(given.store, given.model, out / "masked", given.threads))
        if "traits" in given.only:
            found |= traits(predicted(given.store, given.model, out, given.columns, given.threads))
            found["strengths"] = list(STRENGTHS)
    if "identification" in given.only:
        found["identification"] = {"halves": identified(*halves(open_store(given.store), load(given.model)))}
        if given.sessions:
            found["identification"]["sessions"] = identified(*sessions(given.sessions, given.rate))
    print(json.dumps(found, indent=None if given.json else 2))


if __name__ == "__main__":
    main()
