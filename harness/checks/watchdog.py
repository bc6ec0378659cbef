"""WatchdogUnbroken: an always-firing alert never paused, so the monitoring itself worked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.checks.check import Check, NoEvidence
from harness.checks.evidence import of_alert, phase
from harness.checks.view import View
from harness.history import History, Window
from harness.units import duration
from harness.verdict import EVIDENCE_AT_MOST, Result, Verdict

WATCHDOG = "Watchdog"  # what the alert that always fires is mostly called


@dataclass(frozen=True)
class WatchdogUnbroken(Check):
    """The always-firing alert fires unbroken in every judged phase; what happens between them is not judged."""

    alert: str = WATCHDOG
    phases: tuple[str, ...] = ("steady",)
    kind: ClassVar[str] = "watchdog"

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> tuple[WatchdogUnbroken, ...]:
        """One for each such rule, whatever its name; without any, one that says so."""
        cls.Parameters.read(parameters, view)
        return tuple(cls(alert, view.phases) for alert in view.always_firing or ("",))

    @property
    def subject(self) -> str:
        return self.alert or "no always-firing rule"

    def judge(self, history: History) -> Result:
        """FAIL with the longest hole; INCONCLUSIVE when it was never recorded. Gate time."""
        if not self.alert:
            why = "no rule of the service always fires, so nothing shows that its alerting works"
            raise NoEvidence(why, "add one, as `alert: Watchdog` with `expr: vector(1)`, and route it to who misses it")
        windows = [phase(history, name) for name in self.phases]
        windows = [w for w in windows if not _is_silenced(history, w)] or windows
        if not windows:
            raise NoEvidence("no phase is judged", "name the phases of the run")
        length = sum(w.length for w in windows)
        spans = [s for _, s in history.alert_spans(self.alert)]
        if not any(s.end >= w.start and s.start <= w.end for s in spans for w in windows):
            why = f"{self.alert} never fired in {duration(length)}, so nothing shows that alerting worked"
            raise NoEvidence(why, "does the service have this rule, and did Prometheus load it? see its log")
        bound = 3 * history.setting("evaluation_s", 15.0)
        hole = max(_longest_hole([s for s in spans if s.end >= w.start and s.start <= w.end], w) for w in windows)
        figures = {"measured": hole, "bound": bound, "unit": "s"}
        if hole > bound:
            reason = f"{self.alert} paused for {duration(hole)} of {duration(length)}, bound {duration(bound)}"
            evidence = of_alert(history, Window(windows[0].start, windows[-1].end), self.alert)[:EVIDENCE_AT_MOST]
            remedy = "see Prometheus' log of that moment"
            return self.result(Verdict.FAIL, reason, remedy, evidence=evidence, **figures)
        reason = f"{self.alert} fired unbroken for {duration(length)}, longest pause {duration(hole)}"
        return self.result(Verdict.PASS, f"{reason} (bound {duration(bound)})", **figures)


def _is_silenced(history: History, window: Window) -> bool:
    """Whether a fault took Prometheus itself away in a phase: whoever hears of the Watchdog then hears nothing."""
    faults = [e for e in history.of("fault", within=window) if e.detail.get("edge") == "start"]
    return any(e.detail.get("component") == "prometheus" for e in faults)


def _longest_hole(spans: list[Window], whole: Window) -> float:
    """The longest stretch of the whole that no span covers; seconds."""
    hole, reached = 0.0, whole.start
    for span in spans:
        hole, reached = max(hole, span.start - reached), max(reached, span.end)
    return max(hole, whole.end - reached)
