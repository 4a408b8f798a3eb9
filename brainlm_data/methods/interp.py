"""Compiled interpolation: cubic B-splines and linear, at arbitrary points of a volume.

Imports numba, so import this module inside functions. Kernels are compiled on first use and cached beside this file.
Voxel centres are at integer coordinates; edges are mirrored about the outermost voxel centres (scipy's "mirror").
Unser (1999), doi:10.1109/79.799930.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float = NDArray[np.float32]
Double = NDArray[np.floating[Any]]
PAD = 2  # mirrored voxels around the coefficients, so that no kernel tests for edges
POLE = np.sqrt(3.0) - 2.0  # of the cubic B-spline's prefilter
TILE = 16  # rows that are filtered together
HORIZON = 12  # POLE**12 is below the resolution of float32
kernel: Any = njit(cache=True, fastmath={"contract", "reassoc", "nsz"}, nogil=True)  # NaN keeps its meaning
inlined: Any = njit(inline="always")


@kernel
def _prefilter_rows(data: Float, pole: float, horizon: int) -> None:
    """Prefilter along axis 1 of (a, n, b), in place; rows of b contiguous values are filtered together."""
    start = np.empty(data.shape[2], np.float32)
    for a in range(data.shape[0]):
        _recursions(data[a], start, pole, horizon)


@kernel
def _prefilter_last(data: Float, pole: float, horizon: int) -> None:
    """Prefilter along axis 1 of (a, n), in place; some rows are turned and filtered together, within the cache."""
    rows, n = data.shape
    tile, start = np.empty((n, TILE), np.float32), np.empty(TILE, np.float32)
    for first in range(0, rows, TILE):
        width = min(TILE, rows - first)
        for b in range(width):
            for k in range(n):
                tile[k, b] = data[first + b, k]
        _recursions(tile, start, pole, horizon)
        for b in range(width):
            for k in range(n):
                data[first + b, k] = tile[k, b]


@kernel
def _recursions(data: Float, start: Float, pole: float, horizon: int) -> None:
    """Prefilter along the first axis of (n, b), in place; `start` (b,) is scratch."""
    n, width = data.shape
    # The spline s(x) = sum_k c_k B(x - k) goes through the samples f where (c_{k-1} + 4 c_k + c_{k+1}) / 6 = f_k. As a
    # filter this is B(z) = (z + 4 + 1/z) / 6, whose inverse splits into a causal and an anti-causal recursion with the
    # pole z = sqrt(3) - 2:
    #     forwards     p_k = gain f_k + z p_{k-1},    gain = (1 - z) (1 - 1/z) = 6
    #     backwards    c_k = z (c_{k+1} - p_k)
    # Both run in place.
    z = np.float32(pole)
    gain = np.float32((1.0 - pole) * (1.0 - 1.0 / pole))
    last = np.float32(pole / (pole * pole - 1.0))
    # p_0 = gain sum_{j >= 0} z^j f_j over the mirrored past (which is the future of the series), cut off at HORIZON.
    for b in range(width):
        start[b] = data[0, b]
    power = z
    for k in range(1, horizon + 1):
        period = 2 * (n - 1)
        index = k % period
        if index >= n:
            index = period - index
        for b in range(width):
            start[b] += power * data[index, b]
        power *= z
    for b in range(width):
        data[0, b] = start[b] * gain
    for k in range(1, n):
        for b in range(width):
            data[k, b] = gain * data[k, b] + z * data[k - 1, b]
    # The last coefficient in closed form, again by the mirror: c_{n-1} = z / (z^2 - 1) (p_{n-1} + z p_{n-2}).
    for b in range(width):
        data[n - 1, b] = last * (data[n - 1, b] + z * data[n - 2, b])
    for k in range(n - 2, -1, -1):
        for b in range(width):
            data[k, b] = z * (data[k + 1, b] - data[k, b])


@kernel
def _pad(volume: Float, pad: int) -> Float:
    """Copy with `pad` mirrored voxels on every side."""
    nx, ny, nz = volume.shape
    out = np.empty((nx + 2 * pad, ny + 2 * pad, nz + 2 * pad), np.float32)
    for i in range(nx + 2 * pad):
        x = _mirror(i - pad, nx)
        for j in range(ny + 2 * pad):
            y = _mirror(j - pad, ny)
            for k in range(nz):
                out[i, j, k + pad] = volume[x, y, k]
            for k in range(pad):
                out[i, j, k] = volume[x, y, _mirror(k - pad, nz)]
                out[i, j, nz + pad + k] = volume[x, y, _mirror(nz + k, nz)]
    return out


@inlined
def _mirror(index: int, n: int) -> int:
    if n == 1:
        return 0
    # .. 2 1 0 1 2 .. n-1 .. 2 1 0 ..: even about both outermost voxels, so it repeats after 2 (n - 1).
    period = 2 * (n - 1)
    index = abs(index) % period
    return period - index if index >= n else index


def coefficients(volume: Float) -> Float:
    """Cubic B-spline coefficients of a volume (x, y, z), mirrored by `PAD` voxels on every side, float32."""
    out = np.ascontiguousarray(volume, dtype=np.float32).copy()
    nx, ny, nz = out.shape
    # The prefilter is separable: one axis after the other.
    if nx > 1:
        _prefilter_rows(out.reshape(1, nx, ny * nz), POLE, HORIZON)
    if ny > 1:
        _prefilter_rows(out, POLE, HORIZON)
    if nz > 1:
        _prefilter_last(out.reshape(nx * ny, nz), POLE, HORIZON)
    return _pad(out, PAD)


def padded(volume: Float) -> Float:
    """The volume itself, mirrored as `coefficients` are: for linear interpolation, and for smoothing B-splines."""
    return _pad(np.ascontiguousarray(volume, dtype=np.float32), PAD)


@inlined
def _weights(t: float) -> Any:
    """Cubic B-spline weights of the four neighbours at fraction t in [0, 1)."""
    # B at distances 1 + t, t, 1 - t and 2 - t, from the cubic B-spline
    #     B(d) = 2/3 - d^2 (2 - |d|) / 2 for |d| < 1,    (2 - |d|)^3 / 6 for |d| < 2,    0 beyond.
    # The four sum to 1, which gives the third one for nothing.
    one, sixth = np.float32(1.0), np.float32(1.0 / 6.0)
    s = one - t
    w0 = s * s * s * sixth
    w3 = t * t * t * sixth
    w1 = np.float32(2.0 / 3.0) - t * t * (one - np.float32(0.5) * t)
    return w0, w1, one - w0 - w1 - w3, w3


@inlined
def cubic_at(c: Float, x: float, y: float, z: float) -> Any:
    """Value of the spline with padded coefficients c at voxel coordinates within [-1, n)."""
    i, j, k = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
    a0, a1, a2, a3 = _weights(np.float32(x - i))
    b = _weights(np.float32(y - j))
    d0, d1, d2, d3 = _weights(np.float32(z - k))
    i, j, k = i + 1, j + 1, k + 1  # the first neighbour is one voxel before, PAD is 2
    # s(x, y, z) = sum_lmn a_l b_m d_n c_{i+l, j+m, k+n}: 64 neighbours, a row of y after the other.
    total = np.float32(0.0)
    for m in range(4):
        row = np.float32(0.0)
        p0, p1, p2, p3 = c[i, j + m], c[i + 1, j + m], c[i + 2, j + m], c[i + 3, j + m]
        row += a0 * (d0 * p0[k] + d1 * p0[k + 1] + d2 * p0[k + 2] + d3 * p0[k + 3])
        row += a1 * (d0 * p1[k] + d1 * p1[k + 1] + d2 * p1[k + 2] + d3 * p1[k + 3])
        row += a2 * (d0 * p2[k] + d1 * p2[k + 1] + d2 * p2[k + 2] + d3 * p2[k + 3])
        row += a3 * (d0 * p3[k] + d1 * p3[k + 1] + d2 * p3[k + 2] + d3 * p3[k + 3])
        total += b[m] * row
    return total


@inlined
def linear_at(v: Float, x: float, y: float, z: float) -> float:
    """Trilinear value of the padded volume v at voxel coordinates within [-1, n)."""
    i, j, k = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
    a, b, d = np.float32(x - i), np.float32(y - j), np.float32(z - k)
    i, j, k = i + 2, j + 2, k + 2
    one = np.float32(1.0)
    # Along z, then y, then x: each time (1 - fraction) * near + fraction * far.
    low = (one - b) * ((one - d) * v[i, j, k] + d * v[i, j, k + 1]) + b * (
        (one - d) * v[i, j + 1, k] + d * v[i, j + 1, k + 1]
    )
    high = (one - b) * ((one - d) * v[i + 1, j, k] + d * v[i + 1, j, k + 1]) + b * (
        (one - d) * v[i + 1, j + 1, k] + d * v[i + 1, j + 1, k + 1]
    )
    return (one - a) * low + a * high


@kernel
def _sample(source: Float, points: Double, m: Double, cubic: bool, margin: float) -> Float:
    nx, ny, nz = source.shape[0] - 4, source.shape[1] - 4, source.shape[2] - 4
    out = np.empty(len(points), np.float32)
    for n in range(len(points)):
        # (x, y, z, 1)' = m (p, q, r, 1)': written out, as numba is much faster on scalars than on small arrays
        p, q, r = points[n, 0], points[n, 1], points[n, 2]
        x = m[0, 0] * p + m[0, 1] * q + m[0, 2] * r + m[0, 3]
        y = m[1, 0] * p + m[1, 1] * q + m[1, 2] * r + m[1, 3]
        z = m[2, 0] * p + m[2, 1] * q + m[2, 2] * r + m[2, 3]
        inside = -margin <= x <= nx - 1 + margin and -margin <= y <= ny - 1 + margin and -margin <= z <= nz - 1 + margin
        if not inside:
            out[n] = np.nan
        elif cubic:
            out[n] = cubic_at(source, x, y, z)
        else:
            out[n] = linear_at(source, x, y, z)
    return out


def sample(source: Float, points: Double, matrix: Double, cubic: bool = True, margin: float = 0.5) -> Float:
    """Interpolate at matrix @ point.

    Parameters
    ----------
    source: `coefficients(volume)` for cubic, `padded(volume)` for linear.
    points: (n, 3); matrix: (4, 4) or (3, 4), takes points to voxel coordinates of the volume.
    margin: how far beyond the outermost voxel centres (voxels, below 1) a value is still given; further out: NaN.
    """
    return _sample(source, np.ascontiguousarray(points, dtype=np.float64), np.ascontiguousarray(matrix), cubic, margin)


@kernel
def _always_inside(points: Double, matrices: Double, usable: NDArray[np.bool_], margin: float) -> NDArray[np.bool_]:
    nx, ny, nz = usable.shape
    out = np.ones(len(points), np.bool_)
    for n in range(len(points)):
        p, q, r = points[n, 0], points[n, 1], points[n, 2]
        for t in range(len(matrices)):
            m = matrices[t]
            x = m[0, 0] * p + m[0, 1] * q + m[0, 2] * r + m[0, 3]
            y = m[1, 0] * p + m[1, 1] * q + m[1, 2] * r + m[1, 3]
            z = m[2, 0] * p + m[2, 1] * q + m[2, 2] * r + m[2, 3]
            inside = (
                -margin <= x <= nx - 1 + margin and -margin <= y <= ny - 1 + margin and -margin <= z <= nz - 1 + margin
            )
            if inside:
                i = min(max(int(np.floor(x + 0.5)), 0), nx - 1)
                j = min(max(int(np.floor(y + 0.5)), 0), ny - 1)
                k = min(max(int(np.floor(z + 0.5)), 0), nz - 1)
                inside = usable[i, j, k]
            if not inside:
                out[n] = False
                break
    return out


def always_inside(
    points: Double, matrices: Double, usable: NDArray[np.bool_], margin: float = 0.5
) -> NDArray[np.bool_]:
    """Which points (n, 3) fall on a usable voxel under EVERY matrix (T, 3 or 4, 4) that takes them to voxels.

    `usable` is (x, y, z): False where a voxel holds no data. NaN points are never inside.
    """
    return _always_inside(
        np.ascontiguousarray(points, dtype=np.float64), np.ascontiguousarray(matrices), usable, margin
    )
