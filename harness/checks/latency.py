"""Latency: the SLO on how long an answer takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness.checks import samples
from harness.checks.evidence import answer, phase, sent
from harness.checks.words import duration
from harness.history import History, Outcome
from harness.verdict import Result, Verdict


@dataclass(frozen=True)
class Latency:
    """A percentile of the time from a request's intended moment to its complete answer stays under a bound.

    Exact nearest rank over the rows of a phase. A request without a complete answer is slower than any bound.
    """

    phase: str
    percentile: float  # 95 for p95
    under_ms: float
    generator: str = "load"
    kind: ClassVar[str] = "latency"

    @property
    def subject(self) -> str:
        return f"{self.phase}: latency p{self.percentile:g}"

    def judge(self, history: History) -> Result:
        """PASS only if "the percentile is under the bound" holds at 99 % confidence; over it is FAIL."""
        window = phase(history, self.phase)
        took = milliseconds(sent(history, window, self.generator))
        n, slow, share = (
            len(took),
            int(np.count_nonzero(took >= self.under_ms)),
            round(1 - self.percentile / 100, 9),
        )  # 0.05, not 0.05000000000000004
        seen = nearest_rank(took, self.percentile)
        verdict = samples.judge(slow, n, share)
        said = "no complete answer" if math.isinf(seen) else duration(seen / 1000)
        reason = f"p{self.percentile:g} {said} of {n:,} requests, bound {duration(self.under_ms / 1000)}"
        remedy = ""
        if verdict is Verdict.INCONCLUSIVE:
            why, remedy = samples.shortage(slow, n, share, window.length)
            reason += f", but {why}"
        elif verdict is Verdict.FAIL:
            reason += f"; {slow:,} were slower"
            remedy = "compare queue wait and inference time in the metrics of this window"
        return answer(self, verdict, reason, measured=seen, bound=self.under_ms, unit="ms", remedy=remedy)


def milliseconds(rows: np.ndarray) -> np.ndarray:
    """What each request took from its intended moment, in ms; infinite where no complete answer came."""
    whole = np.isin(rows["outcome"], (Outcome.OK, Outcome.REFUSED_BY_SERVICE, Outcome.UNEXPECTED))
    return np.where(whole, 1000 * (rows["done"] - rows["intended"]), np.inf)


def nearest_rank(values: np.ndarray, percentile: float) -> float:
    """The smallest value that at least this percentage of all values does not exceed."""
    rank = max(1, math.ceil(percentile / 100 * len(values) - 1e-9))
    return float(np.partition(values, rank - 1)[rank - 1])
