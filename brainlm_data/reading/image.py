"""The one reader of images: headers are checked, 4-D runs are read one volume at a time, 3-D images whole.

Files are read front to back (a .nii.gz cannot be read otherwise without an index), decompressed in pieces and scaled to
float32. Whatever makes a file unusable raises `Refused` with the file's name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from isal.igzip_lib import IsalError
from numpy.typing import NDArray

from brainlm_data.errors import BrainLMError, InputError, Refused
from brainlm_data.files.present import FETCH, POINTER, POINTERS, SMALL
from brainlm_data.reading.timing import impossible, stated_tr

SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
MILLIMETRES = {"meter": 1e3, "micron": 1e-3}
VOXEL_MM = (0.1, 30.0)  # a voxel of a scanner lies between
CORNER_MM = 1.0  # qform and sform that differ by less are rounding
POSSIBLE_MM = (0.01, 100.0)  # beyond, a header is damaged, and grids made from it would fill any memory
SERIES = {0, 1001, 1011, 2001}  # intent codes: none, estimate, dimensionless, time series
VECTORS = set(range(1004, 1011))  # matrices, displacements, vectors, point sets, triangles, quaternions
CHUNK = 1 << 18  # compressed bytes read at a time
GZIP = 31  # zlib's window bits: a gzip header, 32 kB
GZIP_RATIO = 1032  # bytes of data per byte of a .gz, at most: 258 for every 2 bits
LARGEST = float(np.finfo(np.float32).max)
Volume = NDArray[np.float32]


class Header:
    """The header of a NIfTI-1 or NIfTI-2 file (.nii, .nii.gz), checked: every image that comes in passes here.

    Attributes
    ----------
    path, affine (4, 4) in mm; dims: as many as the header has; zooms (x, y, z) in mm. The affine is the sform where
    its code is above 0, else the qform where its is, else voxel sizes alone, as nibabel takes it; lengths that are
    stated in metres or microns are made mm.
    warnings: what is odd about the header though it can be read: two orientations, units, what the values are.

    Raises
    ------
    Refused: not a NIfTI file, no real numbers in it, more data than the file can hold, or a degenerate affine.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._gzip = path.name.lower().endswith(".gz")
        try:
            size = self._size()
            image: Any = nib.load(path)
            self._kind, self.nifti = type(image), image.header
            self.dims = tuple(int(n) for n in image.shape)
            if not isinstance(image, nib.Nifti1Image) or not path.name.lower().endswith((".nii", ".nii.gz")):
                raise Refused(f"{path}: {type(image).__name__}, not one NIfTI file", "convert it to .nii.gz")
            proxy: Any = image.dataobj  # the loaded header has lost offset and scaling; its proxy keeps them
            self.dtype, self._offset = np.dtype(proxy.dtype), int(proxy.offset)
            self._slope, self._intercept = float(proxy.slope), float(proxy.inter)  # 1 and 0 for a slope of 0 or NaN
            self.affine = np.asarray(image.affine, dtype=float)
            space_unit, self._time_unit = self.nifti.get_xyzt_units()
        except Refused:
            raise
        except Exception as error:  # nibabel raises many kinds on a damaged header
            why = f"({str(error).replace(str(path), 'file')})"
            raise Refused(f"{path}: not a readable NIfTI image {why}", "export or download it again") from error
        if self.dtype.kind not in "iuf":
            said = "RGB colours" if self.dtype.kind == "V" else str(self.dtype)
            raise Refused(f"{path}: data type {said} is not real numbers", "export a magnitude image")
        if len(self.dims) < 3 or min(self.dims) < 1:
            raise Refused(f"{path}: shape {self.dims} is no image of three dimensions", "export it again")
        self._check_size(size)
        self.warnings = _two_orientations(self.nifti, self.dims[:3]) if self.nifti["sform_code"] > 0 else []
        if space_unit in MILLIMETRES:
            self._to_mm(space_unit)
        self.zooms = np.sqrt((self.affine[:3, :3] ** 2).sum(0))
        if not np.isfinite(self.affine).all() or abs(np.linalg.det(self.affine[:3, :3])) < 1e-6:
            raise Refused(f"{path}: its affine is not invertible", "fix qform/sform in the header")
        if not ((POSSIBLE_MM[0] < self.zooms) & (self.zooms < POSSIBLE_MM[1])).all():
            listed = " x ".join(f"{size:g}" for size in self.zooms)
            raise Refused(f"{path}: voxels of {listed} mm, by its affine", "fix qform/sform in the header")
        self.has_orientation = bool(self.nifti["qform_code"] > 0 or self.nifti["sform_code"] > 0)

    def _size(self) -> int:
        """Bytes on the disk. Raises Refused for no file, an empty one, or one whose name lies about gzip."""
        if self.path.exists() and not self.path.is_file():
            raise Refused(f"{self.path}: not a readable NIfTI image (a folder, a pipe or a socket)", "put a file there")
        with self.path.open("rb") as stream:
            start = stream.read(SMALL)
        if start.startswith(POINTERS):
            raise Refused(f"{self.path}: {POINTER}", FETCH)
        if not (magic := start[:2]):
            raise Refused(f"{self.path}: not a readable NIfTI image (an empty file)", "export or download it again")
        packed, name = magic == b"\x1f\x8b", self.path.name.lower()
        if (self._gzip and not packed) or (packed and name.endswith(".nii")):
            why = "no gzip data, though it is called .gz" if self._gzip else "gzip data, though it is not called .gz"
            raise Refused(f"{self.path}: not a readable NIfTI image ({why})", "rename it, or export it again")
        return self.path.stat().st_size

    def _check_size(self, size: int) -> None:
        """Whether the file can hold what its header says: a damaged one claims terabytes."""
        wanted = self._offset + math.prod(self.dims) * self.dtype.itemsize
        most = size * GZIP_RATIO if self._gzip else size
        if self._offset < 0 or wanted > most:
            raise Refused(
                f"{self.path}: truncated, or its header is damaged: it says {' x '.join(map(str, self.dims))} numbers"
                f" of {self.dtype}, {wanted} bytes, and the file holds at most {most}",
                "export or download it again",
            )

    def _to_mm(self, unit: str) -> None:
        """Scale an affine in metres or microns; where that gives no voxel of a scanner, the unit is wrong: it is mm."""
        size = np.sqrt((self.affine[:3, :3] ** 2).sum(0))
        scaled = MILLIMETRES[unit] * size
        holds = bool(((VOXEL_MM[0] < scaled) & (scaled < VOXEL_MM[1])).all())
        if holds:
            self.affine[:3] *= MILLIMETRES[unit]
        taken = "lengths were made mm" if holds else "which cannot be: taken as mm"
        listed = " x ".join(f"{s:g}" for s in size)
        self.warnings.append(f"the NIfTI header gives lengths in {unit}s (voxels of {listed}); {taken}")

    def _check_range(self, stored: NDArray[Any]) -> None:
        """Raises Refused for values that are finite in the file and infinite in float32, which all is computed in."""
        info = np.finfo(self.dtype) if self.dtype.kind == "f" else np.iinfo(self.dtype)
        if self._largest(np.array([info.min, info.max], np.longdouble)) <= LARGEST:
            return  # of this type and scale no value is
        finite = stored[np.isfinite(stored)]
        if finite.size and (largest := self._largest(np.array([finite.min(), finite.max()], np.longdouble))) > LARGEST:
            raise Refused(
                f"{self.path}: values up to {largest:.3g}, beyond {LARGEST:.3g} of 32-bit floats",
                "is it damaged? Else scale it, and export it again",
            )

    def _largest(self, ends: NDArray[np.longdouble]) -> float:
        """The largest magnitude between two stored values, as data."""
        return float(np.abs(ends * self._slope + self._intercept).max())

    def is_cut(self) -> bool:
        """Whether a .gz seems to be cut, by its last bytes alone: they say how many bytes it holds.

        True also of files in several parts (pigz, bgzip): only reading all of it decides.
        """
        wanted = self._offset + math.prod(self.dims) * self.dtype.itemsize
        with self.path.open("rb") as stream:
            stream.seek(-4, 2)
            return self._gzip and int.from_bytes(stream.read(4), "little") != wanted % 2**32

    def _pieces(self, stream: BinaryIO) -> _Pieces:
        return _Pieces(stream, self._gzip, self.path)

    def image(self) -> nib.Nifti1Image:
        """The whole image in memory, its gzip checksum compared. Raises Refused where it is truncated or corrupt."""
        content = _reserved(self.path, self._offset + math.prod(self.dims) * self.dtype.itemsize)
        with self.path.open("rb") as stream:
            pieces = self._pieces(stream)
            pieces.fill(memoryview(content), f"its {' x '.join(map(str, self.dims))} voxels")
            pieces.finish()
        self._check_range(np.frombuffer(content, self.dtype, offset=self._offset))
        image: Any = self._kind.from_bytes(bytes(content))
        return self._kind(image.dataobj, self.affine, image.header)  # the affine in mm


