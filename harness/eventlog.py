"""Writes and reads `events.jsonl`, the run's append-only log of events; several processes write it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from harness.recordfile import records


class Event(NamedTuple):
    """Something that happened, once."""

    at: float  # Unix seconds, the run's single clock
    source: str  # "run" | "stack" | "load" | "fault" | "chaos" | "probe" | "watch"
    name: str  # "phase", "pause", "restart", ...
    outcome: Literal["ok", "fail", "unknown"] = "ok"
    took: float | None = None  # seconds
    detail: Mapping[str, Any] = {}  # whatever a reader may want; no check may need a new column


class Log:
    """One append-only JSON-lines file. Each line is one write, so lines of several writers do not mix."""

    def __init__(self, path: Path):
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by close()

    def write(self, record: Sequence[Any]) -> None:
        self._file.write((json.dumps(record, separators=(",", ":"), default=str) + "\n").encode())

    def event(
        self,
        source: str,
        name: str,
        outcome: str = "ok",
        took: float | None = None,
        at: float | None = None,
        **detail: Any,
    ) -> None:
        """Append an Event, stamped now unless `at` says otherwise."""
        self.write(Event(time.time() if at is None else at, source, name, outcome, took, detail))

    def close(self) -> None:
        self._file.close()


def append(run: Path, source: str, name: str, outcome: str = "ok", **detail: Any) -> None:
    """Add one event, stamped now, to the events of a run's folder."""
    log = Log(run / "events.jsonl")
    try:
        log.event(source, name, outcome, **detail)
    finally:
        log.close()


def events_of(run: Path) -> list[Event]:
    """The events of a run that goes on, as they were written. Raises EvidenceError."""
    return records(run / "events.jsonl", Event, open_end=True)
