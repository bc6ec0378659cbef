"""When requests are sent: schedules made before the run, each a pure function of its frozen parameters.

    constant:60/s                           evenly spaced
    poisson:60/s:seed=7                     independent, as of very many unrelated users
    ramp:10/s..100/s:over=60s               from one rate to another, which it then keeps
    step:10/s,50/s,100/s:every=30s          one rate after the other, the last without end
    spike:20/s..200/s:at=30s:for=10s        a rate, and a peak in it
    sine:20/s..100/s:over=60s               a day's curve: lowest at first, highest in its middle, again and again
    replay:access.times:speed=2             the arrivals of a record, twice as fast

`parse` reads these forms and `str` gives them back. The classes have the lower-case names that plans and scenarios
write. Where the rate varies, arrivals are evenly spaced by its integral, or independent when there is a seed.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from harness.document import regular
from harness.errors import UsageError
from harness.history import read_rows

LONGEST = 1000  # digits of a setting; of too many Python makes no number
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Arrivals(Protocol):
    """A schedule of arrivals."""

    def times(self) -> Iterator[float]:
        """Seconds after the schedule's epoch, never decreasing; may be without end."""


@dataclass(frozen=True)
class _Schedule:
    """What the kinds share: their fields are checked, written and read by their names. `*_per_s` is a rate, `*_s` a
    length of time; all but rates and the path are settings, whose keys are these names without `_s`."""

    example: ClassVar[str]
    between: ClassVar[str] = ".."  # the rates of its text

    def __post_init__(self) -> None:
        """Raises UsageError."""
        kind, rates = type(self).__name__, self.rates()
        for rate in rates:
            if not (isinstance(rate, (int, float)) and math.isfinite(rate) and rate >= 0) or rates == (0,):
                raise UsageError(f"{kind}: rate must be {'above' if len(rates) == 1 else 'from'} 0/s, got {rate!r}")
        if rates and not any(rates):
            raise UsageError(f"{kind}: at least one rate must be above 0/s")
        for key, name in _settings(self).items():
            value = getattr(self, name)
            if key == "seed":
                if value is not None and (not isinstance(value, int) or value < 0):
                    raise UsageError(f"{kind}: seed must be a whole number from 0, got {value!r}")
            elif not (math.isfinite(value) and value > 0):
                raise UsageError(f"{kind}: {key} must be above 0{_unit(name, ' ')}, got {value!r}")

    def __str__(self) -> str:
        """The form that `parse` reads back as the same."""
        values = {key: (name, getattr(self, name)) for key, name in _settings(self).items()}
        given = [f"{key}={_number(value)}{_unit(name)}" for key, (name, value) in values.items() if value is not None]
        return ":".join([type(self).__name__, self.subject(), *given])

    def rates(self) -> tuple[float, ...]:
        """In the order of the text."""
        return tuple(getattr(self, name) for name in _rate_names(self))

    def subject(self) -> str:
        """What its text begins with, after the name of the kind."""
        return self.between.join(f"{_number(rate)}/s" for rate in self.rates())


@dataclass(frozen=True)
class constant(_Schedule):
    """Evenly spaced arrivals, the first at the epoch."""

    rate_per_s: float
    example: ClassVar[str] = "constant:60/s"

    def times(self) -> Iterator[float]:
        """k / rate, computed from k each time so that rounding never accumulates."""
        return (k / self.rate_per_s for k in count())


@dataclass(frozen=True)
class poisson(_Schedule):
    """Independent arrivals, as of very many unrelated users."""

    rate_per_s: float
    seed: int = 0
    example: ClassVar[str] = "poisson:60/s:seed=7"

    def times(self) -> Iterator[float]:
        """Exponential gaps. `random.random` is the one generator whose sequence Python promises never to change."""
        uniform = random.Random(self.seed).random
        at = 0.0
        while True:
            at -= math.log(1.0 - uniform()) / self.rate_per_s
            yield at


Stage = tuple[float, float, float]  # seconds, the rate at its begin, the rate at its end; it changes evenly


class _Staged(_Schedule):
    """A kind whose rate is given stage by stage."""

    seed: int | None  # None: evenly spaced by the integral of the rate

    def stages(self) -> list[Stage]:
        raise NotImplementedError

    def times(self) -> Iterator[float]:
        return _at_integral(self.stages(), _integrals(self.seed))


