"""Labels that are known functions of the data are found, labels of nothing are not, and nothing leaks."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import worth
from brainlm_data import ConfigError, Files, InputError, section_from
from brainlm_data.runner.call import call
from brainlm_model.cli import main
from brainlm_model.eval.phenotype import finetuned, section, words
from brainlm_model.eval.phenotype import stage as phenotype
from brainlm_model.eval.phenotype.stage import STAGE, Config
from brainlm_model.training import stage as train
from tests.model import traits
from tests.model.people import trained

NAMES = {
    "phenotype_arrays": "phenotype.npz",
    "phenotype_csv": "t.csv",
    "phenotype_json": "t.json",
    "phenotype_svg": "t.svg",
    "phenotype_png": "t.png",
}
QUICK = {"threads": 1, "device": "cpu", "bootstrap": 200, "permutations": 50, "folds": 4, "inner": 2, "epochs": 3,
         "leave_out": None, "transfer": None}  # fmt: skip


def predict(home: Path, out: Path, workdir: bool = False, **keys: Any) -> dict[str, Any]:
    """Run the stage; its JSON."""
    out.mkdir(exist_ok=True)
    inputs = {"store": home / "store.zarr", "recordings": home / "recordings.parquet", "scaler": home / "scaler.npz",
              "model": home / "model" / "model.safetensors", "model_scaler": home / "model" / "scaler.npz",
              "model_config": home / "model" / "config.json"}  # fmt: skip
    meta = {"workdir": str(out / "state")} if workdir else {}
    config = section_from({**QUICK, **keys}, STAGE)
    facts = call(STAGE, Files(inputs, meta), {k: out / v for k, v in NAMES.items()}, config)
    assert STAGE.describe(facts)
    return json.loads((out / "t.json").read_text())


def value(content: dict[str, Any], column: str, method: str, metric: str) -> dict[str, Any]:
    return next(r for r in content["Results"] if (r["column"], r["method"], r["metric"]) == (column, method, metric))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("planted")
    trained(traits.make(home), home / "model")
    return home


@pytest.fixture(scope="module")
def finished(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every method on the columns that are found without being named."""
    out = tmp_path_factory.mktemp("whole")
    predict(home, out, bootstrap=1000)
    return out


