"""Compiled inner loops. Interpolation is trilinear on a 1 mm grid: finer than, and unlike, what estimators use."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@numba.njit(cache=True, nogil=True)
def trilinear(data: Array, points: Array) -> Array:
    """Values (n, c) of `data` (x, y, z, c) at voxel coordinates (n, 3); the border value outside."""
    out = np.zeros((points.shape[0], data.shape[3]))
    for i in range(points.shape[0]):
        _gather(data, points[i, 0], points[i, 1], points[i, 2], out[i])
    return out


@numba.njit(cache=True, nogil=True)
def _gather(data: Array, px: float, py: float, pz: float, out: Array) -> None:
    """out += data at one point, border value outside."""
    nx, ny, nz = data.shape[:3]
    px, py, pz = min(max(px, 0.0), nx - 1.001), min(max(py, 0.0), ny - 1.001), min(max(pz, 0.0), nz - 1.001)
    x, y, z = int(px), int(py), int(pz)
    fx, fy, fz = px - x, py - y, pz - z
    # trilinear: along z, then y, then x, each time near (1 - f) + far f
    for c in range(data.shape[3]):
        low = (data[x, y, z, c] * (1 - fz) + data[x, y, z + 1, c] * fz) * (1 - fy) + (
            data[x, y + 1, z, c] * (1 - fz) + data[x, y + 1, z + 1, c] * fz
        ) * fy
        high = (data[x + 1, y, z, c] * (1 - fz) + data[x + 1, y, z + 1, c] * fz) * (1 - fy) + (
            data[x + 1, y + 1, z, c] * (1 - fz) + data[x + 1, y + 1, z + 1, c] * fz
        ) * fy
        out[c] += low * (1 - fx) + high * fx


@numba.njit(cache=True, nogil=True)
def pull_tissues(
    tissues: Array, atlas: Array, atlas_inverse: Array, to_z: Array, field: Array, field_origin: Array,
    field_step: float, template_origin: Array,
) -> tuple[Array, Array]:  # fmt: skip
    """Tissue shares (uint8, trilinear) and atlas rows (int16, nearest) of a subject on its fine grid.

    `to_z`: voxel -> z = A^-1 y; `field`: v(z) at nodes from `field_origin`, `field_step` apart.
    """
    nx, ny, nz, n = tissues.shape
    out = np.zeros((nx, ny, nz, n), np.uint8)
    rows = np.zeros((nx, ny, nz), np.int16)
    z = np.zeros(3)
    x = np.zeros(3)
    v = np.zeros(3)
    shares = np.zeros(n)
    for i in range(nx):
        for j in range(ny):
            for k in range(nz):
                for a in range(3):
                    z[a] = to_z[a, 0] * i + to_z[a, 1] * j + to_z[a, 2] * k + to_z[a, 3]
                    v[a] = 0.0
                _gather(
                    field, (z[0] - field_origin[0]) / field_step, (z[1] - field_origin[1]) / field_step,
                    (z[2] - field_origin[2]) / field_step, v,
                )  # fmt: skip
                inside = True
                for a in range(3):
                    v[a] += z[a]
                    x[a] = v[a] - template_origin[a]
                    inside = inside and 0 <= x[a] < tissues.shape[a] - 1.001
                if not inside:
                    continue
                shares[:] = 0.0
                _gather(tissues, x[0], x[1], x[2], shares)
                for c in range(n):
                    out[i, j, k, c] = np.uint8(shares[c] + 0.5)
                if shares[0] > 1:
                    ai = int(np.floor(_row(atlas_inverse, 0, v) + 0.5))
                    aj = int(np.floor(_row(atlas_inverse, 1, v) + 0.5))
                    ak = int(np.floor(_row(atlas_inverse, 2, v) + 0.5))
                    if 0 <= ai < atlas.shape[0] and 0 <= aj < atlas.shape[1] and 0 <= ak < atlas.shape[2]:
                        rows[i, j, k] = atlas[ai, aj, ak]
    return out, rows


@numba.njit(cache=True, nogil=True)
def _row(m: Array, a: int, v: Array) -> float:
    return m[a, 0] * v[0] + m[a, 1] * v[1] + m[a, 2] * v[2] + m[a, 3]


@numba.njit(cache=True, nogil=True)
def acquire(fine: Array, to_fine: Array, skip: Array, n: int, shift: Array) -> Array:
    """A volume (float32): each voxel is the mean of n x n x n points of `fine` (x, y, z), trilinear, 0 outside.

    `to_fine` (4, 4): voxel -> fine voxel. `skip` (shape): voxels that are known to be empty.
    `shift` (shape): distance, in voxels of the second axis, from which a voxel's signal really comes (`displaced`).
    """
    nx, ny, nz = skip.shape
    out = np.zeros((nx, ny, nz), np.float32)
    sx, sy = fine.shape[1] * fine.shape[2], fine.shape[2]
    flat = fine.reshape(-1)
    points = n * n * n
    offset = np.empty((points, 3))  # of the points from a voxel's centre, in fine voxels
    for p in range(points):
        inside = ((p // (n * n) + 0.5) / n - 0.5, (p // n % n + 0.5) / n - 0.5, (p % n + 0.5) / n - 0.5)
        for a in range(3):
            offset[p, a] = to_fine[a, 0] * inside[0] + to_fine[a, 1] * inside[1] + to_fine[a, 2] * inside[2]
    last = np.array([fine.shape[0] - 1.0, fine.shape[1] - 1.0, fine.shape[2] - 1.0])
    for i in range(nx):
        for j in range(ny):
            for k in range(nz):
                if skip[i, j, k]:
                    continue
                y0 = j + shift[i, j, k]
                cx = to_fine[0, 0] * i + to_fine[0, 1] * y0 + to_fine[0, 2] * k + to_fine[0, 3]
                cy = to_fine[1, 0] * i + to_fine[1, 1] * y0 + to_fine[1, 2] * k + to_fine[1, 3]
                cz = to_fine[2, 0] * i + to_fine[2, 1] * y0 + to_fine[2, 2] * k + to_fine[2, 3]
                total = np.float32(0)
                for p in range(points):
                    px, py, pz = cx + offset[p, 0], cy + offset[p, 1], cz + offset[p, 2]
                    if px < 0 or py < 0 or pz < 0 or px >= last[0] or py >= last[1] or pz >= last[2]:
                        continue
                    x, y, z = int(px), int(py), int(pz)
                    gx, gy, gz = np.float32(px - x), np.float32(py - y), np.float32(pz - z)
                    at = x * sx + y * sy + z
                    c00 = flat[at] + (flat[at + 1] - flat[at]) * gz
                    c01 = flat[at + sy] + (flat[at + sy + 1] - flat[at + sy]) * gz
                    c10 = flat[at + sx] + (flat[at + sx + 1] - flat[at + sx]) * gz
                    c11 = flat[at + sx + sy] + (flat[at + sx + sy + 1] - flat[at + sx + sy]) * gz
                    low, high = c00 + (c01 - c00) * gy, c10 + (c11 - c10) * gy
                    total += low + (high - low) * gx
                out[i, j, k] = total / points
    return out


@numba.njit(cache=True, nogil=True)
def bells(points: Array, centres: Array, widths: Array, heights: Array) -> Array:
    """Values (n,) at points (n, 3) of a sum of Gaussians with centres (g, 3), SDs and heights (g,)."""
    out = np.zeros(points.shape[0])
    for i in range(points.shape[0]):
        for g in range(heights.shape[0]):
            far = 0.0
            for a in range(3):
                far += (points[i, a] - centres[g, a]) ** 2
            out[i] += heights[g] * np.exp(-far / (2 * widths[g] ** 2))
    return out


@numba.njit(cache=True, nogil=True)
def displaced(skip: Array, centres: Array, widths: Array, heights: Array) -> tuple[Array, Array]:
    """An image whose signal from y of the second axis appears at y + u(y): u is a sum of Gaussians, all in voxels.

    Shift (shape of `skip`): from how far away the signal of a voxel comes; factor: by how much it is brighter, because
    1 + du/dy voxels are spread over one. Where `skip`, 0 and 1. u must nowhere fall by more than 1 per voxel.
    """
    shift, factor = np.zeros(skip.shape, np.float32), np.ones(skip.shape, np.float32)
    line = np.empty(heights.shape[0])  # heights of the Gaussians on a line along the second axis
    for i in range(skip.shape[0]):
        for k in range(skip.shape[2]):
            for g in range(heights.shape[0]):
                far = (i - centres[g, 0]) ** 2 + (k - centres[g, 2]) ** 2
                line[g] = heights[g] * np.exp(-far / (2 * widths[g] ** 2))
            for j in range(skip.shape[1]):
                if skip[i, j, k]:
                    continue
                y, slope = float(j), 0.0
                for _ in range(20):  # Newton's method for y + u(y) = j
                    u = slope = 0.0
                    for g in range(heights.shape[0]):
                        away = (y - centres[g, 1]) / widths[g]
                        value = line[g] * np.exp(-away * away / 2)
                        u += value
                        slope -= value * away / widths[g]
                    step = (y + u - j) / (1 + slope)
                    y -= step
                    if abs(step) < 1e-5:
                        break
                shift[i, j, k], factor[i, j, k] = y - j, 1 / (1 + slope)
    return shift, factor


@numba.njit(cache=True, nogil=True)
def modulate(
    fine: Array, index: Array, base: Array, grey: Array, row: Array, maps: Array, parcel: Array, course: Array
) -> None:
    """Write one moment's signal into the active voxels of `fine` (flat).

    fine[index] = base + grey . parcel[row] + sum_k maps[:, k] . course[k]; parcel[0] must be 0 (no parcel).
    """
    for i in range(index.shape[0]):
        value = base[i] + grey[i] * parcel[row[i]]
        for k in range(course.shape[0]):
            value += maps[i, k] * course[k]
        fine[index[i]] = value


@numba.njit(cache=True, nogil=True)
def blend(shares: Array, weights: Array) -> Array:
    """Weighted sum (n,) float32 of shares (n, c) uint8."""
    out = np.zeros(shares.shape[0], np.float32)
    for i in range(shares.shape[0]):
        total = np.float32(0)
        for c in range(shares.shape[1]):
            total += weights[c] * shares[i, c]
        out[i] = total
    return out
