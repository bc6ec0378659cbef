"""Exact percentiles of each second and step of a load, from rows, however many there are."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from harness.history import Outcome

PERCENTILES = (50, 90, 95, 99, 99.9)
MOMENT = np.dtype(
    [
        ("second", "<i8"),  # Unix seconds in which these requests were due
        ("step", "<u2"),
        ("requests", "<u4"),
        ("good", "<u4"),  # responses with outcome OK; the percentiles are theirs
        ("corrected_ms", "<f8", (len(PERCENTILES) + 1,)),  # from the intended moment, the last the maximum; nan: none
        ("uncorrected_ms", "<f8", (len(PERCENTILES) + 1,)),  # from the sending
    ]
)
_MOST_US = 2**32 - 1


def timeline(chunks: Iterable[np.ndarray]) -> np.ndarray:
    """One MOMENT for each second and step that has requests, in that order; `chunks` are rows in any order.

    Latencies are kept to the microsecond, in 21 bytes a request beside one chunk.
    """
    kept = [_kept(rows) for rows in chunks if len(rows)]
    if not kept:
        return np.empty(0, MOMENT)
    second, step, good, corrected, uncorrected = (_joined(kept, i) for i in range(5))
    del kept
    steps = np.flatnonzero(np.bincount(step))
    base = int(second.min())
    place = np.zeros(int(steps[-1]) + 1, np.uint32)
    place[steps] = np.arange(len(steps), dtype=np.uint32)
    group = second - np.uint32(base)
    del second
    group *= np.uint32(len(steps))
    group += place[step]
    del step
    moments = int(group.max()) + 1
    found = np.zeros(moments, MOMENT)
    found["second"] = base + np.arange(moments) // len(steps)
    found["step"] = steps[np.arange(moments) % len(steps)]
    found["requests"] = np.bincount(group, minlength=moments)
    group = group[good]
    found["good"] = n = np.bincount(group, minlength=moments)
    for name, took in (("corrected_ms", corrected), ("uncorrected_ms", uncorrected)):
        key = group.astype(np.uint64)  # sorted by moment and within it by latency at once
        key <<= np.uint64(32)
        key |= took[good]
        key.sort()
        first = np.cumsum(n) - n
        for i, p in enumerate((*PERCENTILES, 100)):
            rank = np.maximum(0, np.ceil(p / 100 * n - 1e-9).astype(np.int64) - 1)
            at = np.minimum(first + rank, len(key) - 1)
            found[name][:, i] = np.where(n > 0, (key[at] & np.uint64(_MOST_US)) / 1000 if len(key) else np.nan, np.nan)
    return found[found["requests"] > 0]


def _kept(rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """What percentiles need of some rows: second, step, whether the outcome is OK, both latencies in microseconds."""
    intended, done = rows["intended"], rows["done"]
    good = rows["outcome"] == Outcome.OK
    return (
        intended.astype(np.uint32),
        rows["step"].copy(),
        good,
        _microseconds(done - intended, good),
        _microseconds(done - rows["sent"], good),
    )


def _microseconds(took_s: np.ndarray, good: np.ndarray) -> np.ndarray:
    took_s[~good] = 0.0
    took_s *= 1e6
    np.rint(took_s, out=took_s)
    return np.clip(took_s, 0, _MOST_US, out=took_s).astype(np.uint32)


def _joined(kept: list[tuple[np.ndarray, ...]], i: int) -> np.ndarray:
    return np.concatenate([part[i] for part in kept])
