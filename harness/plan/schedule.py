"""What a plan must know of its load's schedule: whether it is the same all the time, and when it is over."""

from __future__ import annotations

import math
from itertools import islice

from harness.errors import UsageError
from harness.load.arrivals import Arrivals, constant, parse, poisson, ramp, replay, spike, step


def varies(text: str) -> bool:
    """Whether it matters which part of a schedule is judged; so too where a scenario's schedule is one of its own."""
    if text.startswith("closed:users="):  # the same number of users all the time
        return False
    try:
        return not isinstance(parse(text), (constant, poisson))
    except UsageError:
        return True


def lasts_s(schedule: Arrivals) -> float:
    """When the last arrival of a schedule is due, at the latest; seconds after its begin, infinite for most."""
    match schedule:
        case ramp(to_per_s=0):
            return schedule.over_s
        case step() if not schedule.rates_per_s[-1]:
            return schedule.every_s * (len(schedule.rates_per_s) - 1)
        case spike(base_per_s=0):
            return schedule.at_s + schedule.for_s
        case replay():
            *_, last = schedule.times()
            return last
    return math.inf


def first_s(schedule: Arrivals) -> float:
    """When the first arrival is due that can be judged; infinite where none is. A schedule that is the same all the
    time is judged from a later moment than its begin."""
    alike = isinstance(schedule, (constant, poisson))
    return next((at_s for at_s in islice(schedule.times(), 2) if at_s > 0 or not alike), math.inf)
