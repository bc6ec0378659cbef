"""ErrorRatio: the SLO on failed requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness import stats
from harness.checks import samples
from harness.checks.attribution import by_the_service
from harness.checks.check import Check
from harness.checks.evidence import of_rows, outcomes, phase, sent, unserved
from harness.checks.parameters import LostShare, Parameters, Phase
from harness.checks.view import STEADY
from harness.history import History, Outcome
from harness.units import percent
from harness.verdict import Result


@dataclass(frozen=True)
class ErrorRatio(Check):
    """The share of requests that ended in a 5xx, in a wrong answer or in no complete one stays at or below the target.

    An answer that serves nobody is a wrong one: a redirect, or one without a readable class to a labelled input.

    A 4xx counts too where the input was known to be good (it has an expected class): a service that refuses good
    radiographs fails its clients. Where nothing is known of the input, it is the client's error.
    """

    phase: str
    target: float = 0.001
    generator: str = "load"
    kind: ClassVar[str] = "error_ratio"

    class Parameters(Parameters):
        target: LostShare
        phase: Phase = STEADY

    @property
    def subject(self) -> str:
        return f"{self.phase}: errors"

    def judge(self, history: History) -> Result:
        """PASS only if "at most the target share fails" holds at 99 % confidence; more seen is FAIL."""
        window = phase(history, self.phase)
        rows = sent(history, window, self.generator)
        n, errors = len(rows), int(np.count_nonzero(failed(rows)))
        reason = f"{percent(errors / n)} of {n:,} requests failed, bound {percent(self.target)}"
        which, remedy = f" ({outcomes(rows[failed(rows)])})", "see the server's ERROR lines of this window"
        if why := unserved(history, window, self.generator, rows):
            which, remedy = f"{which}; {why}", "see what stands before the service, or took its place: a login, a proxy"
        judged = samples.claim(errors, n, self.target, window.length, reason, which, remedy)
        evidence = of_rows(rows[failed(rows)])
        return self.result(*judged, measured=errors / n, bound=self.target, unit="share", evidence=evidence)

    def attributable(self, history: History) -> bool:
        """Whether what the service itself did is more than the target, beyond chance."""
        rows = sent(history, phase(history, self.phase), self.generator)
        errors = int(np.count_nonzero(failed(rows) & by_the_service(history, rows, self.generator)))
        return stats.exceeds_significantly(errors, len(rows), self.target)


def failed(rows: np.ndarray) -> np.ndarray:
    """Which requests ended in a 5xx, in a wrong or no complete answer, or in a 4xx to a good input."""
    whole = np.isin(rows["outcome"], (Outcome.OK, Outcome.REFUSED_BY_SERVICE))
    refused = (rows["outcome"] == Outcome.REFUSED_BY_SERVICE) & (rows["expected"] >= 0)
    return ~whole | (rows["status"] >= 500) | refused
