from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainlm_data.errors import InputError, Refused
from brainlm_data.methods.volumes import Run, Writer
from brainlm_data.tables import read_table, write_table


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
    with pytest.raises(Refused, match="within volume 6 of 6"):
        list(Run(plain))
    with pytest.raises(Refused, match="not one series"):
        Run(save(tmp_path / "b.nii.gz", np.zeros((4, 4, 4, 2, 3), np.int16)))
    with pytest.raises(Refused, match="not real numbers"):
        Run(save(tmp_path / "c.nii.gz", np.zeros((4, 4, 4, 2), np.complex64)))
    with pytest.raises(Refused, match="not a readable NIfTI"):
        Run(tmp_path / "missing.nii.gz")


def test_gzip_members_one_after_the_other(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 99, (8, 8, 8, 6)).astype(np.int16)
    raw = gzip.decompress(save(tmp_path / "a.nii.gz", data).read_bytes())
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(raw[:2000]) + gzip.compress(raw[2000:]))
    np.testing.assert_array_equal(np.stack(list(Run(tmp_path / "b.nii.gz")), -1), data)


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
