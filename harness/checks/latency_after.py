"""LatencyAfter: when a fault is over, answers come as fast as before it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from harness import stats
from harness.checks.attribution import at_least_ms
from harness.checks.check import Check, Group, NoEvidence
from harness.checks.effect import needed_effect
from harness.checks.evidence import crowded_within, phase, sent
from harness.checks.latency import milliseconds
from harness.checks.parameters import Parameters
from harness.checks.view import STEADY, View
from harness.history import SLOW_CLIENT, History, Window
from harness.stats import nearest_rank
from harness.units import count, duration
from harness.verdict import EVIDENCE_AT_MOST, Reference, Result, Verdict

PERCENTILE, SLOW_SHARE = 95.0, 0.05
LAST_S, PARTS = 3.0, 3  # of the experiment are judged, each second by itself: what lasts is no hiccup
MORE_MS = 25.0  # a difference that is less is none
FEWEST = 10  # requests in each part
UNEVEN = 1.25  # of the rates of requests: more of them may be slower


class Recovery(Group):
    """A check for each experiment: `recovery: {times: 2}`."""

    kind: ClassVar[str] = "recovery"

    class Parameters(Parameters):
        times: float = Field(2.0, gt=1)  # as long as before may it take

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> Sequence[Check]:
        times = cls.Parameters.read(parameters, view)["times"]
        return [LatencyAfter(name, times) for name, _ in view.contracts]


@dataclass(frozen=True)
class LatencyAfter(Check):
    """In the last 3 s of an experiment, its fault being over, p95 is not a multiple of what it was.

    What it was: the larger of p95 in the steady load and before the fault. Slower in each of the three seconds, and in
    all of them beyond chance, is FAIL. What the restart of a process costs its first requests is over by then.
    """

    experiment: str
    times: float = 2.0
    generator: str = "load"
    kind: ClassVar[str] = "latency_after"

    class Parameters(Parameters):
        experiment: str

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> Sequence[Check]:
        raise ValueError("is what `recovery` stands for; write recovery: {times: 2}")

    @property
    def subject(self) -> str:
        return f"{self.experiment}: latency after recovery"

    def judge(self, history: History) -> Result:
        """FAIL where it is slower for good; INCONCLUSIVE where too little was sent, or more than before."""
        last, rows = self._last(history)
        before, what, rate = self._before(history)
        if before is None or math.isinf(before):
            raise NoEvidence("nothing was recorded before the fault to compare with", "let the load run before it")
        bound = max(self.times * before, before + MORE_MS)
        parts = [milliseconds(part) for part in np.array_split(rows, PARTS)]
        seen = nearest_rank(milliseconds(rows), PERCENTILE)
        slow = [int(np.count_nonzero(p >= bound)) for p in parts]
        lasts = all(n > SLOW_SHARE * len(p) for n, p in zip(slow, parts, strict=True))
        took = "no complete answer" if math.isinf(seen) else duration(seen / 1000)
        times = "" if math.isinf(seen) else f", {seen / before:.1f} times that {what} ({duration(before / 1000)})"
        reason = (
            f"p{PERCENTILE:g} {took} of {len(rows):,} requests in the last {duration(last.length)} of the experiment, "
            f"its fault being over{times}, bound {duration(bound / 1000)}"
        )
        figures = {"measured": seen, "bound": bound, "unit": "ms"}
        if not lasts or not stats.exceeds_significantly(sum(slow), len(rows), SLOW_SHARE):
            reason += ", but not for good" if seen > bound else ""
            return self.result(Verdict.PASS, reason, **figures)
        if len(rows) / last.length > UNEVEN * rate:
            reason += f", but {len(rows) / last.length:.3g}/s were sent, and {rate:.3g}/s before"
            return self.result(Verdict.INCONCLUSIVE, reason, "load at the same rate before and after", **figures)
        if had := crowded_within(history, last):
            reason = f"{had}, so this is not attributable to the service: {reason}"
            return self.result(Verdict.INCONCLUSIVE, reason, "run again while nothing else runs here", **figures)
        slowest = rows[np.argsort(-milliseconds(rows), kind="stable")][:EVIDENCE_AT_MOST]
        shown = tuple(Reference("row", r["request_id"].decode(errors="replace"), float(r["intended"])) for r in slowest)
        remedy = (
            "look at what the fault left behind: an open circuit breaker, a pool that is smaller, a cache that is cold"
        )
        return self.result(Verdict.FAIL, reason, remedy, evidence=shown, **figures)

    def attributable(self, history: History) -> bool:
        """Whether it is as slow without all that the generator may have added."""
        _, rows = self._last(history)
        before, _, _ = self._before(history)
        took = at_least_ms(history, rows, self.generator)
        if took is None or before is None:
            return False
        bound = max(self.times * before, before + MORE_MS)
        return stats.exceeds_significantly(int(np.count_nonzero(took >= bound)), len(rows), SLOW_SHARE)

    def _last(self, history: History) -> tuple[Window, np.ndarray]:
        """The last seconds of the experiment, and the rows of ordinary clients in them."""
        window, moments = phase(history, self.experiment), needed_effect(history, self.experiment)
        if moments.over is None:
            raise NoEvidence(f"the service never came back in {self.experiment}", "see the result on its clients")
        last = Window(max(moments.over, window.end - LAST_S), window.end)
        rows = _ordinary(sent(history, last, self.generator))
        if last.length < LAST_S / 2 or len(rows) < PARTS * FEWEST:
            raise NoEvidence(
                f"{count(len(rows), 'request')} in the {duration(last.length)} after the fault are too few",
                "let the experiment go on for longer, or load at a higher rate",
            )
        return last, rows

    def _before(self, history: History) -> tuple[float | None, str, float]:
        """p95 in ms of what the last seconds are compared with, what that is, and how many were sent a second."""
        window = phase(history, self.experiment)
        stretches = {"before the fault": Window(window.start, needed_effect(history, self.experiment).start)}
        if (steady := history.phase(STEADY)) is not None:
            stretches["in the steady load"] = steady
        found: list[tuple[float, str, float]] = []
        for what, stretch in stretches.items():
            rows = _ordinary(history.requests(stretch, self.generator))
            if len(rows) >= PARTS * FEWEST:
                found.append((nearest_rank(milliseconds(rows), PERCENTILE), what, len(rows) / stretch.length))
        return max((one for one in found if math.isfinite(one[0])), default=(None, "", 0.0))


def _ordinary(rows: np.ndarray) -> np.ndarray:
    return rows[(rows["step"] & SLOW_CLIENT) == 0]
