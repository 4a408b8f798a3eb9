"""Arrays from .npz files: as they were written, or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from brainlm_data import reads_arrays
from brainlm_data.errors import InputError


def written(path: Path, **arrays: NDArray[np.generic]) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]  # arrays by name, not allow_pickle
    return path


def read(path: Path) -> dict[str, NDArray[np.generic]]:
    with reads_arrays(path) as arrays:
        return dict(arrays)


def test_what_numpy_writes(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(["x", "yz"]), "c": np.array(3), "d": np.empty((0, 4))}
    found = read(written(tmp_path / "all.npz", **arrays))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    with reads_arrays(tmp_path / "all.npz") as names:
        assert "a" in names and "e" not in names and len(names) == 4


@pytest.mark.parametrize(("old", "new"), [(b"'<f8'", b"'<f4'"), (b"(10000,)", b"(5000,) ")])
def test_a_header_that_claims_less_is_damage(tmp_path: Path, old: bytes, new: bytes) -> None:
    """numpy reads what the header says and never reaches the checksum, which is compared at the end."""
    path = written(tmp_path / "one.npz", a=np.arange(10_000.0))
    path.write_bytes(path.read_bytes().replace(old, new))
    assert np.load(path)["a"].nbytes == 40_000  # without a word
    with pytest.raises(InputError, match=r"one\.npz: cannot be read"):
        read(path)


def test_no_zip_no_member_and_python_objects(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("nothing")
    with pytest.raises(InputError, match=r"text\.npz: cannot be read"):
        read(tmp_path / "text.npz")
    with (
        pytest.raises(InputError, match="it has no b"),
        reads_arrays(written(tmp_path / "a.npz", a=np.ones(2))) as held,
    ):
        held["b"]
    with pytest.raises(InputError, match="Python objects, which are never loaded"):
        read(written(tmp_path / "o.npz", a=np.array([{}], dtype=object)))


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=80, deadline=None)
def test_a_flipped_bit_changes_no_number(tmp_path_factory: pytest.TempPathFactory, place: float, bit: int) -> None:
    path = written(tmp_path_factory.mktemp("npz") / "one.npz", a=np.arange(24.0), b=np.arange(5, dtype=np.int16))
    whole, damaged = read(path), bytearray(path.read_bytes())
    damaged[int(place * len(damaged))] ^= 1 << bit
    path.write_bytes(damaged)
    try:
        found = read(path)
    except InputError:
        return
    for name, array in found.items():  # a name may change, or a time; no array
        assert name not in whole or np.array_equal(array, whole[name])
