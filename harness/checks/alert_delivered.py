"""AlertDelivered: proof 2 of an alert, the live way from the rule through Alertmanager to the receiver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple, Self

from harness.alert import NAME, Alert
from harness.checks.check import Check, NoEvidence
from harness.checks.effect import Effect, needed_effect
from harness.checks.evidence import of_alert, of_events, of_fault, of_notifications, phase, setting, some
from harness.checks.parameters import AlertName, ExperimentName, Parameters
from harness.checks.view import TEMPLATE, AlertBounds, RuleFact, View
from harness.eventlog import Event
from harness.history import History, Notification, Window, left_firing
from harness.units import duration, listed
from harness.verdict import Reference, Result, Verdict

PASS, INCONCLUSIVE, FAIL = Verdict
PIPELINE_S = 2.0  # gate seconds after which a message that Prometheus and Alertmanager still owe does not come


class _Finding(NamedTuple):
    """One thing that is wrong, or not known."""

    verdict: Verdict
    how: str  # after "pagerduty was notified after 2 min (bound 3 min)"
    remedy: str
    status: str = ""


@dataclass(frozen=True)
class AlertDelivered(Check):
    """The right receiver is notified in time that the alert fires, by each of its integrations and in a form that each
    accepts, and in time that it is over.

    Judged on the live, time-compressed copy of the rule; times in the sentences are production time again. The bounds
    are the contract's alone: what Alertmanager is configured to wait is what is judged.
    """

    experiment: str
    alert: Alert
    severity: str
    receiver: str
    notified_within_s: float  # production seconds after the fault began
    resolved_notified_within_s: float | None = None  # production seconds after its effect ended; None: not judged
    refused: tuple[str, ...] = ()  # why no compressed copy ran live
    place: str = ""
    proof: str = "both"  # "replay": the contract accepts that this alert is proven by replay alone
    posted: bool = False  # to Alertmanager, as its replay raised it, for it cannot be raised live; then that is judged
    templated: bool = False  # the rule's severity is a template, so the live alert's is compared
    integrations: tuple[tuple[str, bool], ...] = ()  # the receiver's: (name, sends resolutions); (): not known
    route: str = ""  # file:line of the route that the alert takes to it, where that is known
    group_wait_s: float | None = None  # production seconds, that route's
    group_interval_s: float | None = None
    group_by: tuple[str, ...] | None = None  # that route's; None: not known
    intervals: tuple[str, ...] = ()  # mute and active times of that route, which never mute it here
    inhibiting: tuple[tuple[Alert, str], ...] = ()  # alerts that may inhibit this one, and the place of that
    rewritten: tuple[str, ...] = ()  # labels of the alert that Prometheus may change before it sends it
    resolution_s: float | None = (
        None  # how near to a bound is too near, production seconds; None: a scrape and evaluation
    )
    kind: ClassVar[str] = "alert_delivered"

    class Parameters(Parameters, AlertBounds):
        experiment: ExperimentName
        alert: AlertName
        receiver: str
        proof: Literal["both", "replay"] = "both"

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> tuple[AlertDelivered, ...]:
        given = cls.Parameters.model_validate({} if parameters is None else parameters, context=view)
        rule = view.one(given.alert)
        return (cls.promised(given.experiment, rule, rule.severity, given.receiver, given, given.proof, view),)

    @classmethod
    def promised(
        cls, experiment: str, rule: RuleFact, severity: str, receiver: str, within: AlertBounds, proof: str, view: View
    ) -> Self:
        """The check that an alert's rule and its receiver keep to these bounds."""
        ways = next((ways for alert, of, ways in view.ways if (alert, of) == (rule.alert, severity)), ())
        way = next((way for way in ways if way.receiver == receiver), None)
        own = ("group_wait_s", "group_interval_s", "group_by", "intervals")
        about = {} if way is None else {"route": way.place, **{name: getattr(way, name) for name in own}}
        return cls(
            experiment,
            rule.alert,
            severity,
            receiver,
            within.notified_s,
            within.resolved_notified_s,
            place=rule.place,
            proof=proof,
            posted=proof == "replay",
            templated=rule.severity == TEMPLATE,
            integrations=next((each for name, each in view.integrations if name == receiver), ()),
            rewritten=next((names for alert, names in view.rewritten if alert == rule.alert), ()),
            inhibiting=tuple(dict.fromkeys(each for way in ways for each in way.inhibiting)),
            **about,
        )

    @property
    def subject(self) -> str:
        return f"{self.experiment}: {self.alert} to {self.receiver}"

    def timings(self, history: History) -> dict[str, float]:
        """What is known, in production seconds: notified_s after the fault began, resolved_notified_s after its effect
        ended; of several integrations the last one's."""
        try:
            moments, scale = self._moments(history), setting(history, "time_scale")
            self = self._told_apart(history, moments)
            firing = self._firing(history, moments)
        except NoEvidence:
            return {}
        over = self._over(history, moments, firing)
        live = [w.start for _, w in history.alert_spans(self._live) if w.end >= moments.start]
        known = {"notified_s": scale * (max(n.at for n in firing.values()) - moments.start)} if firing else {}
        if firing and self.group_wait_s is not None:
            known["group_wait_s"] = self.group_wait_s
        if firing and live and not self.posted:
            known["live_firing_s"] = scale * max(0.0, live[0] - moments.start)
        if over and moments.over is not None:
            known["resolved_notified_s"] = max(0.0, scale * (max(n.at for n in over.values()) - moments.over))
        return known

    def judge(self, history: History) -> Result:
        """FAIL as SILENT, MISROUTED, LATE, REJECTED, FALSE-RESOLVED or UNRESOLVED."""
        result = self._judged(history)
        return result if result.verdict is PASS else replace(result, evidence=self._evidence(history))

    def _judged(self, history: History) -> Result:
        if self.posted:
            return self._arrived(history)
        if self.refused:
            return self._refused()
        window, moments = phase(history, self.experiment), self._moments(history)
        self = self._told_apart(history, moments)
        if any(span.start <= moments.start <= span.end for _, span in history.alert_spans(self._live)):
            reason = f"was already firing live before the fault began, so notifying {self.receiver} proves nothing"
            return self.result(INCONCLUSIVE, reason, "let the effect of what came before die down before this fault")
        if (
            NAME in self.rewritten
            or (self.rewritten and self.alert.others)
            or (self.templated and "severity" in self.rewritten)
        ):
            why = f"Prometheus may change {listed(self.rewritten)} of an alert it sends, so its rule is not known"
            raise NoEvidence(why, "let external_labels and alert_relabel_configs leave alone what tells rules apart")
        firing = self._firing(history, moments)
        if not firing:
            return self._not_notified(history, moments, window)
        return self._took(history, moments, window, firing)

    def _took(
        self, history: History, moments: Effect, window: Window, firing: dict[str, Notification], how: str = ""
    ) -> Result:
        """What there is to say where it was notified. how: more to say of that."""
        scale = setting(history, "time_scale")
        took_s = scale * (max(n.at for n in firing.values()) - moments.start)
        figures = {"measured": took_s, "bound": self.notified_within_s, "unit": "s"}
        said = f"{self.receiver} was notified after {duration(took_s)} (bound {duration(self.notified_within_s)}){how}"
        if ahead_s := scale * self._ahead(history, moments):  # of its `for`, which the fault then did not wait for
            said += f", and at most {duration(took_s + ahead_s)} had it not been pending before the fault began"
            if took_s <= self.notified_within_s < took_s + ahead_s:
                remedy = "let the effect of what came before die down, or run again with more processor"
                return self.result(INCONCLUSIVE, said, remedy, **figures)
        found = [
            *self._late(history, moments, took_s),
            *self._by_each(history, moments, window, firing),
            *self._resolved(history, moments, window, firing),
        ]
        if found:
            worst = max(finding.verdict for finding in found)
            first, *more = (finding for finding in found if finding.verdict is worst)
            reason = said + "".join(dict.fromkeys(finding.how for finding in (first, *more)))
            return self.result(worst, reason, first.remedy, status=first.status, **figures)
        return self.result(PASS, said + self._all_over(history, moments, firing), status="PROVEN", **figures)

    def _arrived(self, history: History) -> Result:
        """The verdict on an alert that was posted as its replay raised it."""
        posted = self._posted(history)
        moments, window = self._moments(history), self._window(history)
        by = [name for name, _ in posted.detail["inhibited"]]
        how = ", posted as the replay raised it"
        if by:
            how += f" and {listed(by)}, which may inhibit it, were over"
        if firing := self._firing(history, moments):
            return self._took(history, moments, window, firing, how)
        figures, bound = {"bound": self.notified_within_s, "unit": "s"}, duration(self.notified_within_s)
        gave_up = "".join(dict.fromkeys(self._given_up(history, name) for name, _ in self.integrations))
        elsewhere = [n for n in self._during(history, moments) if n.status == "firing" and n.receiver != self.receiver]
        if elsewhere and not gave_up:
            who = listed(sorted({n.receiver for n in elsewhere}))
            reason = f"{who} was notified{how} instead of {self.receiver} (bound {bound})"
            return self.result(
                FAIL, reason, "see the route for its labels: amtool config routes test", status="MISROUTED", **figures
            )
        if never := posted.detail.get("never_free"):
            reason = (
                f"{self.receiver} was never notified{how} (bound {bound}): {listed(never)} inhibits it all the time"
            )
            remedy = "let the fault be weaker, so that it does not raise what inhibits this alert"
            return self.result(FAIL, reason, remedy, status="SILENT", **figures)
        reason = f"{self.receiver} was never notified{how} (bound {bound}){gave_up}"
        return self.result(
            FAIL, reason, "see Alertmanager's log, its inhibitions and mute times", status="SILENT", **figures
        )

    def _posted(self, history: History) -> Event:
        """The event of its being posted. Raises NoEvidence."""
        about = {"experiment": self.experiment, "alert": str(self.alert)}
        events = [e for e in history.of("run", "posted") if about.items() <= e.detail.items()]
        if not events:
            why = "was not posted to Alertmanager, because its rule did not fire in the replay"
            raise NoEvidence(why, "see its replay")
        return events[-1]

    def _moments(self, history: History) -> Effect:
        """When the fault began and was over, as seen by its receiver: for one that was posted as long ago as it was in
        the replay when the alert began and ended."""
        if not self.posted:
            return needed_effect(history, self.experiment)
        detail, scale = self._posted(history).detail, setting(history, "time_scale")
        over = detail["resolved_at"] - detail["after_effect_s"] / scale
        return Effect(detail["firing_at"] - detail["fires_s"] / scale, over, over)

    def _window(self, history: History) -> Window:
        """Where its notifications may be."""
        if not self.posted:
            return phase(history, self.experiment)
        detail = self._posted(history).detail
        return Window(detail["firing_at"], detail["ended_at"])

    def _evidence(self, history: History) -> tuple[Reference, ...]:
        """What receivers got about it, where Alertmanager gave up, when it fired live, and the fault."""
        try:
            window = self._window(history)
        except NoEvidence:
            return ()
        about = [n for n in history.notifications if n.about(self._sent) and window.start <= n.at <= window.end]
        about.sort(key=lambda n: (n.receiver != self.receiver, n.at))
        given_up = [e for e in history.of("alertmanager", "not-notified", window) if self._is_of_it(e)]
        live = of_alert(history, window, self._live)
        return some(of_notifications(about), of_events(given_up), live, of_fault(history, self.experiment))

    def _is_of_it(self, event: Event) -> bool:
        return {"experiment": self.experiment, "receiver": self.receiver}.items() <= event.detail.items()

    def _late(self, history: History, moments: Effect, took_s: float) -> Iterator[_Finding]:
        """The first half: not notified in time that it fires, or so nearly that nobody can tell."""
        within_s = self.notified_within_s
        if self._too_late(history, took_s, within_s):
            how, remedy = "", "shorten `for` and window of the rule, or widen the contract's notified_within"
            if fired := [w.start for _, w in history.alert_spans(self._live) if w.end >= moments.start]:
                after_s = setting(history, "time_scale") * max(0.0, fired[0] - moments.start)
                how = f"; it fired live after {duration(after_s)}"
            if took_s - within_s <= (self.group_wait_s or 0.0):
                how += f"; {self._route} waits {duration(self.group_wait_s)}"
                remedy = "shorten group_wait of the route, or widen the contract's notified_within"
            yield _Finding(FAIL, how, remedy, "LATE")
        elif self._too_near(history, took_s, within_s):
            yield self._near(history)

    def _by_each(
        self, history: History, moments: Effect, window: Window, firing: dict[str, Notification]
    ) -> Iterator[_Finding]:
        """An integration that was not notified, or would not have taken what it got."""
        for name in (name for name, _ in self.integrations if name not in firing):
            watched_s = setting(history, "time_scale") * (window.end - moments.start)
            if self._too_late(history, watched_s, self.notified_within_s):
                remedy = f"see Alertmanager's log for why nothing was sent to {name}"
                yield _Finding(FAIL, f"; by {name} it never was{self._given_up(history, name)}", remedy, "SILENT")
            else:
                how = f"; by {name} it was not yet when the phase ended"
                yield _Finding(INCONCLUSIVE, how, "let the experiment go on for longer")
        over = self._over(history, moments, firing)
        for name, first in firing.items():
            if problems := first.problems + (over[name].problems if name in over else ()):
                how = f"; {name or first.integration} would not have taken it: {'; '.join(problems)}"
                yield _Finding(FAIL, how, "mend the receiver's configuration or template", "REJECTED")

    def _resolved(
        self, history: History, moments: Effect, window: Window, firing: dict[str, Notification]
    ) -> Iterator[_Finding]:
        """The second half: notified that it is over while the fault lasts, too late, or not at all."""
        scale, within_s = setting(history, "time_scale"), self.resolved_notified_within_s
        for n in self._closing(history, moments):
            first = firing.get(self._name(n))
            if first is not None and first.at < n.at < moments.gone:
                how = f", but also of its resolution, {duration(scale * (moments.gone - n.at))} before the fault ended"
                yield _Finding(FAIL, how, "the expression loses its data during the fault", "FALSE-RESOLVED")
        if within_s is None:
            return
        if moments.over is None:
            how = ", but the effect of the fault never ended, so its resolution cannot be judged"
            yield _Finding(INCONCLUSIVE, how, "see why the service did not become ready again")
            return
        bound = duration(within_s)
        if self.integrations and not any(sends for _, sends in self.integrations):
            how = f", but never of its resolution (bound {bound}): no integration of {self.receiver} sends any"
            remedy = (
                "set send_resolved: true, or leave resolves_within and resolved_notified_within out of the contract"
            )
            yield _Finding(FAIL, how, remedy, "UNRESOLVED")
            return
        over = self._over(history, moments, firing)
        for name in self._sending(firing):
            if name in over:
                yield from self._over_late(history, moments, over[name], within_s)
            else:
                yield self._never_over(history, moments, window, name, within_s)

    def _over_late(self, history: History, moments: Effect, over: Notification, within_s: float) -> Iterator[_Finding]:
        after_s = max(0.0, setting(history, "time_scale") * (over.at - moments.over))
        how = f", and of its resolution {duration(after_s)} after the effect (bound {duration(within_s)})"
        if self._too_late(history, after_s, within_s):
            remedy = "shorten the rule's window and keep_firing_for, or widen the contract's resolved_notified_within"
            if after_s - within_s <= (self.group_interval_s or 0.0):
                how += f"; {self._route} sends what changes in a group every {duration(self.group_interval_s)}"
                remedy = "shorten group_interval of the route, or widen the contract's resolved_notified_within"
            yield _Finding(FAIL, how, remedy, "UNRESOLVED")
        elif self._too_near(history, after_s, within_s):
            near = self._near(history)
            yield near._replace(how=how + near.how)

    def _never_over(self, history: History, moments: Effect, window: Window, name: str, within_s: float) -> _Finding:
        """No integration, or not this one, was notified that it is over."""
        scale, bound = setting(history, "time_scale"), duration(within_s)
        by = f" by {name}" if name else ""
        ends = sorted(span.end for _, span in history.alert_spans(self._live) if span.start <= window.end)
        stopped = bool(ends) and ends[-1] < window.end - 3 * history.setting("evaluation_s", 15.0)
        waited_s = scale * (window.end - moments.over)
        since_s = scale * (window.end - ends[-1]) if stopped else 0.0
        over_due = self.group_interval_s is not None and since_s > self.group_interval_s + scale * PIPELINE_S
        if not self._too_late(history, waited_s, within_s) and not over_due:
            how = f", but the phase ended {duration(max(0.0, waited_s))} later, before its resolution was due ({bound})"
            return _Finding(INCONCLUSIVE, how, "let the experiment go on for longer after its fault")
        if not stopped:
            how = f", but the alert was still firing live {duration(waited_s)} after the effect, bound {bound}"
            return _Finding(FAIL, how, "shorten the rule's window or keep_firing_for", "UNRESOLVED")
        before = duration(since_s)
        how = f", but never of its resolution{by}: the alert stopped firing {before} before the end, bound {bound}"
        remedy = f"has {self.receiver} send_resolved: false? (for slack and email that is the default)"
        if since_s < (self.group_interval_s or 0.0):
            how += f"; {self._route} sends what changes in a group every {duration(self.group_interval_s)}"
            remedy = "shorten group_interval of the route, or widen the contract's resolved_notified_within"
        elif self.integrations:
            remedy = "see Alertmanager's log for why nothing was sent"
        return _Finding(FAIL, how, remedy, "UNRESOLVED")

    def _all_over(self, history: History, moments: Effect, firing: dict[str, Notification]) -> str:
        """That the resolution came in time, or is not judged."""
        if self.resolved_notified_within_s is None:
            return f"; its resolution is not judged, for the contract does not bound it{self._held_open}"
        last = max(n.at for n in self._over(history, moments, firing).values())
        after = duration(max(0.0, setting(history, "time_scale") * (last - moments.over)))
        bound = duration(self.resolved_notified_within_s)
        return f", and of its resolution {after} after the effect (bound {bound}){self._held_open}"

    @property
    def _held_open(self) -> str:
        if not self.intervals:
            return ""
        return f"; {listed(self.intervals)}, which in production mutes {self._route} at times, does not here"

    def _not_notified(self, history: History, moments: Effect, window: Window) -> Result:
        """Nobody, or the wrong one, was notified."""
        scale, within_s = setting(history, "time_scale"), self.notified_within_s
        figures, bound = {"bound": within_s, "unit": "s"}, duration(within_s)
        watched_s = scale * (window.end - moments.start)

        def fired_as(alert: Alert) -> list[tuple[Any, Window]]:
            spans = history.alert_spans(alert)
            return [(labels, w) for labels, w in spans if w.end >= moments.start and w.start <= window.end]

        fired = fired_as(self._live)
        lasted = [min(window.end, w.end) - max(moments.start, w.start) for _, w in fired]
        waits = bool(lasted) and scale * max(lasted) < (self.group_wait_s or 0.0)  # what is over by then is never sent
        gave_up = "".join(dict.fromkeys(self._given_up(history, name) for name, _ in self.integrations))
        elsewhere = [n for n in self._during(history, moments) if n.status == "firing" and n.receiver != self.receiver]
        others_too = self.route and (waits or gave_up or not self._too_late(history, watched_s, within_s))
        if elsewhere and not others_too:
            who = listed(sorted({n.receiver for n in elsewhere}))
            after_s = scale * (elsewhere[0].at - moments.start)
            reason = f"{who} was notified after {duration(after_s)} instead of {self.receiver} (bound {bound}){gave_up}"
            remedy = "see the route for its labels: amtool config routes test"
            return self.result(FAIL, reason, remedy, status="MISROUTED", **figures)
        if not fired and not history.named("ALERTS"):
            raise NoEvidence("Prometheus recorded no alerts at all in this run", "see its log: did it load the rules?")
        if self.templated and not fired and (others := fired_as(self.alert)):
            severities = listed(sorted({labels.get("severity") or "none" for labels, _ in others}))
            reason = f"fired live with severity {severities}, and the contract expects {self.severity}"
            return self.result(FAIL, reason, "mend the template of the rule's severity", status="MISROUTED", **figures)
        if not self._too_late(history, watched_s, within_s):
            after = duration(watched_s)
            reason = f"{self.receiver} had not been notified when the phase ended, {after} after the fault began"
            remedy = "let the experiment go on for longer"
            return self.result(INCONCLUSIVE, f"{reason} (bound {bound})", remedy, **figures)
        if fired:
            how = f"fired live after {duration(scale * max(0.0, fired[0][1].start - moments.start))}, but"
            remedy = "see Alertmanager's log, its inhibitions and mute times"
            more = gave_up + self._inhibited(history, fired[0][1])
            if waits:
                more += f"; {self._route} waits {duration(self.group_wait_s)}"
        else:
            how, more = f"never fired live in {duration(watched_s)}, so", ""
            remedy = "see its replay: does the production rule fire?"
            replayed = history.replays.get(self.experiment, {}).get(str(self.alert))
            if replayed is not None and replayed.blind:
                more = f"; no sample of {listed(replayed.blind)}, which its rule reads, is in the record"
        reason = f"{how} {self.receiver} was never notified (bound {bound}){more}"
        return self.result(FAIL, reason, remedy, status="SILENT", **figures)

    def _given_up(self, history: History, name: str) -> str:
        """Why Alertmanager gave up to notify an integration, as an addition to a sentence."""
        about = {"experiment": self.experiment, "receiver": self.receiver, "integration": name}
        events = history.of("alertmanager", "not-notified")
        found = [e.detail.get("reason", "") for e in events if about.items() <= e.detail.items()]
        return f" ({found[0]})" if found else ""

    def _inhibited(self, history: History, fired: Window) -> str:
        """Which alerts that may inhibit this one fired at the same time, as an addition to a sentence."""
        found = [
            f"; {source} fired too, which inhibits it ({place})"
            for source, place in self.inhibiting
            if any(w.start <= fired.end and w.end >= fired.start for _, w in history.alert_spans(source))
        ]
        return "".join(dict.fromkeys(found))

    def _refused(self) -> Result:
        why = f"no compressed copy of the rule ran live: {'; '.join(self.refused)}"
        if self.proof == "replay" and not self.templated:
            reason = f"proven by replay alone, as the contract accepts ({why})"
            return self.result(PASS, reason, status="PROVEN")
        reason = f"notifying {self.receiver} could not be tried: {why}"
        remedy = (
            "say `proof: replay` in the contract if the replay is enough, or rewrite the rule so that it compresses"
        )
        if self.proof == "replay":
            reason += f"; and no replay shows whether its severity, a template, is {self.severity}"
            remedy = "write a rule for each severity, or rewrite the rule so that it compresses"
        return self.result(INCONCLUSIVE, reason, remedy)

    def _told_apart(self, history: History, moments: Effect) -> Self:
        """The check of an alert whose rivals raised nothing, where their replays say so."""
        window, replays = self._window(history), history.replays.get(self.experiment, {})

        def silent(alert: Alert) -> bool:
            found = replays.get(str(alert))
            return found is not None and not found.problem and found.firing_s is None and not found.fired_before

        if self.alert.rivals and all(silent(rival) for rival in self.alert.rivaling()):
            return replace(self, alert=self.alert.without_rivals())
        for labels, span in history.alert_spans(self.alert.name):
            seen = span.end >= moments.start and span.start <= window.end
            if rivals := [str(rival) for rival in self.alert.disputed(labels) if seen and not silent(rival)]:
                why = f"what fired live may be of {listed([str(self.alert), *rivals])}, whose labels may be the same"
                raise NoEvidence(why, "give the rules different names, or a label of different texts")
        return self

    @property
    def _live(self) -> Alert:
        """The alert as the live ones show it: with the severity that the contract expects."""
        if not self.templated:
            return self.alert
        return replace(self.alert, labels=(*self.alert.labels, ("severity", self.severity)))

    @property
    def _sent(self) -> Alert:
        """The alert as its notifications show it."""
        return replace(self._live, labels=tuple(label for label in self._live.labels if label[0] not in self.rewritten))

    @property
    def _route(self) -> str:
        return f"its route ({self.route})"

    def _too_late(self, history: History, took_s: float, within_s: float) -> bool:
        return took_s > within_s and not self._too_near(history, took_s, within_s)

    def _too_near(self, history: History, took_s: float, within_s: float) -> bool:
        return abs(took_s - within_s) < self._resolution_s(history)

    def _resolution_s(self, history: History) -> float:
        """What the live copy tells apart: when a sample is taken, and when it is looked at."""
        if self.resolution_s is not None:
            return self.resolution_s
        return setting(history, "time_scale") * (setting(history, "scrape_s") + setting(history, "evaluation_s"))

    def _near(self, history: History) -> _Finding:
        how = f", nearer than the {duration(self._resolution_s(history))} that a scrape and an evaluation leave open"
        return _Finding(INCONCLUSIVE, how, "widen the contract's bound, or make monitoring and routes faster")

    def _firing(self, history: History, moments: Effect) -> dict[str, Notification]:
        """The first message that it fires, to each integration where these are known."""
        return self._firsts([n for n in self._to_receiver(history, moments) if n.status == "firing"])

    def _over(self, history: History, moments: Effect, firing: dict[str, Notification]) -> dict[str, Notification]:
        """The message after that, and after the fault, by which all is over, to each integration that sends any."""
        last = {self._name(n): n for n in self._to_receiver(history, moments) if n.status == "firing"}
        ends = {self._name(n): n for n in self._closing(history, moments)}
        return {
            name: n
            for name, n in ends.items()
            if name in self._sending(firing) and n.at >= max(last[name].at, moments.gone)
        }

    def _closing(self, history: History, moments: Effect) -> list[Notification]:
        """The messages that leave nothing firing of what their integration was notified of: an alert may be of several
        instances, and come again."""
        found: list[Notification] = []
        messages = self._to_receiver(history, moments)
        for name in dict.fromkeys(map(self._name, messages)):
            mine = [n for n in messages if self._name(n) == name]
            left = left_firing(mine, self._sent, self.group_by)
            found += [n for n, firing in zip(mine, left, strict=True) if n.status == "resolved" and not firing]
        return found

    def _sending(self, firing: dict[str, Notification]) -> list[str]:
        """The integrations that were notified and send resolutions."""
        sends = dict(self.integrations)
        return [name for name in firing if sends.get(name, True)]

    def _firsts(self, messages: list[Notification]) -> dict[str, Notification]:
        found: dict[str, Notification] = {}
        for n in messages:
            found.setdefault(self._name(n), n)
        return found

    def _name(self, n: Notification) -> str:
        """The integration of a message, where the receiver's are known."""
        return n.integration if self.integrations else ""

    def _ahead(self, history: History, moments: Effect) -> float:
        """For how long the alert had been pending live when the fault began, in seconds of the gate."""
        spans = [span for _, span in history.alert_spans(self._live, "pending")]
        return max((moments.start - s.start for s in spans if s.start < moments.start <= s.end), default=0.0)

    def _to_receiver(self, history: History, moments: Effect) -> list[Notification]:
        return [n for n in self._during(history, moments) if n.receiver == self.receiver]

    def _during(self, history: History, moments: Effect) -> list[Notification]:
        window = self._window(history)
        since = max(moments.start, window.start) if self.posted else moments.start
        about = [n for n in history.notifications if n.about(self._sent) and since <= n.at <= window.end]
        if (self.alert.others or self.templated) and (unclear := [n for n in about if not n.labels]):
            why = f"{unclear[0].receiver} got a message about an alert {self.alert.name}, but without its labels"
            raise NoEvidence(why, "see notifications.jsonl for what the receiver got")
        return sorted(about, key=lambda n: n.at)
