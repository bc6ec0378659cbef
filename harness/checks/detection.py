"""Detection: how long each alert took from its fault to its receiver, against what its configuration allows.

Predicted is when a rule fires, from scrape, evaluation, window and `for` alone (rules/predict.py), and then what its
route waits. The floor of an alert is the moment at which the unmodified rule fires on this fault, by its replay, and
the wait of its route: nothing that runs the same configuration can notify sooner; what is over it was lost on the way.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from pydantic import Field

from harness.checks.alert_delivered import AlertDelivered
from harness.checks.alert_fires import AlertFires
from harness.checks.check import Check, NoEvidence
from harness.checks.evidence import setting
from harness.checks.parameters import Parameters
from harness.history import History
from harness.units import duration
from harness.verdict import Result, Verdict

ON_THE_WAY_S = 0.5  # gate seconds that Prometheus, Alertmanager and the integration may take between them


class Detected(NamedTuple):
    """One alert in one experiment; production seconds after the fault began, None: not known."""

    experiment: str
    alert: str
    pending_s: float | None
    firing_s: float | None
    notified_s: float | None
    resolved_notified_s: float | None  # after the end of the effect
    predicted_s: tuple[float, float] | None  # of firing
    floor_s: float | None  # of notified
    slow: str  # the part that took longer than predicted; empty: none did


@dataclass(frozen=True)
class Detection(Check):
    """Each alert that its contract expects is detected as soon as its configuration allows."""

    median_over_floor: float = 1.2
    kind: ClassVar[str] = "detection"
    judges_results: ClassVar[bool] = True

    class Parameters(Parameters):
        median_over_floor: float = Field(1.2, ge=1)

    @property
    def subject(self) -> str:
        return "detection"

    def judge_results(self, history: History, results: Sequence[Result]) -> Result:
        """FAIL where a part of the way took longer than predicted, or the median of notified over floor is too high."""
        found = list(detected(history, results))
        ratios = [one.notified_s / one.floor_s for one in found if one.notified_s is not None and one.floor_s]
        if not ratios:
            raise NoEvidence("no alert was both replayed and notified of", "see the results of each alert")
        median = statistics.median(ratios)
        bound = self.median_over_floor
        reason = f"{len(ratios)} alerts notified after {median:.2f} of their floor in the median, bound {bound:g}"
        slow = [f"{one.experiment}: {one.alert}: {one.slow}" for one in found if one.slow]
        figures = {"measured": median, "bound": bound, "unit": "ratio"}
        if median > bound:
            return self.result(Verdict.FAIL, "; ".join([reason, *slow]), "see what is slow in each", **figures)
        if slow:
            remedy = "mend the part that is named, or give the run more processor"
            return self.result(Verdict.FAIL, "; ".join([*slow, reason]), remedy, **figures)
        return self.result(Verdict.PASS, f"{reason}; each in its predicted time", **figures)


def detected(history: History, results: Sequence[Result]) -> Iterator[Detected]:
    """What is known of each alert of each experiment, by the results of its proofs."""
    known: dict[tuple[str, str], dict[str, float]] = {}
    for result in results:
        if result.check in (AlertFires.kind, AlertDelivered.kind) and result.timings:
            known.setdefault((result.experiment, result.alert), {}).update(result.timings)
    scale = setting(history, "time_scale") if known else 1.0
    step_s = scale * (setting(history, "scrape_s") + setting(history, "evaluation_s")) if known else 0.0
    posted = {(e.detail.get("experiment"), e.detail.get("alert")): e for e in history.of("run", "posted")}
    for (experiment, alert), times in known.items():
        event = posted.get((experiment, alert))
        waited = event is not None and bool(event.detail.get("inhibited"))
        bounds = None
        if {"earliest_firing_s", "latest_firing_s"} <= times.keys():
            bounds = (times["earliest_firing_s"], times["latest_firing_s"])
        firing = times.get("firing_s")
        floored = firing is not None and "group_wait_s" in times and not waited
        floor = firing + times["group_wait_s"] if floored else None
        yield Detected(
            experiment, alert, times.get("pending_s"), firing, times.get("notified_s"),
            times.get("resolved_notified_s"), bounds, floor, _slow(times, bounds, floor, scale, step_s),
        )  # fmt: skip


def _slow(
    times: Mapping[str, float], bounds: tuple[float, float] | None, floor: float | None, scale: float, step_s: float
) -> str:
    """Which part took longer than predicted, and by how much."""
    pending, firing = times.get("pending_s"), times.get("firing_s")
    if bounds is not None and firing is not None:
        waits, latest = bounds
        if pending is not None and pending > latest - waits + step_s / 2:
            allowed = duration(latest - waits)
            return f"scrape and window: pending after {duration(pending)}, predicted within {allowed}"
        if pending is not None and firing - pending > waits + step_s / 2:
            return f"for: {duration(firing - pending)} from pending to firing, predicted {duration(waits)}"
    live = times.get("live_firing_s")
    if firing is not None and live is not None and live > firing + step_s:
        return f"evaluation: fired live after {duration(live)}, by its replay after {duration(firing)}"
    if floor is not None and "notified_s" in times:
        begun = (live if live is not None else firing) + times["group_wait_s"]
        if (lost := times["notified_s"] - begun) > step_s + ON_THE_WAY_S * scale:
            return f"group_wait and integration: notified {duration(lost)} after its route had waited"
    return ""
