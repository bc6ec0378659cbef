"""Warnings and errors of a run's logs, by the phase in which they were written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from harness.history import Window
from harness.recordfile import regular
from harness.report.summary import printable

LINES_AT_MOST = 12  # of one log, in one phase
LONGEST = 240  # characters of a line
AT_ONCE = 8 << 20  # bytes
LINE_AT_MOST = 8 << 20  # bytes that are held in wait for the end of a line
HINTS = (b"WARN", b"ERROR", b"CRITICAL", b"FATAL", b"warn", b"error", b"critical")  # a line without one is none
LOUD = re.compile(
    rb'"level": ?"(?:warning|error|critical|WARNING|ERROR|CRITICAL)"'
    rb"|\b(?:WARNING|ERROR|CRITICAL|FATAL)\b|\blevel=(?:warn|error)"
)
EXPECTED = b"Rollbacks were explicitly requested"  # Chaos Toolkit warns of it in every experiment
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_TIME = re.compile(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?")


def loud(run: Path, windows: Mapping[str, Window]) -> tuple[dict[str, list[str]], dict[str, int]]:
    """For each phase some of the lines, in order of time, and how many there are. A line that does not say when it was
    written belongs to none. A log that cannot be read is as one that says nothing: logs are evidence of no check."""
    kept: dict[str, list[tuple[float, str]]] = {name: [] for name in windows}
    counts = dict.fromkeys(windows, 0)
    for log in sorted((run / "logs").glob("*.log")):
        mine = dict.fromkeys(windows, 0)
        try:
            for line in _lines(log):
                if (at := _moment(line)) is None:
                    continue
                for name, window in windows.items():
                    if window.start <= at <= window.end:
                        counts[name] += 1
                        mine[name] += 1
                        if mine[name] <= LINES_AT_MOST:
                            kept[name].append((at, f"{log.name}: {_told(line)}"))
        except Exception:  # whatever a log is, the report is made
            continue
    return {name: [line for _, line in sorted(some)] for name, some in kept.items()}, counts


def _lines(log: Path) -> Iterator[bytes]:
    """The loud lines of a log. Most of it has none: it is searched for words first, which is quicker than a pattern."""
    regular(log)
    with open(log, "rb") as file:
        rest = b""
        while chunk := file.read(AT_ONCE):
            chunk = rest + chunk
            whole, rest = (chunk, b"") if len(rest) > LINE_AT_MOST else _split(chunk)
            yield from _in(whole)
        yield from _in(rest)


def _split(chunk: bytes) -> tuple[bytes, bytes]:
    """The whole lines, and what is left."""
    end = chunk.rfind(b"\n") + 1
    return chunk[:end], chunk[end:]


def _in(chunk: bytes) -> Iterator[bytes]:
    begins = set()
    for hint in HINTS:
        at = chunk.find(hint)
        while at >= 0:
            begins.add(chunk.rfind(b"\n", 0, at) + 1)
            end = chunk.find(b"\n", at)
            at = chunk.find(hint, end) if end >= 0 else -1
    for begin in sorted(begins):
        end = chunk.find(b"\n", begin)
        line = chunk[begin : min(end if end >= 0 else len(chunk), begin + 8 * LONGEST)]
        if LOUD.search(line) and EXPECTED not in line:
            yield line


def _moment(line: bytes) -> float | None:
    found = _TIME.search(line)
    if found is None:
        return None
    try:
        return datetime.fromisoformat(found[0].decode().replace(",", ".")).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _told(line: bytes) -> str:
    """A line as it is shown; one of JSON by its level, message and what else it says."""
    text = _COLOUR.sub("", line.decode(errors="replace"))
    try:
        said = json.loads(text)
        if isinstance(said, dict):
            first = [str(said.pop(k)) for k in ("timestamp", "level", "message") if said.get(k) is not None]
            rest = [f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in said.items() if v]
            text = " ".join([*first, *rest])
    except (ValueError, RecursionError):
        pass
    return printable(text)[:LONGEST]
