"""AlertCoverage: which of the service's alerts are proven to work, and what is wrong with the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, ValidationInfo, model_validator

from harness.checks.alert_delivered import AlertDelivered
from harness.checks.alert_fires import AlertFires
from harness.checks.check import Check, NoEvidence
from harness.checks.evidence import some
from harness.checks.parameters import AlertName, Parameters, known
from harness.checks.quiet import Quiet
from harness.checks.view import NONE, TEMPLATE, View, named
from harness.checks.watchdog import WatchdogUnbroken
from harness.history import History
from harness.parameters import Share
from harness.units import percent
from harness.verdict import Result, Verdict

PROOFS = {AlertFires.kind, AlertDelivered.kind}
# Words for severities, the worst first. Those that are not here come after them, and NONE and TEMPLATE in the end.
WORST_FIRST = (
    *("emergency", "disaster", "critical", "page", "error", "high", "major", "warning", "medium", "minor"),
    *("ticket", "low", "info", "informational", "debug"),
)


@dataclass(frozen=True)
class AlertCoverage(Check):
    """At least this share of the alert rules of one severity is PROVEN: both proofs hold in an experiment."""

    severity: str
    at_least: float = 1.0
    rules: tuple[tuple[str, str], ...] = ()  # every alert rule of the service: (`str` of the alert, severity)
    not_applicable: tuple[str, ...] = ()  # alerts that cannot be exercised here: they need a GPU, say
    not_run: tuple[tuple[str, str], ...] = ()  # alerts whose experiments could not take place here, and why
    unproven: tuple[tuple[str, str], ...] = ()  # alerts that nothing exercises, and why that is taken
    kind: ClassVar[str] = "alert_coverage"
    judges_results: ClassVar[bool] = True

    class Parameters(Parameters):
        """A share for each severity that is named, and the alerts that are left out, each with the reason."""

        model_config = ConfigDict(extra="allow")
        __pydantic_extra__: dict[str, Share]
        unproven: dict[AlertName, Annotated[str, Field(min_length=10)]] = Field(default_factory=dict)

        @model_validator(mode="after")
        def _some_severity(self, info: ValidationInfo) -> Any:
            for word in self.__pydantic_extra__:
                known("severity of a rule", word, worst_first(rule.severity for rule in info.context.rules))
            if not self.__pydantic_extra__:
                raise ValueError("must name a severity, like {critical: 100%}")
            return self

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> list[AlertCoverage]:
        """One for each severity that is named."""
        rules = tuple((str(rule.alert), rule.severity) for rule in view.rules)
        given = cls.Parameters.read(parameters, view)
        unproven = tuple((key, why) for name, why in given.pop("unproven").items() for key in _keys(name, view))
        known = {key for key, severity in rules if severity in given}
        if rules and (others := [key for key, _ in unproven if key not in known]):
            raise ValueError(f"unproven: {others[0]} is of none of the severities that are named; drop it")
        here = (rules, view.not_applicable, view.not_run, unproven)
        return [cls(severity, share, *here) for severity, share in given.items()]

    @property
    def subject(self) -> str:
        return f"{self.severity} alerts"

    def judge_results(self, history: History, results: Sequence[Result]) -> Result:
        """FAIL when it cannot reach the share; INCONCLUSIVE when it still might, or no rule has this severity."""
        if not results:
            raise NoEvidence("no other check is judged, so no alert can be proven", "add `- contracts` to the checks")
        mine = [rule for rule in self.rules if rule[1] == self.severity]
        found = statuses(results, history, mine, self.not_applicable, self.not_run)
        tally = coverage(found).get(self.severity, {"proven": 0, "applicable": 0})
        nothing = {name for name, one in found.items() if one["status"] == "UNEXERCISED" or "not_run" in one}
        left_out = {name: why for name, why in self.unproven if name in nothing}
        proven, applicable = tally["proven"], tally["applicable"] - len(left_out)
        found = {name: one for name, one in found.items() if name not in left_out}
        if not applicable:
            which = f"of severity {self.severity}" + ", but for those left out," * bool(left_out)
            raise NoEvidence(f"no alert rule {which} applies here", "drop it from alert_coverage")
        share = proven / applicable
        reason = f"{proven} of {applicable} proven, {percent(share)}, bound {percent(self.at_least)}"
        if by_replay := [name for name, s in found.items() if s.get("proof") == "replay"]:
            reason += f"; {len(by_replay)} of them by replay and posted"
        if left_out:
            reason += f"; left out: {', '.join(f'{name} ({why})' for name, why in left_out.items())}"
        others = [
            f"{name} {s['status']}" + (f" ({s['not_run']})" if "not_run" in s else "")
            for name, s in found.items()
            if s["status"] not in ("PROVEN", "NOT-APPLICABLE")
        ]
        if others:
            reason += f": {', '.join(others)}"
        unknown = sum(s["status"] == "INCONCLUSIVE" for s in found.values())
        verdict, remedy = Verdict.PASS, ""
        if share < self.at_least and (proven + unknown) / applicable >= self.at_least:
            verdict, remedy = Verdict.INCONCLUSIVE, "see each alert's own result"
            if any("not_run" in one for one in found.values()):
                remedy += "; run it where those experiments can take place, or leave them out by unproven"
        elif share < self.at_least:
            verdict = Verdict.FAIL
            remedy = "mend these alerts; for UNEXERCISED ones write an experiment that expects them"
        lacking = {name for name, s in found.items() if s["status"] not in ("PROVEN", "NOT-APPLICABLE")}
        evidence = some(*(r.evidence for r in results if r.alert in lacking)) if remedy else ()
        figures = {"measured": share, "bound": self.at_least, "unit": "share"}
        return self.result(verdict, reason, remedy, evidence=evidence, **figures)


def statuses(
    results: Sequence[Result],
    history: History,
    rules: Iterable[tuple[str, str]],
    not_applicable: Iterable[str] = (),
    not_run: Iterable[tuple[str, str]] = (),
) -> dict[str, dict[str, Any]]:
    """`str` of the alert -> {"severity", "status", "proof", "experiments", "timed_in", timings in production
    seconds...}, as the rules go, from the results of the other checks.

    status: PROVEN, SILENT, LATE, MISROUTED, REJECTED, UNRESOLVED, FALSE-RESOLVED, NOISY, UNEXERCISED, NOT-APPLICABLE,
    BROKEN (a Watchdog that paused) or INCONCLUSIVE. A failure in any experiment outweighs a proof in another.
    simulated: it is proven by faults alone that a stand-in played. not_run: why no experiment of it took place, which
    makes it INCONCLUSIVE.
    without_data names the metrics an alert reads that were absent in some phase: there it was not quiet but blind.
    """
    not_applicable, not_run = set(not_applicable), dict(not_run)
    noisy = {alert for result in results if result.check == Quiet.kind for alert in result.timings}
    watchdogs = {result.alert: result for result in results if result.check == WatchdogUnbroken.kind}
    played = simulated(history)
    found: dict[str, dict[str, Any]] = {}
    for alert, severity in rules:
        proofs = [r for r in results if r.check in PROOFS and r.alert == alert and severity in (r.severity, TEMPLATE)]
        one: dict[str, Any] = {"severity": severity}
        if alert in not_run and not proofs and alert not in noisy:
            one |= {"status": "INCONCLUSIVE", "not_run": not_run[alert]}
        elif alert in not_applicable and not proofs:
            one["status"] = "NOT-APPLICABLE"
        elif alert in noisy:
            one["status"] = "NOISY"
        elif alert in watchdogs:
            one["status"] = _watchdog(history, watchdogs[alert])
        else:
            one["status"] = _status(proofs)
            if one["status"] == "PROVEN":
                one["proof"] = "replay" if {proof.experiment for proof in proofs} <= _posted(history, alert) else "live"
        one["experiments"] = list(dict.fromkeys(proof.experiment for proof in proofs))
        if one["status"] == "PROVEN" and proofs and played.issuperset(one["experiments"]):
            one["simulated"] = True
        if blind := {metric for phase in history.replays.values() if alert in phase for metric in phase[alert].blind}:
            one["without_data"] = sorted(blind)
        found[alert] = one | _timings(proofs)
    return found


def coverage(found: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Severity -> {"proven", "applicable"} of what `statuses` gives, the worst severity first; "simulated": how many of
    the proven are so by a stand-in, where any is."""
    severities = worst_first(one["severity"] for one in found.values())
    tally: dict[str, dict[str, int]] = {severity: {"proven": 0, "applicable": 0} for severity in severities}
    for one in found.values():
        of_it = tally[one["severity"]]
        of_it["proven"] += one["status"] == "PROVEN"
        of_it["applicable"] += one["status"] != "NOT-APPLICABLE"
        if one.get("simulated"):
            of_it["simulated"] = of_it.get("simulated", 0) + 1
    return tally


def simulated(history: History) -> set[str]:
    """The experiments whose faults a stand-in plays."""
    starts = [e for e in history.of("fault") if e.detail.get("edge") == "start"]
    real = {e.detail.get("experiment") for e in starts if not e.detail.get("simulated")}
    return {e.detail.get("experiment") for e in starts} - real


def worst_first(severities: Iterable[str]) -> list[str]:
    """Words for severities, each once, in an order for a reader."""
    rank = {word: n for n, word in enumerate((*WORST_FIRST, "", NONE, TEMPLATE))}
    return sorted(dict.fromkeys(severities), key=lambda word: (rank.get(word.lower(), rank[""]), word))


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


def _posted(history: History, alert: str) -> set[str]:
    """The experiments by whose replays an alert was posted."""
    return {e.detail.get("experiment", "") for e in history.of("run", "posted") if e.detail.get("alert") == alert}


def _keys(name: str, view: View) -> list[str]:
    """The alerts that an entry means, as the statuses have them."""
    return [str(fact.alert) for fact in named(name, view.rules)]


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
