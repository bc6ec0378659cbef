"""Answers: nothing was answered as its scenario says it must not be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness.checks.check import Check
from harness.checks.evidence import phase, sent
from harness.checks.parameters import Parameters, Phase
from harness.checks.view import STEADY
from harness.history import EXPECTS_STATUS, History, Outcome
from harness.units import count, listed
from harness.verdict import Result, Verdict


@dataclass(frozen=True)
class Answers(Check):
    """Of the requests that say how they may be answered (a guessed key with 401) none is answered otherwise.

    A request that says nothing may get any answer here; whether that is an error is ErrorRatio's to judge. So is what
    ended in a 5xx or in no answer.
    """

    phase: str
    generator: str = "load"
    kind: ClassVar[str] = "answers"
    timing_independent: ClassVar[bool] = True  # who is let in is in, however slow everything was

    class Parameters(Parameters):
        phase: Phase = STEADY

    @property
    def subject(self) -> str:
        return f"{self.phase}: answers"

    def judge(self, history: History) -> Result:
        """FAIL with the statuses of the wrong answers, of which one is too many."""
        rows = sent(history, phase(history, self.phase), self.generator)
        is_wrong = rows["outcome"] == Outcome.UNEXPECTED_STATUS
        stated, wrong = np.count_nonzero(is_wrong | (rows["step"] & EXPECTS_STATUS != 0)), rows[is_wrong]
        figures = {"measured": len(wrong), "bound": 0, "unit": "answers"}
        if len(wrong):
            statuses = [
                f"{n:,} status {s}" for s, n in zip(*np.unique(wrong["status"], return_counts=True), strict=True)
            ]
            reason = f"{count(len(wrong), 'answer')} of {stated:,} must not be (bound 0): {listed(statuses)}"
            remedy = (
                "run the service as the scenario's docstring asks (`credentials` means nothing with authentication "
                "off); else it lets in what it must refuse"
            )
            return self.result(Verdict.FAIL, reason, remedy=remedy, **figures)
        reason = f"none of {count(stated, 'request')} that say how they may be answered was answered otherwise, bound 0"
        if not stated:
            reason = (
                f"none of {count(len(rows), 'request')} says how it may be answered, so none was answered otherwise"
            )
        return self.result(Verdict.PASS, reason, **figures)

    def attributable(self, history: History) -> bool:
        """A wrong answer is one whenever it was asked for."""
        return True
