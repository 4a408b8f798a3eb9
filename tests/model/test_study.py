"""benchmarks.pretrain and benchmarks.train_step on something small: their tables have what the pages quote."""

import json

import pytest
import torch

from benchmarks import pretrain, train_step
from tests.model.cohort import make


def test_the_study_scores_every_method_on_the_same_windows(tmp_path):
    store = make(tmp_path)
    keys = ["steps=2", "width=16", "heads=2", "hidden=32", "batch_size=4", "threads=1"]
    cell = json.loads(json.dumps(pretrain.one_cell(store.path, tmp_path / "out", ["tiny", "small"], 1.0, 1, keys)))
    assert (tmp_path / "out" / "tiny_share-100_seed-1" / "model.safetensors").exists()
    assert cell["training_subjects"] == 5 and cell["models"]["tiny"]["steps"] == 2
    rows = pretrain.flat([cell])
    assert {row["method"] for row in rows} == {
        "tiny", "small", "untrained", "spacetime", "gaussian", "pca", "mean"
    }  # fmt: skip
    assert len({(row["split"], row["masking"], row["mask_ratio"], row["metric"]) for row in rows}) == 1 * 2 * 4 * 4
    compared = pretrain.differences([cell])
    assert {row["method"] for row in compared} == {"tiny", "small"} and len(compared) == 2 * 6 * 2 * 4
    found = pretrain.means(rows)
    for row in compared:
        where = f"{row['masking']} {row['mask_ratio']:g}"
        expected = [found[f"test share 1 {row[key]} {where}"] for key in ("method", "against")]
        assert row["difference"] == pytest.approx(expected[0] - expected[1], abs=2e-4)


@pytest.mark.parametrize("side", train_step.SIDES)
def test_every_side_of_the_step_learns_and_is_counted(side):
    torch.manual_seed(0)
    cost = train_step.measure(side, parcels=12, width=16, mask=0.75, batch=2)
    assert cost["cpu_s"] > 0 and cost["mb"] >= 0


def test_operations_of_a_step_grow_as_the_formula_says():
    """Linear layers grow with the square of the width, attention between tokens with the width."""
    small, large = (train_step.operations("same", 12, width, 0.75) for width in (32, 64))
    assert 2 < large / small < 4
