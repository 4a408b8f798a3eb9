from __future__ import annotations

import gzip
import itertools
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from brainlm_data.errors import InputError, Refused
from brainlm_data.files.tables import read_table, write_table
from brainlm_data.reading.image import Run, Writer


def save(path: Path, data: np.ndarray, slope: float | None = None) -> Path:
    image = nib.Nifti1Image(data, np.diag([-2.0, 2, 3, 1]))
    image.header.set_xyzt_units("mm", "sec")
    if slope:
        image.header.set_slope_inter(slope, 5)
    nib.save(image, path)
    return path


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32, np.float64, ">i2"])
def test_volumes_are_those_of_nibabel(tmp_path: Path, ending: str, dtype: str) -> None:
    data = np.random.default_rng(0).integers(0, 200, (5, 6, 7, 4)).astype(dtype)
    path = save(tmp_path / f"a{ending}", data, slope=0.25 if np.dtype(dtype).kind != "f" else None)
    run = Run(path)
    read = np.stack(list(run), -1)
    assert read.dtype == np.float32 and run.n_volumes == 4 and run.shape == (5, 6, 7)
    np.testing.assert_allclose(read, nib.load(path).get_fdata(), rtol=1e-6)
    np.testing.assert_allclose(run.zooms, [2, 2, 3])


@pytest.mark.parametrize(("shape", "volumes"), [((4, 5, 6), 1), ((4, 5, 6, 1), 1), ((4, 5, 6, 1, 3), 3),
                                                ((4, 5, 6, 3, 1), 3)])  # fmt: skip
def test_dimensions(tmp_path: Path, shape: tuple[int, ...], volumes: int) -> None:
    data = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    run = Run(save(tmp_path / "a.nii.gz", data))
    assert run.n_volumes == volumes
    np.testing.assert_array_equal(np.stack(list(run), -1), data.reshape(4, 5, 6, volumes))


def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 99, (8, 8, 8, 6)).astype(np.int16)
    good = save(tmp_path / "a.nii.gz", data).read_bytes()
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(good[: len(good) // 2])
    with pytest.raises(Refused, match=r"bad\.nii\.gz: truncated, the file ends within volume"):
        list(Run(bad))
    bad.write_bytes(good[:-6])
    with pytest.raises(Refused, match=r"bad\.nii\.gz: truncated, no gzip checksum"):
        list(Run(bad))
    bad.write_bytes(good[:3000] + b"\xff" * 40 + good[3040:])
    with pytest.raises(Refused, match=r"bad\.nii\.gz: (corrupt|truncated)"):
        list(Run(bad))
    bad.write_bytes(b"not an image")
    with pytest.raises(Refused, match=r"bad\.nii\.gz: not a readable NIfTI"):
        Run(bad)
    plain = tmp_path / "bad.nii"
    plain.write_bytes(gzip.decompress(good)[:-100])
    with pytest.raises(Refused, match="truncated, or its header is damaged"):
        list(Run(plain))
    with pytest.raises(Refused, match="not one series"):
        Run(save(tmp_path / "b.nii.gz", np.zeros((4, 4, 4, 2, 3), np.int16)))
    with pytest.raises(Refused, match="not real numbers"):
        Run(save(tmp_path / "c.nii.gz", np.zeros((4, 4, 4, 2), np.complex64)))
    with pytest.raises(Refused, match="not a readable NIfTI"):
        Run(tmp_path / "missing.nii.gz")


def volumes(path: Path) -> np.ndarray:
    return np.stack(list(Run(path)), -1)


def header_of(path: Path, name: str, value: Any) -> Path:
    """Change one field of a .nii's header in place, whatever nibabel would have written."""
    raw = bytearray(path.read_bytes())
    header = nib.Nifti1Header(bytes(raw[:348]))
    header.structarr[name] = value
    raw[:348] = header.binaryblock
    path.write_bytes(raw)
    return path


SOME = np.random.default_rng(0).integers(0, 99, (8, 8, 8, 6)).astype(np.int16)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint16, np.int32, np.uint32, np.int64, np.float32, np.float64,
                                   ">i2", ">u2", ">i4", ">f4", ">f8"])  # fmt: skip
def test_data_types(tmp_path: Path, dtype: Any) -> None:
    kind = np.dtype(dtype)
    low, high = (-3, 3) if kind.kind == "f" else (max(np.iinfo(kind).min, -(2**22)), min(np.iinfo(kind).max, 2**22))
    data = np.random.default_rng(0).uniform(low, high, (5, 6, 7, 4)).astype(kind)
    header = nib.Nifti1Header(endianness=">" if kind.byteorder == ">" else "<")
    header.set_data_dtype(kind)
    nib.save(nib.Nifti1Image(data, np.eye(4), header, dtype=kind), tmp_path / "a.nii.gz")
    run = Run(tmp_path / "a.nii.gz")
    assert run.dtype == kind
    np.testing.assert_array_equal(np.stack(list(run), -1), data.astype(np.float32))


@pytest.mark.parametrize(("slope", "intercept"), [(0, 0), (np.nan, np.nan), (np.nan, 0), (0, 5), (np.inf, 0)])
def test_no_scaling(tmp_path: Path, slope: float, intercept: float) -> None:
    """NIfTI: a slope of 0 says that values are stored as they are, whatever the intercept."""
    path = header_of(save(tmp_path / "a.nii", SOME), "scl_slope", slope)
    np.testing.assert_array_equal(volumes(header_of(path, "scl_inter", intercept)), SOME)


