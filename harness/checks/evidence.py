"""What every check asks of a history first, and what becomes of a question the record cannot answer.

A check that finds nothing to judge by raises NoEvidence; `judged` makes that an INCONCLUSIVE result. So the way a
check is silent by mistake (a missing phase, series, setting) ends as "we do not know", never as a pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Protocol

import numpy as np

from harness.history import History, Outcome, Window
from harness.units import duration, percent
from harness.verdict import Result, Verdict

UNSENT_AT_MOST = 0.001
STARVED_MS = 100.0  # p99 of the dispatch lag in a phase; an idle machine shows 2, a hang of the service up to 50
UNSEEN_REMEDY = "mend the fault first: see the experiment's log, and whether its target is what it should be"
CUT_SHORT_REMEDY = "give the load a longer schedule, or judge it for less: load.arrivals and load.for in gate.yaml"
NEIGHBOURS = 0.2  # of all processors in a phase; an idle machine shows 1 to 3 % (kernel threads, others' daemons)
IDLE_ENOUGH = 0.3  # of all processors: with so much idle nobody waits for one
STARVED_REMEDY = "run again with more processor: something else used this machine, or the load is too much for it"
CROWDED_REMEDY = "run again while nothing else runs here, or allow for it: generator.neighbours in gate.yaml"


class NoEvidence(Exception):
    """The record cannot answer a check's question; `remedy` says what would let it."""

    def __init__(self, why: str, remedy: str = ""):
        super().__init__(why)
        self.remedy = remedy


class Check(Protocol):
    """Frozen parameters and one pure method."""

    kind: ClassVar[str]

    @property
    def subject(self) -> str:
        """What is judged, in a few words: "steady p95", "server-crash: ServiceDown"."""

    def judge(self, history: History) -> Result:
        """The verdict with the measured figure and the bound. Raises NoEvidence where the record cannot answer."""


class Record(Protocol):
    """What knows whether a generator's rows can be believed."""

    def doubts(self, history: History, phase: str, generator: str) -> list[str]:
        """What speaks against the rows of a phase."""


def judged(check: Check, history: History, record: Record | None = None) -> Result:
    """What one check says; whatever it raises becomes an INCONCLUSIVE result that quotes it.

    A FAIL of a phase in which the generator itself could not keep time is none: what starved the generator starved the
    service, or Prometheus, beside it. Nor is one of a phase in which others had much of the processors: a service that
    waits for one is slow, and a scrape too late, without any fault of its own. (A check that says of itself
    `at_any_pace` fails all the same.) Nor is one of an experiment whose fault nobody saw: what did not happen need not
    raise an alert. Nor is one that a check makes of the rows of a generator that the record does not believe, unless
    the check says that it stands all the same (checks/standing.py); alerts and probes are seen by others than the
    generator, and stay. All become INCONCLUSIVE, never a verdict on the service.
    """
    try:
        if why := cut_short(history, _about(check)):
            return answer(check, Verdict.INCONCLUSIVE, why, remedy=CUT_SHORT_REMEDY)
        result = check.judge(history)
        if result.verdict is Verdict.FAIL:
            paced = [] if getattr(check, "at_any_pace", False) else _phases(check, history)
            for against, remedy in (
                (starved(history, paced), STARVED_REMEDY),
                (next(filter(None, (crowded(history, phase) for phase in paced)), ""), CROWDED_REMEDY),
                (unseen(check, history), UNSEEN_REMEDY),
                (_doubts(check, history, record), STARVED_REMEDY),
            ):
                if against:
                    reason = f"{against}, so this is no verdict on the service: {result.reason}"
                    return replace(result, verdict=Verdict.INCONCLUSIVE, reason=reason, remedy=remedy)
        return result
    except NoEvidence as none:
        return answer(check, Verdict.INCONCLUSIVE, str(none), remedy=none.remedy)
    except Exception as broke:
        said = f"the check itself broke: {type(broke).__name__}: {broke}"
        return answer(
            check, Verdict.INCONCLUSIVE, said, remedy="mend the check, then `harness check` the stored run again"
        )


def starved(history: History, phases: Sequence[str], generator: str = "load") -> str:
    """How late the generator was in the first of some phases in which it was; empty when in time."""
    bound_ms = history.setting("starved_ms", STARVED_MS)
    for name in phases:
        window = history.phase(name)
        rows = history.requests(window, generator) if window else np.empty(0)
        late = 1000 * (rows["sent"] - rows["intended"]) if len(rows) else np.empty(0)
        late = np.sort(late[~np.isnan(late)])
        if len(late) and (p99 := late[math.ceil(0.99 * len(late)) - 1]) > bound_ms:
            late = f"in {name} the generator was late (p99 {duration(p99 / 1000)}, bound {duration(bound_ms / 1000)}"
            return f"{late}{stolen(history, name)})"
    return ""


