"""The capacity of a service that is up: one load after another, each judged by the SLOs, until the edge is found."""

from __future__ import annotations

import math
import os
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import replace

from harness.checks import ErrorRatio, Latency, Recorded, judge_all, samples
from harness.checks.capacity import search
from harness.errors import UsageError
from harness.history import History, Window
from harness.plan.plan import Plan
from harness.verdict import Capacity, Step, Verdict

REST_S = 2.0  # between two steps: what one left in the queue is not the next one's
SPARE = 1.3  # a Poisson schedule may hold fewer than its mean, and an error or two may be seen

Load = Callable[[str, float], History]  # (arrivals, seconds) -> the history with that load as its phase


def capacity(
    plan: Plan, load: Load, phase: str, *, first_per_s: float, precision: float, most_per_s: float,
    for_s: float,
) -> Capacity:  # fmt: skip
    """The highest Poisson arrival rate at which the service keeps its latency and error objectives.

    Each step lasts `for_s` or as long as its rate needs for enough requests. Raises UsageError where the service states
    no such objective.
    """
    slos = [replace(c, phase=phase) for c in plan.checks if isinstance(c, (ErrorRatio, Latency))]
    if not slos:
        raise UsageError("capacity: the plan has no latency or error objective; add `- slos` to its checks")
    enough = SPARE * max(_requests_needed(check) for check in slos)
    checks = [*slos, Recorded(generators=("load",), phases=(phase,))]

    def attempt(rate_per_s: float) -> Step:
        time.sleep(REST_S)
        history = load(f"poisson:{rate_per_s:.6g}/s:seed=7", max(for_s, math.ceil(enough / rate_per_s)))
        *kept, believed = judge_all(checks, history)
        limit = _limit(history, phase)
        if broken := [r for r in kept if r.verdict is Verdict.FAIL]:
            return Step(rate_per_s, Verdict.FAIL, "; ".join(r.reason for r in broken), limit)
        if unclear := [r for r in (believed, *kept) if r.verdict is not Verdict.PASS]:
            return Step(rate_per_s, Verdict.INCONCLUSIVE, unclear[0].reason, limit)
        return Step(rate_per_s, Verdict.PASS, "; ".join(r.reason for r in kept), limit)

    return search(attempt, first_per_s, precision, most_per_s)


def _requests_needed(check: ErrorRatio | Latency) -> int:
    share = check.target if isinstance(check, ErrorRatio) else round(1 - check.percentile / 100, 9)
    return samples.needed(share) or 0


def _limit(history: History, phase: str) -> str:
    """What was used up in a phase, as far as the record shows it."""
    window = history.phase(phase)
    if window is None:
        return ""
    said = []
    if (cores := _per_s(history, "process_cpu_seconds_total", window)) is not None:
        said.append(f"the service used {cores:.2f} of {os.cpu_count()} cores")
    if shed := _per_s(history, "requests_shed_total", window):
        said.append(f"shed {shed:.3g} requests/s")
    account = next((e for e in reversed(history.of("load", "finished"))), None)
    if account is not None and account.detail.get("duration_s"):
        said.append(f"the generator used {account.detail['cpu_s'] / account.detail['duration_s']:.2f} of a core")
    return ", ".join(said)


def _per_s(history: History, counter: str, window: Window) -> float | None:
    """How fast a counter of the service rose within a window, from its first sample there to its last; None without
    two."""
    per_s, known = 0.0, False
    for series in history.named(counter):
        first, after = bisect_left(series.at, window.start), bisect_right(series.at, window.end)
        if after - first > 1 and (rise := series.value[after - 1] - series.value[first]) >= 0:
            per_s, known = per_s + rise / (series.at[after - 1] - series.at[first]), True
    return per_s if known else None
