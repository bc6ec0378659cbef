"""Figures as people say them: durations, shares and counts for the sentences of results."""

from __future__ import annotations

import math
from collections.abc import Sequence


def duration(seconds: float) -> str:
    """A length of time in human units: "1.1 ms", "212 ms", "4.2 s", "2 min 30 s", "1 h 5 min"."""
    if not math.isfinite(seconds):
        return "for ever"
    if seconds < 0:
        return "-" + duration(-seconds)
    if 0 < seconds < 0.9995:
        ms = 1000 * seconds
        return f"{_plain(ms, 1 if ms < 9.95 else 0)} ms"
    if seconds < 59.95:
        return f"{_plain(seconds, 1)} s"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours:,} h" + (f" {minutes} min" if minutes else "")
    return f"{minutes} min" + (f" {rest} s" if rest else "")


def percent(share: float) -> str:
    """A share as a percentage with as many digits as it needs, at most three after the point: "99.9 %", "0.056 %"."""
    return f"{_plain(100 * share, 3)} %"


def count(n: int, what: str) -> str:
    """A number of things: "1 request", "1,800 requests"."""
    return f"{n:,} {what}" + ("" if n == 1 or not what else "s")


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them: "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _plain(x: float, digits: int) -> str:
    text = f"{x:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
