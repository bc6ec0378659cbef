"""What a gauge of the service says of requests in flight, against what their clients waited for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from harness.checks.counted import COUNTED_WITHIN_S, Target, aligned, answered
from harness.history import Series, Window

AT_LEAST_S = 0.05  # a request that its client has waited for so long is in flight in the service, too
SCRAPES, SHARE = 3, 0.02  # that must be wrong: the last ones, or more than both of all
FROZEN = 20  # scrapes that all say the same
MANY = 5  # requests that no gauge may overlook


class Flight(NamedTuple):
    """The gauge at each scrape of any target, summed over all targets."""

    at: np.ndarray  # Unix seconds
    until: np.ndarray
    oldest: np.ndarray  # when the oldest of the values was read
    value: np.ndarray
    most: np.ndarray  # what may have been in flight, and the scrape itself


def flight(some: Sequence[Target], series: Sequence[Series], rows: np.ndarray) -> Flight:
    """The gauge, and how many of the rows may have been in flight."""
    of = [[s for s in series if len(some) == 1 or s.labels.get("instance") == t.instance] for t in some]
    values = [
        sum((np.nan_to_num(aligned(s, t.at)) for s in mine), np.zeros(len(t.at)))
        for t, mine in zip(some, of, strict=True)
    ]
    at, took = np.concatenate([t.at for t in some]), np.concatenate([t.took for t in some])
    order = np.argsort(at, kind="stable")
    at, took = at[order], took[order]
    last = [np.searchsorted(t.at, at, "right") - 1 for t in some]
    value = sum(np.where(k >= 0, v[k], 0) for v, k in zip(values, last, strict=True))
    oldest = np.min([np.where(k >= 0, t.at[k], -np.inf) for t, k in zip(some, last, strict=True)], 0)
    begun = np.searchsorted(np.sort(rows["sent"]), at + took, "right")
    ended = np.searchsorted(np.sort(rows["done"] + COUNTED_WITHIN_S), oldest)
    return Flight(at, at + took, oldest, value, begun - ended + len(some))


def misstated(name: str, seen: Flight, rows: np.ndarray, calm: Sequence[Window]) -> Iterator[tuple[str, float]]:
    """What is wrong with the gauge, and when it was. calm: when nothing was done to the service."""
    at, value, most = seen.at, seen.value, seen.most
    high = np.flatnonzero(value > most)
    if len(at) >= SCRAPES and np.all(value[-SCRAPES:] > most[-SCRAPES:]):
        said = f"{name} said {value[-1]:g} at the last scrape, where {most[-1]:g} at most could be in flight"
        yield said, float(at[-1])
    elif len(high) > max(SCRAPES, SHARE * len(at)):
        k = high[np.argmax((value - most)[high])]
        yield (
            f"{name} said {value[k]:g} where {most[k]:g} at most could be in flight, and too many at {len(high):,} of "
            f"{len(at):,} scrapes",
            float(at[k]),
        )
    elif len(at) >= FROZEN and np.ptp(value) == 0 and value[0] > most.min():
        said = (
            f"{name} said {value[0]:g} at all {len(at):,} scrapes, where at most {most.min():g} to {most.max():g} could"
        )
        yield f"{said} be in flight", float(at[np.argmin(most)])
    if np.any(value < 0):
        yield f"{name} was {value.min():g}, less than none", float(at[np.argmin(value)])
    long = rows[answered(rows) & (rows["done"] - rows["sent"] > 2 * AT_LEAST_S)]
    begun = np.searchsorted(np.sort(long["sent"] + AT_LEAST_S), seen.oldest)
    open_ = begun - np.searchsorted(np.sort(long["done"] - AT_LEAST_S), seen.until)
    inside = np.any([(at >= w.start) & (at <= w.end) for w in calm] or [np.zeros(len(at), bool)], 0)
    crowd = inside & (open_ >= MANY)
    if np.count_nonzero(crowd) >= SCRAPES and not value[crowd].any():
        least = int(open_[crowd].min())
        yield (
            f"{name} said 0 at all {np.count_nonzero(crowd):,} scrapes at which {least:,} requests or more, up to "
            f"{int(open_[crowd].max()):,}, were in flight",
            float(at[crowd][0]),
        )
