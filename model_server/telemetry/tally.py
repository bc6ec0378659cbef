"""Counters and histograms for the way of a request: the client library's series, at a third of what they cost there.

Every thread adds up in a cell of its own and a scrape adds the cells, so that nothing is lost without a lock, and no
thread waits for one that holds it while off the processor. Each number in a cell only grows, and rounding keeps order:
so does every sum of them, whenever it is read. Threads are few and long-lived; one that ends leaves its cell to the
next with its identity.

An observation and a count took: in the library 0.94 and 0.45 us, plain numbers under a lock 0.47 and 0.28, a deque that
is folded when long 0.30 and 0.17 (0.66 with an exemplar, and a scrape has to fold), cells 0.28 and 0.18 (0.39).
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial, reduce
from itertools import accumulate, pairwise
from math import inf
from operator import add
from threading import get_ident

from prometheus_client.core import Exemplar, Metric, Sample
from prometheus_client.utils import floatToGoString


class Count:
    """One series of a counter."""

    __slots__ = ("_cells", "_labels", "_name")

    def __init__(self, name: str, labels: dict[str, str]):
        self._name, self._labels = f"{name}_total", labels
        self._cells: dict[int | None, float] = {None: 0.0}  # thread: what it counted

    def inc(self, amount: float = 1) -> None:
        """Count so much more. Raises ValueError where it is negative."""
        if amount < 0:
            raise ValueError(f"a counter cannot fall: {amount}")
        try:
            self._cells[get_ident()] += amount
        except KeyError:  # this thread's first
            self._cells[get_ident()] = 0.0 + amount

    def samples(self) -> Iterator[Sample]:
        yield Sample(self._name, self._labels, reduce(add, [*self._cells.values()]))


class Spread:
    """One series of a histogram, with the latest exemplar of each bucket."""

    __slots__ = ("_bounds", "_buckets", "_cells", "_exemplars", "_labels", "_name")

    def __init__(self, name: str, labels: dict[str, str], bounds: tuple[float, ...]):
        self._name, self._labels, self._bounds = name, labels, bounds
        self._buckets = [labels | {"le": floatToGoString(bound)} for bound in (*bounds, inf)]
        self._exemplars: list[tuple[Mapping[str, str], float, float] | None] = [None] * len(self._buckets)
        self._cells: dict[int | None, list[float]] = {None: self._cell()}  # thread: its count of each bucket, its sum

    def observe(self, amount: float, exemplar: Mapping[str, str] | None = None) -> None:
        """Put an amount into its bucket, an exemplar's labels with it: ours are an id of 32 digits, so that the 128
        characters that OpenMetrics allows are not counted."""
        try:
            cell = self._cells[get_ident()]
        except KeyError:  # this thread's first
            cell = self._cells[get_ident()] = self._cell()
        cell[-1] += amount
        if amount == amount:  # as in the library, what is no number is in the sum and in no bucket
            bucket = bisect_left(self._bounds, amount)
            cell[bucket] += 1.0
            if exemplar:
                self._exemplars[bucket] = (exemplar, amount, time.time())

    def samples(self) -> Iterator[Sample]:
        *counts, total = (reduce(add, column) for column in zip(*self._cells.values(), strict=True))
        name = f"{self._name}_bucket"
        for labels, count, exemplar in zip(self._buckets, accumulate(counts), self._exemplars, strict=True):
            yield Sample(name, labels, count, None, exemplar and Exemplar(*exemplar))
        yield Sample(f"{self._name}_count", self._labels, count)
        if self._bounds[0] >= 0:  # amounts below 0 would make the sum fall
            yield Sample(f"{self._name}_sum", self._labels, total)

    def _cell(self) -> list[float]:
        return [0.0] * (len(self._buckets) + 1)


Series = Count | Spread


class Family:
    """A metric: a collector of its series, one for each combination of label values."""

    def __init__(
        self, name: str, kind: str, about: str, labels: Sequence[str], series: Callable[[str, dict[str, str]], Series]
    ):
        self._name, self._kind, self._about, self._labels, self._new = name, kind, about, labels, series
        self._series: dict[tuple[str, ...], Series] = {}

    def labels(self, *values: str) -> Series:
        """The series of these label values, exposed from now on; worth keeping where it is needed often."""
        try:
            return self._series[values]
        except KeyError:
            series = self._new(self._name, dict(zip(self._labels, values, strict=True)))
            return self._series.setdefault(values, series)

    def describe(self) -> list[Metric]:
        """Its name alone: a registry lets nobody else have it."""
        return [Metric(self._name, self._about, self._kind)]

    def collect(self) -> list[Metric]:
        (metric,) = self.describe()
        metric.samples = [sample for series in [*self._series.values()] for sample in series.samples()]
        return [metric]


def counter(name: str, about: str, labels: Sequence[str] = ()) -> Family:
    """How often, or how much altogether."""
    return Family(name.removesuffix("_total"), "counter", about, labels, Count)


def histogram(name: str, about: str, bounds: Sequence[float], labels: Sequence[str] = ()) -> Family:
    """How amounts are spread over buckets, each up to and with its bound; one more takes what is above them all.

    Amounts are compared with the bounds as they are, in 0.3 us where both are floats or both ints, else in 0.38.
    """
    if not bounds or not all(a < b for a, b in pairwise((*bounds, inf))):
        raise ValueError(f"bounds must be finite and rise: {bounds}")
    return Family(name, "histogram", about, labels, partial(Spread, bounds=tuple(bounds)))
