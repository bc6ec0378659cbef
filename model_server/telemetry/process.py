"""What can hold the whole process up: its garbage collector, its event loop."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import deque
from collections.abc import Iterable

from prometheus_client import Histogram
from prometheus_client.core import Metric

LAG_EVERY_S = 0.1


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