@dataclass(frozen=True)
class ramp(_Staged):
    """From one rate to another within `over_s`, at an even pace; then the second rate."""

    from_per_s: float
    to_per_s: float
    over_s: float
    seed: int | None = None
    example: ClassVar[str] = "ramp:10/s..100/s:over=60s"

    def stages(self) -> list[Stage]:
        return [(self.over_s, self.from_per_s, self.to_per_s), (math.inf, self.to_per_s, self.to_per_s)]


@dataclass(frozen=True)
class step(_Staged):
    """One rate after the other, each for `every_s`; the last without end."""

    rates_per_s: tuple[float, ...]
    every_s: float
    seed: int | None = None
    example: ClassVar[str] = "step:10/s,50/s:every=30s"
    between: ClassVar[str] = ","

    def __post_init__(self) -> None:
        object.__setattr__(self, "rates_per_s", tuple(self.rates_per_s))
        super().__post_init__()

    def rates(self) -> tuple[float, ...]:
        return self.rates_per_s

    def stages(self) -> list[Stage]:
        *before, last = self.rates_per_s
        return [*((self.every_s, rate, rate) for rate in before), (math.inf, last, last)]


@dataclass(frozen=True)
class spike(_Staged):
    """A base rate, with a peak from `at_s` on that lasts `for_s`."""

    base_per_s: float
    peak_per_s: float
    at_s: float
    for_s: float
    seed: int | None = None
    example: ClassVar[str] = "spike:20/s..200/s:at=30s:for=10s"

    def stages(self) -> list[Stage]:
        base, peak = self.base_per_s, self.peak_per_s
        return [(self.at_s, base, base), (self.for_s, peak, peak), (math.inf, base, base)]


@dataclass(frozen=True)
class sine(_Schedule):
    """The curve of days: the low rate at first, the high one after half of `over_s`, and so on without end."""

    low_per_s: float
    high_per_s: float
    over_s: float
    seed: int | None = None
    example: ClassVar[str] = "sine:20/s..100/s:over=60s"

    def expected(self, t: float) -> float:
        """How many arrivals the first t seconds hold on average: the integral of the rate."""
        mean, swing, turn = (self.low_per_s + self.high_per_s) / 2, (self.high_per_s - self.low_per_s) / 2, math.tau
        return mean * t - swing * self.over_s / turn * math.sin(turn * t / self.over_s)

    def times(self) -> Iterator[float]:
        """Where `expected` reaches each target, found by bisection within a period: it has no inverse to write down."""
        within = self.expected(self.over_s)
        for target in _integrals(self.seed):
            periods, rest = divmod(target, within)
            low, high = 0.0, self.over_s
            while low < (middle := (low + high) / 2) < high and high - low > 1e-9:
                low, high = (middle, high) if self.expected(middle) <= rest else (low, middle)
            yield periods * self.over_s + low


@dataclass(frozen=True)
class replay(_Schedule):
    """The arrivals of a record, `speed` times as fast, the first at the epoch; it ends where the record does.

    The file is the requests-*.rows of an earlier run, or a text of times in seconds, one a line, in any order.
    """

    path: str
    speed: float = 1.0
    example: ClassVar[str] = "replay:access.times:speed=2"
    _at_s: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "path", str(self.path))
        at_s = np.sort(_recorded(Path(self.path)))
        object.__setattr__(self, "_at_s", (at_s - at_s[0]) / self.speed)

    def subject(self) -> str:
        return self.path

    def times(self) -> Iterator[float]:
        return map(float, self._at_s)


KINDS = {kind.__name__: kind for kind in (constant, poisson, ramp, step, spike, sine, replay)}


def parse(text: str) -> Arrivals:
    """The schedule a text such as "poisson:60/s:seed=7" stands for. Raises UsageError that says what was expected."""
    name, *parts = str(text).strip().split(":")
    kind: Any = KINDS.get(name)
    if kind is None:
        raise UsageError(
            f"arrivals: must be one of {', '.join(sorted(KINDS))}, as in poisson:60/s:seed=7, got {text!r}"
        )
    known = _settings(kind)
    if kind is replay:  # a path may hold colons
        at = next((i for i, part in enumerate(parts) if part.partition("=")[0] in known), len(parts))
        given: list[Any] = [":".join(parts[:at])]
        if not given[0]:
            raise UsageError(f"replay: must name a file, as in {kind.example}")
        parts = parts[at:]
    else:
        given, parts = _rates(kind, parts[0] if parts else None), parts[1:]
    settings: dict[str, Any] = {}
    for part in parts:
        key, _, value = part.partition("=")
        if key not in known:
            raise UsageError(f"{name}: unknown setting {key!r} (known: {', '.join(sorted(known)) or 'none'})")
        if known[key] in settings:
            raise UsageError(f"{name}: {key} is given twice")
        settings[known[key]] = _setting(name, known[key], value, part)
    for key, field_name in known.items():
        if field_name.endswith("_s") and field_name not in settings:
            raise UsageError(f"{name}: {key} must be given, as in {kind.example}")
    return kind(*given, **settings)


