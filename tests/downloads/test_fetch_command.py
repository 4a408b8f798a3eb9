from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nilearn.datasets
import pytest

from brainlm_data.cli import main
from brainlm_data.downloads import s3
from brainlm_data.downloads.openneuro import DONE
from brainlm_data.downloads.s3 import Bucket, Item, below
from brainlm_data.errors import InputError
from brainlm_data.files.lock import hold
from tests.downloads.bucket import Fake, served
from tests.imports.made import signal, write_1d

DS = "ds000999"
BOLD = "func/{0}_task-rest_bold.nii.gz"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    monkeypatch.setattr(s3.time, "sleep", lambda _: None)
    with served() as fake:
        for name in ("dataset_description.json", "participants.tsv", "README", "CHANGES"):
            fake.files[f"{DS}/{name}"] = name.encode() * 3
        for subject in ("sub-01", "sub-02", "sub-03"):
            for name in (
                "anat/{0}_T1w.nii.gz",
                BOLD,
                "func/{0}_task-rest_bold.json",
                "dwi/{0}_dwi.nii.gz",
                "{0}_scans.tsv",
            ):
                content = (subject + name).encode() * 5000
                fake.files[f"{DS}/{subject}/{name.format(subject)}"] = content
        fake.files[f"{DS}/derivatives/x.nii.gz"] = b"not wanted"
        fake.files["ds000998/README"] = b"another"
        yield fake


def fetch(fake: Fake, out: Path, *words: str) -> int:
    return main(["fetch", "openneuro", DS, str(out), "--url", fake.url, *words])


def in_place(fake: Fake, out: Path) -> set[str]:
    """Names of the files below `out`, whose content is checked."""
    found = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()} - {DONE}
    for name in found:
        assert (out / name).read_bytes() == fake.files[f"{DS}/{name}"]
    return found


