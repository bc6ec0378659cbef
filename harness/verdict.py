"""Verdicts and results: what judging gives back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Verdict(IntEnum):
    """Ordered so that max() of several is the verdict on all of them."""

    PASS, INCONCLUSIVE, FAIL = 0, 1, 2

    @property
    def exit_code(self) -> int:
        """0 pass, 3 inconclusive, 1 fail."""
        return {Verdict.PASS: 0, Verdict.INCONCLUSIVE: 3, Verdict.FAIL: 1}[self]


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


def worst(results: Iterable[Result]) -> Verdict:
    """The verdict on all results; nothing judged is INCONCLUSIVE, because silence is never a pass."""
    return max((r.verdict for r in results), default=Verdict.INCONCLUSIVE)
