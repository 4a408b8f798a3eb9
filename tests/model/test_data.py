import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from brainlm_data import InputError, Scaler
from brainlm_model import WindowDataset
from brainlm_model.windows import cache
from tests.model.cohort import PARCELS, make


@pytest.fixture
def store(tmp_path: Path):
    return make(tmp_path)


def test_one_window_a_recording_of_the_split(store):
    data = WindowDataset(store, split="train", window=200)
    assert len(data) == 5 and len(set(data.subjects)) == 5
    windows = list(data)
    assert len(windows) == 5
    assert all(w.shape == (PARCELS, 200) and w.dtype == torch.float32 and w.isfinite().all() for w in windows)
    assert len(WindowDataset(store, split="test")) == 2
    assert len(WindowDataset(store, split=None)) == 9


def test_window_is_a_scaled_span_of_the_recording(store):
    data = WindowDataset(store, split="train", window=200)
    raw = store.series(data.ids[0])
    expected = (raw - raw.mean(0) - store.scaler.median) / store.scaler.iqr
    np.testing.assert_allclose(data.at(0, 13).numpy(), expected[13:213].T, atol=2e-4)
    spans = np.stack([expected[s : s + 200].T for s in range(61)])
    assert np.abs(spans - data[0].numpy()).max(axis=(1, 2)).min() < 2e-4


def test_windows_follow_from_seed_and_epoch_alone(store):
    one, two = WindowDataset(store), WindowDataset(store)
    assert torch.equal(one[3], two[3])  # whatever was read before
    assert all(torch.equal(a, b) for a, b in zip(one, reversed([two[i] for i in (4, 3, 2, 1, 0)]), strict=True))
    one.set_epoch(1)
    assert any(not torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(two, WindowDataset(store, seed=1), strict=True))


def test_a_batch_is_its_windows(store):
    data = WindowDataset(store, split="train", window=200, fill=np.nan)
    batch = data.windows([3, 0, -1])
    assert batch.shape == (3, PARCELS, 200)
    for window, single in zip(batch, (data[3], data[0], data[4]), strict=True):
        torch.testing.assert_close(window, single, rtol=0, atol=0, equal_nan=True)


def test_windows_are_the_same_for_any_number_of_workers(store):
    def epoch(workers):
        data = WindowDataset(store, split="train", window=200)
        data.set_epoch(3)
        loader = torch.utils.data.DataLoader(data, batch_size=2, num_workers=workers, multiprocessing_context=None)
        return torch.cat(list(loader))

    first = epoch(0)
    assert torch.equal(first, epoch(1)) and torch.equal(first, epoch(2))


@pytest.mark.parametrize("workers", [0, 2])
def test_items_with_labels_and_ids(store, workers):
    path = store.path.with_name("recordings.parquet")
    table = pd.read_parquet(path)
    table["age"] = [30.5, None, *range(40, 40 + len(table) - 2)]
    table["sex"] = ["F", None, *["M"] * (len(table) - 2)]
    table["group"] = [1, 2, *[3] * (len(table) - 3), None]  # which the table holds as float; the last is of no split
    table.to_parquet(path)
    groups = [item["group"] for item in WindowDataset(store.path, split="train", labels=["group"])]
    assert groups[:3] == [1, 2, 3] and {type(group) for group in groups} == {int}
    data = WindowDataset(store.path, split="train", window=200, labels=["age", "sex"])
    assert repr(data) == (
        f"WindowDataset: 5 recordings of 5 subjects, split train, windows of {PARCELS} parcels x 200 steps, "
        "labels age, sex, 1 left out"
    )
    data.set_epoch(2)
    bare = WindowDataset(store.path, split="train", window=200)
    bare.set_epoch(2)
    batches = list(torch.utils.data.DataLoader(data, batch_size=5, num_workers=workers))
    assert len(batches) == 1
    batch = batches[0]
    assert torch.equal(batch["window"], torch.stack(list(bare)))  # labels change no window
    assert batch["id"] == data.ids and batch["subject"] == data.subjects
    assert batch["age"][0] == 30.5 and batch["age"][1].isnan() and batch["age"][2] == 40
    assert batch["sex"][:3] == ["F", "", "M"]
    for index, start in enumerate(batch["start_s"].tolist()):
        assert torch.equal(data.at(index, int(start)), batch["window"][index])
    assert set(WindowDataset(store.path, labels=[])[0]) == {"window", "id", "subject", "start_s"}
    with pytest.raises(InputError, match="no column agee -> did you mean age"):
        WindowDataset(store.path, labels=["agee"])
    with pytest.raises(InputError, match="a list of columns"):
        WindowDataset(store.path, labels="age")