@pytest.mark.parametrize(("slope", "intercept"), [(2, 0), (-0.5, 7), (1, -1024), (1e-3, 0)])
def test_scaling(tmp_path: Path, slope: float, intercept: float) -> None:
    path = header_of(save(tmp_path / "a.nii", SOME), "scl_slope", slope)
    found = volumes(header_of(path, "scl_inter", intercept))
    np.testing.assert_allclose(found, SOME * np.float32(slope) + np.float32(intercept), rtol=1e-6)
    np.testing.assert_allclose(found, nib.load(path).get_fdata(), rtol=1e-5)


def test_a_slope_without_an_intercept_is_refused(tmp_path: Path) -> None:
    path = header_of(save(tmp_path / "a.nii", SOME, slope=2), "scl_inter", np.nan)
    with pytest.raises(Refused, match="invalid intercept"):
        Run(path)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_nifti_2(tmp_path: Path, ending: str) -> None:
    image = nib.Nifti2Image(SOME, np.diag([2.0, 2, 3, 1]))
    image.header.set_xyzt_units("mm", "msec")
    image.header["pixdim"][4] = 735
    nib.save(image, tmp_path / f"a{ending}")
    run = Run(tmp_path / f"a{ending}")
    assert run.header_tr == pytest.approx(0.735) and run.warnings == []
    np.testing.assert_array_equal(np.stack(list(run), -1), SOME)


@pytest.mark.parametrize("axis", [3, 4, 5])
def test_the_tr_is_that_of_the_axis_with_the_volumes(tmp_path: Path, axis: int) -> None:
    shape = [4, 5, 6, 1, 1, 1]
    shape[axis] = 3
    image = nib.Nifti1Image(np.zeros(shape, np.int16), np.eye(4))
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4:7] = 9.0
    image.header["pixdim"][axis + 1] = 2.5
    nib.save(image, tmp_path / "a.nii.gz")
    run = Run(tmp_path / "a.nii.gz")
    assert (run.n_volumes, run.header_tr) == (3, 2.5) and len(list(run)) == 3


def stream(tmp_path: Path) -> bytes:
    return gzip.decompress(save(tmp_path / "a.nii.gz", SOME).read_bytes())


@pytest.mark.parametrize("cuts", [(2000,), (100,), (352,), tuple(range(50, 6000, 61)), (2000, 2000)], ids=len)
def test_gzip_members_one_after_the_other(tmp_path: Path, cuts: tuple[int, ...]) -> None:
    """As pigz and bgzip write them: cut anywhere, also within the header, and with empty members."""
    raw, places = stream(tmp_path), [0, *cuts, None]
    members = [gzip.compress(raw[a:b]) for a, b in itertools.pairwise(places)]
    (tmp_path / "b.nii.gz").write_bytes(b"".join(members) + gzip.compress(b""))
    np.testing.assert_array_equal(volumes(tmp_path / "b.nii.gz"), SOME)


@pytest.mark.parametrize("after", [b"\0" * 512, b"garbage", b"\x1f\x8b", b"\0" * 9 + b"x"], ids=repr)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_what_follows_the_series_is_left_alone(tmp_path: Path, after: bytes, ending: str) -> None:
    path = tmp_path / f"b{ending}"
    raw = stream(tmp_path)
    path.write_bytes((gzip.compress(raw) if ending == ".nii.gz" else raw) + after)
    np.testing.assert_array_equal(volumes(path), SOME)


def test_members_that_are_missing_or_garbage(tmp_path: Path) -> None:
    raw, bad = stream(tmp_path), tmp_path / "b.nii.gz"
    bad.write_bytes(gzip.compress(raw[:2000]) + b"\0" * 99)
    with pytest.raises(Refused, match="truncated, the file ends within volume 2 of 6"):
        list(Run(bad))
    bad.write_bytes(gzip.compress(raw[:2000]) + b"garbage" * 9)
    with pytest.raises(Refused, match="corrupt gzip data"):
        list(Run(bad))


@pytest.mark.parametrize("member", [0, 1])
def test_every_checksum_is_compared(tmp_path: Path, member: int) -> None:
    raw = stream(tmp_path)
    members = [bytearray(gzip.compress(raw[:2000])), bytearray(gzip.compress(raw[2000:]))]
    members[member][-6] ^= 255
    (tmp_path / "b.nii.gz").write_bytes(b"".join(members))
    with pytest.raises(Refused, match=r"b\.nii\.gz: corrupt gzip data"):
        list(Run(tmp_path / "b.nii.gz"))


def test_writer(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(-900, 900, (4, 5, 6, 3)).astype(np.int16)
    affine = np.diag([2.0, 2, 2, 1])
    for name in ("a.nii.gz", "b.nii.gz"):
        with Writer(tmp_path / name, (4, 5, 6, 3), affine, np.int16, 0.735, 0.5) as writer:
            for t in range(3):
                writer.add(data[..., t])
    image = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(image.get_fdata(), data * 0.5)
    np.testing.assert_array_equal(image.affine, affine)
    assert image.header.get_zooms()[3] == pytest.approx(0.735)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    with pytest.raises(ValueError, match="not written"), Writer(tmp_path / "c.nii.gz", (4, 5, 6, 3), affine, np.int16):
        pass


def test_tables_keep_float32_and_missing_values(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    values[2, 1] = np.nan
    write_table(tmp_path / "a.tsv", ["a", "b", "c"], values)
    assert "n/a" in (tmp_path / "a.tsv").read_text() and "nan" not in (tmp_path / "a.tsv").read_text()
    names, read = read_table(tmp_path / "a.tsv")
    assert names == ["a", "b", "c"]
    np.testing.assert_array_equal(read.astype(np.float32), values)
    (tmp_path / "b.tsv").write_text("a\tb\n1\tx\n")
    with pytest.raises(InputError, match=r"b\.tsv"):
        read_table(tmp_path / "b.tsv")
