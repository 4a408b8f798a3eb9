import csv
import json
import shutil
import zlib

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.metrics import r2_score

from brainlm_data import Files, InputError
from brainlm_data.runner.call import call
from brainlm_model import load
from brainlm_model.baselines import mean
from brainlm_model.eval.masked import scoring
from brainlm_model.eval.masked import stage as evaluate
from brainlm_model.eval.masked.stage import STAGE, Config, band_text
from brainlm_model.training import stage as train
from brainlm_model.training.loop import Trainer
from brainlm_model.windows.dataset import WindowDataset
from tests.model.results import artifact, files, simulate

KEYS = {"threads": 1, "device": "cpu", "bootstrap": 100, "windows_per_recording": 1}


def rows(outdir):
    with artifact(outdir, "masked_csv").open() as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def content(finished):
    return json.loads(artifact(finished, "masked_json").read_text())


def test_every_method_is_scored_on_the_same_values(finished, content):
    table = rows(finished)
    assert {r["method"] for r in table} == {
        "model", "untrained", "gaussian", "spacetime", "pca", "mean", "interpolation",
    }  # fmt: skip
    assert len(table) == 7 * 2 * 4 * 4  # methods, maskings, ratios, metrics
    for kind in ("random", "future"):
        for ratio in ("0.2", "0.5", "0.75", "0.9"):
            counts = {r["n_values"] for r in table if (r["masking"], r["mask_ratio"]) == (kind, ratio)}
            assert len(counts) == 1 and int(counts.pop()) > 0
    assert {(r["n_subjects"], r["n_recordings"], r["band"]) for r in table} == {("6", "6", "0.01 to 0.45 Hz")}
    assert len(content["Results"]) == len(table)
    assert content["Split"] == "test" and content["EffectiveBands"] == [[0.01, 0.45]]
    assert len(content["Comparisons"]) == 6 * 2 * 4


def test_a_number_of_the_table_can_be_made_again_by_hand(finished):
    model = load(artifact(finished, "model").parent)
    data = WindowDataset(artifact(finished, "store"), "test", model.config.window, fill=np.nan)
    truth, found = [], []
    for recording in scoring.recordings(data, 2):
        assert recording.x_BPT.shape == (2, 32, 200)
        mask = scoring.draw_mask(recording, scoring.Condition("random", 0.5), model.config.patch, 0)
        assert mask.mean() == pytest.approx(0.5)
        x = torch.from_numpy(recording.x_BPT)
        with torch.inference_mode():
            predicted = model.network(x, torch.from_numpy(mask[:, :, ::20].copy())).numpy()
        scored = mask & np.isfinite(recording.x_BPT)
        truth.append(recording.x_BPT[scored])
        found.append(predicted[scored])
    value = next(
        r["value"] for r in rows(finished)
        if (r["method"], r["masking"], r["mask_ratio"], r["metric"]) == ("model", "random", "0.5", "r2_flat")
    )  # fmt: skip
    assert float(value) == pytest.approx(r2_score(np.concatenate(truth), np.concatenate(found)), abs=1e-5)


def test_no_method_ever_sees_a_masked_value(finished):
    data = WindowDataset(artifact(finished, "store"), "test", 200, fill=np.nan)

    class Spy:
        calls = 0

        def predict(self, x_BPT, mask_BPT):
            assert np.isnan(x_BPT[mask_BPT]).all()
            self.calls += 1
            return np.zeros_like(x_BPT)

    spy = Spy()
    scoring.score(scoring.recordings(data, 1), {"spy": spy}, [scoring.Condition("random", 0.5)], 20, 0)
    assert spy.calls == len(data)


def test_masks_depend_on_the_recording_and_the_seed_alone():
    x = np.zeros((2, 8, 100), dtype=np.float32)
    condition = scoring.Condition("random", 0.5)

    def draw(name, seed=0):
        return scoring.draw_mask(scoring.HeldOutRecording(name, "s", x), condition, 20, seed)

    np.testing.assert_array_equal(draw("a"), draw("a"))
    assert not np.array_equal(draw("a"), draw("b"))
    assert not np.array_equal(draw("a"), draw("a", 1))
    assert not np.array_equal(draw("a")[0], draw("a")[1])
    assert (draw("a").reshape(2, 8, 5, 20).std(axis=3) == 0).all()  # whole patches


def test_the_order_of_recordings_changes_nothing(finished):
    data = WindowDataset(artifact(finished, "store"), "test", 200, fill=np.nan)
    every = list(scoring.recordings(data, 1))
    conditions = [scoring.Condition("random", 0.5)]
    first = scoring.score(every, {"mean": mean.fit([])}, conditions, 20, 0)
    last = scoring.score(every[::-1], {"mean": mean.fit([])}, conditions, 20, 0)
    np.testing.assert_array_equal(first.sums["mean", conditions[0]], last.sums["mean", conditions[0]][::-1])


