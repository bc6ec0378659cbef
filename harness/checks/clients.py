"""Clients: how many errors the clients saw, and how soon they were served again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import count
from typing import ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from harness import stats
from harness.checks.attribution import by_the_service
from harness.checks.check import Check, NoEvidence
from harness.checks.effect import needed_effect
from harness.checks.evidence import of_fault, of_rows, phase, sent, some, unserved
from harness.checks.parameters import ExperimentName, Parameters
from harness.history import History, Outcome
from harness.parameters import Duration, Share
from harness.units import duration, percent
from harness.verdict import Result, Verdict

OVER_S, GOOD = 3.0, 0.99
FEWEST = 5  # requests within OVER_S: fewer show neither an outage nor its end


@dataclass(frozen=True)
class Clients(Check):
    """Over an experiment at most this share of requests fails, and soon after its fault began they are served again.

    Served again: the first 3 s in which at least 99 % of the requests are answered well, whatever a probe says. Where
    they fail again later in the experiment, the last time counts. A refusal is a failure here.
    """

    experiment: str
    errors_at_most: float = 0.15
    recovered_within_s: float = 10.0  # gate seconds from the fault on: the service does not run faster
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
        result = self._judged(history)
        if result.verdict is Verdict.PASS:
            return result
        rows = sent(history, phase(history, self.experiment), self.generator)
        failed = rows[rows["outcome"] != Outcome.OK]
        return replace(result, evidence=some(of_rows(failed), of_fault(history, self.experiment)))

    def _judged(self, history: History) -> Result:
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
        if why := unserved(history, window, self.generator, rows):
            said += f"; {why}"
        if share > self.errors_at_most:
            return self.result(Verdict.FAIL, said, remedy="see which outcomes, and when, in the report", **figures)
        moments, bound = needed_effect(history, self.experiment), duration(self.recovered_within_s)
        if moments.over is None:
            reason = f"{said}, but the service never became ready again (bound {bound})"
            return self.result(Verdict.FAIL, reason, remedy="see the server's log and probes.jsonl", **figures)
        since, watched = moments.start, window.end - moments.start
        last = outage(rows["intended"], ~bad, since, moments.over, window.end)
        if last is None:
            return self.result(Verdict.PASS, f"{said}, without an outage (bound {bound})", **figures)
        if last.ended is not None:
            after = f"served again {duration(last.ended - since)} after the fault (bound {bound})"
            if last.ended - since <= self.recovered_within_s:
                return self.result(Verdict.PASS, f"{said}, {after}", **figures)
            if last.failed - since <= self.recovered_within_s:
                reason = f"{said}, {after}, but nothing was sent for {duration(last.ended - last.failed)} before"
                return self.result(Verdict.INCONCLUSIVE, reason, remedy="load without pauses", **figures)
            reason = f"{said}, but only {after}"
        else:
            reason = (
                f"{said}, but failing from {duration(last.began - since)} after the fault on and not yet served again "
                f"{duration(watched)} after it, where the phase ends (bound {bound})"
            )
            if watched < self.recovered_within_s + OVER_S:
                remedy = "let the experiment go on for longer"
                return self.result(Verdict.INCONCLUSIVE, reason, remedy, **figures)
        return self.result(Verdict.FAIL, reason, remedy="see what the requests met after the fault", **figures)

    def attributable(self, history: History) -> bool:
        """Whether what the service itself did is more than the clients may see, beyond chance, or the probes say that
        it never came back. When the clients were served again rests on the generator."""
        rows = sent(history, phase(history, self.experiment), self.generator)
        bad = int(np.count_nonzero((rows["outcome"] != Outcome.OK) & by_the_service(history, rows, self.generator)))
        never_back = needed_effect(history, self.experiment).over is None
        return never_back or stats.exceeds_significantly(bad, len(rows), self.errors_at_most)


class Outage(NamedTuple):
    """A time in which clients were not served, in Unix seconds of when requests were due."""

    began: float  # the first failure
    failed: float  # the last one
    ended: float | None  # the first of OVER_S in which they were served again; None: not in the record


def outage(intended: np.ndarray, good: np.ndarray, since: float, over: float, end: float) -> Outage | None:
    """The last outage that began within [since, end]; None where there was none.

    intended: (n,) Unix seconds in order; good: (n,) bool. An outage begins where failures are more than 1 - GOOD of
    OVER_S, beyond chance, and ends with the first whole OVER_S of which GOOD are well. over: until when the fault had
    an effect. Raises NoEvidence where too few requests were sent for it to show.
    """
    first, past = np.searchsorted(intended, [since, end])
    intended, good = intended[first:past], good[first:past]
    until, bad = np.searchsorted(intended, intended + OVER_S), np.concatenate([[0], np.cumsum(~good)])
    n = until - np.arange(len(intended))
    sound = good & (intended + OVER_S <= end) & (bad[until] - bad[:-1] <= (1 - GOOD) * n)
    ends = np.flatnonzero(sound & (n >= FEWEST))
    begin = np.minimum(np.arange(len(intended)), np.searchsorted(intended, end - OVER_S))  # the last OVER_S are whole
    many = np.array([_significant(int(m)) for m in until - begin], int)
    begins = np.flatnonzero(~good & (bad[until] - bad[begin] >= many))
    found, at = None, 0
    while len(later := begins[begins >= at]):
        after = ends[ends > later[0]]
        failed = np.flatnonzero(~good[: after[0] if len(after) else None])[-1]
        if not len(after):
            if sound[later[0] :].any():
                raise _too_few(f"in the {duration(OVER_S)} served again fewer than {FEWEST} requests were sent")
            return Outage(intended[later[0]], intended[failed], None)
        found, at = Outage(intended[later[0]], intended[failed], intended[after[0]]), after[0]
    pause_s = np.max(np.diff([since, *intended[intended < over], max(since, min(over, end))]))
    if found is None and pause_s > OVER_S:
        raise _too_few(f"no request was sent for {duration(pause_s)} of the fault")
    if found is None and len(intended) < FEWEST * (end - since) / OVER_S:
        raise _too_few(f"{len(intended):,} requests in {duration(end - since)} are too few to show an outage")
    return found


def _too_few(why: str) -> NoEvidence:
    return NoEvidence(why, "load at a higher rate, without pauses")


@cache
def _significant(n: int) -> int:
    """How many failures of n requests are more than 1 - GOOD beyond chance."""
    fewest = max(1, int(n * (1 - GOOD)))
    return next(bad for bad in count(fewest) if stats.exceeds_significantly(bad, n, 1 - GOOD) or bad > n)
