"""The capacity of a service that is up: one load after another, each judged by the SLOs, until the edge is found."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import replace

from harness import stats
from harness.checks import ErrorRatio, Latency, Recorded, judge_all
from harness.checks.bottleneck import bottleneck
from harness.checks.capacity import search
from harness.errors import UsageError
from harness.history import History
from harness.plan.plan import Plan
from harness.verdict import Capacity, Step, Verdict, worst

REST_S = 2.0  # between two steps: what one left in the queue is not the next one's
SPARE = 1.3  # a Poisson schedule may hold fewer than its mean, and an error or two may be seen

Load = Callable[[str, float], History]  # (arrivals, seconds) -> the history with that load as its phase


def capacity(
    plan: Plan, load: Load, phase: str, *, first_per_s: float, precision: float, most_per_s: float,
    for_s: float,
) -> Capacity:  # fmt: skip
    """The highest Poisson arrival rate at which the service keeps its latency and error objectives.

    Each step lasts `for_s` or as long as its rate needs for enough requests, and twice as long each time that its
    record was in order and still too short. Raises UsageError where the service states no such objective.
    """
    slos = [replace(c, phase=phase) for c in plan.checks if isinstance(c, (ErrorRatio, Latency))]
    if not slos:
        raise UsageError("capacity: the plan has no latency or error objective; add `- slos` to its checks")
    enough = SPARE * max(stats.needed(c.target if isinstance(c, ErrorRatio) else c.share) or 0 for c in slos)
    checks = [*slos, Recorded(generators=("load",), phases=(phase,))]

    longer: dict[float, int] = {}  # by the rate

    def attempt(rate_per_s: float) -> Step:
        time.sleep(REST_S)
        lasts_s = max(for_s, math.ceil(enough / rate_per_s)) * longer.get(rate_per_s, 1)
        history = load(f"poisson:{rate_per_s:.6g}/s:seed=7", lasts_s)
        *kept, recorded = judge_all(checks, history)
        short = bottleneck(history, phase, recorded, os.cpu_count() or 1)
        if recorded.verdict is not Verdict.PASS:  # what the service did beside such a generator says nothing of it
            return Step(rate_per_s, Verdict.INCONCLUSIVE, recorded.reason, short)
        verdict = worst(kept)
        if verdict is Verdict.INCONCLUSIVE:
            longer[rate_per_s] = 2 * longer.get(rate_per_s, 1)
        return Step(rate_per_s, verdict, "; ".join(r.reason for r in kept if r.verdict is verdict), short)

    return search(attempt, first_per_s, precision, most_per_s)
