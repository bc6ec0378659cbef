"""A timer that is set with every request and hardly ever rings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class Alarm:
    """Rings once, when it is time. To set it later, or to clear it, leaves the loop's timer where it is; that one then
    finds that it is not time yet, and goes on waiting. Timers of the loop cost ten times as much."""

    __slots__ = ("_at", "_loop", "_ring", "_timer", "_wakes")

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self._loop = loop
        self._at: float | None = None
        self._ring: Callable[[], object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wakes = 0.0  # when the loop's timer does, if there is one

    def set(self, at: float, ring: Callable[[], object]) -> None:
        """Call `ring` at that time (monotonic seconds), and not what was set before."""
        self._at, self._ring = at, ring
        if self._timer is None or at < self._wakes:
            self._wait(at)

    def clear(self) -> None:
        """Ring no more."""
        self._at = self._ring = None

    def close(self) -> None:
        """As `clear`, and leave nothing in the loop."""
        self.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def on(self) -> bool:
        """Whether it is set and has not rung."""
        return self._at is not None

    def _wait(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wakes = at
        self._timer = self._loop.call_later(max(0.0, at - time.monotonic()), self._woken)

    def _woken(self) -> None:
        self._timer = None
        if self._at is None:
            return
        if self._at > time.monotonic():
            self._wait(self._at)
            return
        ring = self._ring
        self.clear()
        ring()
