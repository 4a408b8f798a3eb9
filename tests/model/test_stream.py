"""Training from the store itself, without a cache: the same windows, few shards open, nothing written but an index."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brainlm_data import InputError
from brainlm_data.dataset import store as stores
from brainlm_model import WindowDataset
from brainlm_model.models.masking import generator
from brainlm_model.training.world import World
from brainlm_model.windows import stream
from brainlm_model.windows.stream import mixed_order
from tests.model.cohort import make
from tests.model.small_training import losses, trainer


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ten recordings of two chunks each, in shards of four chunks: two recordings a file."""
    monkeypatch.setattr(stores, "SHARD_CHUNKS", 4)
    return make(tmp_path)


@pytest.mark.parametrize("short", ["skip", "pad"])
def test_windows_are_those_of_the_cache(store: Any, short: Any) -> None:
    flat, read = (WindowDataset(store, None, short=short, fill=np.nan, cache=on) for on in (True, False))
    assert flat.ids == read.ids and flat.skipped == read.skipped and flat.content == read.content
    order = [3, 0, 5, 1, 4, 2, 3, 3]
    for epoch in range(2):
        flat.set_epoch(epoch), read.set_epoch(epoch)
        torch.testing.assert_close(read.windows(order), flat.windows(order), rtol=0, atol=0, equal_nan=True)
    for index in range(len(flat)):
        np.testing.assert_array_equal(read.series(index), flat.series(index))


def test_only_an_index_is_written_and_read_again(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    content = WindowDataset(store, cache=False).content
    beside = [file.name for file in store.path.parent.glob(".store.zarr*")]
    assert beside == [".store.zarr.stream.npz"]
    monkeypatch.setattr(stream.Stream, "_block", lambda *_: pytest.fail("read"))
    assert WindowDataset(store, cache=False).content == content
    monkeypatch.undo()
    store.path.with_name(beside[0]).write_bytes(b"damaged")
    assert WindowDataset(store, cache=False).content == content


def test_a_damaged_shard_is_named(store: Any) -> None:
    data = WindowDataset(store, cache=False)
    shard = store.path / "bold" / "c" / "1" / "0"
    content = bytearray(shard.read_bytes())
    content[len(content) // 3] ^= 1
    shard.write_bytes(content)
    with pytest.raises(InputError, match="bold/c/1"):
        data.windows(range(len(data)))


def test_recordings_of_no_split_that_is_asked_for_are_not_read(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = WindowDataset(store, "validation", cache=False)
    read: list[str] = []
    series_of = store.series_of
    monkeypatch.setattr(store, "series_of", lambda names: read.extend(names) or series_of(names))
    data.windows([0, 1])
    assert read == data.ids


def test_what_is_read_and_not_used_is_bounded(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "KEPT", 1)
    data = WindowDataset(store, None, cache=False)
    for index in range(len(data)):
        data.windows([index])
        assert isinstance(data.cache, stream.Stream) and len(data.cache._kept) <= 1


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 60), st.integers(0, 2**31))
def test_an_order_has_each_once_and_few_blocks_open(blocks: int, size: int, mixed: int, seed: int) -> None:
    block_of = np.repeat(np.arange(blocks), size)
    order = mixed_order(block_of, generator(seed), mixed)
    assert sorted(order) == list(range(len(block_of)))
    begun = 0
    seen: set[int] = set()
    for place, number in enumerate(order):
        seen.add(int(block_of[number]))
        begun = max(begun, len(seen))
        assert begun * size <= place + mixed + size  # of the blocks that are begun, all but so many are used


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 99), min_size=1, max_size=40, unique=True), st.integers(1, 8))
def test_processes_share_a_batch_by_neighbourhood(batch: list[int], size: int) -> None:
    shares = [World(rank, size).share(batch) for rank in range(size)]
    assert sorted(place for share in shares for place in share) == list(range(len(batch)))
    ends = [(min(batch[p] for p in share), max(batch[p] for p in share)) for share in shares if share]
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ends))
    lengths = [len(share) for share in shares]
    assert max(lengths) - min(lengths) <= 1


def test_it_trains_resumes_and_is_another_run_than_with_a_cache(store: Any, tmp_path: Path) -> None:
    keys = {"steps": 4, "prior": "zero", "eval_every": 2, "schedule": "constant", "warmup": 0}
    whole = trainer(store, cache=False, **keys).fit(None)
    trainer(store, cache=False, **{**keys, "steps": 2}).fit(tmp_path / "work")
    assert losses(trainer(store, cache=False, **keys).fit(tmp_path / "work")) == losses(whole)
    with pytest.raises(InputError, match="cache false -> true"):
        trainer(store, **keys).fit(tmp_path / "work")
    assert whole[0]["validation_r2"] == pytest.approx(trainer(store, **keys).fit(None)[0]["validation_r2"], abs=1e-5)
