"""Quiet: nothing fires that nobody expects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.checks.check import Check, NoEvidence
from harness.checks.evidence import phase
from harness.checks.parameters import AlertName, Parameters, Phase
from harness.checks.view import STEADY, View
from harness.history import History, Window
from harness.units import count, duration, listed
from harness.verdict import Result, Verdict


@dataclass(frozen=True)
class Quiet(Check):
    """In a phase only the allowed alerts fire: live, and in the replay of the phase on the production rules.

    Without the replay it is half judged: rules that cannot be compressed ran nowhere else.
    """

    phase: str
    allowed: frozenset[str] = frozenset()
    watchdog: str = "Watchdog"  # always fires, and shows that silence is silence
    kind: ClassVar[str] = "quiet"

    class Parameters(Parameters):
        phase: Phase | None = None
        may_fire: tuple[AlertName, ...] = ()

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> tuple[Quiet, ...]:
        """One for the phase that is named, or for each; allowed is what the load or a contract may raise, and more."""
        given = cls.Parameters.read(parameters, view)
        allowed = {STEADY: view.may_fire} | {
            name: (*(a.alert for a in contract.alerts), *contract.may_fire) for name, contract in view.contracts
        }
        always, *more = view.always_firing or ("",)
        names = [given["phase"]] if given["phase"] else [STEADY, *(name for name, _ in view.contracts)]
        return tuple(
            cls(name, frozenset((*allowed.get(name, ()), *given["may_fire"], *more)), always) for name in names
        )

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
            remedy = "mend the rule, or allow the alert by may_fire: an experiment's, or load.may_fire in gate.yaml"
            return self.result(Verdict.FAIL, reason, remedy, status="NOISY", **figures)
        if not replayed:
            why = f"no replay of the production rules on the record of {self.phase}"
            raise NoEvidence(why, "see the run's log for why")
        replays = history.replays[self.phase].items()
        if unknown := {name: r.problem for name, r in replays if r.problem and not self._expected(name)}:
            names = sorted(unknown)
            of = names[0] + (f" and {count(len(names) - 1, 'other alert')}" if len(names) > 1 else "")
            why = f"0 unexpected alerts fired, but of {of} nothing is known: {unknown[names[0]]}"
            raise NoEvidence(why, f"what promtool was given is in the run's folder, replay/{self.phase}/")
        fired = sorted({labels["alertname"] for labels, s in history.alert_spans() if self._overlaps(s, window)})
        expected = [name for name in fired if name != self.watchdog]
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
            name: max(0.0, (r.last_firing_s or 0.0) - (r.firing_s or 0.0))
            for name, r in history.replays.get(self.phase, {}).items()
            if (r.firing_s is not None or r.fired_before) and not self._expected(name)
        }
        return replayed | self._live(history)

    def _live(self, history: History) -> dict[str, float]:
        window = history.phase(self.phase)
        found: dict[str, float] = {}
        for labels, span in history.alert_spans() if window else ():
            name = labels.get("alertname", "")
            if self._overlaps(span, window) and not self._expected(name):
                seen = min(span.end, window.end) - max(span.start, window.start)
                found[name] = found.get(name, 0.0) + seen * history.setting("time_scale", 1.0)
        return found

    def _expected(self, name: str) -> bool:
        return name in self.allowed or name == self.watchdog

    @staticmethod
    def _overlaps(span: Window, window: Window) -> bool:
        return span.start <= window.end and span.end >= window.start
