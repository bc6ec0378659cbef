"""Capacity: the highest arrival rate at which the service keeps its SLOs, found by bisection.

Pure: whoever runs the load is asked for one step at a time, and each step is judged by the SLO checks with their own
rule on samples, so a step that proves too little decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from harness.stats import CONFIDENCE
from harness.verdict import Capacity, Step, Verdict

TRIES = 3  # of a step that decides nothing
STEPS_AT_MOST = 40
LOWEST_PER_S = 0.1


def search(attempt: Callable[[float], Step], first_per_s: float, precision: float, most_per_s: float) -> Capacity:
    """Double (or halve) from the first rate until one is kept and one broken, then bisect in the logarithm of the rate
    until they are `precision` apart (0.05: within 5 %). `most_per_s` is where it stops to ask for more.

    A service is taken to keep at any lower rate what it kept at a higher one. A step that contradicts that ends the
    search as INCONCLUSIVE, because then one figure does not describe the service. So does a rate that decides nothing
    (it may be too much for the generator), unless the edge shows below it.
    """
    steps: list[Step] = []
    kept, broken, unclear = math.nan, math.inf, math.inf

    def decided(rate_per_s: float) -> Step:
        """The first step at a rate that decides something, or the last of several that did not."""
        for _ in range(TRIES):
            steps.append(attempt(rate_per_s))
            if steps[-1].verdict is not Verdict.INCONCLUSIVE:
                break
        return steps[-1]

    def found(verdict: Verdict, reason: str) -> Capacity:
        return Capacity(kept, broken if broken < math.inf else math.nan, tuple(steps), verdict, reason, CONFIDENCE)

    rate, why = min(first_per_s, most_per_s), ""
    while len(steps) < STEPS_AT_MOST:
        step = decided(rate)
        if step.verdict is Verdict.PASS:
            kept = rate
        elif step.verdict is Verdict.FAIL:
            broken = rate
        else:
            unclear, why = rate, f"{rate:.4g}/s decided nothing in {TRIES} tries: {step.reason}"
        above = min(broken, unclear)
        if math.isnan(kept):
            if unclear < math.inf:
                return found(Verdict.INCONCLUSIVE, why)
            if rate <= LOWEST_PER_S:
                return found(Verdict.INCONCLUSIVE, f"an SLO is broken at {rate:.4g}/s already: {step.reason}")
            rate = max(rate / 2, LOWEST_PER_S)
        elif above == math.inf:
            if rate >= most_per_s:
                return found(Verdict.INCONCLUSIVE, f"every SLO is kept at {rate:.4g}/s, the highest rate allowed")
            rate = min(2 * rate, most_per_s)
        elif above / kept > 1 + precision:
            rate = math.sqrt(kept * above)
        elif unclear < broken:
            return found(Verdict.INCONCLUSIVE, f"every SLO is kept at {kept:.4g}/s, but {why}")
        else:  # once more: near the edge a lucky step would be quoted for months
            again = decided(kept)
            if again.verdict is Verdict.PASS:
                between = f"every SLO is kept at {kept:.4g}/s, twice, and one is broken at {broken:.4g}/s"
                return found(Verdict.PASS, between)
            why = f"{kept:.4g}/s was kept once and not the second time: {again.reason}"
            kept = math.nan
            return found(Verdict.INCONCLUSIVE, why)
    return found(Verdict.INCONCLUSIVE, f"no answer after {STEPS_AT_MOST} steps")