def test_a_name_that_could_be_words_of_a_command_is_left_aside(
    bucket: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.files[f"{DS}/sub-02/func/sub-02_task-$(id)_bold.nii.gz"] = b"x"
    assert fetch(bucket, tmp_path / "ds") == 0
    assert "left aside" in (said := capsys.readouterr().err) and "sub-02_task-$(id)_bold.nii.gz" in said
    assert len(found := in_place(bucket, tmp_path / "ds")) == 16 and not any("$" in name for name in found)


def test_a_whole_data_set_and_nothing_twice(bucket: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch(bucket, tmp_path / "ds", "--dry-run") == 0
    assert "16 files" in capsys.readouterr().out and not (tmp_path / "ds").exists()
    assert fetch(bucket, tmp_path / "ds") == 0
    found = in_place(bucket, tmp_path / "ds")
    assert len(found) == 16 and "sub-02/sub-02_scans.tsv" in found
    assert not any("dwi" in name or "derivatives" in name for name in found)
    bucket.log.clear()
    assert fetch(bucket, tmp_path / "ds") == 0
    assert bucket.log == []
    bucket.files[f"{DS}/participants.tsv"] = b"PARTICIPANTS.TSV" * 3  # a new version of the same size
    (tmp_path / "ds" / "README").write_bytes(b"cut")
    assert fetch(bucket, tmp_path / "ds") == 0
    assert sorted(key for key, _ in bucket.log) == [f"{DS}/README", f"{DS}/participants.tsv"]
    in_place(bucket, tmp_path / "ds")
    assert [p.name for p in tmp_path.iterdir()] == ["ds"]


def test_participants_and_datatypes(bucket: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch(bucket, tmp_path / "ds", "--participant-label", "sub-01", "03", "--datatypes", "all") == 0
    found = in_place(bucket, tmp_path / "ds")
    assert {name.split("/")[0] for name in found if "/" in name} == {"sub-01", "sub-03"}
    assert "sub-03/dwi/sub-03_dwi.nii.gz" in found and len(found) == 14
    assert fetch(bucket, tmp_path / "ds", "--participant-label", "07") == 2
    assert "no sub-07; there are 3: sub-01" in capsys.readouterr().err


def test_what_was_cut_goes_on_with_a_range(bucket: Fake, tmp_path: Path) -> None:
    key = f"{DS}/sub-01/{BOLD.format('sub-01')}"
    bucket.cut[key] = 40_000
    assert fetch(bucket, tmp_path / "ds", "--participant-label", "01") == 0
    assert [r for k, r in bucket.log if k == key] == ["", "bytes=40000-"]
    in_place(bucket, tmp_path / "ds")


def test_a_killed_fetch_goes_on_in_a_later_run(bucket: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = f"{DS}/sub-01/{BOLD.format('sub-01')}"
    monkeypatch.setattr(s3, "TRIES", 1)
    bucket.cut[key] = 30_000
    assert fetch(bucket, tmp_path / "ds", "--participant-label", "01") == 2
    target = tmp_path / "ds" / "sub-01" / BOLD.format("sub-01")
    assert not target.exists() and next(target.parent.glob(".*.part")).stat().st_size == 30_000
    bucket.log.clear()
    assert fetch(bucket, tmp_path / "ds", "--participant-label", "01") == 0
    assert bucket.log == [(key, "bytes=30000-")]
    in_place(bucket, tmp_path / "ds")


def test_a_file_that_changed_meanwhile_is_not_mixed(
    bucket: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = f"{DS}/sub-01/{BOLD.format('sub-01')}"
    monkeypatch.setattr(s3, "TRIES", 1)
    item = Item(key, len(bucket.files[key]), bucket.etag(key))
    bucket.cut[key] = 30_000
    with pytest.raises(InputError, match="the connection ended"):
        Bucket(bucket.url).get(item, tmp_path / "x")
    bucket.files[key] = bytes(reversed(bucket.files[key]))
    with pytest.raises(InputError, match="412"):
        Bucket(bucket.url).get(item, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_busy_servers_and_damaged_bytes(bucket: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = (f"{DS}/sub-0{n}/{BOLD.format(f'sub-0{n}')}" for n in (1, 2))
    bucket.busy[good], bucket.damaged[good] = 2, 1
    bucket.damaged[bad] = 99
    assert fetch(bucket, tmp_path / "ds") == 2
    said = capsys.readouterr().err
    assert "1 of 16 files" in said and "MD5" in said and "run the same command again" in said
    found = in_place(bucket, tmp_path / "ds")
    assert len(found) == 15 and good.removeprefix(f"{DS}/") in found
    bucket.damaged.clear()
    assert fetch(bucket, tmp_path / "ds") == 0
    assert len(in_place(bucket, tmp_path / "ds")) == 16


def test_an_etag_of_parts_is_no_md5(bucket: Fake, tmp_path: Path) -> None:
    bucket.etags = dict.fromkeys(bucket.files, f"{'0' * 32}-2")
    assert fetch(bucket, tmp_path / "ds") == 0
    assert len(in_place(bucket, tmp_path / "ds")) == 16


def test_what_stops_it(bucket: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["fetch", "openneuro", "ds000111", str(tmp_path / "ds"), "--url", bucket.url]
    assert main(call) == 2 and "not found at" in capsys.readouterr().err
    assert main([*call[:2], "../x", *call[3:]]) == 2 and "accession number" in capsys.readouterr().err
    with hold(tmp_path / ".ds.fetching"):
        assert fetch(bucket, tmp_path / "ds") == 2
    assert "another run" in capsys.readouterr().err
    bucket.files[f"{DS}/sub-01/../../evil"] = b"x"
    with pytest.raises(InputError, match="no name of a file"):
        below(f"{DS}/sub-01/../../evil", f"{DS}/", tmp_path)


@pytest.mark.parametrize(
    ("size", "said"),
    [("", "as its size"), ("1e3", "as its size"), ("-5", "as its size"), ("NaN", "as its size"),
     ("9" * 30, "as its size"), (str(8 * 10**12), "this data set needs 8.0 TB")],
)  # fmt: skip
def test_a_listing_whose_sizes_cannot_be(
    bucket: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str], size: str, said: str
) -> None:
    bucket.sizes[f"{DS}/README"] = size
    assert fetch(bucket, tmp_path / "ds") == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 2
    assert not (tmp_path / "ds" / "README").exists()


def test_a_listing_that_does_not_end_or_is_cut(
    bucket: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.is_endless = True
    assert fetch(bucket, tmp_path / "ds") == 2 and "next page is not named" in capsys.readouterr().err
    bucket.is_endless, bucket.names_next = False, False
    assert fetch(bucket, tmp_path / "ds") == 2 and "next page is not named" in capsys.readouterr().err
    bucket.names_next = True
    monkeypatch.setattr(s3, "PAGES", 1)
    assert fetch(bucket, tmp_path / "ds") == 2 and "more than 1 pages" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../evil", "sub-01/../../../evil", "a\nb", "a\0b"])
def test_names_that_leave_the_folder_or_break_a_line(
    bucket: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    bucket.files[f"{DS}/{name}"] = b"x"
    code, error = fetch(bucket, tmp_path / "ds"), capsys.readouterr().err
    assert not (tmp_path / "evil").exists() and not (tmp_path.parent / "evil").exists()
    assert code == 0 or (code == 2 and error.count("\n") == 2)


def test_an_answer_that_is_longer_than_the_file_is_cut_off(
    bucket: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(s3, "TRIES", 1)
    bucket.files[f"{DS}/README"] = b"x" * (5 * s3.CHUNK)
    bucket.sizes[f"{DS}/README"] = "10"
    seen: list[int] = []
    with pytest.raises(InputError, match="differ from the listing"):
        Bucket(bucket.url).get(Item(f"{DS}/README", 10, "x"), tmp_path / "README", seen.append)
    assert sum(seen) <= 2 * s3.CHUNK and not (tmp_path / "README").exists()


@pytest.mark.parametrize("url", ["", "notaurl", "file:///etc", "http://[x"])
def test_addresses_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str) -> None:
    assert main(["fetch", "openneuro", DS, str(tmp_path / "ds"), "--url", url]) == 2
    assert "no address of the web" in capsys.readouterr().err


def test_names_with_spaces_and_plus(bucket: Fake, tmp_path: Path) -> None:
    bucket.files[f"{DS}/a b+c%é.txt"] = b"odd"
    assert fetch(bucket, tmp_path / "ds", "--participant-label", "01") == 0
    assert (tmp_path / "ds" / "a b+c%é.txt").read_bytes() == b"odd"


def test_abide_by_nilearn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """nilearn's fetcher is replaced: what is tested is how it is called, and that the result can be imported."""
    calls: list[dict[str, Any]] = []

    def fetcher(**words: Any) -> None:
        calls.append(words)
        for number in range(4):
            folder = tmp_path / "abide/ABIDE_pcp/cpac/filt_noglobal"
            write_1d(folder / f"NYU_005000{number}_rois_cc200.1D", signal(number))

    monkeypatch.setattr(nilearn.datasets, "fetch_abide_pcp", fetcher)
    assert main(["fetch", "abide", str(tmp_path / "abide"), "--subjects", "4"]) == 0
    expected = {"n_subjects": 4, "pipeline": "cpac", "band_pass_filtering": True, "global_signal_regression": False}
    assert expected.items() <= calls[0].items() and calls[0]["derivatives"] == ["rois_cc200"]
    folder = tmp_path / "abide/ABIDE_pcp/cpac/filt_noglobal"
    assert f"brainlm-data import pcp {folder} STORE" in capsys.readouterr().out
    assert main(["import", "pcp", str(folder), str(tmp_path / "out"), "--tr", "2"]) == 0
    assert main(["fetch", "abide", str(tmp_path / "abide"), "--atlas", "aal"]) == 2
    monkeypatch.setattr(nilearn.datasets, "fetch_abide_pcp", lambda **_: (_ for _ in ()).throw(OSError("no network")))
    assert main(["fetch", "abide", str(tmp_path / "abide")]) == 2
    assert "no network" in capsys.readouterr().err


def test_the_fetcher_knows_these_options() -> None:
    """The words that are given to nilearn are those of the version that is installed."""
    import inspect

    names = inspect.signature(nilearn.datasets.fetch_abide_pcp).parameters
    for name in (
        "data_dir",
        "n_subjects",
        "pipeline",
        "band_pass_filtering",
        "global_signal_regression",
        "derivatives",
    ):
        assert name in names