@pytest.fixture(scope="module")
def whole(finished: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((finished / NAMES["phenotype_json"]).read_text())
    return content


def test_planted_labels_are_found(whole: dict[str, Any]) -> None:
    assert [(c["Column"], c["Task"]) for c in whole["Columns"]] == [
        ("age", "regression"), ("sex", "classification"),
    ]  # fmt: skip
    for method in ("correlations_ridge", "tangent_ridge", "correlations_svm", "coskewness_ridge", "readout",
                   "readout_wide", "adapted_ridge"):  # fmt: skip
        assert value(whole, "age", method, "r2")["low"] > 0.1, method
        assert value(whole, "sex", method, "auroc")["low"] > 0.6, method
        assert value(whole, "age", method, "r_within")["p_permutation"] == pytest.approx(1 / 51)
    best = value(whole, "age", "correlations_ridge", "mse")["value"]
    assert best < 0.6 * value(whole, "age", "trivial", "mse")["value"]
    assert value(whole, "age", "trivial", "r")["value"] is None  # it would compare folds
    assert value(whole, "age", "trivial", "r2")["value"] <= 0
    assert value(whole, "age", "trivial", "mse_transformed")["value"] == pytest.approx(1, abs=0.1)
    assert value(whole, "sex", "trivial", "auroc")["value"] == 0.5
    assert value(whole, "sex", "trivial", "balanced_accuracy")["value"] == 0.5
    assert value(whole, "sex", "correlations_ridge", "balanced_accuracy")["low"] > 0.55
    assert value(whole, "age", "trivial", "r_within")["value"] is None
    ahead = next(r for r in whole["Comparisons"] if (r["column"], r["method"], r["against"])
                 == ("age", "trivial", "correlations_ridge"))  # fmt: skip
    assert ahead["verdict"] == "worse" and ahead["high"] < 0 and ahead["p"] <= ahead["p_holm"] < 0.05


def test_every_method_has_the_same_people_and_candidates(whole: dict[str, Any]) -> None:
    assert set(whole["Methods"]) == set(section.NAMES.__args__) - set(section.PUBLISHED)
    people = {(r["column"], r["n_subjects"]) for r in whole["Results"]}
    assert people == {("age", traits.PEOPLE - 2), ("sex", traits.PEOPLE - 2)}
    assert whole["Columns"][0]["LeftOut"] == {"no label": 1}
    assert whole["Columns"][1]["LeftOut"] == {"recordings with different labels": 1}
    assert whole["Subjects"] == traits.PEOPLE - 1 and whole["SubjectsSeenByModel"] > 40
    assert any("was trained or watched on" in text for text in whole["Warnings"])
    assert all(not row["comparable"] and row["reason"] for row in whole["Published"])
    assert {r["against"] for r in whole["Comparisons"]} == {"ours_best", "correlations_ridge", "tangent_ridge"}
    claims = {(row["column"], row["metric"]): row for row in whole["RepresentationMinusTangent"]}
    assert set(claims) == {("age", "r2_within"), ("age", "r_within"), ("age", "r2"), ("sex", "auroc")}
    first, second = claims["age", "r2_within"], claims["sex", "auroc"]
    assert min(first["p_holm"], second["p_holm"]) == pytest.approx(min(1, 2 * min(first["p"], second["p"])))
    chosen = whole["Columns"][0]["Chosen"]
    assert all(len(fold["strength"]) == 3 for fold in chosen["readout"])
    assert all(len(fold["strength"]) == 5 for fold in chosen["readout_wide"])


def test_what_the_benchmark_says_of_it(whole: dict[str, Any]) -> None:
    found = worth.traits(whole)
    row = found["representation_minus_tangent"]["age"]["4 folds"]["r2_within"]
    ours, theirs = (value(whole, "age", name, "r2_within")["value"] for name in ("readout", "tangent_ridge"))
    assert row["value"] == pytest.approx(ours - theirs) and row["low"] < row["value"] < row["high"]
    assert set(found["model_minus_tangent"]["sex"]["4 folds"]) >= {"cls_ridge", "adapted_ridge", "attention_ridge"}


def test_people_are_identified_and_strangers_are_not() -> None:
    rng = np.random.default_rng(0)
    common, own = 10 * rng.standard_normal(50), rng.standard_normal((20, 50))
    first, second = [], []
    for part in (first, second):
        for number in range(20):
            noisy = common + own[number] + rng.standard_normal(50)
            part.append(
                {"correlations": rng.standard_normal(50), "adapted": np.where(np.arange(50) < 3, np.nan, noisy)}
            )
    found = worth.identified(first, second, [f"{number:02d}" for number in range(20)])
    assert found["rank1_centred"]["adapted"]["value"] > 0.8 > 0.3 > found["rank1"]["correlations"]["value"]
    assert found["minus_connectivity_centred"]["adapted"]["low"] > 0.3


def test_labels_of_nothing_are_not_found(tmp_path: Path) -> None:
    trained(traits.make(tmp_path, planted=False, seed=1), tmp_path / "model")
    content = predict(tmp_path, tmp_path / "out", methods=["mean_ridge", "correlations_ridge", "tangent_ridge", "gcn"])
    for method in ("mean_ridge", "correlations_ridge", "tangent_ridge", "gcn", "ours_best"):
        assert value(content, "age", method, "r2")["low"] < 0
        found = value(content, "sex", method, "auroc")
        assert found["low"] < 0.5 < found["high"] and found["p_permutation"] > 0.02


def test_unseen_subjects_groups_and_confounds(home: Path, tmp_path: Path) -> None:
    methods = ["correlations_ridge", "mean_knn", "lstm"]
    sites = predict(home, tmp_path / "s", columns=["age"], leave_out="site", methods=methods)
    assert list(sites["Columns"][0]["Folds"]) == ["A", "B", "C", "D"]
    assert value(sites, "age", "correlations_ridge", "r")["low"] > 0.3
    keys = {"columns": [{"name": "dose", "transform": "minmax"}], "methods": methods}
    free = predict(home, tmp_path / "c", confounds=["age", "site"], **keys)
    assert value(free, "dose", "correlations_ridge", "r2")["low"] < 0  # what it has in common with age is gone
    assert value(predict(home, tmp_path / "d", **keys), "dose", "correlations_ridge", "r2")["low"] > 0.1
    assert "lstm" not in free["Methods"] and any("left out" in w for w in free["Warnings"])
    unseen = predict(home, tmp_path / "u", columns=["sex"], subjects="unseen", folds=2, methods=methods[:1])
    assert unseen["SubjectsSeenByModel"] == 0 and unseen["Subjects"] == 16


def test_the_splits_of_the_store(home: Path, tmp_path: Path) -> None:
    """Training people are learnt from, validation people choose, and only the others are predicted."""
    methods = ["readout_wide", "correlations_ridge", "tangent_ridge", "ptgb"]
    given = predict(home, tmp_path, columns=["sex"], leave_out="given", methods=methods)
    column = given["Columns"][0]
    assert column["Validation"] == "the store's splits, test" and column["Folds"] == {"unseen": 16}
    assert value(given, "sex", "correlations_ridge", "auroc")["value"] > 0.7
    with np.load(tmp_path / "phenotype.npz") as held:
        assert held["sex/test/ptgb"].shape == (16, 2)
        assert [int(name) // 4 % 4 for name in held["sex/test/subject"]] == [3] * 16  # as `traits.make` splits them
    assert given["SubjectsSeenByModel"] == 0
    assert given["Summary"][0].startswith("sex (16 subjects, the store's splits, test)")


def test_a_score_that_is_not_defined_is_said() -> None:
    """Few people of a site: nobody of the other class, or differences that are the same in every draw."""
    column = {"Column": "sex", "Task": "classification", "Validation": "v", "Within": "sites", "Subjects": 4,
              "Readout": "readout_wide"}  # fmt: skip
    row = {"column": "sex", "validation": "v", "metric": "auroc", "low": None, "high": None, "p_permutation": None}
    rows = [{**row, "method": m, "label": m, "value": None} for m in ("readout_wide", "tangent_ridge", "ours_best")]
    content = {"Columns": [column], "Results": rows, "Comparisons": [], "RepresentationMinusTangent": []}
    (said,) = words.headline(content)
    assert said.endswith("not defined, because nobody of another class is in the same site.")
    same = {**row, "method": "readout_wide", "difference": 0.0, "p_holm": 1.0}
    content |= {"Results": [{**r, "value": 0.75} for r in rows], "RepresentationMinusTangent": [same]}
    assert "they cannot be told apart (difference +0.000, p over columns 1)" in words.headline(content)[0]


def test_sites_are_left_out_and_trs_are_split_where_there_are_any(tmp_path: Path) -> None:
    """Age differs between sites, and nothing else of it is in the recordings: nothing may be credited."""
    store = traits.make(tmp_path, planted=False, seed=2)
    table = store.recordings
    site = table["subject"].astype(int) % 4
    own = dict(
        zip(table["subject"].unique(), np.random.default_rng(0).uniform(0, 8, table["subject"].nunique()), strict=True)
    )
    table["age"] = 20 + 15.0 * site + table["subject"].map(own)
    table["tr_s"] = np.where(site == 3, 3.0, 2.0)
    table.to_parquet(tmp_path / "recordings.parquet")
    data = [store.series(name) for name in table["id"]]
    for series, number in zip(data, site, strict=True):  # each scanner has a signature
        series[:, number] = 0.3 * series[:, number] + 0.7 * series[:, 11]
    from tests.model.written import write

    trained(write(tmp_path / "sites", data, table, store.parcels), tmp_path / "sites" / "model")
    methods = ["readout", "correlations_ridge", "tangent_ridge"]
    keys = {"columns": ["age"], "methods": methods, "inner": 3, "permutations": 99}
    folds = predict(tmp_path / "sites", tmp_path / "out", workdir=True, **keys)
    keys |= {"leave_out": "auto", "transfer": "auto"}
    both = predict(tmp_path / "sites", tmp_path / "out", workdir=True, **keys)  # embeddings are kept
    assert value(folds, "age", "readout", "r2")["value"] > 0.5  # of random folds: the site alone
    assert value(folds, "age", "readout", "r2_within")["value"] < 0.1
    assert value(folds, "age", "readout", "r2")["p_permutation"] > 0.02
    assert [c["Validation"] for c in both["Columns"]] == [
        "leave one site out", "split by tr_s",
    ]  # fmt: skip
    assert list(both["Columns"][0]["Folds"]) == ["A", "B", "C", "D"]
    assert sorted(both["Columns"][1]["Folds"]) == ["2", "other"]
    assert value(both, "age", "readout", "r2")["value"] < 0.2
    assert value(both, "age", "readout", "r2_within")["low"] < 0.1
    assert len(both["Summary"]) == 2 and both["Columns"][0]["Transform"] == "log"


def test_a_killed_run_goes_on_and_gives_the_same(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from brainlm_model.eval.phenotype import learn

    keys = {"columns": ["sex"], "methods": ["cls_ridge", "correlations_mlp"], "folds": 2}
    first = predict(home, tmp_path / "a", **keys)
    real, calls = learn.learner_of, []

    def breaking(name: str, task: Any) -> Any:
        calls.append(name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(name, task)

    monkeypatch.setattr(learn, "learner_of", breaking)
    with pytest.raises(KeyboardInterrupt):
        predict(home, tmp_path / "b", workdir=True, **keys)
    assert predict(home, tmp_path / "b", workdir=True, **keys) == first
    assert len(calls) == 5  # two were kept
    for name in ("t.csv", "t.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_fine_tuning_in_a_fold(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetuned, "SETTINGS", finetuned.SETTINGS[2:4])  # one frozen, one full
    before = (home / "model" / "model.safetensors").read_bytes(), sorted(p.name for p in home.iterdir())
    content = predict(home, tmp_path / "f", columns=["sex"], finetune=True, methods=["cls_ridge"], folds=2, epochs=2)
    row = value(content, "sex", "finetuned", "auroc")
    assert row["n_subjects"] == traits.PEOPLE - 2 and 0 < row["value"] < 1
    assert {tuple(sorted(c)) for c in content["Columns"][0]["Chosen"]["finetuned"]} == {("lr", "train")}
    assert content["Columns"][0]["Chosen"]["ours_best"] == ["cls_ridge"] * 2
    after = (home / "model" / "model.safetensors").read_bytes(), sorted(p.name for p in home.iterdir())
    assert after == before


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"columns": ["height"]}, "no column height"),
        ({"columns": [{"name": "sex", "task": "regression"}]}, "column sex is text"),
        ({"columns": ["age"], "confounds": ["age"]}, "to be predicted and to be removed"),
        ({"columns": ["age"], "leave_out": "split", "subjects": "unseen"}, "all subjects are of group test"),
        ({"columns": ["id"]}, "0 classes of at least"),
        ({"columns": ["noise"], "folds": 40}, "at least 80 are needed"),
        (
            {"columns": ["age"], "leave_out": "given", "subjects": "unseen"},
            "split train of the store is without people",
        ),
    ],
)
def test_what_cannot_be_predicted_is_said_at_once(
    home: Path, tmp_path: Path, keys: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brainlm_model.eval.phenotype.cohort.embed", None)  # nothing long may start
    with pytest.raises(InputError, match=said) as caught:
        predict(home, tmp_path / "x", **keys)
    assert caught.value.remedy


def test_what_nobody_asked_for_and_cannot_be_predicted_is_passed_over(home: Path, tmp_path: Path) -> None:
    content = predict(home, tmp_path, folds=400)
    assert not content["Columns"] and set(content["PassedOver"]) == {"age, 400 folds", "sex, 400 folds"}
    assert content["Results"] == []
    assert "No column" in content["Summary"][0] and "not predicted" in content["Warnings"][0]
    with pytest.raises(InputError):
        predict(home, tmp_path, columns=["age"], folds=400)


@pytest.mark.parametrize("keys", [{"columns": ["age", "age"]}, {"methods": ["forest"]}, {"columns": [{"nam": "x"}]}])
def test_a_bad_section(keys: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="phenotype"):
        section_from(keys, STAGE)


def test_on_a_store_alone(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = [
        "paper",
        str(home / "store.zarr"),
        str(home / "model"),
        "--out",
        str(tmp_path / "out"),
        "--tasks",
        "phenotype",
    ]
    keys = [f"phenotype.{k}={v}" for k, v in QUICK.items()]
    keys += ["phenotype.columns=[sex]", "phenotype.methods=[correlations_ridge]"]
    assert main([*call, "--set", *keys]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "README.md",
        "paper.html",
        *(f"phenotype.{ending}" for ending in ("csv", "json", "npz", "png", "svg")),
    ]
    with (tmp_path / "out" / "phenotype.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {r["method"] for r in rows} == {"correlations_ridge", "trivial"}
    with np.load(tmp_path / "out" / "phenotype.npz") as held:
        assert held["sex/correlations_ridge"].shape == (len(held["sex/subject"]), 2)


def test_defaults_are_valid() -> None:
    assert Config().columns == [] and not Config().finetune and Config(columns=["a"]).columns[0].task == "auto"  # type: ignore[list-item]
    assert np.isfinite([r["value"] for r in phenotype.PUBLISHED]).all() and len(phenotype.PUBLISHED) == 12


def test_golden(finished: Path, golden: Callable[..., None]) -> None:
    golden(STAGE, {k: finished / v for k, v in NAMES.items()}, after=[train.STAGE], rtol=0.05)
