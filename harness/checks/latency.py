"""Latency: the SLO on how long an answer takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from harness import stats
from harness.checks import samples
from harness.checks.attribution import at_least_ms
from harness.checks.check import Check, NoEvidence
from harness.checks.evidence import of_rows, phase, sent, served
from harness.checks.parameters import Milliseconds, Parameters, Percentile, Phase
from harness.checks.view import STEADY, View
from harness.history import SLOW_CLIENT, History, Outcome
from harness.omission import closed_load
from harness.stats import nearest_rank
from harness.units import count, duration
from harness.verdict import Result, Verdict

OPEN = "let iterations arrive whatever the service does: load.arrivals, or `harness load --open RATE`"
LONGEST = 100.0  # as a percentile


@dataclass(frozen=True)
class Latency(Check):
    """A percentile of the time from a request's intended moment to its complete answer stays under a bound.

    Exact nearest rank over the rows of a phase. A request without a complete answer, or with one that serves nobody (a
    redirect, a page in place of a prediction), is slower than any bound. Those of slow clients, which send or read
    slowly, are left out: how long they take is their own doing. Beside the figure that is judged stands the one from
    the sending, which hides what a request waited for its turn. A closed load hides stalls (harness/omission.py): it
    proves a bound only where what it may hide at most is under it, too.
    """

    phase: str
    percentile: float  # 95 for p95
    under_ms: float
    generator: str = "load"
    kind: ClassVar[str] = "latency"

    class Parameters(Parameters):
        percentile: Percentile | None = None
        under_ms: Milliseconds | None = Field(None, alias="under")
        p50: Milliseconds | None = None
        p90: Milliseconds | None = None
        p95: Milliseconds | None = None
        p99: Milliseconds | None = None
        p99_9: Milliseconds | None = Field(None, alias="p99.9")
        max: Milliseconds | None = None  # of all that were sent, which says nothing of those to come
        gap: Milliseconds | None = None  # the longest time without a good answer (checks/stalls.py)
        phase: Phase = STEADY

        @model_validator(mode="after")
        def _some_bound(self) -> Any:
            if (self.percentile is None) != (self.under_ms is None):
                raise ValueError("percentile and under belong together, as in {percentile: 99, under: 300ms}")
            if not self.bounds and self.gap is None:
                raise ValueError("must bound something, as in {p99: 300ms} or {percentile: 99, under: 300ms}")
            return self

        @property
        def bounds(self) -> dict[float, float]:
            """Percentile -> what it must be under, in ms."""
            named = {
                50.0: self.p50,
                90.0: self.p90,
                95.0: self.p95,
                99.0: self.p99,
                99.9: self.p99_9,
                LONGEST: self.max,
            }
            given = {} if self.percentile is None else {self.percentile: self.under_ms}
            return given | {of_100: ms for of_100, ms in named.items() if ms is not None}

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> Sequence[Check]:
        """A check for each percentile, and one for the gap."""
        from harness.checks.stalls import Stalls  # which needs this file

        given = cls.Parameters.model_validate({} if parameters is None else parameters, context=view)
        checks: list[Check] = [cls(given.phase, of_100, under_ms) for of_100, under_ms in given.bounds.items()]
        return checks if given.gap is None else [*checks, Stalls(given.phase, gap_ms=given.gap)]

    @property
    def name(self) -> str:
        """What is bounded: p99, or longest."""
        return "longest" if self.percentile == LONGEST else f"p{self.percentile:g}"

    @property
    def subject(self) -> str:
        return f"{self.phase}: latency {self.name}"

    @property
    def share(self) -> float:
        """The share of requests that may be slow."""
        return round(1 - self.percentile / 100, 9)  # 0.05, not 0.05000000000000004

    def judge(self, history: History) -> Result:
        """PASS only if "the percentile is under the bound" holds at 99 % confidence; over it is FAIL."""
        window = phase(history, self.phase)
        rows, slow_clients = self._rows(history)
        took = milliseconds(rows)
        n, slow = len(took), int(np.count_nonzero(took >= self.under_ms))
        seen = nearest_rank(took, self.percentile)
        none = "no answer that serves" if (rows["outcome"] == Outcome.UNSERVED).any() else "no complete answer"
        said = none if math.isinf(seen) else duration(seen / 1000)
        reason = f"{self.name} {said} of {n:,} requests, bound {duration(self.under_ms / 1000)}"
        remedy = "compare queue wait and inference time in the metrics of this window"
        slower = f"; {slow:,} were slower"
        if self.percentile < LONGEST:
            verdict, reason, remedy = samples.claim(slow, n, self.share, window.length, reason, slower, remedy)
        elif slow:
            verdict, reason = Verdict.FAIL, reason + slower
        else:
            verdict, remedy = Verdict.PASS, ""
        if not math.isinf(sending := nearest_rank(milliseconds(rows, "sent"), self.percentile)):
            reason += f"; from the sending {duration(sending / 1000)}"
        if slow_clients:
            reason += f"; {count(slow_clients, 'request')} of slow clients left out"
        if (closed := closed_load(history, self.generator)) is not None:
            most = closed.at_most(rows["done"] - rows["intended"], took, self.percentile)
            said = "nobody knows how much more" if math.isinf(most) else f"at most {duration(most / 1000)}"
            reason += f"; {closed}: {said} had no user waited for a response (coordinated omission)"
            if verdict is Verdict.PASS and most >= self.under_ms:
                verdict, remedy = Verdict.INCONCLUSIVE, OPEN
        evidence = of_rows(rows, took) if verdict is Verdict.FAIL else ()
        return self.result(verdict, reason, remedy, measured=seen, bound=self.under_ms, unit="ms", evidence=evidence)

    def _rows(self, history: History) -> tuple[np.ndarray, int]:
        """The rows that are judged, and how many were left out because their clients were slow by themselves."""
        rows = sent(history, phase(history, self.phase), self.generator)
        slow = (rows["step"] & SLOW_CLIENT) != 0
        if slow.all():
            raise NoEvidence(
                f"all {count(len(rows), 'request')} were sent or read slowly, which says nothing of the service",
                "let ordinary clients ask beside the slow ones",
            )
        return rows[~slow], int(np.count_nonzero(slow))

    def attributable(self, history: History) -> bool:
        """Whether it fails beyond chance even without all that the generator itself may have added."""
        rows, _ = self._rows(history)
        took = at_least_ms(history, rows, self.generator)
        if took is None:
            return False
        return stats.exceeds_significantly(int(np.count_nonzero(took >= self.under_ms)), len(rows), self.share)


def milliseconds(rows: np.ndarray, since: str = "intended") -> np.ndarray:
    """What each request took from its intended moment (or its sending), in ms; infinite where it was not served."""
    return np.where(served(rows), 1000 * (rows["done"] - rows[since]), np.inf)
