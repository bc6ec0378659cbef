"""Answers: every request that states which status it expects got such a one."""

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
    """No request that states which status it expects (a guessed key: 401) got another one below 500.

    What other requests get, and what ends in a 5xx or without a response, is judged by ErrorRatio.
    """

    phase: str
    generator: str = "load"
    kind: ClassVar[str] = "answers"
    timing_independent: ClassVar[bool] = True  # a wrong status is one, however slow everything was

    class Parameters(Parameters):
        phase: Phase = STEADY

    @property
    def subject(self) -> str:
        return f"{self.phase}: answers"

    def judge(self, history: History) -> Result:
        """FAIL with the statuses that were not expected; one is too many."""
        rows = sent(history, phase(history, self.phase), self.generator)
        unexpected = rows["outcome"] == Outcome.UNEXPECTED_STATUS
        stating, wrong = np.count_nonzero(unexpected | (rows["step"] & EXPECTS_STATUS != 0)), rows[unexpected]
        figures = {"measured": len(wrong), "bound": 0, "unit": "answers"}
        if not len(wrong):
            reason = f"none of {count(stating, 'request')} with an expected status got another one, bound 0"
            if not stating:
                reason = f"none of {count(len(rows), 'request')} states an expected status: nothing to judge"
            return self.result(Verdict.PASS, reason, **figures)
        statuses = [f"{n:,} status {s}" for s, n in zip(*np.unique(wrong["status"], return_counts=True), strict=True)]
        reason = f"{len(wrong):,} of {stating:,} responses had an unexpected status (bound 0): {listed(statuses)}"
        remedy = (
            "run the service as the scenario's docstring asks (`credentials` means nothing with authentication off); "
            "else it accepts what it must refuse"
        )
        return self.result(Verdict.FAIL, reason, remedy, **figures)

    def attributable(self, history: History) -> bool:
        """A wrong status is one, however late the request was."""
        return True
