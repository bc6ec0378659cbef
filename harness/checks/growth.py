"""Growth: what the service takes for each request answered and does not give back."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from harness.checks.check import Check, Group, NoEvidence
from harness.checks.evidence import phase, restarts
from harness.checks.parameters import Parameters
from harness.checks.view import STEADY, View
from harness.history import WHOLE, History, Resources, Window
from harness.parameters import Size
from harness.units import count, listed, percent, size
from harness.verdict import Reference, Result, Verdict

CONFIDENCE = (
    0.99  # two-sided; at just the bound far fewer than one run in 200 is red, for what may come at once is added
)
BLOCKS = 15
FEWEST = 4  # blocks: with fewer no interval is worth the name
ARENAS = 2 << 20  # bytes: allocators take memory in pieces of 1 MiB (CPython's arenas) and more
SOME = 10  # connections, series, and of all what an experiment may leave: pools, labels seen for the first time
LAZY = 4  # descriptors and threads that are opened one by one when they are first needed
# By how much a count may rise in the judged time, once and not with the requests: pools and rare labels come late.
STEPS = {"descriptors": 100, "threads": 100, "connections": 100, "series": 500}
OVER_BOUND = 4  # a leak of so many times the bound must show
FILES = 50  # descriptors or series at most that come with the requests at once: of pools, of labels seen first then
VALUES = 20  # of a counter's labels that an experiment may bring; more come of a label whose values are not bounded
KEPT = 0.25  # of its level may a process keep of what the peak of an experiment took
FADES = (
    0.5  # of the slope in the first half of a stretch: what a warm-up takes becomes less, what a leak takes does not
)
UNEVEN = 1.1  # of the rates in two halves of a stretch: the load is not the same all the time
WARM_UP_REMEDY = "load for longer, so that the warm-up is over in the first half of the load: load.for"
REMEDIES = {
    "memory": "look for what is kept for each request (memray, a heap profile); if it is a heap that its collector has "
    "not filled yet, or caches, load for longer, or bound it: growth: {memory: ...}",
    "descriptors": "look for files that are not closed: ls -l /proc/PID/fd",
    "connections": "look for connections that are not closed, also of clients that vanished: ss -tanp",
    "threads": "look for threads that are started for a request and never end: py-spy dump",
    "series": "look for a label whose values are not bounded, as a request's id or a path as it was asked for",
    "disk": "look at what is written for each request: a log line with its body, temporary files",
}


class Sampled(NamedTuple):
    """A quantity of one process, or of one target's scrapes, over its time."""

    whose: str
    at: np.ndarray  # Unix seconds
    level: np.ndarray


class Slope(NamedTuple):
    """What a quantity grows by for each request, with its interval."""

    seen: float
    low: float
    high: float
    requests: int  # over which it was seen
    whose: str
    window: Window
    first: float  # level at its begin and end
    last: float
    fades: bool  # in its second half it grows by less than half as much, and that is not above what is allowed


class Growth(Group):
    """What may be kept of each request answered: `growth: {memory: 1 kB, descriptors: 0}`; nothing of an experiment.

    By default no more than 1 kB of memory a request, and descriptors, connections, threads and series stay. What is
    written to the disk is given, and judged where a bound is set.
    """

    kind: ClassVar[str] = "growth"

    class Parameters(Parameters):
        memory: Size = 1000.0  # bytes a request
        descriptors: float = Field(0.0, ge=0)  # but for those of connections
        connections: float = Field(0.0, ge=0)
        threads: float = Field(0.0, ge=0)
        series: float = Field(0.0, ge=0)
        disk: Size | None = None  # bytes a request

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> Sequence[Check]:
        bounds = cls.Parameters.read(parameters, view)
        asked = tuple(parameters or ())
        if view.unseen:  # but in its scrapes
            if unseen := [name for name in asked if name != "series"]:
                raise ValueError(f"nobody sees what {listed(unseen)} its processes take; give it control, or drop it")
            return (GrowthOf("series", bounds["series"], "series" in asked),)
        steady = [GrowthOf(name, bound, name in asked) for name, bound in bounds.items()]
        return (*steady, *(LeftBehind(name, bounds["memory"]) for name, _ in view.contracts))


