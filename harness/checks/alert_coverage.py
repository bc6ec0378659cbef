"""AlertCoverage: which of the service's alerts are proven to work, and what is wrong with the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

from pydantic import model_validator

from harness.checks.alert_delivered import AlertDelivered
from harness.checks.alert_fires import AlertFires
from harness.checks.check import Check, NoEvidence
from harness.checks.parameters import Parameters
from harness.checks.quiet import Quiet
from harness.checks.view import Severity, View
from harness.checks.watchdog import WatchdogUnbroken
from harness.history import History
from harness.parameters import Share
from harness.units import percent
from harness.verdict import Result, Verdict

PROOFS = {AlertFires.kind, AlertDelivered.kind}


@dataclass(frozen=True)
class AlertCoverage(Check):
    """At least this share of the alert rules of one severity is PROVEN: both proofs hold in an experiment."""

    severity: str
    at_least: float = 1.0
    rules: tuple[tuple[str, str], ...] = ()  # every alert rule of the service: (alert, severity)
    not_applicable: tuple[str, ...] = ()  # alerts that cannot be exercised here: they need a GPU, say
    kind: ClassVar[str] = "alert_coverage"
    judges_results: ClassVar[bool] = True

    class Parameters(Parameters):
        critical: Share | None = None
        high: Share | None = None
        medium: Share | None = None
        low: Share | None = None

        @model_validator(mode="after")
        def _some_severity(self) -> Any:
            if all(getattr(self, severity) is None for severity in get_args(Severity)):
                raise ValueError("must name a severity, like {critical: 100%}")
            return self

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> list[AlertCoverage]:
        """One for each severity that is named."""
        rules = tuple((rule.alert, rule.severity) for rule in view.rules)
        given = cls.Parameters.read(parameters, view)
        return [cls(s, share, rules, view.not_applicable) for s, share in given.items() if share is not None]

    @property
    def subject(self) -> str:
        return f"{self.severity} alerts"

    def judge_results(self, history: History, results: Sequence[Result]) -> Result:
        """FAIL when it cannot reach the share; INCONCLUSIVE when it still might, or no rule has this severity."""
        if not results:
            raise NoEvidence("no other check is judged, so no alert can be proven", "add `- contracts` to the checks")
        mine = [rule for rule in self.rules if rule[1] == self.severity]
        found = statuses(results, history, mine, self.not_applicable)
        tally = coverage(found).get(self.severity, {"proven": 0, "applicable": 0})
        proven, applicable = tally["proven"], tally["applicable"]
        if not applicable:
            raise NoEvidence(f"no alert rule of severity {self.severity} applies here", "drop it from alert_coverage")
        share = proven / applicable
        reason = f"{proven} of {applicable} proven, {percent(share)}, bound {percent(self.at_least)}"
        others = [
            f"{name} {s['status']}" for name, s in found.items() if s["status"] not in ("PROVEN", "NOT-APPLICABLE")
        ]
        if others:
            reason += f": {', '.join(others)}"
        unknown = sum(s["status"] == "INCONCLUSIVE" for s in found.values())
        verdict, remedy = Verdict.PASS, ""
        if share < self.at_least and (proven + unknown) / applicable >= self.at_least:
            verdict, remedy = Verdict.INCONCLUSIVE, "see each alert's own result"
        elif share < self.at_least:
            verdict = Verdict.FAIL
            remedy = "mend these alerts; for UNEXERCISED ones write an experiment that expects them"
        return self.result(verdict, reason, measured=share, bound=self.at_least, unit="share", remedy=remedy)


def statuses(
    results: Sequence[Result], history: History, rules: Iterable[tuple[str, str]], not_applicable: Iterable[str] = ()
) -> dict[str, dict[str, Any]]:
    """Alert -> {"severity", "status", "experiments", "timed_in", timings in production seconds...}, as the rules go,
    from the results of the other checks.

    status: PROVEN, SILENT, LATE, MISROUTED, REJECTED, UNRESOLVED, FALSE-RESOLVED, NOISY, UNEXERCISED, NOT-APPLICABLE,
    BROKEN (a Watchdog that paused) or INCONCLUSIVE. A failure in any experiment outweighs a proof in another.
    without_data names the metrics an alert reads that were absent in some phase: there it was not quiet but blind.
    """
    not_applicable = set(not_applicable)
    noisy = {alert for result in results if result.check == Quiet.kind for alert in result.timings}
    watchdogs = {result.alert: result for result in results if result.check == WatchdogUnbroken.kind}
    found: dict[str, dict[str, Any]] = {}
    for alert, severity in rules:
        proofs = [r for r in results if r.check in PROOFS and (r.alert, r.severity) == (alert, severity)]
        one: dict[str, Any] = {"severity": severity}
        if alert in not_applicable and not proofs:
            one["status"] = "NOT-APPLICABLE"
        elif alert in noisy:
            one["status"] = "NOISY"
        elif alert in watchdogs:
            one["status"] = _watchdog(history, watchdogs[alert])
        else:
            one["status"] = _status(proofs)
        one["experiments"] = list(dict.fromkeys(proof.experiment for proof in proofs))
        if blind := {metric for phase in history.replays.values() if alert in phase for metric in phase[alert].blind}:
            one["without_data"] = sorted(blind)
        found[alert] = one | _timings(proofs)
    return found


def coverage(found: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Severity -> {"proven", "applicable"} of what `statuses` gives."""
    tally: dict[str, dict[str, int]] = {}
    for one in found.values():
        of_it = tally.setdefault(one["severity"], {"proven": 0, "applicable": 0})
        of_it["proven"] += one["status"] == "PROVEN"
        of_it["applicable"] += one["status"] != "NOT-APPLICABLE"
    return tally


def _status(proofs: Sequence[Result]) -> str:
    if not proofs:
        return "UNEXERCISED"
    for proof in proofs:
        if proof.verdict is Verdict.FAIL:
            return proof.status or "FAIL"
    for experiment in {proof.experiment for proof in proofs}:
        mine = [proof for proof in proofs if proof.experiment == experiment]
        if {proof.check for proof in mine} == PROOFS and all(proof.verdict is Verdict.PASS for proof in mine):
            return "PROVEN"
    return "INCONCLUSIVE"


def _timings(proofs: Sequence[Result]) -> dict[str, Any]:
    """The timings of the first experiment that has any, and its name."""
    for experiment in dict.fromkeys(proof.experiment for proof in proofs):
        if known := {k: v for p in proofs if p.experiment == experiment for k, v in p.timings.items()}:
            return {"timed_in": experiment, **known}
    return {}


def _watchdog(history: History, result: Result) -> str:
    if result.verdict is not Verdict.PASS:
        return "BROKEN" if result.verdict is Verdict.FAIL else "INCONCLUSIVE"
    notified = any(result.alert in n.alerts and n.status == "firing" for n in history.notifications)
    return "PROVEN" if notified else "SILENT"
