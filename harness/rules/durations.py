"""Dividing every duration of a PromQL expression by a factor.

PromQL 2.x has durations in three places only: [range], [range:step] and after `offset`. So a scanner that knows
strings, comments, brackets and the word `offset` rewrites an expression without touching another character of it; no
printer of a parsed expression could promise that.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from harness.units import is_prometheus_duration, prometheus_duration, prometheus_ms

TOKEN = re.compile(
    r"""(?P<string> "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' | `[^`]*` )
      | (?P<skip> \s+ | \#[^\n]* )
      | (?P<bracket> \[ [^\]]* \] )
      | (?P<word> [A-Za-z_:][A-Za-z0-9_:]* )
      | (?P<number> \.?[0-9][A-Za-z0-9_.]* )
      | (?P<other> . )""",
    re.VERBOSE | re.DOTALL,
)
NEAR = Fraction(1, 200)  # how far off by rounding: far less than the jitter of scrapes, of which a window holds four
_RANGE = re.compile(r"(\[\s*)(\w+)(\s*)(?:(:\s*)(\w+)?(\s*))?(\])", re.ASCII)


def scale_duration(text: str, factor: Fraction | int) -> str:
    """A duration divided by a factor, to the millisecond. Raises ValueError when that is not near enough."""
    scaled = Fraction(prometheus_ms(text)) / Fraction(factor)
    nearest = Fraction(round(scaled))
    try:
        return prometheus_duration((nearest if abs(nearest - scaled) <= NEAR * scaled else scaled) / 1000)
    except ValueError as error:
        raise ValueError(f"{text} / {factor}: {error}") from None


def scale_promql(expr: str, factor: Fraction | int) -> str:
    """An expression with every range, step and offset divided by a factor, and every other character as it was.

    Raises ValueError where a duration is not plain (Prometheus 3's numbers and arithmetic) or does not divide.
    """
    out: list[str] = []
    after_offset = False
    for token in TOKEN.finditer(expr):
        kind, text = token.lastgroup, token.group()
        if kind == "bracket":
            text = _scale_range(text, lambda duration: scale_duration(duration, factor))
        elif kind == "number" and is_prometheus_duration(text):
            if not after_offset:
                raise ValueError(f"{text} is where Prometheus 2 takes no duration")
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
    if parts is None or not all(is_prometheus_duration(parts[i]) for i in (2, 5) if parts[i]):
        raise ValueError(f"{text}: only plain durations such as [5m] or [1h:1m] can be scaled")
    opening, window, space, colon, step, space_after, closing = (part or "" for part in parts.groups())
    return opening + scale(window) + space + colon + (scale(step) if step else "") + space_after + closing
