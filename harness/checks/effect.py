"""When a fault began, when it was gone, and when its effect was over."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from harness.checks.check import NoEvidence
from harness.eventlog import Event
from harness.history import History, Window


class Effect(NamedTuple):
    """The moments of a fault, in Unix seconds."""

    start: float  # the first fault of the experiment began
    gone: float | None  # the last one was undone, or went with the process it was done to; None: never
    over: float | None  # gone, and the service back in traffic; None: never


def effect(history: History, experiment: str) -> Effect | None:
    """The moments of an experiment's faults; None when none is recorded to have begun.

    A fault that is done to a process (`component` in its start event) is gone as soon as that process was replaced, a
    rollout as soon as the last process that it or its rollback replaces is asked to end, and a flood with its
    generator's last arrival, although the undo comes later. The effect of any fault lasts until the readiness probe
    puts the service back into traffic, if it or a restart had taken it out.
    """
    window = history.phase(experiment)
    since = window.start if window else float("-inf")  # the last time, where the phase was repeated
    faults = [e for e in history.of("fault") if e.detail.get("experiment") == experiment and e.at >= since]
    starts = [e for e in faults if e.detail.get("edge") == "start"]
    if not starts:
        return None
    start = min(e.at for e in starts)
    end = window.end if window else float("inf")
    hit = {_component(e) for e in starts} & {p.component for p in history.probes}  # of several replicas, those
    restarts = [e for e in history.of("probe", "restart") if start <= e.at <= end]
    restarts = [e for e in restarts if not hit or e.detail.get("process") in hit]
    ends = [_gone(e, faults, restarts, history) for e in starts]
    if None in ends:
        return Effect(start, None, None)
    gone = max(ends)
    changes = [(e.at, False) for e in restarts] + [
        (p.at, p.decision == "ready")
        for p in history.probes
        if p.decision in ("ready", "unready") and start <= p.at <= end and (not hit or p.component in hit)
    ]
    changes.sort()
    settled = max([gone, *(e.at for e in restarts)])
    before = [change for change in changes if change[0] <= settled]
    if not before or before[-1][1]:
        return Effect(start, gone, gone)
    back = next((at for at, ready in changes if ready and at > before[-1][0]), None)
    return Effect(start, gone, None if back is None else max(gone, back))


def broken(history: History, experiment: str) -> Window | None:
    """From when to when something was broken in an experiment, for what its contract excuses: from its first fault on,
    until the last was gone, or without end. None where no fault of it is recorded to have begun, or only a sham."""
    mine = [e for e in history.of("fault") if e.detail.get("experiment") == experiment and not e.detail.get("sham")]
    found = effect(history, experiment) if mine else None
    return None if found is None else Window(found.start, float("inf") if found.gone is None else found.gone)


def all_broken(history: History, experiments: Iterable[str]) -> dict[str, Window]:
    """The same of each experiment in which something was broken."""
    return {name: window for name in experiments if (window := broken(history, name)) is not None}


def needed_effect(history: History, experiment: str) -> Effect:
    """The same, where a check cannot go on without a fault that is known to have ended."""
    found = effect(history, experiment)
    if found is None:
        raise NoEvidence(f"no fault is recorded to have begun in {experiment}", "see the experiment's journal and log")
    if found.gone is None:
        raise NoEvidence(f"the fault of {experiment} is not recorded to have ended", "see its journal; `harness heal`")
    return found


def _gone(start: Event, faults: list[Event], restarts: list[Event], history: History) -> float | None:
    """When one fault was gone: at its stop, or before that with what it was done to or done by."""
    about = [e for e in faults if e.detail.get("id") == start.detail.get("id")]
    stops = [e.at for e in about if e.detail.get("edge") == "stop" and e.outcome == "ok"]
    stop = min(stops, default=None)
    detail, component = start.detail, _component(start)
    ended = component is not None and detail.get("ends_with_process", True)
    moments = [e.at for e in restarts if ended and e.detail.get("process") == component and e.at >= start.at]
    if stop is not None and component is None and detail.get("ends_with_process", False):
        planned = [e.at for e in history.of("stack", "restarting") if start.at <= e.at <= stop]
        moments += planned[-1:]  # a rollout is over as its last restart begins, or the last that takes it back
    if stop is not None:
        flood = history.requests(Window(start.at, stop), generator=detail.get("generator", start.name) or start.name)
        moments += [stop, *map(float, flood["intended"][-1:])]
    return min(moments, default=None)


def _component(start: Event) -> str | None:
    """What a fault is done to; None where to nothing of the stack."""
    return start.detail.get("component", start.detail.get("params", {}).get("process"))  # the latter in older runs
