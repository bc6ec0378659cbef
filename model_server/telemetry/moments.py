"""A moment as text."""

from __future__ import annotations

import datetime
import functools


def rfc3339(at: float) -> str:
    """A time in seconds since the epoch as RFC 3339, UTC, rounded to microseconds as `datetime` does it."""
    second = int(at)
    micros = round((at - second) * 1e6)
    if not 0 <= micros < 1_000_000:
        second, micros = second + micros // 1_000_000, micros % 1_000_000
    return f"{_second(second)}.{micros:06}Z"


@functools.lru_cache(maxsize=64)  # many moments fall into one second: a third of what `datetime` takes for each
def _second(second: int) -> str:
    return datetime.datetime.fromtimestamp(second, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
