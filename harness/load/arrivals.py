"""When requests are sent: schedules made before the run, each a pure function of its frozen parameters.

Written `constant:60/s` or `poisson:60/s:seed=7`; `parse` reads that form and `str` gives it back. The classes have the
lower-case names that plans and scenarios write.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import ClassVar, Protocol

from harness.errors import UsageError


class Arrivals(Protocol):
    """A schedule of arrivals."""

    def times(self) -> Iterator[float]:
        """Seconds after the schedule's epoch, never decreasing; may be without end."""


@dataclass(frozen=True)
class constant:
    """Evenly spaced arrivals, the first at the epoch."""

    rate_per_s: float
    kind: ClassVar[str] = "constant"

    def __post_init__(self) -> None:
        _check_rate(self.kind, self.rate_per_s)

    def times(self) -> Iterator[float]:
        """k / rate, computed from k each time so that rounding never accumulates."""
        k = 0
        while True:
            yield k / self.rate_per_s
            k += 1

    def __str__(self) -> str:
        return f"{self.kind}:{_number(self.rate_per_s)}/s"


@dataclass(frozen=True)
class poisson:
    """Independent arrivals, as of very many users who know nothing of each other."""

    rate_per_s: float
    seed: int = 0
    kind: ClassVar[str] = "poisson"

    def __post_init__(self) -> None:
        _check_rate(self.kind, self.rate_per_s)
        if not isinstance(self.seed, int) or self.seed < 0:
            raise UsageError(f"{self.kind}: seed must be a whole number from 0, got {self.seed!r}")

    def times(self) -> Iterator[float]:
        """Exponential gaps. `random.random` is the one generator whose sequence Python promises never to change."""
        uniform = random.Random(self.seed).random
        at = 0.0
        while True:
            at -= math.log(1.0 - uniform()) / self.rate_per_s
            yield at

    def __str__(self) -> str:
        return f"{self.kind}:{_number(self.rate_per_s)}/s:seed={self.seed}"


KINDS = {kind.kind: kind for kind in (constant, poisson)}


def parse(text: str) -> Arrivals:
    """The schedule a text such as "poisson:60/s:seed=7" stands for. Raises UsageError that says what was expected."""
    name, *parts = str(text).strip().split(":")
    kind = KINDS.get(name)
    if kind is None:
        raise UsageError(
            f"arrivals: must be one of {', '.join(sorted(KINDS))}, as in poisson:60/s:seed=7, got {text!r}"
        )
    rate = re.fullmatch(r"(\d+(?:\.\d+)?)/s", parts[0]) if parts else None
    if rate is None:
        raise UsageError(f"{name}: rate must be like 60/s, got {parts[0] if parts else 'none'!r}")
    settings = {}
    known = {f.name for f in fields(kind)} - {"rate_per_s"}
    for part in parts[1:]:
        key, _, value = part.partition("=")
        if key not in known:
            raise UsageError(f"{name}: unknown setting {key!r} (known: {', '.join(sorted(known)) or 'none'})")
        if key in settings:
            raise UsageError(f"{name}: {key} is given twice")
        if not re.fullmatch(r"\d+", value):
            raise UsageError(f"{name}: {key} must be like {key}=7, got {part!r}")
        settings[key] = int(value)
    return kind(float(rate[1]), **settings)


def _check_rate(kind: str, rate_per_s: float) -> None:
    if not (math.isfinite(rate_per_s) and rate_per_s > 0):
        raise UsageError(f"{kind}: rate must be above 0/s, got {rate_per_s!r}")


def _number(value: float) -> str:
    """As short as it reads back exactly, never with an exponent for what people write."""
    return str(int(value)) if value == int(value) else repr(float(value))
