from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from brainlm_data.errors import InputError
from brainlm_data.files import fetch
from brainlm_data.files.fetch import Remote, Wanted, cache_folder, obtain, obtain_all

CONTENT = b"an atlas"
SHA = hashlib.sha256(CONTENT).hexdigest()


def remote(folder: Path, sha256: str = SHA) -> Remote:
    """A file that lies in a folder instead of on the net."""
    (folder / "source.bin").write_bytes(CONTENT)
    return Remote("cached.bin", (folder / "source.bin").as_uri(), sha256, "none", same_as="$FSLDIR/thing")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BRAINLM_DATA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_downloads_once_then_takes_it_from_the_cache(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = remote(tmp_path)
    assert obtain(wanted, "atlas.path").read_bytes() == CONTENT
    monkeypatch.setattr(fetch.urllib.request, "urlopen", lambda *_, **__: pytest.fail("asked the net again"))
    assert obtain(wanted, "atlas.path") == home / "cached.bin"
    assert [p.name for p in home.iterdir()] == ["cached.bin"]  # nothing half-written beside it


def test_the_same_file_elsewhere_is_taken_where_it_is_the_same(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FSLDIR", str(tmp_path))
    gone = Remote("A.nii.gz", (tmp_path / "nowhere").as_uri(), SHA, "none", same_as="$FSLDIR/thing")
    (tmp_path / "thing").write_bytes(b"another one")
    with pytest.raises(InputError):
        obtain(gone, "atlas.path")
    (tmp_path / "thing").write_bytes(CONTENT)
    assert obtain(gone, "atlas.path") == tmp_path / "thing"


def test_without_a_network_it_says_what_to_put_where(tmp_path: Path, home: Path) -> None:
    gone = Remote("A.nii.gz", (tmp_path / "nowhere").as_uri(), SHA, "none", same_as="$FSLDIR/thing")
    with pytest.raises(InputError) as caught:
        obtain(gone, "atlas.path")
    for part in (str(home / "A.nii.gz"), gone.url, "atlas.path", "$FSLDIR/thing"):
        assert part in caught.value.remedy
    assert not (home / "A.nii.gz").exists()


def test_all_that_is_missing_is_named_at_once(tmp_path: Path, home: Path) -> None:
    """Also what later stages need, but not what is here."""
    gone = [Remote(f"{name}.nii.gz", (tmp_path / name).as_uri(), SHA, "none") for name in "ABC"]
    first, second, later = (Wanted(each, f"{each.name[0]}.path") for each in gone)
    with pytest.raises(InputError, match=r"^A.nii.gz, B.nii.gz, C.nii.gz, cached.bin: not in the cache") as caught:
        obtain_all([first, second], [later, Wanted(remote(tmp_path), "there")])
    for each in gone:
        assert f"{home / each.name} (from {each.url})" in caught.value.remedy
    assert caught.value.remedy.endswith("or give paths: A.path, B.path, C.path, there")
    obtain(remote(tmp_path), "there")
    with pytest.raises(InputError, match=r"^A.nii.gz: not in the cache"):
        obtain_all([first], [Wanted(remote(tmp_path), "there")])


def test_wrong_content_is_never_kept(tmp_path: Path, home: Path) -> None:
    with pytest.raises(InputError, match="sha256"):
        obtain(remote(tmp_path, "0" * 64), "atlas.path")
    assert not (home / "cached.bin").exists()
    home.mkdir()
    (home / "cached.bin").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"cached\.bin: sha256"):
        obtain(remote(tmp_path), "atlas.path")


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "home"
    monkeypatch.delenv("BRAINLM_DATA_HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "brainlm"
