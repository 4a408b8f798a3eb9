"""From series that exist to a model and its scores, without a BIDS dataset."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import worth
from brainlm_data import beside, open_store
from brainlm_data.cli import main as data
from brainlm_data.files.tables import write_table
from brainlm_model import load
from brainlm_model.cli import main
from brainlm_model.eval.masked import words
from tests.imports.made import abide, signal

SMALL = ["window=40", "patch=10", "width=16", "heads=2", "hidden=32", "depth=1", "decoder_depth=1", "steps=2",
         "eval_every=1", "batch_size=4", "threads=1", "device=cpu"]  # fmt: skip
TRAIN = ["--set", *(f"train.{word}" for word in SMALL)]
EVALUATE = ["--set", "evaluate.threads=1", "evaluate.device=cpu", "evaluate.bootstrap=100"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    assert data(["import", "abide", str(abide(folder / "in")), str(folder / "data"), "--external", "site=C"]) == 0
    assert main(["train", str(folder / "data" / "store.zarr"), "--out", str(folder / "mine"), *TRAIN]) == 0
    return folder


def test_a_model_that_can_be_used(home: Path) -> None:
    store = open_store(home / "data" / "store.zarr")
    assert load(home / "mine").embed(store.series("C_2000")).shape == (16,)
    card = (home / "mine" / "card.md").read_text()
    assert card.startswith("# Model mine") and "external: 5 subjects" in card
    assert "No parcel had coordinates" in card
    assert sorted(p.name for p in home.iterdir()) == ["data", "in", "mine"]  # no step checkpoints are left


def test_it_is_scored_on_the_site_that_was_left_out(home: Path) -> None:
    store = str(home / "data" / "store.zarr")
    assert main(["evaluate", store, str(home / "mine"), *EVALUATE, "evaluate.split=external"]) == 0
    assert main(["evaluate", store, str(home / "mine"), *EVALUATE, "--out", str(home / "mine" / "other")]) == 0
    external = json.loads((home / "mine" / "metrics" / "external" / "masked.json").read_text())
    assert external["Split"] == "external" and external["Subjects"] == 5 == external["Recordings"]
    assert words.verdicts(external)[0].startswith("On 5 subjects of groups that were left out, random masking")
    said = worth.masked({"external": external})
    for masking in ("random", "future"):
        assert list(said["model_minus_untrained"]["external"][masking]) == ["0.2", "0.5", "0.75", "0.9"]
    at_half = said["model_minus_best_baseline"]["external"]["random"]["0.5"]
    reached = {row["method"]: row["value"] for row in external["Results"]
               if (row["metric"], row["masking"], row["mask_ratio"]) == ("r2_flat", "random", 0.5)}  # fmt: skip
    model, _ = reached.pop("model"), reached.pop("untrained")
    assert at_half["value"] == pytest.approx(model - max(reached.values())) and at_half["low"] <= at_half["high"]
    assert reached[at_half["against"]] == max(reached.values())
    test = json.loads((home / "mine" / "other" / "masked.json").read_text())
    assert test["Split"] == "test" and test["Subjects"] == 1
    assert sorted(p.name for p in (home / "mine" / "other").iterdir()) == [
        "masked.csv", "masked.json", "masked_example.npz",
    ]  # fmt: skip


def test_what_is_wrong_is_said(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = str(home / "data" / "store.zarr")
    cases = [
        (["train", store, "--out", str(home / "mine"), *TRAIN], "there is a model in it already"),
        (["train", str(tmp_path / "none.zarr"), "--out", str(tmp_path / "m")], "none.zarr: there is no such folder"),
        (["train", "s3://bucket/store.zarr", "--out", str(tmp_path / "m")], "an address, and a store is read as files"),
        (["train", str(home / "data"), "--out", str(tmp_path / "m")], f"give the store in it: {store}"),
        (["train", store, "--out", str(tmp_path / "m"), "--set", "evaluate.seed=1"], "keys of section train only"),
        (["train", store, "--out", str(tmp_path / "m"), "--set", "train.stepz=1"], "unknown key train.stepz"),
        (["evaluate", store, str(tmp_path)], "no model.safetensors"),
        (["evaluate", store, str(home / "mine"), "--set", "evaluate.split=train"], "evaluate.split"),
    ]
    for call, said in cases:
        assert main(call) == 2
        assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_model_of_another_store_is_replaced_with_its_scores(home: Path) -> None:
    store = str(home / "data" / "store.zarr")
    again = [*TRAIN, "train.seed=1", "--force"]
    (home / "mine" / "metrics" / "test").mkdir(parents=True, exist_ok=True)
    before = (home / "mine" / "model.safetensors").read_bytes()
    assert main(["train", store, "--out", str(home / "mine"), *again]) == 0
    assert (home / "mine" / "model.safetensors").read_bytes() != before
    assert not (home / "mine" / "metrics").exists()


def test_what_a_killed_training_left_does_not_stop_the_next_one(home: Path) -> None:
    left = home / ".run 0.1 (b).writing"
    (left / "work").mkdir(parents=True)
    (left / "model.safetensors").write_text("half")
    assert main(["train", str(home / "data" / "store.zarr"), "--out", str(home / "run 0.1 (b)"), *TRAIN]) == 0
    assert load(home / "run 0.1 (b)").training["Steps"] == 2 and not left.exists()
    assert (home / "run 0.1 (b)" / "card.md").read_text().startswith("# Model run-0.1-b")


def test_two_trainings_into_one_folder_are_refused_in_words(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = str(home / "data" / "store.zarr")
    with beside(home / "twice", "writing"):  # as a training that runs holds it
        assert main(["train", store, "--out", str(home / "twice"), *TRAIN]) == 2
    assert "another run is writing" in capsys.readouterr().err and not (home / "twice").exists()


def test_the_split_that_was_left_out_is_embedded(home: Path, tmp_path: Path) -> None:
    store, out = str(home / "data" / "store.zarr"), tmp_path / "external.tsv"
    assert main(["embed", str(home / "mine"), store, "--split", "external", "--out", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 1 + 5


def test_the_papers_tasks_on_a_store_alone(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["paper", str(home / "data" / "store.zarr"), str(home / "mine"), "--tasks", "attention", "--out"]
    small = ["--set", "attention.threads=1", "attention.splits=[external]", "attention.bootstrap=100"]
    assert main([*call, str(tmp_path / "out"), *small]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]  # no work folder is left
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "README.md",
        *(f"attention.{ending}" for ending in ("csv", "json", "npz", "png", "svg")),
        "paper.html",
    ]
    assert json.loads((tmp_path / "out" / "attention.json").read_text())["Subjects"] == 5
    capsys.readouterr()
    cases = [
        ([*small, "networks.seed=1"], "keys of sections attention only"),
        ([*small, "attention.group=colour"], "no column 'colour'"),
        (["--set", "attention.seeds=1"], "unknown key attention.seeds"),
        (["--set", "attention.levels=[a]"], "none, or two different values"),
    ]
    for given, said in cases:
        assert main([*call, str(tmp_path / "none"), *given]) == 2
        error = capsys.readouterr().err
        assert said in error and "Traceback" not in error and "left" not in error  # told before any work


def test_parcels_in_another_order_are_refused(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of three imports of the same series, whose columns nothing but their names tells apart."""
    names = ["LH_Vis_1", "LH_Default_1", "LH_Limbic_1", "RH_Vis_1", "RH_Default_1", "RH_Limbic_1"]
    orders = {"own": names, "turned": names[::-1], "numbered": [str(number) for number in range(1, 7)]}
    stores = {}
    for kind, columns in orders.items():
        (tmp_path / kind).mkdir()
        for seed in range(10):
            values = signal(seed)
            write_table(
                tmp_path / kind / f"sub-{seed:02d}_bold.tsv", columns, values[:, :: -1 if kind == "turned" else 1]
            )
        assert data(["import", "arrays", str(tmp_path / kind), str(tmp_path / f"{kind}-out"), "--tr", "2"]) == 0
        stores[kind] = str(tmp_path / f"{kind}-out" / "store.zarr")
    model = str(tmp_path / "model")
    assert main(["train", stores["own"], "--out", model, *TRAIN]) == 0
    capsys.readouterr()
    mixed = ["train", stores["own"], "--out", str(tmp_path / "mixed"), *TRAIN]
    calls = [
        (["evaluate", stores["turned"], model, *EVALUATE], "the card"),
        (["paper", stores["turned"], model, "--tasks", "attention", "--out", str(tmp_path / "paper")], "the card"),
        (["embed", model, stores["turned"], "--out", str(tmp_path / "embedded.tsv")], "the card"),
        (["finetune", model, stores["turned"], "--future", "10", "--out", str(tmp_path / "tuned")], "the card"),
        ([*mixed, f"train.stores=[{{path: {stores['turned']}}}]"], stores["own"]),
    ]
    for call, whose in calls:
        assert main(call) == 2
        said = f"{stores['turned']}: parcel 1 is RH_Limbic_1, {whose} says LH_Vis_1\n  try: give the same parcels"
        assert said in capsys.readouterr().err
    tables = []
    sources = [stores["own"], stores["numbered"], *(str(tmp_path / kind / "sub-00_bold.tsv") for kind in orders)]
    for number, source in enumerate(sources):  # columns of a file are put in order
        assert main(["embed", model, source, "--out", str(tmp_path / f"{number}.tsv")]) == 0
        tables.append((tmp_path / f"{number}.tsv").read_text())
    assert tables[0] == tables[1] and tables[2] == tables[3] == tables[4]
