"""Quantities with their units: read as people write them (99.9%, 60/s), and written for sentences (99.9 %)."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST_S = 36_525 * 86_400.0  # longer than any run, and short enough for every clock and timer
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")
_SIZES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SIZE = re.compile(rf"(\d+(?:\.\d+)?)\s*({'|'.join(_SIZES)})", re.ASCII)
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*s")

_PROMETHEUS_MS = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
    "ms": 1,
}
_PROMETHEUS_LONGEST_MS = 2**63 // 1_000_000  # it counts nanoseconds in 64 bits
_LONGEST_TEXT = 1000  # of more digits Python makes no number
_WHOLE_ONLY = ("y", "w")  # as Prometheus prints: 90d, not 12w6d
_PROMETHEUS_DURATION = re.compile("".join(rf"(?:(\d+){unit})?" for unit in _PROMETHEUS_MS), re.ASCII)


def parse_duration(text: Any) -> float:
    """Seconds of "1m30s", "500ms", "2h"; a bare number is refused, because its unit would be a guess."""
    if not isinstance(text, str) or not _DURATION.fullmatch(text.strip()):
        raise ValueError(f"must be a duration with its unit, like 30s, 2m or 500ms; got {text!r}")
    seconds = sum(float(n) * _SECONDS[unit] for n, unit in _PART.findall(text))
    if seconds > _LONGEST_S:
        raise ValueError(f"must be at most 100 years (36525d); got {text[:40]!r}")
    return seconds


def parse_share(text: Any) -> float:
    """A share from 0 to 1, of "99.9%" or 0.999."""
    if isinstance(text, str) and re.fullmatch(r"\d+(\.\d+)?\s*%", text.strip()):
        value = float(text.strip().rstrip("% ")) / 100
    elif (isinstance(text, (int, float)) and not isinstance(text, bool)) or (
        isinstance(text, str) and re.fullmatch(r"\d+(\.\d+)?", text.strip())  # from a command line
    ):
        value = float(text)
    else:
        raise ValueError(f"must be a share like 99.9% or 0.999; got {text!r}")
    if not 0 <= value <= 1:
        raise ValueError(f"must lie between 0 and 100 %; got {text!r} (write {text}% for per cent)")
    return value


def parse_rate(text: Any) -> float:
    """Arrivals a second, of "60/s"."""
    if not isinstance(text, str) or not (found := _RATE.fullmatch(text.strip())) or not 0 < float(found[1]) < math.inf:
        raise ValueError(f"must be a rate above 0 with its unit, like 60/s; got {text!r}")
    return float(found[1])


def parse_size(text: Any) -> float:
    """Bytes of "1 kB", "1.5 MiB" or "0 B"; a bare number is refused, because its unit would be a guess."""
    if not isinstance(text, str) or len(text) > 40 or not (found := _SIZE.fullmatch(text.strip())):
        raise ValueError(f"must be a size with its unit, like 1 kB or 2 MiB; got {str(text)[:40]!r}")
    return float(found[1]) * _SIZES[found[2]]


def prometheus_ms(text: str) -> int:
    """The milliseconds of a duration in Prometheus' grammar, such as "1h30m" or "250ms"; "0" is allowed.

    Raises ValueError.
    """
    match = _PROMETHEUS_DURATION.fullmatch(text)
    if text == "0":
        return 0
    if not text or match is None:
        raise ValueError(f'not a Prometheus duration: "{text}"')
    parts = zip(match.groups(), _PROMETHEUS_MS.values(), strict=True)
    if len(text) > _LONGEST_TEXT or (ms := sum(int(n or 0) * size for n, size in parts)) > _PROMETHEUS_LONGEST_MS:
        raise ValueError(f'longer than Prometheus can count (292 years): "{text[:40]}"')
    return ms


def prometheus_seconds(text: str) -> float:
    """The same in seconds."""
    return prometheus_ms(text) / 1000


def prometheus_duration(seconds: float | Fraction) -> str:
    """The duration of so many seconds as Prometheus itself writes it: 5400 -> "1h30m", 0 -> "0s".

    Raises ValueError when that is negative or not a whole number of milliseconds.
    """
    ms = round(seconds * 1000)
    if ms < 0 or abs(seconds * 1000 - ms) > 1e-3:  # a float of years is exact to a microsecond
        raise ValueError(f"{float(seconds):.9g} s is not a whole number of milliseconds")
    parts = []
    for unit, size in _PROMETHEUS_MS.items():
        if ms >= size and not (unit in _WHOLE_ONLY and ms % size):
            n, ms = divmod(ms, size)
            parts.append(f"{n}{unit}")
    return "".join(parts) or "0s"


def is_prometheus_duration(text: str) -> bool:
    """Whether a word is a duration with its unit."""
    return bool(text) and bool(_PROMETHEUS_DURATION.fullmatch(text)) and not text.isdigit()


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


def size(of_bytes: float) -> str:
    """A number of bytes in human units of 1,000: "0 B", "0.7 kB", "-1.2 kB", "354 MB"."""
    least = {"GB": 1e9, "MB": 1e6, "kB": 100, "B": 0}  # kB from 0.1 on, because bounds are written in it
    unit = next(unit for unit, from_bytes in least.items() if abs(of_bytes) >= from_bytes)
    amount = of_bytes / _SIZES[unit]
    return f"{_plain(amount, 0 if abs(amount) >= 99.5 else 1)} {unit}"


def count(n: int, what: str) -> str:
    """A number of things: "1 request", "1,800 requests"."""
    return f"{n:,} {what}" + ("" if n == 1 or not what else "s")


def listed(names: Sequence[str], last: str = "and") -> str:
    """Names as a sentence has them: "a", "a and b", "a, b and c"."""
    return f" {last} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def nearest(word: str, known: Sequence[str]) -> str:
    """ "did you mean X?" when one of the known words is near, else the known words."""
    near = difflib.get_close_matches(word, known, 1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known)) or 'none'}"


def _plain(x: float, digits: int) -> str:
    text = f"{x:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
