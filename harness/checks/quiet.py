"""Quiet: nothing fires that nobody expects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.alert import NAME, Alert
from harness.checks.check import Check, NoEvidence
from harness.checks.evidence import of_notifications, of_series, phase, some, timed_out
from harness.checks.parameters import AlertName, Parameters, Phase
from harness.checks.view import STEADY, View, promised
from harness.history import History, Window
from harness.units import count, duration, listed
from harness.verdict import Reference, Result, Verdict


@dataclass(frozen=True)
class Quiet(Check):
    """In a phase only the allowed alerts fire: live, and in the replay of the phase on the production rules.

    Without the replay it is half judged: rules that cannot be compressed ran nowhere else.
    """

    phase: str
    allowed: frozenset[str] = frozenset()  # names of alerts, or single ones of a name as `str` gives them
    watchdog: str = "Watchdog"  # always fires, and shows that silence is silence
    shared: tuple[Alert, ...] = ()  # those whose name others have too
    kind: ClassVar[str] = "quiet"

    class Parameters(Parameters):
        phase: Phase | None = None
        may_fire: tuple[AlertName, ...] = ()

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> tuple[Quiet, ...]:
        """One for the phase that is named, or for each; allowed is what the load or a contract may raise, and more. Of
        experiments that take place at the same time each allows what the others may raise."""
        given = cls.Parameters.read(parameters, view)
        own = {
            name: [*(str(promised(a, view.rules).alert) for a in contract.alerts), *view.keys(contract.may_fire)]
            for name, contract in view.contracts
        }
        beside = {name: window for window in view.windows for name in window}
        allowed = {STEADY: view.keys(view.may_fire)} | {
            name: [alert for one in beside.get(name, (name,)) for alert in own.get(one, ())] for name in own
        }
        always, *others = view.always_firing or ("",)
        more = [*view.keys(given["may_fire"]), *others]
        shared = tuple(dict.fromkeys(rule.alert for rule in view.rules if rule.alert.others))
        names = [given["phase"]] if given["phase"] else [STEADY, *(name for name, _ in view.contracts)]
        return tuple(cls(name, frozenset((*allowed.get(name, ()), *more)), always, shared) for name in names)

    @property
    def subject(self) -> str:
        return f"{self.phase}: unexpected alerts"

    def judge(self, history: History) -> Result:
        """FAIL as NOISY with the names and for how long; INCONCLUSIVE without any sample of ALERTS in the phase."""
        window = phase(history, self.phase)
        live = self._live(history)
        if not any(self._overlaps(span, window) for _, span in history.alert_spans()):
            none = f"not even {self.watchdog}" if self.watchdog else "and no rule always fires"
            why = f"no alert at all is recorded in {self.phase}, {none}, so silence proves nothing"
            rule = self.watchdog or "rule, as `alert: Watchdog` with `expr: vector(1)`"
            raise NoEvidence(why, f"see Prometheus' log; has the service an always-firing {rule}?")
        noisy, replayed = self.noisy(history), self.phase in history.replays
        figures = {"measured": len(noisy), "bound": 0, "unit": "alerts"}
        if noisy:
            said = [
                f"{name} fired {'live ' if name in live else 'in the replay '}for {duration(s)}"
                for name, s in sorted(noisy.items())
            ]
            reason = f"{listed(said)}; at most 0 unexpected alerts may fire (production time)"
            reason += timed_out(history, window)
            remedy = "mend the rule, or allow the alert by may_fire: an experiment's, or load.may_fire in gate.yaml"
            if not noisy.keys() <= live.keys():
                remedy += f"; what promtool was given is in the run's folder, replay/{self.phase}/"
            evidence = self._evidence(history, window, noisy)
            return self.result(Verdict.FAIL, reason, remedy, status="NOISY", evidence=evidence, **figures)
        if not replayed:
            why = f"no replay of the production rules on the record of {self.phase}"
            raise NoEvidence(why, "see the run's log for why")
        replays = history.replays[self.phase].items()
        if unknown := {key: r.problem for key, r in replays if r.problem and not self._expected(key)}:
            keys = sorted(unknown)
            of = keys[0] + (f" and {count(len(keys) - 1, 'other alert')}" if len(keys) > 1 else "")
            why = f"0 unexpected alerts fired, but of {of} nothing is known: {unknown[keys[0]]}"
            raise NoEvidence(why, f"what promtool was given is in the run's folder, replay/{self.phase}/")
        fired = sorted({self._key(labels) for labels, s in history.alert_spans() if self._overlaps(s, window)})
        expected = [key for key in fired if key != self.watchdog]
        also = f" ({listed(expected)} fired, as allowed)" if expected else ""
        blind = sorted(name for name, r in history.replays.get(self.phase, {}).items() if r.blind)
        also += f"; {listed(blind)} had no data to fire on" if blind else ""
        reason = f"0 unexpected alerts live and in the replay in {duration(window.length)} of the gate, bound 0{also}"
        return self.result(Verdict.PASS, reason, **figures)

    def timings(self, history: History) -> dict[str, float]:
        """By the alert."""
        return self.noisy(history)

    def noisy(self, history: History) -> dict[str, float]:
        """The unexpected alerts and for how long each fired, in production seconds."""
        replayed = {
            key: max(0.0, (r.last_firing_s or 0.0) - (r.firing_s or 0.0))
            for key, r in history.replays.get(self.phase, {}).items()
            if (r.firing_s is not None or r.fired_before) and not self._expected(key)
        }
        return replayed | self._live(history)

    def _live(self, history: History) -> dict[str, float]:
        window = history.phase(self.phase)
        found: dict[str, float] = {}
        for labels, span in history.alert_spans() if window else ():
            key = self._key(labels)
            if self._overlaps(span, window) and not self._expected(key):
                seen = min(span.end, window.end) - max(span.start, window.start)
                found[key] = found.get(key, 0.0) + seen * history.setting("time_scale", 1.0)
        return found

    def _evidence(self, history: History, window: Window, noisy: Mapping[str, float]) -> tuple[Reference, ...]:
        """When those alerts fired live, and who was notified of it."""
        spans = [
            of_series({"__name__": "ALERTS", **labels}, span)
            for labels, span in history.alert_spans()
            if self._key(labels) in noisy and self._overlaps(span, window)
        ]
        names = {key.partition("{")[0] for key in noisy}
        messages = [n for n in history.notifications if names & {*n.alerts} and window.start <= n.at <= window.end]
        return some(spans, of_notifications(messages))

    def _key(self, labels: Mapping[str, str]) -> str:
        """The alert that one with these labels belongs to, as `str` gives it; one that is expected, where it may be of
        several, for the replay tells these apart."""
        owner = next((alert for alert in self.shared if alert.owns(labels)), None)
        if owner is None:
            return labels.get(NAME, "")
        return next((str(one) for one in owner.disputed(labels) if self._expected(str(one))), str(owner))

    def _expected(self, key: str) -> bool:
        name = next((alert.name for alert in self.shared if str(alert) == key), key)
        return not {key, name}.isdisjoint((*self.allowed, self.watchdog))

    @staticmethod
    def _overlaps(span: Window, window: Window) -> bool:
        return span.start <= window.end and span.end >= window.start
