"""Every image that comes in is read by one reader: what is wrong with a file is said in its name, whichever it is."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainlm_data.errors import InputError, Refused
from brainlm_data.reading.image import Header, Run, load_image, repetition_time
from tests.core.test_volumes import header_of

AFFINE = np.diag([-2.0, 2, 3, 1])
Read = Callable[[Path], object]
READERS = pytest.mark.parametrize("read", [load_image, lambda path: list(Run(path))], ids=["whole", "volumes"])


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE, unit: str = "mm") -> Path:
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units(unit, "sec")
    nib.save(image, path)
    return path


def values(shape: tuple[int, ...] = (8, 9, 10)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 900, shape).astype(np.int16)


def test_a_whole_image_is_nibabels(tmp_path: Path) -> None:
    for ending in (".nii", ".nii.gz"):
        path = save(tmp_path / f"a{ending}", values())
        image, known = load_image(path), nib.load(path)
        np.testing.assert_array_equal(np.asarray(image.dataobj), np.asarray(known.dataobj))
        np.testing.assert_array_equal(image.affine, known.affine)


@READERS
def test_every_flipped_bit_of_a_gzip_file_is_seen(tmp_path: Path, read: Read) -> None:
    good = gzip.compress(gzip.decompress(save(tmp_path / "a.nii.gz", values()).read_bytes()), mtime=0)
    bad = tmp_path / "bad.nii.gz"
    trailer = range(len(good) - 8, len(good))
    for place in [*np.random.default_rng(1).integers(10, len(good), 60), *trailer]:
        flipped = bytearray(good)
        flipped[place] ^= 0x10
        bad.write_bytes(flipped)
        with pytest.raises(Refused, match=r"bad\.nii\.gz"):
            read(bad)


@READERS
def test_what_is_no_image_of_real_numbers_is_refused_by_name(tmp_path: Path, read: Read) -> None:
    colours = np.zeros((8, 8, 8), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for data, said in ((colours, "RGB"), (values().astype(np.complex64), "complex64")):
        with pytest.raises(Refused, match=rf"a\.nii\.gz: data type {said}.* is not real numbers"):
            read(save(tmp_path / "a.nii.gz", data))


@READERS
def test_an_affine_that_no_scanner_has_is_refused(tmp_path: Path, read: Read) -> None:
    content = bytearray(save(tmp_path / "a.nii", values()).read_bytes())
    for damage, says in (
        (np.nan, "its affine"),
        (np.inf, "its affine"),
        (0.0, "its affine"),
        (3e9, "voxels of 3e[+]09"),
    ):
        content[280:284] = struct.pack("<f", damage)  # srow_x[0]
        (tmp_path / "bad.nii").write_bytes(content)
        with pytest.raises(Refused, match=rf"bad\.nii: {says}"):
            read(tmp_path / "bad.nii")


@READERS
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_header_that_claims_more_than_the_file_can_hold(tmp_path: Path, read: Read, ending: str) -> None:
    content = bytearray(save(tmp_path / "a.nii", values()).read_bytes())
    for place, damage in ((42, struct.pack("<hhh", *[32767] * 3)), (42, struct.pack("<h", -3)),
                          (108, struct.pack("<f", 3e9)), (108, struct.pack("<f", -352)), (40, struct.pack("<h", 99)),
                          (70, struct.pack("<h", 12345))):  # fmt: skip
        claimed = content[:place] + damage + content[place + len(damage) :]
        bad = tmp_path / f"bad{ending}"
        bad.write_bytes(gzip.compress(claimed) if ending == ".nii.gz" else claimed)
        with pytest.raises(Refused, match=r"bad\.nii"):
            read(bad)


@READERS
def test_what_is_no_regular_file_with_content(tmp_path: Path, read: Read) -> None:
    os.mkfifo(tmp_path / "pipe.nii.gz")
    (tmp_path / "folder.nii.gz").mkdir()
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    (tmp_path / "text.nii.gz").write_text("not an image")
    (tmp_path / "packed.nii").write_bytes(zlib.compress(b"x", wbits=31))
    (tmp_path / "round.nii.gz").symlink_to(tmp_path / "round.nii.gz")
    for name in ("pipe.nii.gz", "folder.nii.gz", "empty.nii.gz", "text.nii.gz", "packed.nii", "round.nii.gz", "no.nii"):
        with pytest.raises(Refused, match=rf"{name}: not a readable NIfTI image"):
            read(tmp_path / name)


def test_lengths_are_millimetres_whatever_the_header_counts_in(tmp_path: Path) -> None:
    for unit, factor in (("micron", 1e3), ("meter", 1e-3)):
        affine = AFFINE.copy()
        affine[:3] *= factor
        path = save(tmp_path / "a.nii.gz", values(), affine, unit)
        np.testing.assert_allclose(load_image(path).affine, AFFINE, rtol=1e-6)
        assert f"lengths in {unit}s" in Header(path).warnings[0]


def test_an_image_that_all_need_stops_all(tmp_path: Path) -> None:
    (tmp_path / "atlas.nii.gz").write_bytes(b"no")
    with pytest.raises(InputError, match=r"atlas\.nii\.gz: .* -> give another"):
        load_image(tmp_path / "atlas.nii.gz", InputError, "give another")


def test_even_volume_timing_is_a_repetition_time_and_gaps_are_refused(tmp_path: Path) -> None:
    run = Run(save(tmp_path / "a.nii.gz", values((8, 9, 10, 5))))
    assert repetition_time(run, {"VolumeTiming": [0, 2.5, 5, 7.5, 10]})[0] == 2.5
    for times in ([0, 2, 4, 10, 12], [0, 2, 4], [], "often", [0, "a", 2, 3, 4], [4, 3, 2, 1, 0], [1, 1, 1, 1, 1]):
        with pytest.raises(Refused, match=r"a\.nii\.gz: VolumeTiming"):
            repetition_time(run, {"VolumeTiming": times})


@pytest.mark.parametrize("slope", [None, 1e30])
@READERS
def test_values_beyond_float32_are_refused(tmp_path: Path, read: Read, slope: float | None) -> None:
    """They would become infinite, and infinite voxels count as empty."""
    data = values().astype(np.float64)
    data[3, 3, 3] = 1e300 if slope is None else 1e10
    path = save(tmp_path / "a.nii", data)
    if slope is not None:
        header_of(header_of(path, "scl_slope", slope), "scl_inter", 0)
    with pytest.raises(Refused, match=r"a\.nii: values up to 1e\+(300|40), beyond 3\.4e\+38"):
        read(path)


@READERS
def test_values_that_float32_holds_are_read(tmp_path: Path, read: Read) -> None:
    """Infinite ones as they are stored count as empty (docs/input.md); a large type alone is no fault."""
    data = values().astype(np.float64)
    data[3, 3, 3], data[4, 4, 4] = np.inf, np.nan
    read(save(tmp_path / "a.nii.gz", data))
    nib.save(nib.Nifti1Image(values().astype(np.int64), AFFINE, dtype=np.int64), tmp_path / "b.nii.gz")
    read(tmp_path / "b.nii.gz")


@READERS
def test_a_pointer_of_git_annex_says_how_to_get_the_image(tmp_path: Path, read: Read) -> None:
    for ending, content in ((".nii.gz", "/annex/objects/MD5E-s9--0.nii.gz\n"), (".nii", "version https://git-lfs.x\n")):
        path = tmp_path / f"a{ending}"
        path.write_text(content)
        with pytest.raises(Refused, match=r"its content is not here.*datalad get, git annex get, git lfs pull"):
            read(path)


def test_the_first_volume_needs_a_whole_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", values())
    np.testing.assert_array_equal(Run(path).first(), values())
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)
    with pytest.raises(Refused, match="corrupt gzip data"):
        Run(path).first()


@pytest.mark.parametrize(
    ("step", "unit", "tr", "said"),
    [
        (2000.0, "msec", 2.0, ""),
        (2e6, "usec", 2.0, ""),
        (2000.0, "sec", None, r"2000 s of its header is no time in seconds \(is it 2 s, in milliseconds\?\)"),
        (0.002, "sec", None, "divided by 1000"),
        (2.0, "msec", None, "divided by 1000"),
        (0.0, "sec", None, "no repetition time"),
        (np.nan, "sec", None, "no repetition time"),
        (-2.0, "sec", None, "no repetition time"),
        (2.0, "unknown", None, "nor one with a unit"),
    ],
)
def test_the_tr_of_a_header(tmp_path: Path, step: float, unit: str, tr: float | None, said: str) -> None:
    image = nib.Nifti1Image(values((8, 9, 10, 5)), AFFINE)
    image.header.set_xyzt_units("mm", unit)
    nib.save(image, tmp_path / "a.nii")
    run = Run(header_of(tmp_path / "a.nii", "pixdim", [1, 2, 2, 2, step, 1, 1, 1]))
    if tr is not None:
        assert repetition_time(run, {})[0] == pytest.approx(tr)
        return
    with pytest.raises(Refused, match=rf"a\.nii: .*{said}.*RepetitionTime"):
        repetition_time(run, {})
    if step == 2000:
        assert repetition_time(run, {"RepetitionTime": 2})[0] == 2