def test_every_start_is_drawn_equally_often(store):
    data = WindowDataset(store, split="train", window=200, fill=np.nan)
    count, whole = np.zeros(61), data.series(0)
    for epoch in range(2000):
        data.set_epoch(epoch)
        first = data[0][:, 0].numpy()
        count[np.flatnonzero((whole[:61] == first).all(1))[0]] += 1
    assert count.min() > 10 and count.max() < 60  # 33 expected, standard deviation 5.7


def test_windows_have_no_empty_steps_and_few_censored_ones(store):
    data = WindowDataset(store, split="train", window=200)
    index = data.ids.index("sub-02_task-rest")  # steps 0..9 are empty, 30..79 censored
    starts = data.starts(index)
    assert starts.min() == 40 and starts.max() == 60  # at most 40 of 30..79 in the window
    assert WindowDataset(store, window=200, max_invalid=1).starts(index).min() == 10
    assert "sub-02_task-rest" in WindowDataset(store, window=200, max_invalid=0).skipped


def test_short_recordings_are_named_or_an_error(store):
    data = WindowDataset(store, split="train", window=200)
    assert list(data.skipped) == ["sub-05_task-rest"] and "150 steps" in data.skipped["sub-05_task-rest"]
    assert len(WindowDataset(store, split="train", window=100)) == 6
    with pytest.raises(InputError, match="sub-05_task-rest"):
        WindowDataset(store, split="train", window=200, short="error")
    with pytest.raises(InputError, match="all too short"):
        WindowDataset(store, split="test", window=1000)
    with pytest.raises(InputError, match="there is no split 'nonsense'"):
        WindowDataset(store, split="nonsense")


def test_parcel_without_data_is_the_fill_value(store):
    index = WindowDataset(store).ids.index("sub-03_task-rest")
    assert not WindowDataset(store)[index][7].any()
    window = WindowDataset(store, fill=np.nan)[index]
    assert window[7].isnan().all() and window[[i for i in range(PARCELS) if i != 7]].isfinite().all()


def test_cache_can_be_deleted_damaged_or_outdated_at_any_time(store):
    before = [w.clone() for w in WindowDataset(store)]
    cache = store.path.with_name(".store.zarr.flat.npy")
    stamp = cache.stat().st_mtime_ns

    def same() -> bool:
        return all(torch.equal(a, b) for a, b in zip(before, WindowDataset(store), strict=True))

    assert same() and cache.stat().st_mtime_ns == stamp  # used again
    cache.unlink()
    assert same() and cache.exists()
    cache.write_bytes(b"damaged")
    assert same()
    cache.with_suffix(".npz").unlink()
    assert same()
    Scaler(store.scaler.median, store.scaler.iqr * 2).save(store.path.with_name("scaler.npz"))
    torch.testing.assert_close(WindowDataset(store.path)[0] * 2, before[0], atol=1e-4, rtol=1e-4)  # other windows


def test_store_without_its_tables_is_refused_with_what_to_do(store):
    store.path.with_name("scaler.npz").unlink()
    with pytest.raises(InputError, match=r"scaler\.npz"):
        WindowDataset(store.path)
    store.path.with_name("recordings.parquet").unlink()
    with pytest.raises(InputError, match=r"recordings\.parquet"):
        WindowDataset(store.path)


def test_unwritable_folder_keeps_the_series_in_memory(store, monkeypatch, capsys):
    expected = WindowDataset(store)[0]
    store.path.with_name(".store.zarr.flat.npz").unlink()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "read-only")

    monkeypatch.setattr(np.lib.format, "open_memmap", refuse)
    assert torch.equal(WindowDataset(store)[0], expected)
    assert "read-only" in capsys.readouterr().err


def test_two_that_start_together_build_one_cache(store, monkeypatch, capsys):
    made: list[str] = []
    fill = cache._fill

    def slow(*arguments: Any) -> Any:
        made.append("one")
        begun.set()
        assert waits.wait(20)
        return fill(*arguments)

    begun, waits = threading.Event(), threading.Event()
    monkeypatch.setattr(cache, "_fill", slow)
    expected: list[Any] = []
    first = threading.Thread(target=lambda: expected.append(WindowDataset(store)[0]))
    first.start()
    assert begun.wait(20)
    threading.Timer(0.3, waits.set).start()
    assert torch.equal(WindowDataset(store)[0], (first.join(), expected[0])[1])
    assert made == ["one"] and "waits for another process that does it" in capsys.readouterr().err
    assert not list(store.path.parent.glob(".*.lock"))