def load_image(path: Path, error: type[BrainLMError] = Refused, remedy: str = "") -> Any:
    """A checked image as nibabel has it, whole in memory, its affine in mm: see `Header`.

    Parameters
    ----------
    error, remedy: what is raised: `Refused` for an image of one unit, `InputError` for one that all of them need.
    """
    try:
        return Header(path).image()
    except Refused as refusal:
        raise error(refusal.message, remedy or refusal.remedy) from refusal


def load_output(path: Path) -> Any:
    """`load_image` of what a stage before this one wrote: a damaged one is no fault of the recording.

    Raises
    ------
    InputError: it is damaged.
    """
    return load_image(path, InputError, AGAIN)


AGAIN = "remove it and run the same command again"


def open_output(path: Path) -> Run:
    """A 4-D image that a stage before this one wrote. Raises InputError where it is damaged."""
    try:
        return Run(path)
    except Refused as refusal:
        raise InputError(refusal.message, AGAIN) from refusal


def output_volumes(run: Run) -> Iterator[Volume]:
    """The volumes of `open_output`. Raises InputError where they are damaged."""
    try:
        yield from run
    except Refused as refusal:
        raise InputError(refusal.message, AGAIN) from refusal


def _reserved(path: Path, size: int) -> bytearray:
    try:
        return bytearray(size)
    except MemoryError as error:
        raise Refused(f"{path}: {size / 1e9:.3g} GB in one piece, by its header", "is its header damaged?") from error


