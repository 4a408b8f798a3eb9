"""NIfTI runs one volume at a time: memory does not grow with the run's length.

Files are read front to back (a .nii.gz cannot be read otherwise without an index), decompressed in pieces by zlib and
scaled to float32. Whatever makes a file unusable raises `Refused` with the file's name.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainlm_data.errors import Refused

SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
CHUNK = 1 << 20  # compressed bytes read at a time
Volume = NDArray[np.float32]


class Run:
    """A 4-D NIfTI file (.nii, .nii.gz) whose volumes are read in order.

    Attributes
    ----------
    path, affine (4, 4), shape (x, y, z), n_volumes; zooms (x, y, z) in mm.
    header_tr: seconds, None where the header does not say (no time unit, or zero).

    Raises
    ------
    Refused: not a NIfTI file, no real numbers in it, more than one series, or a degenerate affine.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            image: Any = nib.load(path)
            header, shape = image.header, tuple(int(n) for n in image.shape)
            proxy = image.dataobj  # the loaded header has lost offset and scaling; its proxy keeps them
            self.dtype, self._offset = np.dtype(proxy.dtype), int(proxy.offset)
            self._slope, self._intercept = float(proxy.slope), float(proxy.inter)
            time_unit = header.get_xyzt_units()[1]
        except Exception as error:  # nibabel raises many kinds on a damaged header
            raise Refused(f"{path}: not a readable NIfTI image ({error})", "export or download it again") from error
        if self.dtype.kind not in "iuf":
            raise Refused(f"{path}: data type {self.dtype} is not real numbers", "export a magnitude image")
        long = [axis for axis in range(3, len(shape)) if shape[axis] > 1]
        if len(shape) < 3 or len(long) > 1 or 0 in shape:
            raise Refused(f"{path}: shape {shape} is not one series of 3-D volumes", "split it, one file a series")
        axis = long[0] if long else 3
        self.shape = (shape[0], shape[1], shape[2])
        self.n_volumes = shape[axis] if len(shape) > axis else 1
        self.affine = np.asarray(image.affine, dtype=float)
        if not np.isfinite(self.affine).all() or abs(np.linalg.det(self.affine[:3, :3])) < 1e-6:
            raise Refused(f"{path}: its affine is not invertible", "mend qform/sform in the header")
        self.zooms = np.sqrt((self.affine[:3, :3] ** 2).sum(0))
        self.has_orientation = bool(header["qform_code"] > 0 or header["sform_code"] > 0)
        step = float(header["pixdim"][axis + 1]) if axis + 1 < 8 else 0.0
        self.header_tr = step * SECONDS[time_unit] if time_unit in SECONDS and np.isfinite(step) and step > 0 else None

    def __iter__(self) -> Iterator[Volume]:
        """Volumes (x, y, z), float32, Fortran order, scaled. Raises Refused where the file ends early or is corrupt."""
        count = int(np.prod(self.shape))
        with self.path.open("rb") as stream:
            pieces = _Pieces(stream, self.path.suffix == ".gz", self.path)
            pieces.take(self._offset)
            for index in range(self.n_volumes):
                raw = pieces.take(count * self.dtype.itemsize, f"volume {index + 1} of {self.n_volumes}")
                volume = np.frombuffer(raw, self.dtype).astype(np.float32)
                if (self._slope, self._intercept) != (1.0, 0.0):
                    volume *= np.float32(self._slope)
                    volume += np.float32(self._intercept)
                yield volume.reshape(self.shape, order="F")
            pieces.finish()


class _Pieces:
    """Sequential bytes of a plain or gzip file."""

    def __init__(self, stream: BinaryIO, compressed: bool, path: Path) -> None:
        self._stream, self._path = stream, path
        self._zlib = zlib.decompressobj(31) if compressed else None
        self._buffer = bytearray()

    def take(self, size: int, what: str = "its header") -> bytes:
        """The next `size` bytes."""
        while len(self._buffer) < size:
            if not self._fill():
                raise Refused(f"{self._path}: truncated, the file ends within {what}", "download or export it again")
        taken = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        return taken

    def finish(self) -> None:
        """Read to the end of the gzip stream, so that its checksum is compared."""
        while self._zlib is not None and not self._zlib.eof:
            self._buffer.clear()
            if not self._fill():
                raise Refused(f"{self._path}: truncated, no gzip checksum at its end", "download or export it again")

    def _fill(self) -> bool:
        """Append the next piece to the buffer; False at the end of the file."""
        data = self._stream.read(CHUNK)
        if self._zlib is None:
            self._buffer += data
            return bool(data)
        rest = data
        try:
            while rest:
                if self._zlib.eof:  # a further gzip member, as pigz and bgzip write them
                    self._zlib = zlib.decompressobj(31)
                self._buffer += self._zlib.decompress(rest)
                rest = self._zlib.unused_data
                if self._zlib.eof and not rest.strip(b"\0"):
                    break
        except zlib.error as error:
            raise Refused(f"{self._path}: corrupt gzip data ({error})", "download or export it again") from error
        return bool(data)


def repetition_time(run: Run, metadata: dict[str, Any]) -> tuple[float, list[str]]:
    """TR in seconds and warnings: the BIDS sidecar's, else the header's with its unit.

    Raises
    ------
    Refused: neither gives one.
    """
    stated = metadata.get("RepetitionTime")
    if stated is not None:
        if isinstance(stated, bool) or not isinstance(stated, (int, float)) or not 0 < stated < 60:
            raise Refused(f"{run.path}: RepetitionTime {stated!r} in its JSON sidecar is no time in seconds", "mend it")
        if run.header_tr and abs(run.header_tr - stated) > 0.01 * stated:
            text = f"TR is {stated:g} s in the JSON sidecar (used) and {run.header_tr:g} s in the NIfTI header"
            return float(stated), [text]
        return float(stated), []
    if run.header_tr is None or run.header_tr >= 60:
        raise Refused(
            f"{run.path}: no repetition time, neither RepetitionTime in its JSON sidecar nor one with a unit in its"
            " header",
            "add RepetitionTime (seconds) to the _bold.json beside it",
        )
    return run.header_tr, ["TR was taken from the NIfTI header: the JSON sidecar has no RepetitionTime"]


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
        # no name and no time in the gzip header: the same data are the same bytes
        self._gzip = gzip.GzipFile("", "wb", compresslevel=1, fileobj=self._file, mtime=0)
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
