"""Figures that somebody else keeps: read when a scrape asks, or, where reading may wait, before it does."""

import asyncio
import gc
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import structlog
from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from model_server.threads import Repeated

LAG_EVERY_S = 0.1

Reading = tuple[str, Callable[[], Any]] | tuple[str, Callable[[], Any], tuple[str, ...]]


class Readings:
    """Counters and gauges read when scraped. A source that cannot be read just then leaves out its own series only."""

    def __init__(self, readings: Mapping[str, Reading]):
        self._readings = readings

    def collect(self) -> Iterator[Metric]:
        for name, (about, read, *more) in self._readings.items():
            labels = more[0] if more else ()
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            family = kind(name, about, labels=labels)
            try:
                values = read() if labels else {(): read()}
                for label_values, value in (values or {}).items():
                    if value is not None:
                        family.add_metric(label_values, float(value))
            except Exception:  # a file that is not there or not as it should be, a device that failed
                family.samples.clear()
            yield family


class Guarded:
    """A collector whose failure is logged, and leaves out its own series only."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]):
        self._collect = collect

    def collect(self) -> list[Metric]:
        try:
            return list(self._collect())
        except Exception:
            structlog.get_logger().exception("Metrics cannot be read")
            return []


class Sampled:
    """What other collectors give, asked once every `every_s` by a thread of its own, so that no scrape waits for files
    or for whoever has the interpreter. Older than `fresh_s` it is left out."""

    def __init__(self, *collectors: Collector, every_s: float = 1.0, fresh_s: float = 5.0):
        self._collectors = [Guarded(one.collect) for one in collectors]
        self._fresh_s = fresh_s
        self._sample()  # there from the first
        self.close = Repeated("readings", self._sample, every_s).close

    def collect(self) -> list[Metric]:
        return self._families if time.monotonic() - self._read_at <= self._fresh_s else []

    def _sample(self) -> None:
        self._families = [family for collector in self._collectors for family in collector.collect()]
        self._read_at = time.monotonic()


async def watch_event_loop(lag: Histogram, every_s: float = LAG_EVERY_S) -> None:
    """Observe, for as long as it runs, how many seconds too late the event loop runs what is due."""
    while True:
        due = time.monotonic() + every_s
        await asyncio.sleep(every_s)
        lag.observe(max(0.0, time.monotonic() - due))


class GCPauses:
    """A collector of how long each garbage collection stopped the process."""

    def __init__(self) -> None:
        self._began = 0.0
        self._noted: deque[float] = deque(maxlen=10_000)  # since the last scrape
        self._pauses = Histogram(
            "python_gc_pause_seconds", "One collection, which stops every thread.", registry=None,
            buckets=(0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0),
        )  # fmt: skip
        gc.callbacks.append(self._note)

    def collect(self) -> Iterable[Metric]:
        while self._noted:
            self._pauses.observe(self._noted.popleft())
        return self._pauses.collect()

    def close(self) -> None:
        gc.callbacks.remove(self._note)

    def _note(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:  # anywhere, even where this thread holds the lock of a metric: so none is touched here
            self._noted.append(time.perf_counter() - self._began)
