"""Capacity: the highest arrival rate at which the service keeps its SLOs, found by bisection.

Pure: whoever runs the load is asked for one step at a time, and each step is judged by the SLO checks with their own
rule on samples, so a step that proves too little decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from harness.verdict import Capacity, Step, Verdict

TRIES = 3  # of a step that decides nothing, before the search gives up
STEPS_AT_MOST = 40
LOWEST_PER_S = 0.1


def search(attempt: Callable[[float], Step], first_per_s: float, precision: float, most_per_s: float) -> Capacity:
    """Double (or halve) from the first rate until one is kept and one broken, then bisect in the logarithm of the rate
    until they are `precision` apart (0.05: within 5 %). `most_per_s` is where it stops to ask for more.

    A service is taken to keep at any lower rate what it kept at a higher one. A step that contradicts that ends the
    search as INCONCLUSIVE, because then one figure does not describe the service.
    """
    steps: list[Step] = []
    kept, broken = math.nan, math.nan

    def found(verdict: Verdict, reason: str) -> Capacity:
        return Capacity(kept, broken, tuple(steps), verdict, reason)

    rate = min(first_per_s, most_per_s)
    while len(steps) < STEPS_AT_MOST:
        for _ in range(TRIES):
            steps.append(attempt(rate))
            if steps[-1].verdict is not Verdict.INCONCLUSIVE:
                break
        else:
            return found(Verdict.INCONCLUSIVE, f"{rate:.4g}/s decided nothing in {TRIES} tries: {steps[-1].reason}")
        if steps[-1].verdict is Verdict.PASS:
            kept = rate
        else:
            broken = rate
        if math.isnan(broken):
            if rate >= most_per_s:
                return found(Verdict.INCONCLUSIVE, f"every SLO is kept at {rate:.4g}/s, the highest rate allowed")
            rate = min(2 * rate, most_per_s)
        elif math.isnan(kept):
            if rate <= LOWEST_PER_S:
                return found(Verdict.INCONCLUSIVE, f"an SLO is broken at {rate:.4g}/s already: {steps[-1].reason}")
            rate = max(rate / 2, LOWEST_PER_S)
        elif broken / kept <= 1 + precision:
            return _confirmed(attempt, kept, broken, steps)
        else:
            rate = math.sqrt(kept * broken)
    return found(Verdict.INCONCLUSIVE, f"no answer after {STEPS_AT_MOST} steps")


def _confirmed(attempt: Callable[[float], Step], kept: float, broken: float, steps: list[Step]) -> Capacity:
    """The highest rate kept, once more: near the edge a lucky step would be quoted for months."""
    steps.append(attempt(kept))
    again = steps[-1]
    between = f"every SLO is kept at {kept:.4g}/s, twice, and one is broken at {broken:.4g}/s"
    if again.verdict is Verdict.PASS:
        return Capacity(kept, broken, tuple(steps), Verdict.PASS, between)
    why = f"{kept:.4g}/s was kept once and not the second time: {again.reason}"
    return Capacity(math.nan, broken, tuple(steps), Verdict.INCONCLUSIVE, why)
