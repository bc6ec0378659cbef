"""What happened: one fixed-width row per arrival, and the generator's own account of how well it kept its schedule."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path
from typing import Any

from harness.history import ROW, Log, Outcome

_ROW = struct.Struct("<IHHBbbBIIdddd32s")  # ROW, which packs ten times slower through numpy
assert _ROW.size == ROW.itemsize, "harness.history.ROW changed; change _ROW with it"


class Lags:
    """How late requests were dispatched, in bounded memory: 0.1 ms wide bins up to 10 s, and the exact maximum."""

    WIDTH_MS, BINS = 0.1, 100_000

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.max_ms = 0.0

    def add(self, lag_s: float) -> None:
        lag_ms = max(0.0, 1000 * lag_s)
        self.max_ms = max(self.max_ms, lag_ms)
        place = min(int(lag_ms / self.WIDTH_MS), self.BINS)
        self._counts[place] = self._counts.get(place, 0) + 1

    def quantile_ms(self, q: float) -> float | None:
        """Nearest rank, as the upper edge of its bin; None without any."""
        rank = -(-sum(self._counts.values()) * q // 1)
        seen = 0
        for place in sorted(self._counts):
            seen += self._counts[place]
            if seen >= rank:
                return self.max_ms if place == self.BINS else min(round((place + 1) * self.WIDTH_MS, 3), self.max_ms)
        return None


class Recorder:
    """Appends rows to one file and Events to another; either may be None, then it only counts.

    Rows are kept in memory until `flush`, which is called ten times a second so that others can read along.
    """

    def __init__(self, rows: Path | None, events: Path | None, generator: str):
        self.generator = generator
        self.rows = self.unsent = 0
        self.lags = Lags()
        self.stalls = 0
        self._buffer = bytearray()
        self._fd = -1
        if rows is not None:
            self._fd = os.open(rows, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            size = os.fstat(self._fd).st_size
            if size % ROW.itemsize:  # a record cut short by a kill would shift all that follow
                os.ftruncate(self._fd, size - size % ROW.itemsize)
        self._log = Log(events) if events is not None else None
        self._started = (time.monotonic(), time.process_time())

    def row(
        self, seq: int, outcome: Outcome, *, intended: float, sent: float, first_byte: float, done: float,
        request_id: str, step: int = 0, status: int = 0, expected: int = -1, predicted: int = -1,
        bytes_out: int = 0, bytes_in: int = 0,
    ) -> None:  # fmt: skip
        """Add one row; see harness.history.ROW."""
        self._buffer += _ROW.pack(
            seq, step, status, outcome, expected, predicted, 0, bytes_out, min(bytes_in, 0xFFFFFFFF),
            intended, sent, first_byte, done, request_id.encode(),
        )  # fmt: skip
        self.rows += 1
        self.unsent += outcome is Outcome.UNSENT

    def flush(self) -> None:
        """Write the rows so far. Raises OSError (disk full), keeping what could not be written."""
        if self._fd < 0:
            self._buffer.clear()
        while self._buffer:
            written = os.write(self._fd, self._buffer)
            del self._buffer[:written]

    def started(self, **detail: Any) -> None:
        """Say that dispatching begins now: who, what and when."""
        self._started = (time.monotonic(), time.process_time())
        self._event("started", pid=os.getpid(), **detail)

    def finished(self, planned: int, **detail: Any) -> None:
        """Write the last rows and the account. planned: the arrivals whose time came."""
        began, cpu_s = self._started
        try:
            self.flush()
        finally:
            p99 = self.lags.quantile_ms(0.99)
            self._event(
                "finished",
                planned=planned,
                sent=self.rows - self.unsent,
                unsent=self.unsent,
                rows=self.rows,
                cpu_s=round(time.process_time() - cpu_s, 3),
                duration_s=round(time.monotonic() - began, 3),
                lag_p99_ms=p99 if p99 is None else round(p99, 3),
                lag_max_ms=None if p99 is None else round(self.lags.max_ms, 3),
                stalls=self.stalls,
                **detail,
            )

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._log is not None:
            self._log.close()

    def _event(self, name: str, **detail: Any) -> None:
        if self._log is not None:
            self._log.event("load", name, generator=self.generator, **detail)