@dataclass(frozen=True)
class GrowthOf(Check):
    """One quantity grows by no more than a bound for each request that a process has answered, beyond its warm-up.

    Seen from the begin of the steady load to the first fault or planned restart, as long as one process lives, in the
    second half of the requests of that time: what a warm-up takes becomes less and less, what a leak takes does not.
    The requests are divided into blocks of the same number. The lowest level in each, which is that after a collection
    of garbage, is taken as a random walk with drift, for what was once taken stays: the slope is the mean of its steps,
    and its interval Student's, of the steps (Hyndman and Athanasopoulos, Forecasting, 5.2: drift method), widened by
    what allocators and pools take at a time. So samples whose errors are correlated do not make it narrow. A count that
    rises in one large step (STEPS) and stays is FAIL, too.
    """

    quantity: str
    at_most: float | None
    asked: bool = False  # by gate.yaml: then a leak of OVER_BOUND times the bound must be one that shows
    phase: str = STEADY
    kind: ClassVar[str] = "growth_of"
    timing_independent: ClassVar[bool] = True  # what is kept is kept, however slow everything was

    class Parameters(Parameters):
        quantity: str

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> Sequence[Check]:
        raise ValueError("is what `growth` stands for; write growth: {memory: 1 kB}")

    @property
    def subject(self) -> str:
        return f"{self.phase}: growth of {self.quantity}"

    def judge(self, history: History) -> Result:
        """FAIL where the whole interval is above the bound, INCONCLUSIVE where too little was recorded."""
        window = _undisturbed(history, phase(history, self.phase))
        slopes = [self._slope(history, one, window) for one in _sampled(history, self.quantity, window)]
        if not slopes:
            raise NoEvidence(
                f"{self.quantity} of the service: not recorded in {self.phase}",
                "run the gate with this version of the harness, as the user that the service runs as",
            )
        worst = max(slopes, key=lambda one: one.low)
        reason = self._said(worst, len(slopes))
        figures = {"measured": worst.seen, "bound": self.at_most, "unit": _unit(self.quantity)}
        if self.at_most is None:
            return self.result(Verdict.PASS, f"{reason}, no bound set", **figures)
        if worst.low > self.at_most and worst.fades and self.quantity == "memory":
            reason += ", less and less of it, as of a warm-up that is not over"
            return self.result(Verdict.INCONCLUSIVE, reason, WARM_UP_REMEDY, **figures)
        highest = max(slopes, key=lambda one: one.last - one.first)
        step = STEPS.get(self.quantity, math.inf) + self.at_most * highest.requests + 2 * self._at_once(history, window)
        if risen := highest.last - highest.first > step:
            worst, reason = highest, f"{self._said(highest, len(slopes))}, bound on any rise {step:.3g}"
        if risen or worst.low > self.at_most:
            at = (worst.window.start, worst.window.end)
            seen = (Reference("sample", f"{self.quantity} of {worst.whose}", *at),)
            return self.result(Verdict.FAIL, reason, REMEDIES[self.quantity], evidence=seen, **figures)
        hidden = max(one.high for one in slopes)
        if self.asked and hidden > max(OVER_BOUND * self.at_most, self.at_most + _least(self.quantity)):
            reason += f", but a leak of {self._amount(hidden)} a request would not show in {worst.requests:,} of them"
            return self.result(
                Verdict.INCONCLUSIVE, reason, "give the steady load more requests: load.for or its rate", **figures
            )
        return self.result(Verdict.PASS, reason, **figures)

    def _slope(self, history: History, sampled: Sampled, window: Window) -> Slope:
        """Over the second half of the requests of a process."""
        done = _answered(history, window)
        asked = np.searchsorted(done, sampled.at) * _part(history, window, sampled.whose)
        half = asked >= (asked[0] + asked[-1]) / 2
        asked, level, at = asked[half], sampled.level[half], sampled.at[half]
        requests = int(asked[-1] - asked[0])
        blocks = min(BLOCKS, len(asked) // 2 if len(asked) >= 2 * FEWEST else len(asked))
        if blocks < FEWEST or requests < BLOCKS:
            raise NoEvidence(
                f"{count(len(asked), 'sample')} over {count(requests, 'request')} are too few to see what grows",
                "load for longer: 15 s and some requests a second are enough",
            )
        edges = np.linspace(asked[0], asked[-1], blocks + 1)
        edges[-1] += 1
        least = [a + int(level[a:b].argmin()) for a, b in pairwise(np.searchsorted(asked, edges)) if b > a]
        lowest, over = level[least], int(asked[least[-1]] - asked[least[0]])
        steps = np.diff(lowest)
        seen = float(lowest[-1] - lowest[0]) / over
        spread = _student(len(steps)) * float(np.std(steps, ddof=1)) * math.sqrt(len(steps)) / over
        at_once = self._at_once(history, Window(float(at[0]), float(at[-1]))) / requests
        middle = len(lowest) // 2
        rest = float(lowest[-1] - lowest[middle]) / max(1, int(asked[least[-1]] - asked[least[middle]]))
        before = float(lowest[middle] - lowest[0]) / max(1, int(asked[least[middle]] - asked[least[0]]))
        fades = rest < FADES * before and rest - math.sqrt(2) * spread - 2 * at_once <= (self.at_most or 0.0)
        return Slope(
            seen, seen - spread - at_once, seen + spread + at_once, requests, sampled.whose,
            Window(float(at[0]), float(at[-1])), float(lowest[0]), float(lowest[-1]), fades,
        )  # fmt: skip

    def _at_once(self, history: History, window: Window) -> float:
        """What may come at once without being a leak; under a load that varies, also what its peak explains."""
        if self.quantity in ("memory", "disk"):
            return ARENAS if self.quantity == "memory" else 0.0
        middle = (window.start + window.end) / 2
        first, second = (len(_answered(history, w)) for w in (Window(window.start, middle), Window(middle, window.end)))
        even = max(first, second) <= UNEVEN * max(1, min(first, second))
        at_once = 0 if self.quantity in ("series", "descriptors") else _in_flight(history, window)
        some = SOME if self.quantity in ("series", "connections") else LAZY
        return some + (1 if self.quantity == "connections" else 0 if even else 2) * at_once

    def _said(self, slope: Slope, of: int) -> str:
        whose = f" of {slope.whose}" if of > 1 else ""
        bound = "" if self.at_most is None else f", bound {self._amount(self.at_most)}"
        levels = " to ".join(dict.fromkeys(_level(self.quantity, x) for x in (slope.first, slope.last)))
        name = {"memory": "resident memory", "disk": "what lies on the disk"}.get(self.quantity, self.quantity)
        verb = "grows" if self.quantity in ("memory", "disk") else "grow"
        return (
            f"{name}{whose} {verb} by {self._amount(slope.seen)} a request "
            f"({percent(CONFIDENCE)} interval {self._amount(slope.low)} to {self._amount(slope.high)}{bound}): "
            f"{levels} over {slope.requests:,} requests"
        )

    def _amount(self, of: float) -> str:
        return size(of) if self.quantity in ("memory", "disk") else f"{0.0 if abs(of) < 5e-5 else of:.3g}"


@dataclass(frozen=True)
class LeftBehind(Check):
    """After an experiment, when all is calm again, a process that lived through it is as it was before.

    Descriptors, threads and series may be some more, and as many more as requests were under way at once, for pools
    grow with them. A counter that has counted something for the first time, as an error of a new code, keeps its
    series. Of memory it may keep part of what the peak took, which allocators do. A process that was replaced leaves
    nothing behind.
    """

    experiment: str
    memory: float = 1000.0  # bytes that it may keep for each request
    kind: ClassVar[str] = "left_behind"
    timing_independent: ClassVar[bool] = True

    class Parameters(Parameters):
        experiment: str

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> Sequence[Check]:
        raise ValueError("is what `growth` stands for; write growth: {memory: 1 kB}")

    @property
    def subject(self) -> str:
        return f"{self.experiment}: left behind"

    def judge(self, history: History) -> Result:
        """FAIL with the quantity that did not come back to its level."""
        window = phase(history, self.experiment)
        began = min((e.at for e in _faults(history, window)), default=window.start + window.length / 3)
        said, replaced = [], set()
        for quantity in ("memory", "descriptors", "connections", "threads", "series"):
            for one in _sampled(history, quantity, window, longest=False):
                calm = one.level[(one.at >= window.start) & (one.at < began)][-3:]
                after = one.level[one.at > began][-3:]
                if not len(calm) or not len(after) or one.at[-1] < window.end - 5:
                    replaced.add(one.whose)
                    continue
                before, now = float(np.median(calm)), float(np.median(after))
                if quantity == "memory":
                    before = max(before, _usual_peak(history, one, began))
                at_most = self._at_most(history, quantity, before, Window(began, window.end))
                if quantity == "series":
                    at_most += _first_counted(history, one.whose, began)
                levels = f"{quantity} {_level(quantity, before)} before and {_level(quantity, now)} after"
                if now > at_most:
                    reason = f"{levels} (bound {_level(quantity, at_most)}) in {one.whose}, which lived through it"
                    shown = Reference("sample", f"{quantity} of {one.whose}", float(one.at[0]), float(one.at[-1]))
                    figures = {"measured": now, "bound": at_most, "unit": _unit(quantity, of_each=False)}
                    return self.result(Verdict.FAIL, reason, REMEDIES[quantity], evidence=(shown,), **figures)
                said.append(levels + (f" in {one.whose}" if _replicas(history, window) > 1 else ""))
        gone = f"{listed(sorted(replaced))}: replaced, 0 of its processes lived on" if replaced else ""
        if said:
            return self.result(Verdict.PASS, "; ".join(filter(None, [", ".join(said), gone])))
        if replaced and history.resources:
            return self.result(Verdict.PASS, gone)
        raise NoEvidence(
            f"no process of the service was recorded before the fault and after {self.experiment}",
            "run the gate with this version of the harness, as the user that the service runs as",
        )

    def _at_most(self, history: History, quantity: str, before: float, window: Window) -> float:
        if quantity == "memory":
            answered = len(_answered(history, window))
            return before + self.memory * answered + max(ARENAS, KEPT * before)
        at_once = _in_flight(history, window)
        if quantity in ("descriptors", "series"):  # neither is one of each request that is under way
            at_once = min(at_once, max(FILES, math.floor(KEPT * before)))
        return before + SOME + at_once


def _undisturbed(history: History, steady: Window) -> Window:
    """From the begin of a phase to the first fault that is one, or to the first planned restart, for another process is
    not as warm; or else to the end of the last phase."""
    ends = [e.at for e in history.of("run", "phase") if e.detail.get("edge") == "end" and e.at >= steady.end]
    since = Window(steady.start, math.inf)
    faults = [e.at for e in _faults(history, since)]
    planned = [e.at for e in restarts(history, since) if e.source == "stack"]
    return Window(steady.start, min([max(ends), *faults, *planned]))


def _faults(history: History, window: Window) -> Iterator[Any]:
    """The begins of those that break something."""
    for e in history.of("fault", within=window):
        if e.detail.get("edge") == "start" and not e.detail.get("sham"):
            yield e


def _first_counted(history: History, instance: str, began: float) -> int:
    """How many series of counters an instance has shown since then for the first time. They stay as long as its process
    does, as they should: a rate needs them. Not those of a counter with more of them than any list of codes has."""
    new: Counter[str] = Counter()
    for s in history.series:
        name = s.labels.get("__name__", "")
        declared = history.types.get(name) or history.types.get(name.removesuffix("_total"))
        if declared == "counter" and s.labels.get("instance") == instance and min(s.at, default=0.0) > began:
            new[name] += 1
    return sum(values for values in new.values() if values <= VALUES)


def _replicas(history: History, window: Window) -> int:
    """How many share the requests."""
    names = {r.component for r in history.resources if r.role == "replica" and window.start <= r.at <= window.end}
    return max(1, len(names))


def _usual_peak(history: History, one: Sampled, until: float) -> float:
    """What memory the process of some samples took at most, but for a twentieth of the time, since the steady load
    began: a heap that is collected now and then is as full after a fault as it was before another collection."""
    steady = history.phase(STEADY)
    mine = [r for r in history.resources if r.component == one.whose and r.memory is not None and r.at <= until]
    same = next((r for r in mine if r.at == one.at[0]), None)
    since = steady.start if steady is not None else -math.inf
    levels = [r.memory for r in mine if same and (r.pid, r.started) == (same.pid, same.started) and r.at >= since]
    return float(np.percentile(levels, 95)) if levels else 0.0


def _part(history: History, window: Window, whose: str) -> float:
    """The share of the requests that a replica got: an even one, or that of the processor time, where it used more."""
    used: dict[str, float] = {}
    last: dict[str, Resources] = {}
    for r in history.resources:
        if r.role == "replica" and window.start <= r.at <= window.end and r.cpu_s is not None:
            before = last.get(r.component)
            same = before is not None and (before.pid, before.started) == (r.pid, r.started)
            used[r.component] = used.get(r.component, 0.0) + (r.cpu_s - before.cpu_s if same else 0.0)
            last[r.component] = r
    even = 1 / _replicas(history, window)
    return max(even, used.get(whose, 0.0) / sum(used.values())) if sum(used.values()) > 0 else even


def _sampled(history: History, quantity: str, window: Window, longest: bool = True) -> list[Sampled]:
    """A quantity of each process of the service in a window, of each component the one that was there for longest, or
    all; series are those of each target's scrapes."""
    if quantity == "series":
        job = history.setting("job")
        found = []
        for s in history.named("scrape_samples_scraped", **({"job": job} if job else {})):
            at, level = np.asarray(s.at, float), np.asarray(s.value, float)
            inside = (at >= window.start) & (at <= window.end) & (level > 0)  # 0: it was not answered
            if inside.any():
                found.append(Sampled(s.labels.get("instance", ""), at[inside], level[inside]))
        return found
    processes: dict[tuple[str, int, int], list[Resources]] = {}
    for r in history.resources:
        if r.role == "replica" and window.start <= r.at <= window.end and _taken(r, quantity) is not None:
            processes.setdefault((r.component, r.pid, r.started), []).append(r)
    if longest:
        lived: dict[str, list[Resources]] = {}
        for (name, _, _), samples in processes.items():
            lived[name] = max(lived.get(name, []), samples, key=len)
        kept = list(lived.values())
    else:
        kept = list(processes.values())
    return [
        Sampled(some[0].component, np.array([r.at for r in some]), np.array([_taken(r, quantity) for r in some], float))
        for some in kept
    ]


def _taken(of: Resources, quantity: str) -> float | None:
    """A quantity as it was sampled. The clients decide how many connections there are, so they are counted apart."""
    if quantity == "connections":
        return of.sockets
    if quantity == "descriptors" and None not in (of.descriptors, of.sockets):
        return of.descriptors - of.sockets
    return getattr(of, quantity)


def _answered(history: History, window: Window) -> np.ndarray:
    """When each request was answered in a window, whoever sent it, in order."""
    found = [np.empty(0)]
    for rows in history.rows.values():
        done, outcome = rows["done"], rows["outcome"]
        inside = (done >= window.start) & (done < window.end)
        found.append(done[inside][np.isin(outcome[inside], WHOLE)])
    return np.sort(np.concatenate(found))


def _in_flight(history: History, window: Window) -> int:
    """The most requests that were under way at once."""
    most = 0
    for rows in history.rows.values():
        intended = rows["intended"]
        inside = (intended >= window.start) & (intended < window.end) & ~np.isnan(rows["sent"])
        if inside.any():
            begun, ended = np.sort(rows["sent"][inside]), np.sort(rows["done"][inside])
            most += int(np.max(np.arange(1, len(begun) + 1) - np.searchsorted(ended, begun)))
    return most


def _student(steps: int) -> float:
    """The quantile of Student's t of CONFIDENCE for so many steps."""
    from scipy.special import stdtrit  # here, because it takes a quarter of a second and most commands judge nothing

    return float(stdtrit(steps - 1, (1 + CONFIDENCE) / 2))


def _unit(quantity: str, of_each: bool = True) -> str:
    name = "bytes" if quantity in ("memory", "disk") else quantity
    return f"{name} a request" if of_each else name


def _least(quantity: str) -> float:
    """A growth of a request that is none, where the bound is 0."""
    return {"memory": 1000.0, "disk": 1000.0}.get(quantity, 0.05)


def _level(quantity: str, of: float) -> str:
    return size(of) if quantity in ("memory", "disk") else f"{of:g}"