@pytest.mark.parametrize("prior", ["zero", "gaussian"])
def test_the_untrained_model_is_the_trainer_before_its_first_step(tmp_path, prior):
    simulate(tmp_path)
    small = {"width": 16, "heads": 2, "hidden": 32, "depth": 1, "decoder_depth": 1, "steps": 2, "batch_size": 4}
    config = train.Config(**small, prior=prior, seed=3, threads=1, device="cpu", select="last")
    call(train.STAGE, files(tmp_path, train.STAGE.inputs), files(tmp_path, train.STAGE.outputs), config)
    model = load(artifact(tmp_path, "model").parent)
    start = Trainer(config, WindowDataset(artifact(tmp_path, "store"), "train", fill=np.nan), None, 1).network
    found = scoring.untrained(model).network
    for name, value in start.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, msg=name)
    weights = [n for n, _ in start.named_parameters()]
    assert any(not torch.equal(model.network.state_dict()[n], start.state_dict()[n]) for n in weights)


def test_a_model_on_a_store_of_another_scaler_is_refused(finished, tmp_path):
    other = tmp_path / "out"
    shutil.copytree(finished, other)
    with np.load(other / "scaler.npz") as arrays:
        np.savez(other / "scaler.npz", median=arrays["median"], iqr=arrays["iqr"] * 2)
    with pytest.raises(InputError, match="scaler's iqr"):
        call(STAGE, files(other, STAGE.inputs), files(tmp_path, STAGE.outputs), Config(**KEYS))


def test_without_test_subjects_it_says_so(finished, tmp_path):
    import pandas as pd

    other = tmp_path / "out"
    shutil.copytree(finished, other)
    table = pd.read_parquet(other / "recordings.parquet")
    table.loc[table["split"] == "test", "split"] = "train"
    table.to_parquet(other / "recordings.parquet")
    with pytest.raises(InputError, match="test"):
        call(STAGE, files(other, STAGE.inputs), files(tmp_path, STAGE.outputs), Config(**KEYS))


def test_few_subjects_and_an_untuned_ridge_are_warned_of():
    facts = {"Skipped": ["sub-1: 150 steps"], "Subjects": 3, "Ridge": 0.1, "RidgeChosenOn": "default: none",
             "Split": "test", "EffectiveBands": [(0.01, 0.2), (0.01, None)]}  # fmt: skip
    found = " | ".join(evaluate.warnings(facts))
    for word in ("150 steps", "only 3", "not tuned", "differ in their frequency band"):
        assert word in found
    calm = {
        **facts,
        "Skipped": [],
        "Subjects": 9,
        "RidgeChosenOn": "validation subjects",
        "EffectiveBands": [(0.01, 1)],
    }
    assert evaluate.warnings(calm) == []


def test_bands_in_words():
    assert band_text([(0.01, 0.45)]) == "0.01 to 0.45 Hz"
    assert band_text([(None, None), (0.008, 0.1)]) == "unknown to no low-pass or 0.008 to 0.1 Hz"


def test_the_example_has_what_its_figure_needs(finished):
    with np.load(artifact(finished, "masked_example"), allow_pickle=False) as arrays:
        assert {"truth", "mask", "x_model", "x_gaussian", "network", "parcel", "rate_hz", "recording"} <= set(arrays)
        seen = ~arrays["mask"] & np.isfinite(arrays["truth"])
        np.testing.assert_allclose(arrays["x_gaussian"][seen], arrays["truth"][seen], rtol=1e-5)
        assert arrays["mask"].mean() == pytest.approx(0.75)


@pytest.mark.parametrize(
    "bad", [{"mask_ratios": [0.0]}, {"mask_ratios": []}, {"bootstrap": 1}, {"split": "train"}, {"x": 1}]
)
def test_impossible_sections_are_refused(bad):
    with pytest.raises(ValidationError):
        Config(**bad)


def test_golden(finished, golden):
    golden(STAGE, {name: artifact(finished, name) for name in STAGE.outputs}, after=[train.STAGE], rtol=0.02)


def test_same_seed_same_bytes(finished, tmp_path):
    again = files(tmp_path, STAGE.outputs)
    call(STAGE, files(finished, STAGE.inputs), again, Config(threads=1, device="cpu", bootstrap=200))
    for name in ("masked_json", "masked_csv"):
        assert zlib.crc32(again[name].read_bytes()) == zlib.crc32(artifact(finished, name).read_bytes())
    assert isinstance(again, Files)
