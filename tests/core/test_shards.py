"""A store that grows: old shards are the old files, and what is read is what a fresh store holds."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainlm_data import open_store
from brainlm_data.dataset.shards import PreviousStore
from brainlm_data.dataset.store import SHARD_CHUNKS, write_store
from tests.core.test_store import PARCELS

CHUNK = 4
SHARD = CHUNK * SHARD_CHUNKS
Cohort = dict[str, int]  # recording -> what its series is made from; its length follows from its name


def series(name: str, seed: int) -> np.ndarray:
    length = 5 + 37 * (sum(map(ord, name)) % 4)
    return np.random.default_rng([*map(ord, name), seed]).normal(size=(length, 3)).astype(np.float32)


class Growing:
    """As stage collate and the runner do it: the old store is set aside, then a new one is written."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store, self.read = folder, folder / "store.zarr", list[str]()

    def write(self, cohort: Cohort) -> None:
        names = sorted(cohort)
        table = pd.DataFrame({"id": names, "n_steps": [len(series(n, cohort[n])) for n in names]})
        invalid = [[cohort[n] % 3] for n in names]
        if self.store.exists():
            shutil.rmtree(self.folder / "before", ignore_errors=True)
            self.store.rename(self.folder / "before")
        marks = [f"{n} {cohort[n]}" for n in names]
        before = PreviousStore(self.folder / "state", self.folder / "before", marks)
        self.read = []

        def load(row: int) -> np.ndarray:
            self.read.append(names[row])
            return series(names[row], cohort[names[row]])

        starts = write_store(
            self.store, load, table, PARCELS, {"rate_hz": 1.0}, invalid, chunk_steps=CHUNK, before=before
        )
        store = open_store(self.store)
        assert [store.place(name).start for name in names] == starts

    def holds(self, cohort: Cohort) -> None:
        """Every recording is as a fresh store has it."""
        store = open_store(self.store)
        for name, seed in cohort.items():
            np.testing.assert_array_equal(store.series(name), series(name, seed))
            assert np.flatnonzero(~store.valid(name)).tolist() == [seed % 3]
        assert set(store.recordings["id"]) == set(cohort)

    def files(self) -> dict[int, int]:
        """Shard -> inode of its file."""
        return {int(p.parent.name): p.stat().st_ino for p in self.store.glob("bold/c/*/0")}


OLD = {f"sub-{n:02d}": 0 for n in range(1, 21)}
NEW = {f"sub-{n:02d}": 0 for n in range(0, 40, 3)}


def test_a_cohort_that_grows_keeps_all_shards_but_the_last(tmp_path: Path) -> None:
    growing = Growing(tmp_path)
    growing.write(OLD)
    before = growing.files()
    assert len(before) > 4
    growing.write(OLD | NEW)
    after = growing.files()
    kept = [number for number in before if after[number] == before[number]]
    assert sorted(kept) == sorted(before)[:-1] and len(after) > len(before)
    growing.holds(OLD | NEW)
    order = open_store(growing.store).recordings["id"].tolist()
    assert order[: len(OLD)] == sorted(OLD) and order[len(OLD) :] == sorted(NEW.keys() - OLD.keys())
    last = open_store(growing.store).place(order[len(OLD)]).start // SHARD * SHARD
    assert set(growing.read) == {n for n in order if open_store(growing.store).place(n).stop > last}


def test_the_same_cohort_writes_no_shard_and_makes_the_same_bytes(tmp_path: Path) -> None:
    growing = Growing(tmp_path)
    growing.write(OLD)
    before = growing.files()
    growing.write(OLD)
    assert growing.files() == before and growing.read == []
    fresh = Growing(tmp_path / "fresh")
    fresh.write(OLD)
    for file in sorted(p for p in fresh.store.rglob("*") if p.is_file()):
        assert file.read_bytes() == (growing.store / file.relative_to(fresh.store)).read_bytes()


def test_a_series_that_changed_is_written_again(tmp_path: Path) -> None:
    growing = Growing(tmp_path)
    growing.write(OLD)
    before = growing.files()
    changed = OLD | {"sub-10": 1}
    growing.write(changed)
    place = open_store(growing.store).place("sub-10")
    written = {n for n, inode in growing.files().items() if before[n] != inode}
    assert written == set(range(place.start // SHARD, (place.stop - 1) // SHARD + 1))
    growing.holds(changed)


@pytest.mark.parametrize("harm", ["a byte", "a file", "a kill"])
def test_a_store_that_is_not_as_it_was_written_is_not_taken_from(
    tmp_path: Path, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    growing = Growing(tmp_path)
    growing.write(OLD)
    shard = growing.store / "bold/c/1/0"
    if harm == "a byte":
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 255
        shard.write_bytes(content)
    elif harm == "a file":
        shard.unlink()
    else:  # while the shards of a changed cohort are written: the store of before is then older than what is known
        monkeypatch.setattr(
            "brainlm_data.dataset.shards.PreviousStore.keep", lambda *_: (_ for _ in ()).throw(MemoryError)
        )
        with pytest.raises(MemoryError):
            growing.write(dict.fromkeys(OLD, 1))
        shutil.rmtree(growing.store)
        monkeypatch.undo()
    growing.write(OLD | NEW)
    growing.holds(OLD | NEW)
    assert (len(set(growing.read)) == len(OLD | NEW)) == (harm != "a kill")


def test_where_links_cannot_be_made_shards_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def no_link(old: Path, new: Path) -> None:
        if "c" in Path(old).parts:  # Zarr links its metadata
            raise OSError("not supported")
        link(old, new)

    growing = Growing(tmp_path)
    growing.write(OLD)
    monkeypatch.setattr("os.link", no_link)
    growing.write(OLD | NEW)
    growing.holds(OLD | NEW)
    assert len(set(growing.read)) < len(OLD | NEW)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cohorts=st.lists(
        st.dictionaries(st.sampled_from([f"s{n:02d}" for n in range(25)]), st.integers(0, 2), min_size=1), min_size=2,
        max_size=4,
    )
)  # fmt: skip
def test_any_history_reads_as_a_fresh_store(tmp_path_factory: pytest.TempPathFactory, cohorts: list[Cohort]) -> None:
    growing = Growing(tmp_path_factory.mktemp("grown"))
    for cohort in cohorts:
        growing.write(cohort)
        growing.holds(cohort)


def test_shards_that_vanish_while_they_are_taken_are_written_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another job that ends meanwhile removes the old store: what is gone is not taken for "no data"."""
    growing, link, calls = Growing(tmp_path), os.link, list[str]()
    growing.write(OLD)

    def and_remove(old: Path, new: Path) -> None:
        link(old, new)
        calls.append(str(old))
        if len([c for c in calls if "before" in c]) == 3:
            shutil.rmtree(tmp_path / "before")

    monkeypatch.setattr("brainlm_data.dataset.shards.os.link", and_remove)
    growing.write(OLD | NEW)
    monkeypatch.undo()
    growing.holds(OLD | NEW)


def test_parcels_of_other_names_take_no_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    growing = Growing(tmp_path)
    growing.write(OLD)
    monkeypatch.setitem(globals(), "PARCELS", PARCELS.assign(name=["c", "b", "a"]))
    growing.write(OLD)
    assert set(growing.read) == set(OLD)
