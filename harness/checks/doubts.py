"""What makes a FAIL doubtful: each a function that gives (reason, remedy), or None where it has no doubt.

What starved the generator starved the service, or Prometheus, beside it. A service that waits for a processor that
others have is slow without any fault of its own. What did not happen need not raise an alert. And what a generator
measured that the record does not trust is attributable to the service only where the check says so. (Alerts and probes
are observed by others than the generator, so that last doubt does not touch them.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from harness.checks.check import Check, NoEvidence
from harness.checks.clocks import Clocks
from harness.checks.evidence import crowded, late_by_ms, stolen
from harness.history import History
from harness.units import duration
from harness.verdict import Verdict

Doubt = tuple[str, str]  # (reason, remedy)
STARVED_MS = 100.0  # p99 of the dispatch lag in a phase; an idle machine shows 2, a hang of the service up to 50
STARVED_REMEDY = "run again with more processor: something else used this machine, or the load is too much for it"
CROWDED_REMEDY = "run again while nothing else runs here, or allow for it: generator.neighbours in gate.yaml"
UNSEEN_REMEDY = "mend the fault first: see the experiment's log, and whether its target is what it should be"


class Record(Protocol):
    """What knows whether a generator's rows can be trusted: the check `recorded`."""

    def doubts(self, history: History, phase: str, generator: str) -> list[str]:
        """What speaks against the rows of a phase."""


def starved_generator(check: Check, history: History, record: Record | None) -> Doubt | None:
    """The load's generator was far behind its schedule in a phase."""
    bound_ms = history.setting("starved_ms", STARVED_MS)
    for name in _timed_phases(check, history):
        if (p99_ms := late_by_ms(history, name)) is not None and p99_ms > bound_ms:
            late = f"p99 {duration(p99_ms / 1000)}, bound {duration(bound_ms / 1000)}{stolen(history, name)}"
            return f"in {name} the generator was late ({late})", STARVED_REMEDY
    return None


def neighbours(check: Check, history: History, record: Record | None) -> Doubt | None:
    """Others had much of the processors in a phase."""
    found = next(filter(None, (crowded(history, name) for name in _timed_phases(check, history))), "")
    return (found, CROWDED_REMEDY) if found else None


def fault_without_witness(check: Check, history: History, record: Record | None) -> Doubt | None:
    """Nobody saw the fault take effect whose consequences are judged."""
    for e in history.of("fault", within=history.phase(check.experiment)):
        mine = e.detail.get("experiment") == check.experiment != ""
        if mine and e.detail.get("edge") == "witness" and e.outcome != "ok":
            return f"no witness saw {e.name} take effect ({e.detail.get('evidence', '')})", UNSEEN_REMEDY
    return None


def generator_in_doubt(check: Check, history: History, record: Record | None) -> Doubt | None:
    """The record does not trust the rows that are judged by."""
    if record is None or not check.generator or check.attributable(history):
        return None
    against = [why for name in check.about for why in record.doubts(history, name, check.generator)]
    return ("; ".join(against), STARVED_REMEDY) if against else None


def clocks_apart(check: Check, history: History, record: Record | None) -> Doubt | None:
    """The clocks of the run went apart, by which two kinds of evidence are held against each other."""
    if not check.compares_clocks:
        return None
    try:
        found = Clocks().judge(history)
    except NoEvidence:  # of an older run
        return None
    return None if found.verdict is Verdict.PASS else (found.reason, found.remedy)


DOUBTS: tuple[Callable[[Check, History, Record | None], Doubt | None], ...] = (
    starved_generator,
    neighbours,
    fault_without_witness,
    generator_in_doubt,
    clocks_apart,
)


def _timed_phases(check: Check, history: History) -> tuple[str, ...]:
    """The phases in which an overload makes a FAIL doubtful."""
    if check.timing_independent:
        return ()
    return check.about or tuple(dict.fromkeys(e.detail.get("phase") for e in history.of("run", "phase")))
