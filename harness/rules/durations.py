"""Prometheus durations: "5m" to seconds and back, and dividing every duration of an expression by a factor.

PromQL 2.x has durations in three places only: [range], [range:step] and after `offset`. So a scanner that knows
strings, comments, brackets and the word `offset` rewrites an expression without touching another character of it; no
printer of a parsed expression could promise that.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

_UNITS_MS = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
    "ms": 1,
}
_WHOLE_ONLY = ("y", "w")  # as Prometheus prints: 90d, not 12w6d
_DURATION = re.compile("".join(rf"(?:(\d+){unit})?" for unit in _UNITS_MS), re.ASCII)

TOKEN = re.compile(
    r"""(?P<string> "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' | `[^`]*` )
      | (?P<skip> \s+ | \#[^\n]* )
      | (?P<bracket> \[ [^\]]* \] )
      | (?P<word> [A-Za-z_:][A-Za-z0-9_:]* )
      | (?P<number> \.?[0-9][A-Za-z0-9_.]* )
      | (?P<other> . )""",
    re.VERBOSE | re.DOTALL,
)
_RANGE = re.compile(r"(\[\s*)(\w+)(\s*)(?:(:\s*)(\w+)?(\s*))?(\])", re.ASCII)


def parse_duration(text: str) -> float:
    """The seconds of a Prometheus duration such as "1h30m" or "250ms"; "0" is allowed. Raises ValueError."""
    return _milliseconds(text) / 1000


def format_duration(seconds: float | Fraction) -> str:
    """The Prometheus duration of so many seconds, as Prometheus itself writes it: 5400 -> "1h30m", 0 -> "0s".

    Raises ValueError when that is negative or not a whole number of milliseconds.
    """
    ms = round(seconds * 1000)
    if ms < 0 or abs(seconds * 1000 - ms) > 1e-3:  # a float of years is exact to a microsecond
        raise ValueError(f"{float(seconds):.9g} s is not a whole number of milliseconds")
    parts = []
    for unit, size in _UNITS_MS.items():
        if ms >= size and not (unit in _WHOLE_ONLY and ms % size):
            count, ms = divmod(ms, size)
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def scale_duration(text: str, factor: Fraction | int) -> str:
    """A duration divided by a factor. Raises ValueError when the result is not a whole number of milliseconds."""
    try:
        return format_duration(Fraction(_milliseconds(text), 1000) / Fraction(factor))
    except ValueError as error:
        raise ValueError(f"{text} / {factor}: {error}") from None


def scale_promql(expr: str, factor: Fraction | int) -> str:
    """An expression with every range, step and offset divided by a factor, and every other character as it was.

    Raises ValueError where a duration is not plain (Prometheus 3's numbers and arithmetic) or does not divide exactly.
    """
    out: list[str] = []
    after_offset = False
    for token in TOKEN.finditer(expr):
        kind, text = token.lastgroup, token.group()
        if kind == "bracket":
            text = _scale_range(text, lambda duration: scale_duration(duration, factor))
        elif kind == "number" and _is_duration(text):
            if not after_offset:
                raise ValueError(f"{text} stands where Prometheus 2 takes no duration")
            text = scale_duration(text, factor)
        elif kind == "number" and after_offset:
            raise ValueError(f"offset {text}: only a plain duration such as 5m can be scaled")
        out.append(text)
        if kind == "word":
            after_offset = text.lower() == "offset"
        elif kind != "skip" and text != "-":
            after_offset = False
    return "".join(out)


def _scale_range(text: str, scale: Callable[[str], str]) -> str:
    parts = _RANGE.fullmatch(text)
    if parts is None or not all(_is_duration(parts[i]) for i in (2, 5) if parts[i]):
        raise ValueError(f"{text}: only plain durations such as [5m] or [1h:1m] can be scaled")
    opening, window, space, colon, step, space_after, closing = (part or "" for part in parts.groups())
    return opening + scale(window) + space + colon + (scale(step) if step else "") + space_after + closing


def _is_duration(text: str) -> bool:
    return bool(_DURATION.fullmatch(text)) and not text.isdigit()


def _milliseconds(text: str) -> int:
    match = _DURATION.fullmatch(text)
    if text == "0":
        return 0
    if not text or match is None:
        raise ValueError(f'not a Prometheus duration: "{text}"')
    return sum(int(count or 0) * size for count, size in zip(match.groups(), _UNITS_MS.values(), strict=True))
