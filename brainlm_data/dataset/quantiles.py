"""Exact quantiles of each column of data that do not fit into memory.

Radix selection: float32 values in the order of unsigned integers are counted by their leading bits, which shows in
which bin each wanted rank lies; the next pass counts the next bits of the values in that bin alone, and so on to the
last bit. Three passes with 2,048 bins a column find the very order statistics that sorting would find. What is held is
the counts, whatever the amount of data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Blocks = Iterable[NDArray[np.float32]]  # (rows, columns) each
BITS = 32


def quantiles(
    strands: Sequence[Callable[[], Blocks]], columns: int, wanted: Sequence[float], bits: int = 11, threads: int = 1
) -> NDArray[np.float64]:
    """(wanted, columns), linear between order statistics, as numpy's default; NaN where a column has no finite value.

    Parameters
    ----------
    strands: parts of the data, read side by side as dask tasks; each is called once a pass for its blocks.
    bits: of a pass; counts take 2 x wanted x columns x 2 ** bits x 8 bytes, for each strand.
    """
    import dask

    # a scheduler that is configured (dask.distributed's client does that) is taken
    scheduler = dask.config.get("scheduler", None) or ("threads" if threads > 1 else "synchronous")

    def count(prefixes: NDArray[np.uint32], above: int, width: int) -> NDArray[np.int64]:
        tasks = [dask.delayed(_counts)(strand, prefixes, above, width) for strand in strands]
        return sum(dask.compute(*tasks, scheduler=scheduler, num_workers=threads))

    ranks, weight = np.zeros((1, columns), np.int64), np.zeros((0, columns))
    prefixes = np.zeros((1, columns), np.uint32)
    number = np.zeros(columns, np.int64)
    above = 0
    while above < BITS:
        width = min(bits, BITS - above)
        table = count(prefixes, above, width)
        if not above:
            number = table[0].sum(1)
            ranks, weight = _ranks(number, wanted)
            table, prefixes = np.broadcast_to(table, (len(ranks), *table.shape[1:])), np.zeros(ranks.shape, np.uint32)
        cumulated = table.cumsum(2)
        bins = np.minimum((cumulated <= ranks[:, :, None]).sum(2), (1 << width) - 1)
        before = np.take_along_axis(cumulated - table, bins[:, :, None], 2)[:, :, 0]
        ranks = ranks - before
        prefixes = (prefixes.astype(np.uint64) << np.uint64(width) | bins.astype(np.uint64)).astype(np.uint32)
        above += width
    low, high = _floats(prefixes).astype(np.float64).reshape(2, len(wanted), columns)
    return np.where(number > 0, low + weight * (high - low), np.nan)


def _ranks(number: NDArray[np.int64], wanted: Sequence[float]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Ranks of the order statistics below and above each quantile (2 x wanted, columns), and the weight of these."""
    place = np.asarray(wanted)[:, None] * np.maximum(number - 1, 0)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(number - 1, 0))
    return np.concatenate([below, above]), place - below


def _counts(strand: Callable[[], Blocks], prefixes: NDArray[np.uint32], above: int, width: int) -> NDArray[np.int64]:
    """(targets, columns, 2 ** width): how many values that begin with a target's `above` bits have which next bits."""
    targets, columns = prefixes.shape
    counts = np.zeros((targets, columns << width), np.int64)
    offsets = np.arange(columns, dtype=np.int64) << width
    # a rank and the next one nearly always begin alike: what was counted for one target is not counted again
    again = np.array([(prefixes[:t] == prefixes[t]).any(0) for t in range(targets)])
    for block in strand():
        finite = np.isfinite(block)
        keys = _keys(block)
        leading = keys >> np.uint32(BITS - above) if above else np.zeros_like(keys)
        following = (keys >> np.uint32(BITS - above - width)) & np.uint32((1 << width) - 1)
        places = offsets + following
        for target in np.flatnonzero(~again.all(1)).tolist():
            inside = finite & (leading == prefixes[target]) & ~again[target]
            counts[target] += np.bincount(places[inside], minlength=columns << width)
    table = counts.reshape(targets, columns, 1 << width)
    for target in range(targets):
        for earlier in range(target):
            same = again[target] & (prefixes[earlier] == prefixes[target])
            table[target, same] = table[earlier, same]
    return table


def _keys(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """float32 as unsigned integers in the same order."""
    raw = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return np.where(raw >> np.uint32(31), ~raw, raw | np.uint32(1 << 31))


def _floats(keys: NDArray[np.uint32]) -> NDArray[np.float32]:
    """What `_keys` was given."""
    return np.where(keys >> np.uint32(31), keys & np.uint32((1 << 31) - 1), ~keys).astype(np.uint32).view(np.float32)
