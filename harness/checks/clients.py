"""Clients: how many errors the clients saw, and how soon they were served again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import Field

from harness import stats
from harness.checks.attribution import by_the_service
from harness.checks.check import Check, NoEvidence
from harness.checks.effect import needed_effect
from harness.checks.evidence import phase, sent
from harness.checks.parameters import ExperimentName, Parameters
from harness.history import History, Outcome, Window
from harness.parameters import Duration, Share
from harness.units import duration, percent
from harness.verdict import Result, Verdict

OVER_S, GOOD = 3.0, 0.99


@dataclass(frozen=True)
class Clients(Check):
    """Over an experiment at most this share of requests fails, and soon after its effect they are served again.

    Served again: the first 3 s in which at least 99 % of the requests are answered well. A refusal is a failure here.
    """

    experiment: str
    errors_at_most: float = 0.15
    recovered_within_s: float = 10.0  # gate seconds: the service does not run faster
    generator: str = "load"
    place: str = ""
    kind: ClassVar[str] = "clients"

    class Parameters(Parameters):
        experiment: ExperimentName
        errors_at_most: Share
        recovered_within_s: Duration = Field(alias="recovered_within")

    @property
    def subject(self) -> str:
        return f"{self.experiment}: clients"

    def judge(self, history: History) -> Result:
        """FAIL on too many errors or a late recovery; INCONCLUSIVE on too few requests or too early an end."""
        window = phase(history, self.experiment)
        rows = sent(history, window, self.generator)
        fewest = stats.needed(max(self.errors_at_most, 0.01)) or 1
        if len(rows) < fewest:
            bound = percent(self.errors_at_most)
            why = f"{len(rows):,} requests are too few to judge {bound} errors by ({fewest:,} needed)"
            raise NoEvidence(why, "load for longer or at a higher rate")
        bad = rows["outcome"] != Outcome.OK
        share = float(np.mean(bad))
        figures = {"measured": share, "bound": self.errors_at_most, "unit": "share"}
        said = f"{percent(share)} of {len(rows):,} requests failed (bound {percent(self.errors_at_most)})"
        if share > self.errors_at_most:
            return self.result(Verdict.FAIL, said, remedy="see which outcomes, and when, in the report", **figures)
        over = needed_effect(history, self.experiment).over
        if over is None:
            reason = f"{said}, but the service never became ready again (bound {duration(self.recovered_within_s)})"
            return self.result(Verdict.FAIL, reason, remedy="see the server's log and probes.jsonl", **figures)
        took, bound = recovery(rows["intended"], ~bad, over, window), duration(self.recovered_within_s)
        if took is not None and took <= self.recovered_within_s:
            reason = f"{said}, served again {duration(took)} after the effect (bound {bound})"
            return self.result(Verdict.PASS, reason, **figures)
        watched = window.end - over
        if took is None and watched < self.recovered_within_s + OVER_S:
            ended = duration(max(0.0, watched))
            reason = f"{said}, but not yet served again {ended} after the effect, where the phase ends (bound {bound})"
            return self.result(Verdict.INCONCLUSIVE, reason, remedy="let the experiment go on for longer", **figures)
        how = f"not in {duration(watched)}" if took is None else f"only {duration(took)} after the effect"
        reason = f"{said}, but served again {how}, bound {bound}"
        return self.result(Verdict.FAIL, reason, remedy="see what the requests met after the fault", **figures)

    def attributable(self, history: History) -> bool:
        """Whether what the service itself did is more than the clients may see, beyond chance, or the probes say that
        it never came back. When the clients were served again rests on the generator."""
        rows = sent(history, phase(history, self.experiment), self.generator)
        bad = int(np.count_nonzero((rows["outcome"] != Outcome.OK) & by_the_service(history, rows, self.generator)))
        never_back = needed_effect(history, self.experiment).over is None
        return never_back or stats.exceeds_significantly(bad, len(rows), self.errors_at_most)


def recovery(intended: np.ndarray, good: np.ndarray, since: float, window: Window) -> float | None:
    """Seconds from `since` to the first OVER_S in which GOOD of the requests are well; None if there is none.

    intended: (n,) Unix seconds in order; good: (n,) bool. Only whole stretches within the window count.
    """
    passed = np.concatenate([[0], np.cumsum(good)])
    # A stretch can only become good when it leaves a bad request behind, so these are all the moments to try.
    for begin in [since, *np.nextafter(intended[~good & (intended >= since)], np.inf)]:
        if begin + OVER_S > window.end:
            return None
        first, last = np.searchsorted(intended, [begin, begin + OVER_S])
        if last > first and passed[last] - passed[first] >= GOOD * (last - first):
            return float(begin - since)
    return None
