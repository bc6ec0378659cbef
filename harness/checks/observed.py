"""What a histogram of the service says of how long requests took, against how long their clients waited.

The service sees a request later than its client and is done with it before, but for the moment that it takes to note
that. So of each phase no bucket may hold less than the clients' own times fill, and, where nothing was done to the
service, none much more.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from harness.checks.counted import COUNTED_WITHIN_S, Counted, Span, lost
from harness.history import SLOW_CLIENT, Window
from harness.units import duration

TORN = 2  # by which the parts of a histogram may differ that are not read at one moment


class Latencies(NamedTuple):
    """How far the two may be apart."""

    within_s: float  # of any request
    share: float  # of the client's time, which it may be longer
    outliers: float  # of the requests, which may be off further


def misread(
    buckets: Mapping[float, Counted],
    total: Counted,
    spent: Counted | None,
    window: Window,
    rows: np.ndarray,
    open_: np.ndarray,
    bounds: Latencies,
    undisturbed: bool,
) -> str:
    """What is wrong with a histogram in a phase; empty where nothing is.

    buckets: by their upper edge in seconds, inf among them. spent: the sum, in seconds. rows: the requests that it
    observes, open_: those that it may have observed.
    """
    span = total.within(window)
    at, until = total.at[span], total.until[span]
    if len(at) < 2:
        return ""
    n = round(float(total.value[span][-1] - total.value[span][0]))
    rises = {edge: float(c.value[span][-1] - c.value[span][0]) for edge, c in sorted(buckets.items())}
    if why := _inconsistent(rises, n):
        return why
    took = rows["done"] - rows["sent"]
    inside = (rows["sent"] > until[0]) & (rows["done"] + COUNTED_WITHIN_S <= at[-1])
    touching = (rows["done"] + COUNTED_WITHIN_S > at[0]) & (rows["sent"] <= until[-1])
    unknown = int(np.count_nonzero((open_["done"] + COUNTED_WITHIN_S > at[0]) & (open_["sent"] <= until[-1])))
    gone = lost(total, Span.of(rows, COUNTED_WITHIN_S))[span]
    excused = float(gone[-1] - gone[0] + total.loose[span][-1] - total.loose[span][0])
    spare = bounds.outliers * n
    slow = rows["step"] & SLOW_CLIENT != 0
    least = np.where(slow, 0.0, (1 - bounds.share) * took - bounds.within_s)  # that the service can have seen
    for edge, rise in rises.items():
        must = np.count_nonzero(inside & (took <= edge - bounds.within_s)) - excused - spare
        if rise < must:
            theirs = np.count_nonzero(inside & (took <= edge))
            return (
                f"the service observed {rise:,.0f} of {n:,} requests at {_edge(edge)} or less, "
                f"of the clients' own times {theirs:,} of {np.count_nonzero(inside):,} were"
            )
        may = np.count_nonzero(touching & (least <= edge)) + unknown + spare
        if undisturbed and rise > may:
            theirs = np.count_nonzero(touching & (took <= edge))
            return (
                f"the service observed {rise:,.0f} of {n:,} requests at {_edge(edge)} or less, "
                f"of the clients' own times only {theirs:,} of {np.count_nonzero(touching):,} were"
            )
    return _sum_wrong(spent, span, n, took, least, inside, touching, unknown, excused, bounds, undisturbed, rises)


def _edge(seconds: float) -> str:
    """The edge of a bucket, however small."""
    return f"{1000 * seconds:g} ms"


def _inconsistent(rises: Mapping[float, float], n: int) -> str:
    """That the buckets contradict each other, or the count."""
    edges = list(rises)
    for low, high in itertools.pairwise(edges):
        if rises[low] > rises[high] + TORN:
            return (
                f"the bucket of {_edge(low)} rose by {rises[low]:,.0f} and the larger one of {_edge(high)} by "
                f"{rises[high]:,.0f} only"
            )
    if edges and edges[-1] == float("inf") and abs(rises[edges[-1]] - n) > TORN:
        return f"the bucket +Inf rose by {rises[edges[-1]]:,.0f} and the count by {n:,}"
    return ""


def _sum_wrong(
    spent: Counted | None,
    span: slice,
    n: int,
    took: np.ndarray,
    least: np.ndarray,
    inside: np.ndarray,
    touching: np.ndarray,
    unknown: int,
    excused: float,
    bounds: Latencies,
    undisturbed: bool,
    rises: Mapping[float, float],
) -> str:
    """That the sum is more or less than the clients' times allow, or than the buckets do."""
    if spent is None or not n:
        return ""
    sum_s = float(spent.value[span][-1] - spent.value[span][0])
    mean = f"the sum says {duration(sum_s / n)} a request"
    edges = [0.0, *rises]
    within = list(zip(edges, edges[1:], np.diff([0.0, *rises.values()]).tolist(), strict=False))
    low = sum(many * below for below, _, many in within)
    high = sum(many * above for _, above, many in within if many)
    if rises and not low * 0.999 - 1e-6 <= sum_s <= high * 1.001 + 1e-6 and not excused:
        return f"{mean}, where its buckets allow {duration(low / n)} to {duration(high / n)}"
    theirs = f", the clients waited {duration(float(took[inside].mean() if inside.any() else 0))}"
    if not unknown and sum_s > took[touching].sum() + n * bounds.within_s:
        return mean + theirs
    if undisturbed and not excused and sum_s < np.maximum(0, least[inside]).sum() * (1 - bounds.outliers):
        return mean + theirs
    return ""
