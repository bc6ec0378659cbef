"""What can hold the whole process up: its threads, its garbage collector, its event loop."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections import deque
from collections.abc import Iterable

from prometheus_client import Histogram
from prometheus_client.core import Metric

LAG_EVERY_S = 0.1
UNSCRAPED = 10_000  # pauses remembered until the next scrape


def threads() -> int:
    """Threads of this process, those of libraries among them."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()


async def watch_event_loop(lag: Histogram, every_s: float = LAG_EVERY_S) -> None:
    """Observe, for as long as it runs, how many seconds too late the event loop runs what is due."""
    while True:
        due = time.monotonic() + every_s
        await asyncio.sleep(every_s)
        lag.observe(max(0.0, time.monotonic() - due))


class GCPauses:
    """How long each collection stopped the process.

    A collection can start anywhere, even while its thread holds a metric's lock: so nothing is observed in it, only
    noted, and observed at the next scrape.
    """

    def __init__(self) -> None:
        self._pauses: deque[float] = deque(maxlen=UNSCRAPED)
        self._began = 0.0
        self._histogram = Histogram(
            "python_gc_pause_seconds", "One collection, which stops every thread.",
            buckets=(0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1), registry=None,
        )  # fmt: skip
        gc.callbacks.append(self._note)

    def collect(self) -> Iterable[Metric]:
        for _ in range(len(self._pauses)):
            self._histogram.observe(self._pauses.popleft())
        return self._histogram.collect()

    def close(self) -> None:
        gc.callbacks.remove(self._note)

    def _note(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self._pauses.append(time.perf_counter() - self._began)
