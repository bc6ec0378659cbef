"""On one core, the event loop and the thread that infers take turns instead of interrupting each other.

Whatever comes would else wake the loop in the middle of a batch, thousands of times a second under overload. Each time
the batch's code and data leave the caches for the loop's, and the other way round. Here the loop reads all that has
come, rests while one batch is inferred, answers it, and reads again.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import time
from collections.abc import Callable

READ_S = 0.01  # so long, at most, the loop reads what keeps coming before it rests
REST_S = 0.005  # and so long it rests at most between looks, so that a refusal, probe or scrape waits no longer


class Turns:
    """On the loop, `came` notes that something was read, `wanted` that it is work; while it `has_work`, turns follow
    each other. In the thread, `with` waits for a turn and ends it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, has_work: Callable[[], bool]):
        self._loop, self._has_work = loop, has_work
        self._begin: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._end: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._begun = False  # and as far as the loop knows not ended
        self._due = False  # a look is to come
        self._quiet = False  # nothing was read since the last look
        self._latest = 0.0  # when the loop rests though more may be to be read

    def came(self) -> None:
        self._quiet = False

    def wanted(self) -> None:
        self._quiet = False
        if not self._due:
            self._due, self._latest = True, time.perf_counter() + READ_S
            self._loop.call_soon(self._look)

    def __enter__(self) -> None:
        self._begin.get()

    def __exit__(self, *_error: object) -> None:
        self._end.put(None)
        with contextlib.suppress(RuntimeError):  # the loop has closed
            self._loop.call_soon_threadsafe(self._go_on)  # if it rests no more: nobody else may come to look

    def _look(self) -> None:
        if not self._quiet and time.perf_counter() < self._latest:
            self._quiet = True
            self._loop.call_soon(self._look)  # after a round in which the loop reads what has come
            return
        self._due = False
        if not self._begun and self._has_work():
            self._begun = True
            self._begin.put(None)
        if self._begun:
            try:
                self._end.get(timeout=REST_S)
            except queue.Empty:  # it goes on, and so does the loop
                return
            self._begun = False
        self._go_on()

    def _go_on(self) -> None:
        if self._has_work():
            self.wanted()
