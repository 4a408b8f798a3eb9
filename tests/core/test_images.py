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
