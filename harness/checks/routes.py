"""Routes: every rule's alert goes to whoever its severity is for, and none is silenced by an alert of another cause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from harness.alert import NAME
from harness.checks.check import Check
from harness.checks.evidence import setting
from harness.checks.findings import findings, said
from harness.checks.view import Finding, View
from harness.history import History
from harness.units import count, listed
from harness.verdict import EVIDENCE_AT_MOST, Reference, Result, Verdict


@dataclass(frozen=True)
class Routes(Check):
    """Both sides of the Alertmanager configuration, contract or not: where the alert of each rule goes, against
    `monitoring.severities` of service.yaml, and which alerts silence it. What was notified in the run must agree."""

    side: Literal["severities", "inhibitions"]
    judged: int  # rules, or rules of inhibition
    found: tuple[Finding, ...] = ()  # what the files show
    severities: tuple[tuple[str, tuple[str, ...]], ...] = ()  # severity -> receivers that its alerts may reach
    always: tuple[str, ...] = ()  # alerts that always fire; they go where they are watched for
    kind: ClassVar[str] = "routes"
    timing_independent: ClassVar[bool] = True

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> tuple[Routes, ...]:
        """One for each side that service.yaml and the Alertmanager configuration have."""
        cls.Parameters.read(parameters, view)
        always = tuple(dict.fromkeys(rule.alert.name for rule in view.rules if rule.always))
        made = []
        if view.severities and len(view.rules) > len(always):
            made.append(cls("severities", len(view.rules), view.misrouted, view.severities, always))
        if view.inhibitions:
            made.append(cls("inhibitions", view.inhibitions, view.silenced))
        return tuple(made)

    @property
    def subject(self) -> str:
        return "routes by severity" if self.side == "severities" else "inhibitions"

    def judge(self, history: History) -> Result:
        """FAIL with each rule that goes astray or is silenced, and each notification that went elsewhere."""
        setting(history, "time_scale")  # of no run nothing is said
        found = findings(self.found)
        of = count(self.judged, "rule" if self.side == "severities" else "inhibition")
        went, evidence = self._went(history) if self.side == "severities" else ([], ())
        figures = {"measured": len(found) + len(went), "bound": 0, "unit": "findings"}
        if all_found := [*found, *went]:
            reason = f"{count(len(all_found), 'finding')} among {of}, bound 0: {said(all_found)}"
            first = all_found[0]
            return self.result(
                Verdict.FAIL, reason, remedy=first.remedy, place=first.place, evidence=evidence, **figures
            )
        if self.side == "inhibitions":
            return self.result(Verdict.PASS, f"{of}: none would silence an alert of another cause, bound 0", **figures)
        to = listed([f"{severity} to {listed(names) or 'nobody'}" for severity, names in self.severities])
        sent = sum(bool(n.labels) for n in history.notifications)
        reason = f"all of {of} go where their severity says ({to}), and so did {count(sent, 'notification')} of the run"
        return self.result(Verdict.PASS, reason, **figures)

    def _went(self, history: History) -> tuple[list[Finding], tuple[Reference, ...]]:
        """What was notified in the run to others than its severity says."""
        allowed = {severity: names for severity, names in self.severities}
        found: dict[tuple[str, str, str], int] = {}
        evidence: list[Reference] = []
        for n in history.notifications:
            for labels in n.labels:
                severity, alert = labels.get("severity", ""), labels.get(NAME, "")
                if alert in self.always or n.receiver in allowed.get(severity, ()):
                    continue
                if severity in allowed and not allowed[severity]:
                    continue  # for nobody: who has no integration gets nothing, and the files show the others
                key = (alert, severity, n.receiver)
                found[key] = found.get(key, 0) + 1
                evidence.append(Reference("notification", n.receiver, n.at, n.at))
        return [
            Finding(
                self.place_of(alert),
                f"{alert}, of severity {severity or 'none'}, was notified to {receiver} in the run, "
                f"{count(times, 'time')}, where monitoring.severities says "
                + (listed(allowed.get(severity, ())) or "nothing of that severity"),
                "mend the route, or say in monitoring.severities who gets alerts of this severity",
            )
            for (alert, severity, receiver), times in found.items()
        ], tuple(evidence[:EVIDENCE_AT_MOST])

    def place_of(self, alert: str) -> str:
        """Where the files were found wrong about an alert; empty where they were not."""
        return next((each.place for each in findings(self.found) if each.said.startswith(f"{alert}, ")), "")
