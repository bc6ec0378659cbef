"""AlertDelivered: proof 2 of an alert, the live way from the rule through Alertmanager to the receiver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import Field

from harness.checks.check import Check, NoEvidence
from harness.checks.effect import Effect, needed_effect
from harness.checks.evidence import phase, setting
from harness.checks.parameters import AlertName, ExperimentName, Parameters
from harness.checks.view import View
from harness.history import History, Notification
from harness.parameters import Duration
from harness.units import duration, listed
from harness.verdict import Result, Verdict

PASS, INCONCLUSIVE, FAIL = Verdict


@dataclass(frozen=True)
class AlertDelivered(Check):
    """The right receiver is notified in time that the alert fires, in a form it accepts, and in time that it resolved.

    Judged on the live, time-compressed copy of the rule; times in the sentences are production time again.
    """

    experiment: str
    alert: str
    severity: str
    receiver: str
    fires_within_s: float  # production seconds after the fault began
    resolves_within_s: float  # production seconds after its effect ended
    delivery_s: float = 2.0  # gate seconds the pipeline may take beyond the contract
    refused: tuple[str, ...] = ()  # why no compressed copy ran live
    place: str = ""
    group_wait_s: float = 30.0  # production seconds, as the route says; Alertmanager's own default
    group_interval_s: float = 300.0  # production seconds; a resolution waits for its next tick
    proof: str = "both"  # "replay": the contract accepts that this alert is proven by replay alone
    kind: ClassVar[str] = "alert_delivered"

    class Parameters(Parameters):
        experiment: ExperimentName
        alert: AlertName
        receiver: str
        fires_within_s: Duration = Field(alias="fires_within")
        resolves_within_s: Duration = Field(alias="resolves_within")
        proof: Literal["both", "replay"] = "both"

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> tuple[AlertDelivered, ...]:
        given = cls.Parameters.read(parameters, view)
        waits = {"group_wait_s": view.group_wait_s, "group_interval_s": view.group_interval_s}
        return (cls(**view.proven(given["alert"]), **waits, **given),)

    @property
    def subject(self) -> str:
        return f"{self.experiment}: {self.alert} to {self.receiver}"

    def timings(self, history: History) -> dict[str, float]:
        """What is known, in production seconds: told_s after the fault began, told_over_s after its effect ended."""
        try:
            moments, scale = needed_effect(history, self.experiment), setting(history, "time_scale")
            notified, over = self._notified(history, moments)
        except NoEvidence:
            return {}
        known = {"told_s": scale * (notified.at - moments.start)} if notified else {}
        if over and moments.over is not None:
            known["told_over_s"] = max(0.0, scale * (over.at - moments.over))
        return known

    def judge(self, history: History) -> Result:
        """FAIL as SILENT, MISROUTED, LATE, REJECTED, FALSE-RESOLVED or UNRESOLVED."""
        if self.refused:
            return self._refused()
        scale = setting(history, "time_scale")
        window, moments = phase(history, self.experiment), needed_effect(history, self.experiment)
        if any(span.start <= moments.start <= span.end for _, span in history.alert_spans(self.alert)):
            return self._says(
                INCONCLUSIVE,
                f"was already firing live before the fault began, so notifying {self.receiver} proves nothing",
                remedy="let the effect of what came before die down before this fault",
            )
        notified, over = self._notified(history, moments)
        within_s = self.fires_within_s + self.group_wait_s + scale * self.delivery_s
        if notified is None:
            return self._not_notified(history, within_s)
        took_s = scale * (notified.at - moments.start)
        figures = {"measured": took_s, "bound": within_s, "unit": "s"}
        said = f"{self.receiver} was notified after {duration(took_s)} (bound {self._bound(scale)})"
        if took_s > within_s:
            return self._says(FAIL, said, "LATE", "shorten group_wait, or `for` and window of the rule", **figures)
        if ahead_s := scale * self._ahead(history, moments):  # of its `for`, which the fault then did not wait for
            said += f", and at most {duration(took_s + ahead_s)} had it not been pending before the fault began"
            if took_s + ahead_s > within_s:
                remedy = "let the effect of what came before die down, or run again with more processor"
                return self._says(INCONCLUSIVE, said, remedy=remedy, **figures)
        if problems := notified.problems + (over.problems if over else ()):
            reason = f"{said}, but {notified.integration} would not have taken it: {'; '.join(problems)}"
            return self._says(FAIL, reason, "REJECTED", "mend the receiver's configuration or template", **figures)
        early = [
            n for n in self._to_receiver(history, moments, "resolved") if n.at > notified.at and n.at < moments.gone
        ]
        if early:
            before = duration(scale * (moments.gone - early[0].at))
            reason = f"{said}, but also of its resolution, {before} before the fault ended"
            return self._says(
                FAIL, reason, "FALSE-RESOLVED", "the expression loses its data during the fault", **figures
            )
        if moments.over is None:
            reason = f"{said}, but the effect of the fault never ended, so its resolution cannot be judged"
            return self._says(INCONCLUSIVE, reason, "", "see why the service did not become ready again", **figures)
        return self._over(history, said, over, moments.over, window.end, scale, figures)

    def _over(
        self,
        history: History,
        said: str,
        over: Notification | None,
        over_at: float,
        end: float,
        scale: float,
        figures: dict,
    ) -> Result:
        """The second half: notified in time of the resolution."""
        within_s = self.resolves_within_s + self.group_interval_s + scale * self.delivery_s
        bound = duration(within_s)
        if over is not None:
            after_s = max(0.0, scale * (over.at - over_at))
            reason = f"{said}, and of its resolution {duration(after_s)} after the effect (bound {bound})"
            if after_s > within_s:
                remedy = "shorten group_interval, or the rule's window and keep_firing_for"
                return self._says(FAIL, reason, "UNRESOLVED", remedy, **figures)
            return self._says(PASS, reason, "PROVEN", **figures)
        ends = [span.end for _, span in history.alert_spans(self.alert) if span.start <= end]
        stopped = bool(ends) and ends[-1] < end - 3 * history.setting("evaluation_s", 15.0)
        waited_s = scale * (end - (ends[-1] if stopped else over_at))
        if stopped and waited_s > self.group_interval_s + scale * self.delivery_s:
            reason = (
                f"{said}, but never of its resolution: the alert stopped firing {duration(waited_s)} before the end"
            )
            remedy = f"has {self.receiver} send_resolved: false? (for slack and email that is the default)"
            return self._says(FAIL, f"{reason}, bound {bound}", "UNRESOLVED", remedy, **figures)
        if not stopped and waited_s > within_s:
            reason = f"{said}, but the alert was still firing live {duration(waited_s)} after the effect, bound {bound}"
            return self._says(FAIL, reason, "UNRESOLVED", "shorten the rule's window or keep_firing_for", **figures)
        reason = (
            f"{said}, but the phase ended {duration(max(0.0, waited_s))} later, before its resolution was due ({bound})"
        )
        return self._says(INCONCLUSIVE, reason, "", "let the experiment go on for longer after its fault", **figures)

    def _not_notified(self, history: History, within_s: float) -> Result:
        """Nobody, or the wrong one, was notified."""
        scale, window = setting(history, "time_scale"), phase(history, self.experiment)
        moments = needed_effect(history, self.experiment)
        figures = {"bound": within_s, "unit": "s"}
        bound = self._bound(scale)
        elsewhere = [n for n in self._during(history, moments) if n.status == "firing" and n.receiver != self.receiver]
        if elsewhere:
            who = listed(sorted({n.receiver for n in elsewhere}))
            after_s = scale * (elsewhere[0].at - moments.start)
            reason = f"{who} was notified after {duration(after_s)} instead of {self.receiver} (bound {bound})"
            return self._says(
                FAIL, reason, "MISROUTED", "see the route for its labels: amtool config routes test", **figures
            )
        watched_s = scale * (window.end - moments.start)
        fired = [w for _, w in history.alert_spans(self.alert) if w.end >= moments.start and w.start <= window.end]
        if not fired and not history.named("ALERTS"):
            raise NoEvidence("Prometheus recorded no alerts at all in this run", "see its log: did it load the rules?")
        if watched_s < within_s:
            after = duration(watched_s)
            reason = f"{self.receiver} had not been notified when the phase ended, {after} after the fault began"
            return self._says(
                INCONCLUSIVE, f"{reason} (bound {bound})", "", "let the experiment go on for longer", **figures
            )
        if fired:
            after = duration(scale * max(0.0, fired[0].start - moments.start))
            reason = f"fired live after {after}, but {self.receiver} was never notified (bound {bound})"
            return self._says(
                FAIL, reason, "SILENT", "see Alertmanager's log, its inhibitions and mute times", **figures
            )
        reason = f"never fired live in {duration(watched_s)}, so {self.receiver} was never notified (bound {bound})"
        return self._says(FAIL, reason, "SILENT", "see its replay: does the production rule fire?", **figures)

    def _refused(self) -> Result:
        why = f"no compressed copy of the rule ran live: {'; '.join(self.refused)}"
        if self.proof == "replay":
            return self._says(PASS, f"proven by replay alone, as the contract accepts ({why})", "PROVEN")
        remedy = (
            "say `proof: replay` in the contract if the replay is enough, or rewrite the rule so that it compresses"
        )
        return self._says(INCONCLUSIVE, f"notifying {self.receiver} could not be tried: {why}", remedy=remedy)

    def _notified(self, history: History, moments: Effect) -> tuple[Notification | None, Notification | None]:
        """The first message that it fires, and the first after it and after the fault that it is over."""
        notified = next(iter(self._to_receiver(history, moments, "firing")), None)
        over = [
            n
            for n in self._to_receiver(history, moments, "resolved")
            if notified and n.at >= max(notified.at, moments.gone)
        ]
        return notified, over[0] if over else None

    def _ahead(self, history: History, moments: Effect) -> float:
        """For how long the alert had been pending live when the fault began, in seconds of the gate."""
        spans = [span for _, span in history.alert_spans(self.alert, "pending")]
        return max((moments.start - s.start for s in spans if s.start < moments.start <= s.end), default=0.0)

    def _to_receiver(self, history: History, moments: Effect, status: str) -> list[Notification]:
        during = self._during(history, moments)
        return [n for n in during if n.receiver == self.receiver and n.status == status]

    def _during(self, history: History, moments: Effect) -> list[Notification]:
        window = phase(history, self.experiment)
        about = [n for n in history.notifications if self.alert in n.alerts and moments.start <= n.at <= window.end]
        return sorted(about, key=lambda n: n.at)

    def _bound(self, scale: float) -> str:
        parts = {"contract": self.fires_within_s, "group_wait": self.group_wait_s, "delivery": scale * self.delivery_s}
        return f"{duration(sum(parts.values()))}: {', '.join(f'{k} {duration(v)}' for k, v in parts.items())}"

    def _says(self, verdict: Verdict, reason: str, status: str = "", remedy: str = "", **figures: object) -> Result:
        return self.result(verdict, reason, status=status, remedy=remedy, **figures)
