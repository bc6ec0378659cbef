"""Quantities as people write them, with their units: 30s, 2m, 500ms, 99.9%, 60/s."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*s")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def duration(text: Any) -> float:
    """Seconds of "1m30s", "500ms", "2h"; a bare number is refused, because its unit would be a guess."""
    if not isinstance(text, str) or not _DURATION.fullmatch(text.strip()):
        raise ValueError(f"must be a duration with its unit, like 30s, 2m or 500ms; got {text!r}")
    return sum(float(n) * _SECONDS[unit] for n, unit in _PART.findall(text))


def share(text: Any) -> float:
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


def rate(text: Any) -> float:
    """Arrivals a second, of "60/s"."""
    if not isinstance(text, str) or not (found := _RATE.fullmatch(text.strip())) or not float(found[1]) > 0:
        raise ValueError(f"must be a rate above 0 with its unit, like 60/s; got {text!r}")
    return float(found[1])


Duration = Annotated[float, BeforeValidator(duration)]
Share = Annotated[float, BeforeValidator(share)]
