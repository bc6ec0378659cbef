"""The bottleneck of a load: what was used up, named with the figures that say so; unknown where none says anything."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

import numpy as np

from harness.checks import saturation
from harness.checks.evidence import crowded, spent
from harness.history import History, Outcome, Window
from harness.units import count, duration, percent
from harness.verdict import Result

HOST_TOOK, IDLE, GENERATOR_BUSY = 0.05, 0.05, 0.9  # shares of all processors; of one
ONE_THREAD = (0.9, 1.1)  # processors used by a process that cannot use more than one


def bottleneck(history: History, phase: str, recorded: Result, cores: int, generator: str = "load") -> str:
    """What was short in a phase, in words. `recorded`: the result of the check of that name."""
    window = history.phase(phase)
    if window is None:
        return "unknown: nothing is recorded"
    used = _used_cores(history, window)
    ticks = spent(history, phase)
    took, idle = (ticks[of] / ticks["all"] if of in ticks else None for of in ("stolen", "idle"))
    others = (ticks["busy"] - ticks["own"]) / ticks["all"] if "own" in ticks else None
    rows = history.requests(window, generator)
    shed = int(np.count_nonzero((rows["outcome"] == Outcome.REFUSED_BY_SERVICE) & (rows["status"] == 503)))
    busy = max((saturation.busy(e.detail, window) for e in history.of("load", "finished")), default=0.0)
    own = "" if used is None else f"the service used {used:.2f} of {cores} processors"
    rest = "" if idle is None else f"{percent(round(idle, 2))} of all were idle"
    host = "" if took is None else f"the host took {percent(round(took, 2))} of them away"
    queue = f"{shed:,} of {count(len(rows), 'request')} were refused with 503"
    ours = f"the generator used {busy:.2f} of a processor"
    beside = "" if others is None else f"other processes used {percent(max(0.0, round(others, 2)))}"
    short = []
    if crowded(history, phase):
        short.append(f"neighbours: {beside}")
    if took is not None and took >= HOST_TOOK:
        short.append(f"the host: {host}")
    if busy >= GENERATOR_BUSY:
        short.append(f"the generator: {ours}")
    short += [f"the generator: {late}" for late in _late(rows, recorded)]
    if used is not None and _exhausted(used, idle, busy, cores):
        short.append(f"the service's processor: {', '.join(filter(None, (own, rest)))}")
    if shed:
        short.append(f"the service's queue: {queue}")
    return "; ".join(short) or f"unknown: {', '.join(filter(None, (own, rest, beside, host, queue, ours)))}"


def _exhausted(used: float, idle: float | None, busy: float, cores: int) -> bool:
    """Whether a service could have had no more of the processors, or one thread of it can use no more."""
    left = idle <= IDLE if idle is not None else used + busy >= (1 - IDLE) * cores
    return ONE_THREAD[0] <= used <= ONE_THREAD[1] or (used >= ONE_THREAD[0] and left)


def _late(rows: np.ndarray, recorded: Result) -> Iterator[str]:
    """What the generator could not do in time."""
    unsent = int(np.count_nonzero(rows["outcome"] == Outcome.UNSENT))
    if unsent:
        yield f"{count(unsent, 'request')} of {len(rows):,} could not be sent"
    if recorded.measured is not None and recorded.bound is not None and recorded.measured > recorded.bound:
        bound = duration(recorded.bound / 1000)
        yield f"it sent late, p99 {duration(recorded.measured / 1000)} (bound {bound})"


def _used_cores(history: History, window: Window) -> float | None:
    """How fast the processes of the service used processors within a window; None without two samples of any."""
    per_s, known = 0.0, False
    for series in history.named("process_cpu_seconds_total"):
        first, after = bisect_left(series.at, window.start), bisect_right(series.at, window.end)
        if after - first > 1 and (rise := series.value[after - 1] - series.value[first]) >= 0:
            per_s, known = per_s + rise / (series.at[after - 1] - series.at[first]), True
    return per_s if known else None
