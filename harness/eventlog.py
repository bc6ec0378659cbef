"""Writes and reads `events.jsonl`, the run's append-only log of events; several processes write it."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Event(NamedTuple):
    """Something that happened, once."""

    at: float  # Unix seconds, the run's single clock
    source: str  # "run" | "stack" | "load" | "fault" | "chaos" | "probe"
    name: str  # "phase", "pause", "restart", ...
    outcome: str = "ok"  # "ok" | "fail" | "unknown"
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


def json_lines(path: Path) -> list[list[Any]]:
    """The complete lines of a file; a line cut short by a kill is left out, a missing file is empty."""
    if not path.exists():
        return []
    lines = []
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else open(path) as file:
            for line in file:
                if not line.endswith("\n"):
                    break
                lines.append(json.loads(line))
    except (EOFError, OSError, json.JSONDecodeError):
        pass  # what could be read is the evidence there is
    return lines
