"""Rows from the results of other load generators: vegeta (CSV or JSON lines), hey (CSV) and k6 (JSON lines).

What such a file does not hold is said: whether its requests waited for responses (coordinated omission), whether failed
ones are in it, and how late each was sent.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harness.document import regular
from harness.errors import UsageError
from harness.history import ROW, Outcome

HEY = [
    "response-time",
    "dns+dialup",
    "dns",
    "request-write",
    "response-delay",
    "response-read",
    "status-code",
    "offset",
]
VEGETA_AT_LEAST = 7  # columns: timestamp, code, latency, bytes out, bytes in, error, body ...
NANO = 1e-9


class _Request(NamedTuple):
    """One of them: Unix seconds when it was sent, seconds until it was over, HTTP status, what went wrong."""

    sent: float
    took: float
    status: int
    error: str = ""
    bytes_out: int = 0
    bytes_in: int = 0


@dataclass(frozen=True)
class Elsewhere:
    """The requests of one file. closed: its clients waited for their responses, or may have; failed_left_out: what got
    no response is not in it."""

    tool: str
    rows: np.ndarray
    closed: bool
    failed_left_out: bool
    remarks: tuple[str, ...]


def read(path: Path) -> Elsewhere:
    """The requests of a file, whichever tool wrote it. Raises UsageError with its line."""
    if why := regular(path):
        raise UsageError(f"{path}: {why}")
    try:
        with open(path, encoding="utf-8", errors="strict", newline="") as file:
            first = file.readline()
            tool, parse, about = _form(first, path)
            made = np.array([_row(n, one) for n, one in enumerate(_parsed(parse, chain([first], file), path))], ROW)
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is no text, so none of vegeta's CSV, hey's CSV and k6's JSON lines") from None
    if not len(made):
        raise UsageError(f"{path}: holds no request, though it looks like the results of {tool}")
    made = made[np.argsort(made["intended"], kind="stable")]
    made["seq"] = np.arange(len(made))
    return Elsewhere(tool, made, **about)


def _form(first: str, path: Path) -> tuple[str, Callable[[Iterable[str]], Iterator[_Request | None]], dict[str, Any]]:
    """Which tool wrote a file, by its first line: its name, how it is read, and what is known of its results."""
    late = "how late each request was sent is not in it, so latency counts from the sending"
    vegeta = {"closed": False, "failed_left_out": False, "remarks": (late,)}
    if first.lstrip().startswith("{"):
        try:
            one = json.loads(first)
        except ValueError:
            one = {}
        if {"timestamp", "latency", "code"} <= one.keys():
            return "vegeta", _vegeta_json, vegeta
        if {"type", "metric", "data"} <= one.keys():
            unknown = "whether its users waited for responses (an executor of iterations or of arrivals) is not in it"
            return "k6", _k6, {"closed": True, "failed_left_out": False, "remarks": (unknown, late)}
    columns = next(csv.reader([first]), [])
    if [c.strip().lower() for c in columns][: len(HEY)] == HEY:
        left_out = "hey leaves requests without a response out of it"
        return "hey", _hey, {"closed": True, "failed_left_out": True, "remarks": (left_out, late)}
    if len(columns) >= VEGETA_AT_LEAST and all(c.isdigit() for c in columns[:5]):
        return "vegeta", _vegeta_csv, vegeta
    raise UsageError(
        f"{path}:1: is none of vegeta's CSV (`vegeta encode --to csv`) or JSON, hey's CSV (`hey -o csv`) and k6's JSON "
        "lines (`k6 run --out json=FILE`)"
    )


def _parsed(parse: Callable, lines: Iterable[str], path: Path) -> Iterator[_Request]:
    read = 0

    def counted() -> Iterator[str]:
        nonlocal read
        for read, line in enumerate(lines, 1):  # noqa: B007
            yield line

    try:
        for one in parse(counted()):
            if not (math.isfinite(one.sent) and 0 <= one.took < math.inf and 0 <= one.status <= 999):
                raise ValueError("a time or a status is none")
            yield one
    except (ValueError, KeyError, TypeError, IndexError, csv.Error) as error:
        what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise UsageError(f"{path}:{read}: is no request: {' '.join(what.split())[:200]}") from None


def _vegeta_csv(lines: Iterable[str]) -> Iterator[_Request]:
    for at, code, latency, out, received, error, *_ in filter(None, csv.reader(lines)):
        yield _Request(int(at) * NANO, int(latency) * NANO, int(code), error, int(out), int(received))


def _vegeta_json(lines: Iterable[str]) -> Iterator[_Request]:
    for one in map(json.loads, filter(str.strip, lines)):
        at = datetime.fromisoformat(_micro(one["timestamp"])).timestamp()
        sizes = int(one.get("bytes_out") or 0), int(one.get("bytes_in") or 0)
        yield _Request(at, one["latency"] * NANO, int(one["code"]), str(one.get("error") or ""), *sizes)


def _hey(lines: Iterable[str]) -> Iterator[_Request]:
    rows = csv.reader(lines)
    next(rows)
    for took, *_, status, offset in (row[: len(HEY)] for row in rows if row):
        yield _Request(float(offset), float(took), int(status))


def _k6(lines: Iterable[str]) -> Iterator[_Request]:
    for one in map(json.loads, filter(str.strip, lines)):
        if one["type"] == "Point" and one["metric"] == "http_req_duration":
            data, took = one["data"], one["data"]["value"] / 1000
            tags = data.get("tags") or {}
            at = datetime.fromisoformat(_micro(data["time"])).timestamp() - took  # it is noted at its end
            status = int(tags.get("status") or 0)
            yield _Request(at, took, status, str(tags.get("error") or tags.get("error_code") or ""))


def _micro(time: str) -> str:
    """A time in ISO 8601 with no more digits than Python reads."""
    whole, dot, rest = time.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    return whole + dot + digits[:6] + rest[len(digits) :]


def _row(n: int, one: _Request) -> tuple:
    outcome = Outcome.REFUSED_BY_SERVICE if one.status >= 400 else Outcome.OK
    if not one.status:
        error = one.error.lower()
        outcome = Outcome.TIMEOUT if "timeout" in error or "deadline" in error else Outcome.BROKEN
        if "refused" in error or "no such host" in error or "dial" in error:
            outcome = Outcome.CONNECT_FAILED
    sizes = (min(one.bytes_out, 0xFFFFFFFF), min(one.bytes_in, 0xFFFFFFFF))
    times = (one.sent, one.sent, math.nan, one.sent + one.took)
    return (n, 0, one.status, outcome, -1, -1, 0, *sizes, *times, b"", math.nan, 0)
