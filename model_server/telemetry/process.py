"""What can hold the whole process up: its threads, its garbage collector, its event loop."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time

from prometheus_client.core import Metric

from model_server.telemetry import tally

LAG_EVERY_S = 0.1


def threads() -> int:
    """Threads of this process, those of libraries among them."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()


async def watch_event_loop(lag: tally.Spread, every_s: float = LAG_EVERY_S) -> None:
    """Observe, for as long as it runs, how many seconds too late the event loop runs what is due."""
    while True:
        due = time.monotonic() + every_s
        await asyncio.sleep(every_s)
        lag.observe(max(0.0, time.monotonic() - due))


class GCPauses:
    """A collector of how long each garbage collection stopped the process."""

    def __init__(self) -> None:
        self._began = 0.0
        self._family = tally.histogram(
            "python_gc_pause_seconds", "One collection, which stops every thread.",
            (0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0),
        )  # fmt: skip
        self._pauses = self._family.labels()
        gc.callbacks.append(self._note)

    def collect(self) -> list[Metric]:
        return self._family.collect()

    def close(self) -> None:
        gc.callbacks.remove(self._note)

    def _note(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:  # anywhere, even within a scrape: a tally has no lock that this thread might hold
            self._pauses.observe(time.perf_counter() - self._began)
