"""Damage at rest: checksums of records, stores, tables and jobs' inputs, and what is said where one does not hold."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr

from brainlm_data import open_store
from brainlm_data.cli import main
from brainlm_data.dataset.scaler import Scaler
from brainlm_data.dataset.shards import PreviousStore
from brainlm_data.dataset.store import write_store
from brainlm_data.errors import InputError, Refused
from brainlm_data.files.reads import reads
from brainlm_data.files.seal import BLANK, check_seal, holds, seal, sealed
from brainlm_data.files.sidecar import load_record, read_record, write_record
from brainlm_data.files.sums import SUMS, check_sum, read_sums, sum_folder
from tests.core.test_runner import raw, redone, run
from tests.core.test_store import PARCELS, write
from tests.core.toy import CALLS

# ---- the door ----


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (zipfile.BadZipFile("File is not a zip file"), r"x.npz: cannot be read \(File is not a zip file\) -> mend"),
        (KeyError("iqr"), "x.npz: damaged, or of another kind: it has no iqr -> mend"),
        (EOFError(), r"x.npz: cannot be read \(EOFError\) -> mend"),
        (MemoryError("745 GiB"), r"x.npz: cannot be read \(745 GiB\)"),
        (FileNotFoundError(2, "No such file"), "x.npz: there is no such file"),
        (ValueError("two\n  lines"), r"x.npz: cannot be read \(two lines\)"),
    ],
)
def test_whatever_a_parser_raises_is_one_line(problem: Exception, words: str) -> None:
    with pytest.raises(Refused, match=words) as error, reads(Path("x.npz"), "mend", Refused):
        raise problem
    assert "\n" not in str(error.value)


def test_an_error_of_ours_and_a_stop_by_hand_go_through() -> None:
    for problem in (InputError("known", "as it is"), KeyboardInterrupt()):
        with pytest.raises(type(problem)) as error, reads(Path("x")):
            raise problem
        assert error.value is problem


# ---- seals and sums ----


def test_every_bit_of_a_sealed_content_counts() -> None:
    content = sealed(f'{{"checksum": "{BLANK}", "x": [1, 2, 3]}}'.encode())
    assert holds(content) and holds(b"nothing sealed")
    place = content.index(b"crc32"), content.index(b":", content.index(b"crc32")) + 1
    for at in range(len(content)):
        flipped = bytearray(content)
        flipped[at] ^= 1
        assert not holds(bytes(flipped)) or place[0] <= at < place[1]  # the mark itself: then there is no seal


def test_a_record_is_whole_or_not_there(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    write_record(file, {"x": 1})
    assert load_record(file, "") == read_record(file) == {"x": 1}
    file.write_text(file.read_text().replace('"x":1', '"x":2').replace('"x": 1', '"x": 2'))
    assert read_record(file) == {}
    with pytest.raises(InputError, match=r"record.json: .*checksum.* -> mend"):
        load_record(file, "mend")
    file.write_text('{"x": 3}')  # of an earlier release
    assert read_record(file) == {"x": 3}


def test_a_sealed_file_may_be_large_and_is_never_empty(tmp_path: Path) -> None:
    file = tmp_path / "x.bin"
    file.write_bytes(b"a" * 100_000 + BLANK.encode() + b"b" * 100_000)
    seal(file)
    check_seal(file, "")
    file.write_bytes(b"")
    with pytest.raises(InputError, match=r"x\.bin: damaged"):
        check_seal(file, "mend")


def test_sums_are_those_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/b.txt").write_text("b")
    sum_folder(tmp_path)
    assert list(read_sums(tmp_path)) == ["a.txt", "deep/b.txt"]
    check_sum(tmp_path / "a.txt", "mend")
    check_sum(tmp_path / "not listed.txt", "mend")
    (tmp_path / "a.txt").write_text("c")
    with pytest.raises(InputError, match=rf"a.txt: damaged or changed .* -> mend; .*its line out of {SUMS}"):
        check_sum(tmp_path / "a.txt", "mend")
    (tmp_path / "a.txt").unlink()
    with pytest.raises(InputError, match=r"a\.txt: gone"):
        check_sum(tmp_path / "a.txt", "mend")
    (tmp_path / SUMS).write_text("nonsense\n")
    with pytest.raises(InputError, match=r"no digest and name.* -> delete it"):
        read_sums(tmp_path)


# ---- the store ----


def test_a_flipped_bit_of_any_file_of_a_store_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.zarr"
    series, _ = write(path)

    def read() -> list[Any]:
        store = open_store(path)
        ids = ("r1", "r2", "r3")
        with reads(path):  # xarray reads when it is asked, with errors of its own
            lazily = store.dataset["x"].to_numpy()
        return [*map(store.series, ids), *map(store.valid, ids), lazily, repr(store.attrs)]

    expected = read()
    for file in [f for f in path.rglob("*") if f.is_file()]:
        content = file.read_bytes()
        for at in np.linspace(0, len(content) - 1, 3).astype(int):
            file.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
            try:
                found = read()
            except InputError as error:
                assert "\n" not in str(error)
                continue
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, other)
        file.write_bytes(content)
    assert np.array_equal(read()[0], series[0])


@pytest.mark.parametrize("gone", ["bold/c/0/0", "valid/c/0", "x/c/0"])
def test_a_chunk_that_is_gone_is_no_missing_data(tmp_path: Path, gone: str) -> None:
    write(tmp_path / "store.zarr")
    (tmp_path / "store.zarr" / gone).unlink()
    store = open_store(tmp_path / "store.zarr")
    with pytest.raises(Exception, match="is gone"):
        store.dataset[gone.split("/")[0]].to_numpy()
    if gone.startswith("bold"):
        with pytest.raises(InputError, match=r"bold/c/0/0: .*is gone.* -> make the store again"):
            store.series("r2")
    assert len(list(store.check())) == 1


def test_what_is_all_padding_or_zero_is_written_too(tmp_path: Path) -> None:
    empty = [np.full((9, 3), np.nan, np.float32)]
    table = pd.DataFrame({"id": ["r1"], "n_steps": [9]})
    write_store(tmp_path / "s.zarr", empty, table, PARCELS.assign(x=0.0), {"rate_hz": 1.0}, chunk_steps=8)
    store = open_store(tmp_path / "s.zarr")
    assert np.isnan(store.series("r1")).all() and not store.valid("r1").any()
    assert store.dataset["x"].to_numpy().tolist() == [0, 0, 0] and not list(store.check())


def test_a_store_of_an_earlier_release_is_read(tmp_path: Path) -> None:
    path = tmp_path / "store.zarr"
    series, _ = write(path)
    attributes = {k: v for k, v in open_store(path).attrs.items() if k != "checksum"}
    bold, valid = (open_store(path).dataset[name].to_numpy() for name in ("bold", "valid"))
    group = zarr.create_group(path, zarr_format=3, overwrite=True, attributes=attributes)
    group.create_array("bold", data=bold, chunks=(8, 3), shards=(256, 3), fill_value=np.nan)
    group.create_array("valid", data=valid, chunks=(256,), fill_value=False)
    store = open_store(path)
    np.testing.assert_array_equal(store.series("r3"), series[2])
    assert store.valid("r3").sum() == 15 and not list(store.check())


@pytest.mark.parametrize("damage", ["cut", "empty", "folder", "text"])
@pytest.mark.parametrize("file", ["recordings.parquet", "scaler.npz", "store.zarr/zarr.json"])
def test_damaged_tables_are_one_line(tmp_path: Path, file: str, damage: str) -> None:
    write(tmp_path / "store.zarr")
    pd.DataFrame({"id": ["r1"], "status": "done"}).to_parquet(tmp_path / "recordings.parquet")
    Scaler(np.zeros(3, np.float32), np.ones(3, np.float32)).save(tmp_path / "scaler.npz")
    place = tmp_path / file
    content = place.read_bytes()
    place.unlink()
    if damage == "folder":
        place.mkdir()
    else:
        place.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "text": b"sub-01\n" * 99}[damage])
    with pytest.raises(InputError, match=f"{Path(file).name}: ") as error:
        store = open_store(tmp_path / "store.zarr")
        _ = store.recordings, store.scaler
    assert "\n" not in str(error.value) and error.value.remedy


@pytest.mark.parametrize(
    "arrays",
    [{"median": np.zeros(3)}, {"median": np.zeros(3), "iqr": np.zeros(3)}, {"median": np.zeros(3), "iqr": np.ones(2)},
     {"median": np.full(3, np.nan), "iqr": np.ones(3)}, {"median": np.zeros(3), "iqr": np.full(3, np.inf)},
     {"median": np.array(["a"] * 3), "iqr": np.ones(3)}, {"median": np.zeros((3, 3)), "iqr": np.ones((3, 3))}],
)  # fmt: skip
def test_a_scaler_that_is_none(tmp_path: Path, arrays: dict[str, Any]) -> None:
    np.savez(tmp_path / "scaler.npz", **arrays)
    with pytest.raises(InputError, match=r"scaler\.npz: "):
        Scaler.load(tmp_path / "scaler.npz")


def test_the_order_of_recordings_is_that_of_the_store_that_is_there(tmp_path: Path) -> None:
    """A failed attempt leaves its notes; without a store they say nothing."""
    state = tmp_path / "state"
    state.mkdir()
    before = PreviousStore(state, tmp_path / "before", ["1", "2"])
    write_record(state / "shards.json", {"recordings": ["b", "a"], "made_of": [], "stat": [0, 0]})
    assert before.order(["a", "b"]) == [0, 1]
    table = pd.DataFrame({"id": ["b", "a"], "n_steps": [9, 9]})
    write_store(tmp_path / "before", [np.ones((9, 3), np.float32)] * 2, table, PARCELS, {"rate_hz": 1.0})
    assert before.order(["a", "b", "c"]) == [1, 0, 2]


# ---- a run ----


def flip(file: Path) -> None:
    """One bit, with the size and mtime of before."""
    status, content = file.stat(), bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_job_does_not_read_a_damaged_input_and_the_next_plan_mends_it(bids: Path, tmp_path: Path) -> None:
    first, _ = run(raw(bids, tmp_path / "out"))
    image = next((first.outdir / "derivatives/sub-01/anat").glob("*T1w.nii.gz"))
    good = image.read_bytes()
    flip(image)
    again = raw(bids, tmp_path / "out", motion={"gain": 2})
    with pytest.raises(InputError, match=r"T1w.nii.gz: damaged, it is not what its stage wrote -> run the same"):
        run(again)
    assert redone(again)["anat"]
    run(again)
    assert image.read_bytes() == good and "anat sub-01" in CALLS


def test_a_flipped_manifest_is_made_again(bids: Path, tmp_path: Path) -> None:
    first, manifests = run(raw(bids, tmp_path / "out"))
    manifest = first.outdir / "work/motion/sub-01_task-rest.json"
    manifest.write_text(manifest.read_text().replace('"done"', '"dome"'))
    assert redone(raw(bids, tmp_path / "out"))["motion"] == {"sub-01_task-rest"}
    _, again = run(raw(bids, tmp_path / "out"))
    assert again["motion/sub-01_task-rest"]["units"] == manifests["motion/sub-01_task-rest"]["units"]


# ---- verify ----


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("imported")
    (home / "in").mkdir()
    for number in range(1, 7):
        values = np.random.default_rng(number).standard_normal((130, 5)).astype(np.float32)
        np.save(home / f"in/sub-{number:02d}_task-rest.npy", values)
    assert main(import_of(home)) == 0
    return home


def import_of(home: Path) -> list[str]:
    return ["import", "arrays", str(home / "in"), str(home / "out"), "--tr", "1", "--test", "0.2"]


@pytest.mark.parametrize("file", ["store.zarr/bold/c/0/0", "store.zarr/valid/zarr.json", "import.json"])
def test_verify_checks_an_import_and_its_remedy_works(imported: Path, tmp_path: Path, file: str, capsys: Any) -> None:
    home = tmp_path / "home"
    shutil.copytree(imported, home)
    assert main(["verify", str(home / "out")]) == 0
    assert "every chunk of store.zarr checked, 0 missing or changed" in capsys.readouterr().out
    flip(home / "out" / file)
    assert main(["verify", str(home / "out")]) == 2
    said = capsys.readouterr().err
    assert file.split("/")[-1] in said and "import, train or export with --force" in said
    assert main([*import_of(home), "--force"]) == 0
    assert main(["verify", str(home / "out")]) == 0


def test_verify_checks_an_export(imported: Path, tmp_path: Path, capsys: Any) -> None:
    words = ["export", str(imported / "out/store.zarr"), str(tmp_path / "npy"), "--to", "npy"]
    assert main(words) == 0 and main(["verify", str(tmp_path / "npy")]) == 0
    (tmp_path / "npy/valid.npy").unlink()
    assert main(["verify", str(tmp_path / "npy")]) == 2
    assert "valid.npy: gone" in capsys.readouterr().err
    assert main([*words, "--force"]) == 0 and main(["verify", str(tmp_path / "npy")]) == 0
    assert main(["verify", str(tmp_path)]) == 2
    facts = json.loads((tmp_path / "npy/export.json").read_text())
    assert facts["Files"]["bold.npy"] == read_sums(tmp_path / "npy")["bold.npy"]