class Run(Header):
    """A 4-D image whose volumes are read in order.

    Attributes
    ----------
    shape (x, y, z), n_volumes, and what `Header` has.
    header_tr: seconds, None where the header does not say (no time unit, or zero).

    Raises
    ------
    Refused: as `Header`; more than one series, or vectors.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        shape = self.dims
        long = [axis for axis in range(3, len(shape)) if shape[axis] > 1]
        if len(long) > 1:
            raise Refused(f"{path}: shape {shape} is not one series of 3-D volumes", "split it, one file per series")
        intent = int(self.nifti["intent_code"])
        if intent in VECTORS:
            raise Refused(f"{path}: its intent code {intent} says vectors or matrices", "give the BOLD series itself")
        if intent not in SERIES:
            self.warnings.append(f"the NIfTI header's intent code is {intent}, which is no time series")
        axis = long[0] if long else 3
        self.shape = (shape[0], shape[1], shape[2])
        self.n_volumes = shape[axis] if len(shape) > axis else 1
        step, unit = float(self.nifti["pixdim"][axis + 1]) if axis + 1 < 8 else 0.0, self._time_unit
        self.header_tr = step * SECONDS[unit] if unit in SECONDS and np.isfinite(step) and step > 0 else None

    def __iter__(self) -> Iterator[Volume]:
        """Volumes (x, y, z), float32, Fortran order, scaled. Raises Refused where the file ends early or is corrupt."""
        raw = np.frombuffer(_reserved(self.path, math.prod(self.shape) * self.dtype.itemsize), self.dtype)
        with self.path.open("rb") as stream:
            pieces = self._pieces(stream)
            pieces.fill(memoryview(bytearray(self._offset)), "its header")
            for index in range(self.n_volumes):
                pieces.fill(raw.view(np.uint8).data, f"volume {index + 1} of {self.n_volumes}")
                self._check_range(raw)
                volume = raw.astype(np.float32)  # a copy: `raw` is filled again
                if (self._slope, self._intercept) != (1.0, 0.0):
                    volume *= np.float32(self._slope)
                    volume += np.float32(self._intercept)
                yield volume.reshape(self.shape, order="F")
            pieces.finish()

    def first(self) -> Volume:
        """The first volume. The file is read to its end: a checksum stands there."""
        for index, volume in enumerate(self):
            if index == 0:
                first = volume
        return first


def _two_orientations(header: Any, shape: tuple[int, ...]) -> list[str]:
    """A warning where qform and sform are both set and place a corner of the image more than `CORNER_MM` apart."""
    if header["qform_code"] <= 0:
        return []
    try:
        qform, sform = header.get_qform(), header.get_sform()
    except (ValueError, nib.spatialimages.HeaderDataError):
        return ["the NIfTI header's qform is not valid; the sform is used"]
    corners = np.array([[x, y, z, 1] for x in (0, shape[0] - 1) for y in (0, shape[1] - 1) for z in (0, shape[2] - 1)])
    apart = float(np.linalg.norm(corners @ (qform - sform)[:3].T, axis=1).max())
    if apart <= CORNER_MM:
        return []
    return [f"qform and sform of the NIfTI header place its corners up to {apart:.1f} mm apart; the sform is used"]


class _Pieces:
    """Sequential bytes of a plain or gzip file, decompressed into the place where they are wanted."""

    def __init__(self, stream: BinaryIO, compressed: bool, path: Path) -> None:
        self._stream, self._path = stream, path
        self._zlib = isal_zlib.decompressobj(GZIP) if compressed else None
        self._waiting = b""  # compressed bytes that were read and not used

    def fill(self, place: memoryview, what: str) -> None:
        """Fill `place` with the next bytes. Raises Refused where the file ends before, within `what`."""
        done = 0
        while done < len(place):
            piece = self._next(len(place) - done)
            if piece is None:
                raise Refused(f"{self._path}: truncated, the file ends within {what}", "download or export it again")
            place[done : done + len(piece)] = piece
            done += len(piece)

    def finish(self) -> None:
        """Read to the end of the gzip member, so that its checksum is compared; what follows is left alone."""
        while self._zlib is not None and not self._zlib.eof:
            if self._next(CHUNK) is None:
                raise Refused(f"{self._path}: truncated, no gzip checksum at its end", "download or export it again")

    def _next(self, most: int) -> bytes | None:
        """At most `most` bytes, possibly none yet; None at the end of the file."""
        if self._zlib is None:
            return self._read(most) or None
        if self._zlib.eof:  # a further gzip member, as pigz and bgzip write them
            self._waiting = (self._zlib.unused_data or self._read(CHUNK)).lstrip(b"\0")  # after padding
            if not self._waiting:
                return None
            self._zlib = isal_zlib.decompressobj(GZIP)
        compressed = self._waiting or self._read(CHUNK)
        try:
            piece = self._zlib.decompress(compressed, most)
        except IsalError as error:  # type: ignore[misc]  # an instance, its stub says
            raise Refused(f"{self._path}: corrupt gzip data ({error})", "download or export it again") from error
        self._waiting = self._zlib.unconsumed_tail
        return None if not compressed and not piece and not self._zlib.eof else piece

    def _read(self, most: int) -> bytes:
        try:
            return self._stream.read(most)
        except OSError as error:
            raise Refused(f"{self._path}: cannot be read ({error})", "is its disk whole? Copy it again") from error


def cleaned(volume: Volume) -> Volume:
    """NaN and infinite voxels as 0."""
    good = np.isfinite(volume)
    return volume if good.all() else np.where(good, volume, np.float32(0))


def repetition_time(run: Run, metadata: dict[str, Any]) -> tuple[float, list[str]]:
    """TR in seconds and warnings: the BIDS sidecar's (`timing.stated_tr`), else the header's with its unit.

    Raises
    ------
    Refused: neither gives one, or what the sidecar says cannot be.
    """
    try:
        stated = stated_tr(metadata)
    except ValueError as error:
        raise Refused(f"{run.path}: {error}", "fix the sidecar, or leave this run out") from error
    times = metadata.get("VolumeTiming")
    if times is not None and len(times) != run.n_volumes:
        raise Refused(
            f"{run.path}: VolumeTiming in its JSON sidecar has {len(times)} times, the image {run.n_volumes} volumes",
            "fix the sidecar, or export the image again",
        )
    if stated is not None:
        if run.header_tr and abs(run.header_tr - stated) > 0.01 * stated:
            text = f"TR is {stated:g} s in the JSON sidecar (used) and {run.header_tr:g} s in the NIfTI header"
            return stated, [text]
        return stated, []
    remedy = "add RepetitionTime (seconds) to the _bold.json beside it"
    if run.header_tr is None:
        raise Refused(
            f"{run.path}: no repetition time, neither RepetitionTime in its JSON sidecar nor one with a unit in its"
            " header",
            remedy,
        )
    if problem := impossible(run.header_tr):
        said = f"RepetitionTime is not in its JSON sidecar, and {run.header_tr:g} s of its header is {problem}"
        raise Refused(f"{run.path}: {said}", remedy)
    return run.header_tr, ["TR was taken from the NIfTI header: the JSON sidecar has no RepetitionTime"]


def compressed(file: BinaryIO) -> igzip.IGzipFile:
    """What is written to this goes to a file, compressed; a fifth of zlib's time at the same size."""
    # no name and no time in the gzip header: the same data are the same bytes
    return igzip.IGzipFile("", "wb", compresslevel=2, fileobj=file, mtime=0)


