"""Availability: the SLO on uptime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness import stats
from harness.checks import samples
from harness.checks.attribution import by_the_service
from harness.checks.check import Check, NoEvidence
from harness.checks.evidence import of_rows, of_series, phase, sent, served, some, target_up, unserved
from harness.checks.parameters import KeptShare, Parameters, Phase
from harness.checks.view import STEADY
from harness.history import History, Outcome, Window
from harness.units import count, percent
from harness.verdict import Result, Verdict

NOBODY_THERE = (502, 503, 504)


@dataclass(frozen=True)
class Availability(Check):
    """The service is up for the target share of a phase, as its clients and its monitoring see it.

    Up means: a request gets a complete answer that is not a gateway's or the service's own "not now" (502 to 504; an
    error such as 500 is an answer and counts in ErrorRatio), nor a redirect or a page in place of a prediction, and no
    scrape fails while no client is answered either. A scrape that fails while clients are answered is no downtime: in
    compressed time its own timeout is compressed too.
    """

    phase: str
    target: float = 0.999
    generator: str = "load"
    job: str | None = None  # the scrape job; None: the run's own
    kind: ClassVar[str] = "availability"

    class Parameters(Parameters):
        target: KeptShare
        phase: Phase = STEADY

    @property
    def subject(self) -> str:
        return f"{self.phase}: uptime"

    def judge(self, history: History) -> Result:
        """PASS only if the share answered is proven at 99 % confidence and no scrape found the service down."""
        window = phase(history, self.phase)
        rows = sent(history, window, self.generator)
        at, up = target_up(history, window, self.job)
        if not len(up):
            raise NoEvidence(f"no scrape of the service is recorded in {self.phase}", "see Prometheus' log and targets")
        n, lost, share = len(rows), int(np.count_nonzero(~answered(rows))), round(1 - self.target, 9)
        failed = at[up != 1]
        down = int(np.count_nonzero(~_served(rows, failed, history.setting("scrape_s", 15.0))))
        reason = f"{percent(1 - lost / n)} of {n:,} requests answered, target {percent(self.target)}"
        remedy = "see which outcomes the unanswered requests had and what the server logged then"
        lacking = f"; {lost:,} were not"
        if why := unserved(history, window, self.generator, rows):
            lacking += f" ({why})"
        verdict, reason, remedy = samples.claim(lost, n, share, window.length, reason, lacking, remedy)
        reason += f"; {down or 'none'} of {count(len(up), 'scrape')} found it down"
        if alone := len(failed) - down:
            reason += f", {alone} failed while clients were answered"
        if down:
            verdict, remedy = Verdict.FAIL, remedy or "see the server's log and /metrics latency at the failed scrapes"
        evidence = some(
            of_rows(rows[~answered(rows)]), [of_series({"__name__": "up"}, Window(t, t)) for t in failed.tolist()]
        )
        figures = {"measured": 1 - lost / n, "bound": self.target, "unit": "share"}
        return self.result(verdict, reason, remedy, evidence=evidence, **figures)

    def attributable(self, history: History) -> bool:
        """Whether what the service itself did is more than may be, beyond chance."""
        rows = sent(history, phase(history, self.phase), self.generator)
        lost = int(np.count_nonzero(~answered(rows) & by_the_service(history, rows, self.generator)))
        return stats.exceeds_significantly(lost, len(rows), round(1 - self.target, 9))


def _served(rows: np.ndarray, at: np.ndarray, scrape_s: float) -> np.ndarray:
    """For each failed scrape, whether a client's answer was completed within one interval of it."""
    done = np.sort(rows["done"][answered(rows)])
    return np.searchsorted(done, at + scrape_s, "right") > np.searchsorted(done, at - scrape_s, "left")


def answered(rows: np.ndarray) -> np.ndarray:
    """Which requests got a complete answer of the service itself."""
    refused = (rows["outcome"] == Outcome.REFUSED_BY_SERVICE) & ~np.isin(rows["status"], NOBODY_THERE)
    return served(rows) & ((rows["outcome"] != Outcome.REFUSED_BY_SERVICE) | refused)