def crowded(history: History, phase: str) -> str:
    """Which share of the processors others had in a phase, processes that are not of the run and the host; empty when
    it was little, when enough was idle all the same (a large node has many tenants), or where nobody noted it."""
    bound, used = history.setting("neighbours", NEIGHBOURS), spent(history, phase)
    if "own" not in used or used["idle"] > IDLE_ENOUGH * used["all"]:
        return ""
    others, host = max(0, used["busy"] - used["own"]) / used["all"], used["stolen"] / used["all"]
    if others + host <= bound:
        return ""
    had = percent(round(others, 2)) + (f" and the host {percent(round(host, 2))}" if host else "")
    return f"in {phase} other processes had {had} of the processors (bound {percent(bound)})"


def _phases(check: Check, history: History) -> list[str]:
    """The phases that a check is about; all, where it is about several or none."""
    about = _about(check)
    return [about] if about else [*dict.fromkeys(e.detail.get("phase") for e in history.of("run", "phase"))]


def _doubts(check: Check, history: History, record: Record | None) -> str:
    """What the record has against the rows that a check judges by; empty where it judges by others or stands anyway."""
    generator, stands = getattr(check, "generator", ""), getattr(check, "stands", None)
    if record is None or not generator or (stands is not None and stands(history)):
        return ""
    return "; ".join(record.doubts(history, _about(check), generator))


def _about(check: Check) -> str:
    """The one phase that a check is about; empty where it is about several or none."""
    return getattr(check, "phase", "") or getattr(check, "experiment", "")


def unseen(check: Check, history: History) -> str:
    """Which fault of a check's experiment had no witness; empty when all had theirs."""
    experiment = getattr(check, "experiment", "")
    window = history.phase(experiment)
    for e in history.of("fault", within=window):
        if e.detail.get("experiment") == experiment and e.detail.get("edge") == "witness" and e.outcome != "ok":
            return f"no witness saw {e.name} take effect ({e.detail.get('evidence', '')})"
    return ""


def stolen(history: History, name: str) -> str:
    """What share of the processors the host took away in a phase, as an addition to a sentence; empty below 5 %."""
    used = spent(history, name)
    share = used["stolen"] / used["all"] if used else 0.0
    return f"; the host took {percent(round(share, 2))} of the processors away" if share >= 0.05 else ""


def spent(history: History, phase: str) -> dict[str, int]:
    """Ticks of the processors within a phase, by what they were for (harness/watch/processors.py); empty where they
    were not noted."""
    edges = {
        e.detail["edge"]: e.detail.get("cpu") for e in history.of("run", "phase") if e.detail.get("phase") == phase
    }
    begin, end = edges.get("begin") or {}, edges.get("end") or {}
    used = {name: end[name] - begin[name] for name in end if name in begin}
    return used if used.get("all", 0) > 0 else {}


def answer(check: Check, verdict: Verdict, reason: str, **more: Any) -> Result:
    """A Result of this check about its subject, at its place."""
    return Result(check.kind, check.subject, verdict, reason, place=getattr(check, "place", ""), **more)


def phase(history: History, name: str) -> Window:
    """When a phase began and ended."""
    window = history.phase(name)
    if why := cut_short(history, name):
        raise NoEvidence(why, CUT_SHORT_REMEDY)
    if window is None:
        raise NoEvidence(f"the record does not hold the phase {name!r} from begin to end", "run it to its end")
    return window


def cut_short(history: History, name: str) -> str:
    """That a phase was not carried out to its end, because the load's schedule was over before; empty where it was."""
    ended = next(iter(history.of("run", "load-ended")), None)
    window = history.phase(name)
    if not name or ended is None or (window is not None and window.end < ended.at):
        return ""
    return f"the schedule of the load ended after {duration(ended.detail['after_s'])}, before {name} was over"


def setting(history: History, key: str) -> Any:
    """What the run was started with."""
    value = history.setting(key)
    if value is None:
        raise NoEvidence(f"the record does not say the run's {key}", "judge with the version that made the run")
    return value


def sent(history: History, window: Window, generator: str) -> np.ndarray:
    """The rows that were sent in a window and waited for, in order; too many unsent ones are no evidence."""
    rows = history.requests(window, generator)
    rows = rows[rows["outcome"] != Outcome.ABANDONED]
    if not len(rows):
        raise NoEvidence(f"no request of {generator!r} is recorded in {window.length:.3g} s", "see the generator's log")
    went = rows[rows["outcome"] != Outcome.UNSENT]
    unsent = 1 - len(went) / len(rows)
    if unsent > UNSENT_AT_MOST:
        raise NoEvidence(
            f"{percent(unsent)} of {len(rows):,} requests could not be sent, bound {percent(UNSENT_AT_MOST)}",
            "see the generator's log: too little processor for it, or fewer allowed in flight than rate x patience?",
        )
    return went


def target_up(history: History, window: Window, job: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The scrapes of the service in a window: (Unix seconds, 1 where it answered else 0), in order of time."""
    job = job or history.setting("job")
    series = history.named("up", **({"job": job} if job else {}))
    at = np.concatenate([np.asarray(s.at, float) for s in series] or [np.empty(0)])
    value = np.concatenate([np.asarray(s.value, float) for s in series] or [np.empty(0)])
    inside = (at >= window.start) & (at <= window.end)
    order = np.argsort(at[inside], kind="stable")
    return at[inside][order], value[inside][order]