def save_image(image: nib.Nifti1Image, path: Path) -> None:
    """Write an image; `path` ends in .nii.gz."""
    with path.open("wb") as file, compressed(file) as stream:
        stream.write(image.to_bytes())


class Writer:
    """Write a 4-D .nii.gz one volume at a time: `with Writer(...) as writer: writer.add(volume)`.

    Parameters
    ----------
    path: ends in .nii.gz. shape: (x, y, z, volumes). tr_s: seconds, None for a fourth axis that is not time.
    slope: stored values times slope are the data (float dtypes: leave None).
    """

    def __init__(
        self, path: Path, shape: tuple[int, int, int, int], affine: NDArray[np.floating[Any]], dtype: type,
        tr_s: float | None = None, slope: float | None = None,
    ) -> None:  # fmt: skip
        header = nib.Nifti1Header()
        header.set_data_dtype(dtype)
        header.set_data_shape(shape)
        header.set_qform(affine, code="mni")
        header.set_sform(affine, code="mni")
        header.set_xyzt_units("mm", "sec" if tr_s else "unknown")
        header["pixdim"][4] = tr_s or 1.0
        header["magic"] = b"n+1"
        header["vox_offset"] = 352
        header.set_slope_inter(slope if slope else 1.0, 0.0)
        self._dtype, self._shape = np.dtype(dtype), shape
        self._file = path.open("wb")
        self._gzip = compressed(self._file)
        self._gzip.write(header.binaryblock + b"\0\0\0\0")
        self._left = shape[3]

    def add(self, volume: NDArray[Any]) -> None:
        """Append one volume, in stored units (x, y, z)."""
        if volume.shape != self._shape[:3] or self._left == 0:
            raise ValueError(f"volume {volume.shape} does not belong into {self._shape}")
        self._gzip.write(np.asarray(volume, dtype=self._dtype).tobytes(order="F"))
        self._left -= 1

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._gzip.close()
        self._file.close()
        if error is None and self._left:
            raise ValueError(f"{self._left} volumes were not written")
