"""The latest requests of a running generator, read from the file it appends to."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from harness.history import ROW, Outcome, Window, read_rows
from harness.stats import nearest_rank

UNCOUNTED = (Outcome.ABANDONED, Outcome.NOT_READ)  # neither good nor bad
TAIL_ROWS = 20_000  # enough for 3 s at 6,000 requests a second


def latest(path: Path, over_s: float, now: float | None = None) -> np.ndarray:
    """The rows of requests whose outcome became known in the last `over_s` seconds; empty when there are none."""
    now = time.time() if now is None else now
    size = path.stat().st_size // ROW.itemsize if path.exists() else 0
    if not size:
        return np.empty(0, ROW)
    first = max(0, size - TAIL_ROWS)
    rows = np.fromfile(path, ROW, count=size - first, offset=first * ROW.itemsize)
    return rows[rows["done"] > now - over_s]


def goodput_over(path: Path, over_s: float, now: float | None = None) -> tuple[int, int]:
    """(answered well, all) of the last `over_s` seconds. What could not be sent counts as not answered well; a client
    that went away as it was meant to, or an answer that the generator could not read, is not counted at all."""
    rows = latest(path, over_s, now)
    rows = rows[~np.isin(rows["outcome"], UNCOUNTED)]
    return int(np.count_nonzero(rows["outcome"] == Outcome.OK)), len(rows)


def lag_p99_s(path: Path, window: Window) -> float | None:
    """How late 99 % of the requests of a window were sent at most; None when none was sent in it."""
    rows = read_rows(path)
    rows = rows[(rows["intended"] >= window.start) & (rows["intended"] < window.end)]
    late = (rows["sent"] - rows["intended"])[~np.isnan(rows["sent"])]
    return nearest_rank(late, 99) if len(late) else None
