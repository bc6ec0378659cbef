"""AlertCoverage: which of the service's alerts are proven to work, and what is wrong with the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.checks.alert_delivered import AlertDelivered
from harness.checks.alert_fires import AlertFires
from harness.checks.evidence import NoEvidence, answer, judged
from harness.checks.quiet import Quiet
from harness.checks.watchdog import WatchdogUnbroken
from harness.history import History
from harness.units import percent
from harness.verdict import Result, Verdict

Proof = AlertFires | AlertDelivered


@dataclass(frozen=True)
class AlertCoverage:
    """At least this share of the alert rules of one severity is PROVEN: both proofs hold in an experiment."""

    severity: str
    at_least: float = 1.0
    contracts: tuple[Proof, ...] = ()  # both proofs of every contract, of any severity
    rules: tuple[tuple[str, str], ...] = ()  # every alert rule of the service: (alert, severity)
    not_applicable: tuple[str, ...] = ()  # alerts that cannot be exercised here: they need a GPU, say
    quiet: tuple[Quiet, ...] = ()  # an alert that one of these finds noisy is not proven
    watchdog: WatchdogUnbroken | None = None  # proves its own alert, which no fault can
    kind: ClassVar[str] = "alert_coverage"

    @property
    def subject(self) -> str:
        return f"{self.severity} alerts"

    def judge(self, history: History) -> Result:
        """FAIL when it cannot reach the share; INCONCLUSIVE when it still might, or no rule has this severity."""
        found = statuses(
            history,
            [rule for rule in self.rules if rule[1] == self.severity],
            self.contracts,
            quiet=self.quiet,
            watchdog=self.watchdog,
            not_applicable=self.not_applicable,
        )
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
        if share >= self.at_least:
            verdict, remedy = Verdict.PASS, ""
        elif (proven + unknown) / applicable >= self.at_least:
            verdict, remedy = Verdict.INCONCLUSIVE, "see each alert's own result"
        else:
            verdict, remedy = (
                Verdict.FAIL,
                "mend these alerts; for UNEXERCISED ones write an experiment that expects them",
            )
        return answer(self, verdict, reason, measured=share, bound=self.at_least, unit="share", remedy=remedy)


def statuses(
    history: History,
    rules: Iterable[tuple[str, str]],
    contracts: Iterable[Proof],
    *,
    quiet: Iterable[Quiet] = (),
    watchdog: WatchdogUnbroken | None = None,
    not_applicable: Iterable[str] = (),
) -> dict[str, dict[str, Any]]:
    """Alert -> {"severity", "status", "experiments", "timed_in", timings in production seconds...}, as the rules go.

    status: PROVEN, SILENT, LATE, MISROUTED, REJECTED, UNRESOLVED, FALSE-RESOLVED, NOISY, UNEXERCISED, NOT-APPLICABLE,
    BROKEN (a Watchdog that paused) or INCONCLUSIVE. A failure in any experiment outweighs a proof in another.
    without_data names the metrics an alert reads that were absent in some phase: there it was not quiet but blind.
    """
    contracts = list(contracts)
    noisy = {name for q in quiet for name in q.noisy(history)}
    found: dict[str, dict[str, Any]] = {}
    for alert, severity in rules:
        proofs = [c for c in contracts if c.alert == alert and c.severity == severity]
        one: dict[str, Any] = {"severity": severity}
        if alert in not_applicable:
            one["status"] = "NOT-APPLICABLE"
        elif alert in noisy:
            one["status"] = "NOISY"
        elif watchdog is not None and alert == watchdog.watchdog:
            one["status"] = _watchdog(history, watchdog)
        else:
            one["status"] = _status(history, proofs)
        one["experiments"] = list(dict.fromkeys(p.experiment for p in proofs))
        if blind := {metric for phase in history.replays.values() if alert in phase for metric in phase[alert].blind}:
            one["without_data"] = sorted(blind)
        found[alert] = one | _timings(history, proofs)
    return found


def coverage(found: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Severity -> {"proven", "applicable"} of what `statuses` gives."""
    tally: dict[str, dict[str, int]] = {}
    for one in found.values():
        of_it = tally.setdefault(one["severity"], {"proven": 0, "applicable": 0})
        of_it["proven"] += one["status"] == "PROVEN"
        of_it["applicable"] += one["status"] != "NOT-APPLICABLE"
    return tally


def _status(history: History, proofs: list[Proof]) -> str:
    if not proofs:
        return "UNEXERCISED"
    results = {proof: judged(proof, history) for proof in proofs}
    for result in results.values():
        if result.verdict is Verdict.FAIL:
            return result.status or "FAIL"
    for experiment in {p.experiment for p in proofs}:
        of_it = {type(p): r.verdict for p, r in results.items() if p.experiment == experiment}
        if of_it == {AlertFires: Verdict.PASS, AlertDelivered: Verdict.PASS}:
            return "PROVEN"
    return "INCONCLUSIVE"


def _timings(history: History, proofs: list[Proof]) -> dict[str, Any]:
    """The timings of the first experiment that has any, and its name."""
    for experiment in dict.fromkeys(p.experiment for p in proofs):
        known = [p.timings(history) for p in proofs if p.experiment == experiment]
        if any(known):
            return {"timed_in": experiment, **{k: v for one in known for k, v in one.items()}}
    return {}


def _watchdog(history: History, watchdog: WatchdogUnbroken) -> str:
    result = judged(watchdog, history)
    if result.verdict is not Verdict.PASS:
        return "BROKEN" if result.verdict is Verdict.FAIL else "INCONCLUSIVE"
    told = any(watchdog.watchdog in n.alerts and n.status == "firing" for n in history.notifications)
    return "PROVEN" if told else "SILENT"