def _rates(kind: Any, text: str | None) -> list[Any]:
    """What goes into the rate fields of a kind."""
    names = _rate_names(kind)
    parts = (text or "").split(kind.between) if len(names) > 1 or kind is step else [text or ""]
    rates = [re.fullmatch(r"(\d+(?:\.\d+)?)/(s|m|h)", part.strip()) for part in parts]
    if None in rates or not (kind is step or len(rates) == len(names)):
        form = kind.example.split(":")[1]
        raise UsageError(f"{kind.__name__}: rate must be like {form}, got {text if text is not None else 'none'!r}")
    values = [float(rate[1]) / _UNITS_S[rate[2]] for rate in rates if rate]
    return [tuple(values)] if kind is step else values


def _setting(kind: str, name: str, value: str, part: str) -> float | int:
    key, number = name.removesuffix("_s"), r"\d+(?:\.\d+)?"
    if not name.endswith("_s"):
        form, example, read = (r"\d+", "7", int) if key == "seed" else (number, "2", float)
        if re.fullmatch(form, value) and len(value) <= LONGEST:
            return read(value)
        raise UsageError(f"{kind}: {key} must be like {key}={example}, got {part!r}")
    if span := re.fullmatch(rf"({number})(ms|s|m|h)", value):
        return float(span[1]) * _UNITS_S[span[2]]
    raise UsageError(f"{kind}: {key} must be a time with its unit, like {key}=30s, got {part!r}")


def _rate_names(kind: Any) -> list[str]:
    return [f.name for f in fields(kind) if f.name.endswith("_per_s")]


def _settings(kind: Any) -> dict[str, str]:
    """The fields that are settings, by their keys."""
    names = [f.name for f in fields(kind) if f.init and not f.name.endswith("_per_s") and f.name != "path"]
    return {name.removesuffix("_s"): name for name in names}


def _unit(name: str, space: str = "") -> str:
    return f"{space}s" if name.endswith("_s") else ""


def _number(value: float) -> str:
    """As short as it reads back exactly, never with an exponent."""
    return str(int(value)) if value == int(value) else format(Decimal(repr(float(value))), "f")


def _integrals(seed: int | None) -> Iterator[float]:
    """What the integral of the rate is at each arrival: 0, 1, 2, ... or, with a seed, the times of a unit Poisson."""
    return map(float, count()) if seed is None else poisson(1.0, seed).times()


def _at_integral(stages: Iterable[Stage], integrals: Iterable[float]) -> Iterator[float]:
    """When the integral of the rate passes each of the given values, which never decrease."""
    left = iter(stages)
    began, passed = 0.0, 0.0  # time and integral at the begin of the present stage
    lasts, first, last = next(left)
    for integral in integrals:
        while integral >= (end := passed + (first + last) / 2 * lasts if first or last else passed):
            if math.isinf(lasts):
                return  # there are no further arrivals
            began, passed = began + lasts, end
            lasts, first, last = next(left)
        due, slope = integral - passed, (last - first) / lasts
        root = math.sqrt(max(0.0, first * first + 2 * slope * due))
        yield began + min(lasts, 2 * due / (first + root) if due else 0.0)


def _recorded(path: Path) -> np.ndarray:
    """The arrivals in a file, in seconds of whatever clock it was made with."""
    if why := regular(path):
        raise UsageError(f"replay: {path}: {why}")
    try:
        if path.suffix in (".rows", ".bin"):
            rows = read_rows(path)
            at_s = rows["intended"][rows["turn"] == 0]
        else:
            times = []
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if text := line.partition("#")[0].strip():
                    try:
                        times.append(float(text))
                    except ValueError:
                        raise UsageError(f"replay: {path}:{number}: must be a time in seconds, got {text!r}") from None
            at_s = np.array(times)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"replay: {path}: {getattr(error, 'strerror', None) or 'it is not text'}") from None
    if not len(at_s) or not np.all(np.isfinite(at_s)):
        raise UsageError(f"replay: {path}: {'holds no arrival' if not len(at_s) else 'holds a time that is none'}")
    return at_s
