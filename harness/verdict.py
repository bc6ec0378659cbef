"""Verdicts and results: what judging gives back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, NamedTuple

EVIDENCE_AT_MOST = 10
Kind = Literal["row", "log", "audit", "record", "span", "sample", "notification", "event", "probe"]


class Verdict(IntEnum):
    """Ordered so that max() of several is the verdict on all of them."""

    PASS, INCONCLUSIVE, FAIL = 0, 1, 2

    @property
    def exit_code(self) -> int:
        """0 pass, 3 inconclusive, 1 fail."""
        return {Verdict.PASS: 0, Verdict.INCONCLUSIVE: 3, Verdict.FAIL: 1}[self]


class NotApplicable(NamedTuple):
    """An experiment that cannot take place on this host."""

    experiment: str
    reason: str  # what the host lacks
    remedy: str
    alerts: tuple[str, ...]  # which it would have proven

    @property
    def why(self) -> str:
        """In a few words."""
        return f"{self.experiment} cannot run here: this host lacks {self.reason}"


class Reference(NamedTuple):
    """Where in the run's folder something lies that a result rests on; `harness why` prints it."""

    kind: Kind
    key: str  # of a row, log line, audit record, database record or span: the request's id; of a sample: the series; of
    # a notification: the receiver; of an event: "SOURCE NAME"; of a probe: "COMPONENT PROBE"
    at: float = math.nan  # Unix seconds; nan: at any time
    until: float = math.nan  # where it is a stretch of time


@dataclass(frozen=True)
class Result:
    """One judgement: which check, on what, and a sentence that holds the measured figure and the bound."""

    check: str  # the kind of check: "latency", "alert", ...
    subject: str  # what was judged: "steady", "server-crash: ServiceDown", ...
    verdict: Verdict
    reason: str
    measured: float | None = None
    bound: float | None = None
    unit: str = ""
    place: str = ""  # file:line of the rule, receiver or contract this is about, where there is one
    remedy: str = ""  # what to do next; empty when it passed
    status: str = ""  # for alerts, in one word: PROVEN, LATE, SILENT, MISROUTED, ... (checks/alert_coverage.py)
    alert: str = ""  # which alert this proves, if any
    severity: str = ""  # of that alert
    experiment: str = ""  # the experiment whose consequences were judged, if any
    timings: Mapping[str, float] = field(default_factory=dict, hash=False)  # production seconds, whatever the verdict
    evidence: tuple[Reference, ...] = ()  # some of what it rests on, the most telling first; EVIDENCE_AT_MOST of them
    remarks: tuple[str, ...] = ()  # what a reader should know that changes no verdict
    judges: bool = True  # False: it gives no verdict, and only its remarks are reported


def worst(results: Iterable[Result]) -> Verdict:
    """The verdict on all results; nothing judged is INCONCLUSIVE, because silence is never a pass."""
    return max((r.verdict for r in results), default=Verdict.INCONCLUSIVE)


@dataclass(frozen=True)
class Step:
    """One arrival rate tried."""

    rate_per_s: float
    verdict: Verdict  # of the SLOs at this rate; INCONCLUSIVE when too little was seen or the generator was late
    reason: str  # with the figures
    bottleneck: str = ""  # what was used up, with the figures that say so


@dataclass(frozen=True)
class Capacity:
    """What a search found. The capacity lies between the two rates; nan where no step showed one."""

    kept_per_s: float  # the highest rate at which every SLO was proven kept
    broken_per_s: float  # the lowest rate at which one was broken
    steps: tuple[Step, ...]
    verdict: Verdict  # PASS when found to the precision asked for, else INCONCLUSIVE
    reason: str
    confidence: float  # with which each SLO was proven kept at that rate

    @property
    def bottleneck(self) -> str:
        """What was used up where the service broke; where it did not, in the last step that decided nothing."""
        tells = Verdict.FAIL if self.verdict is Verdict.PASS else Verdict.INCONCLUSIVE
        ends = [s for s in self.steps if s.verdict is tells] or [s for s in self.steps if s.verdict is not Verdict.PASS]
        return ends[-1].bottleneck if ends else ""
