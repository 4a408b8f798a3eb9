"""Several stores as one dataset, and recordings shorter than a window."""

import json
import shutil

import numpy as np
import pytest
import torch

from brainlm_data import InputError
from brainlm_data.files.seal import seal
from brainlm_model.models.masking import generator
from brainlm_model.windows.dataset import WindowDataset
from brainlm_model.windows.mixture import Mixture
from tests.model.cohort import PARCELS, make
from tests.model.small_training import losses, trainer


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    return make(tmp_path_factory.mktemp("cohort"))


def test_a_smaller_share_of_the_subjects_lies_within_a_larger_one(store):
    def subjects(share: float, seed: int = 0) -> set[str]:
        return set(WindowDataset(store, "train", seed=seed, short="pad", share=share).subjects)

    shares = [subjects(share) for share in (0.01, 0.4, 0.8, 1.0)]
    assert [len(share) for share in shares] == [1, 2, 5, 6]
    assert shares[0] < shares[1] < shares[2] < shares[3]
    assert len({frozenset(subjects(0.4, seed)) for seed in range(6)}) > 1
    assert len(trainer(store, share=0.4, steps=1, short="pad").train.subjects) == 2


def test_short_recordings_are_padded_with_what_is_not_known(store):
    skip, pad = (WindowDataset(store, "train", 200, short=kind, fill=np.nan) for kind in ("skip", "pad"))
    assert "sub-05_task-rest" in skip.skipped and "sub-05_task-rest" in pad.ids and not pad.skipped
    window = pad[pad.ids.index("sub-05_task-rest")]
    assert window.shape == (PARCELS, 200) and window[:, :150].isfinite().all() and window[:, 150:].isnan().all()
    common = skip.ids[0]
    torch.testing.assert_close(pad[pad.ids.index(common)], skip[0], equal_nan=True)
    assert not WindowDataset(store, "train", 260, short="pad").skipped.keys() - {"sub-02_task-rest"}
    log = trainer(store, steps=3, short="pad").fit(None)
    assert all(np.isfinite(losses(log)))


def test_several_stores_are_mixed_by_weight(store, tmp_path):
    other = make(tmp_path, change=("train",))
    parts = [WindowDataset(s, "train", 200, fill=np.nan) for s in (store, other)]
    mixed = Mixture(parts, [1, 3])
    order = [index for epoch in range(400) for index in mixed.order(generator(epoch))]
    share = np.mean([index >= len(parts[0]) for index in order])
    assert share == pytest.approx(0.75, abs=0.03) and len(order) == 400 * len(mixed)
    counts = np.bincount(order, minlength=len(mixed))
    assert counts[: len(parts[0])].std() < 0.1 * counts[0]  # every recording of a store as often as any other
    mixed.set_epoch(3)
    parts[1].set_epoch(3)
    chosen = [7, 0, 9, 1, 7]
    for index, window in zip(chosen, mixed.windows(chosen), strict=True):
        part = parts[index >= len(parts[0])]
        expected = part.windows([index - len(parts[0]) * (index >= len(parts[0]))])[0]
        torch.testing.assert_close(window, expected, equal_nan=True)
    np.testing.assert_array_equal(mixed.series(len(parts[0])), parts[1].series(0))
    one = trainer(store, steps=3, stores=[{"path": str(other.path), "weight": 3}])
    assert len(one.train) == 2 * len(parts[0]) and np.isfinite(losses(one.fit(None))).all()


def test_stores_of_other_atlases_are_not_mixed(store, tmp_path):
    from brainlm_data import open_store

    folder = tmp_path / "other"
    shutil.copytree(store.path.parent, folder)
    metadata = json.loads((folder / "store.zarr" / "zarr.json").read_text())
    metadata["attributes"]["atlas_sha256"] = "b" * 64
    (folder / "store.zarr" / "zarr.json").write_text(json.dumps(metadata))
    seal(folder / "store.zarr" / "zarr.json")
    one = WindowDataset(store, "train")
    other = WindowDataset(open_store(folder / "store.zarr"), "train")
    one.store.attrs["atlas_sha256"] = "a" * 64
    try:
        with pytest.raises(InputError, match="same atlas"):
            Mixture([one, other], [1, 1])
    finally:
        del one.store.attrs["atlas_sha256"]


def test_a_missing_further_store_is_one_line(store, tmp_path):
    with pytest.raises(InputError, match=r"nowhere.zarr"):
        trainer(store, stores=[{"path": str(tmp_path / "nowhere.zarr")}])
