"""Writes the request rows, and the generator's account of how well it kept its schedule."""

from __future__ import annotations

import os
import struct
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from harness.eventlog import Log
from harness.history import ROW, Outcome
from harness.load.clock import now, reading

EXCERPTS, EXCERPT_EVERY_S = 5, 1.0  # how many distinct ones are kept, and how often one is looked at
STALL_S = 0.1  # a loop that could not run for longer than this has stalled
SPAN_S = 1.0  # of the processor's account

_ROW = struct.Struct("<IHHBbbBIIdddd32sfQ")  # ROW, which packs ten times slower through numpy
assert _ROW.size == ROW.itemsize, "harness.history.ROW changed; change _ROW with it"


class Lags:
    """Dispatch lags, in bounded memory: 0.1 ms wide bins up to 10 s, and the exact maximum."""

    WIDTH_MS, BINS = 0.1, 100_000

    def __init__(self) -> None:
        self._counts = np.zeros(self.BINS + 1, np.int64)
        self.max_ms = 0.0

    def add(self, lags_s: array | list[float]) -> None:
        if len(lags_s):
            lags_ms = 1000 * np.maximum(0.0, lags_s)
            self.max_ms = max(self.max_ms, float(lags_ms.max()))
            places = np.minimum(lags_ms / self.WIDTH_MS, self.BINS).astype(np.int64)
            np.add.at(self._counts, places, 1)

    def quantile_ms(self, q: float) -> float | None:
        """Nearest rank, as the upper edge of its bin; None without any."""
        counted = np.cumsum(self._counts)
        if not counted[-1]:
            return None
        place = int(np.searchsorted(counted, -(-int(counted[-1]) * q // 1)))
        return self.max_ms if place == self.BINS else min(round((place + 1) * self.WIDTH_MS, 3), self.max_ms)


class Spans:
    """What was used, and when: (Unix time at its end, seconds, ...), in bounded memory.

    Where there are too many, neighbours become one: an account of eight hours is coarser than one of ten minutes.
    """

    MOST = 1000

    def __init__(self) -> None:
        self.kept: list[tuple[float, ...]] = []

    def add(self, end: float, for_s: float, *spent: float) -> None:
        self.kept.append((end, for_s, *spent))
        if len(self.kept) >= self.MOST:
            pairs = zip(self.kept[::2], self.kept[1::2], strict=True)
            self.kept = [(b[0], *(x + y for x, y in zip(a[1:], b[1:], strict=True))) for a, b in pairs]

    def rounded(self) -> list[tuple[float, ...]]:
        return [tuple(round(value, 3) for value in span) for span in self.kept]


class Statistics(Protocol):
    """Counts the same requests for others than the reader of rows."""

    def add(self, kind: int, length: int) -> None:
        """Count the next row: the number of its kind of request, the length of its body."""

    def report(self, rows: np.ndarray) -> dict[str, Any]:
        """What the rows since the last report come to."""


class Recorder:
    """Keeps rows, and their statistics, until `flush` hands both to `deliver(rows, report)`."""

    def __init__(self, deliver: Callable[[bytes, dict], None], statistics: Statistics):
        self._statistics = statistics
        self.lags_s = array("d")  # of what was dispatched since the last flush
        self.rows = self.unsent = 0
        self._stalls, self._cpu = Spans(), Spans()  # when the loop stalled; CPU seconds, one span a second
        self._lags = Lags()
        self._excerpts: dict[str, float] = {}  # of answers that serve nobody -> intended time of the first such request
        self._excerpt_at = 0.0  # before which none is looked at
        self._deliver = deliver
        self._buffer = bytearray()
        self.begin(now())

    def begin(self, epoch: float) -> None:
        """The account counts from a Unix time on; what happens before does not belong to the schedule."""
        self._epoch = epoch
        self._cpu_began = time.process_time()
        self._counted = (now(), self._cpu_began)  # up to when its processor is accounted for, and what it used by then

    def tick(self, at: float, late_s: float = 0.0) -> None:
        """The loop runs, `late_s` after the planned time. To be called ten times a second."""
        cpu_s = time.process_time()
        if at <= self._epoch:
            self._cpu_began, self._counted = cpu_s, (at, cpu_s)
            return
        if late_s > STALL_S:
            self._stalls.add(at, min(late_s, at - self._epoch))
        since, used_s = self._counted
        if at - since >= SPAN_S:
            self._cpu.add(at, at - since, cpu_s - used_s)
            self._counted = (at, cpu_s)

    def row(
        self, seq: int, step: int, status: int, outcome: int, expected: int, predicted: int, turn: int,
        bytes_out: int, bytes_in: int, intended: float, sent: float, first_byte: float, done: float, request_id: bytes,
        probability: float, picture: int, kind: int, length: int,
    ) -> None:  # fmt: skip
        """Add one row, see harness.history.ROW; `kind` and `length` are for the statistics.

        Raises struct.error when a value does not fit.
        """
        self._buffer += _ROW.pack(
            seq, step, status, outcome, expected, predicted, turn, bytes_out,
            bytes_in if bytes_in < 0xFFFFFFFF else 0xFFFFFFFF, intended, sent, first_byte, done, request_id,
            probability, picture,
        )  # fmt: skip
        self._statistics.add(kind, length)

    def excerpt(self, intended: float, make: Callable[[], str]) -> None:
        """Keep what `make` gives, for the account: the first of each text."""
        if intended >= self._excerpt_at and len(self._excerpts) < EXCERPTS:
            self._excerpt_at = intended + EXCERPT_EVERY_S
            self._excerpts.setdefault(make(), intended)

    def flush(self) -> None:
        """Hand over the rows so far; called ten times a second so that others can read along. Raises what that does."""
        self._lags.add(self.lags_s)
        del self.lags_s[:]
        data, self._buffer = bytes(self._buffer), bytearray()
        rows = np.frombuffer(data, ROW)
        self.rows += len(rows)
        self.unsent += int(np.count_nonzero(rows["outcome"] == Outcome.UNSENT))
        self._deliver(data, self._statistics.report(rows))

    def account(self, **more: Any) -> dict[str, Any]:
        """How well the schedule was kept, after the last flush."""
        end, cpu_s = now(), time.process_time()
        since, used_s = self._counted
        if end > max(since, self._epoch):
            self._cpu.add(end, end - since, cpu_s - used_s)
            self._counted = (end, cpu_s)
        p99 = self._lags.quantile_ms(0.99)
        return {
            "sent": self.rows - self.unsent,
            "unsent": self.unsent,
            "rows": self.rows,
            "cpu_s": round(cpu_s - self._cpu_began, 3),
            "duration_s": round(max(0.0, end - self._epoch), 3),
            "lag_p99_ms": p99 if p99 is None else round(p99, 3),
            "lag_max_ms": None if p99 is None else round(self._lags.max_ms, 3),
            "stalls": self._stalls.rounded(),  # (Unix time at its end, seconds)
            "cpu": self._cpu.rounded(),  # (Unix time at its end, seconds, CPU seconds)
            "excerpts": [(round(at, 3), text) for text, at in self._excerpts.items()],
            **more,
        }


class Files:
    """Appends rows to one file and the generator's Events to another; either may be None."""

    def __init__(self, rows: Path | None, events: Path | None, generator: str):
        """Raises OSError when they cannot be written."""
        self.generator = generator
        self._left = bytearray()
        self._fd = -1
        if rows is not None:
            self._fd = os.open(rows, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            size = os.fstat(self._fd).st_size
            if size % ROW.itemsize:  # a record cut short by a kill would shift all that follow
                os.ftruncate(self._fd, size - size % ROW.itemsize)
        self._log = Log(events) if events is not None else None

    def rows(self, data: bytes) -> None:
        """Append rows. Raises OSError (disk full), keeping what could not be written for the next time."""
        if self._fd < 0:
            return
        self._left += data
        while self._left:
            written = os.write(self._fd, self._left)
            del self._left[:written]

    def event(self, name: str, **detail: Any) -> None:
        if self._log is not None:
            self._log.event("load", name, generator=self.generator, clocks=reading(), **detail)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._log is not None:
            self._log.close()
