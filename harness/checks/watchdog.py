"""WatchdogUnbroken: an always-firing alert never paused, so the monitoring itself worked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.checks.check import Check, NoEvidence
from harness.checks.effect import broken
from harness.checks.evidence import of_alert, phase
from harness.checks.view import View
from harness.history import History, Window
from harness.units import duration, listed
from harness.verdict import EVIDENCE_AT_MOST, Result, Verdict

WATCHDOG = "Watchdog"  # what the alert that always fires is mostly called


@dataclass(frozen=True)
class WatchdogUnbroken(Check):
    """The always-firing alert fires unbroken in every judged phase; what happens between them is not judged."""

    alert: str = WATCHDOG
    phases: tuple[str, ...] = ("steady",)
    may_miss: tuple[tuple[str, float], ...] = ()  # (phase, gate seconds that its fault may silence Prometheus for)
    kind: ClassVar[str] = "watchdog"

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> tuple[WatchdogUnbroken, ...]:
        """One for each such rule, whatever its name; without any, one that says so."""
        cls.Parameters.read(parameters, view)
        may_miss = tuple((name, c.scrape_gap) for name, c in view.contracts if c.scrape_gap)
        return tuple(cls(alert, view.phases, may_miss) for alert in view.always_firing or ("",))

    @property
    def subject(self) -> str:
        return self.alert or "no always-firing rule"

    def judge(self, history: History) -> Result:
        """FAIL with the longest hole; INCONCLUSIVE when it was never recorded. Gate time."""
        if not self.alert:
            why = "no rule of the service always fires, so nothing shows that its alerting works"
            raise NoEvidence(why, "add one, as `alert: Watchdog` with `expr: vector(1)`, and route it to who misses it")
        named = {name: phase(history, name) for name in self.phases}
        if not (windows := [*named.values()]):
            raise NoEvidence("no phase is judged", "name the phases of the run")
        length = sum(w.length for w in windows)
        spans = [s for _, s in history.alert_spans(self.alert)]
        if not any(s.end >= w.start and s.start <= w.end for s in spans for w in windows):
            why = f"{self.alert} never fired in {duration(length)}, so nothing shows that alerting worked"
            raise NoEvidence(why, "does the service have this rule, and did Prometheus load it? see its log")
        bound = 3 * history.setting("evaluation_s", 15.0)
        holes = {
            name: _holes([s for s in spans if s.end >= w.start and s.start <= w.end], w) for name, w in named.items()
        }
        excused = {
            (name, pause)
            for name, may_s in self.may_miss
            if (fault := _silenced(history, name)) is not None
            for pause in holes.get(name, ())
            if fault.start - bound <= pause.start <= fault.end and bound < pause.length <= may_s
        }
        hole = max(pause.length for name, found in holes.items() for pause in found if (name, pause) not in excused)
        figures = {"measured": hole, "bound": bound, "unit": "s"}
        if hole > bound:
            reason = f"{self.alert} paused for {duration(hole)} of {duration(length)}, bound {duration(bound)}"
            evidence = of_alert(history, Window(windows[0].start, windows[-1].end), self.alert)[:EVIDENCE_AT_MOST]
            remedy = "see Prometheus' log of that moment"
            return self.result(Verdict.FAIL, reason, remedy, evidence=evidence, **figures)
        reason = f"{self.alert} fired unbroken for {duration(length)}, longest pause {duration(hole)} "
        also = [f"{name} for {duration(pause.length)}, as its fault may" for name, pause in sorted(excused)]
        silent = f"; silent in {listed(also)}" if also else ""
        return self.result(Verdict.PASS, f"{reason}(bound {duration(bound)}){silent}", **figures)


def _silenced(history: History, experiment: str) -> Window | None:
    """From when to when an experiment took Prometheus itself away: whoever hears of the Watchdog then hears nothing."""
    faults = [e for e in history.of("fault", within=history.phase(experiment)) if e.detail.get("edge") == "start"]
    mine = any(e.detail.get("component") == "prometheus" and not e.detail.get("sham") for e in faults)
    return broken(history, experiment) if mine else None


def _holes(spans: list[Window], whole: Window) -> list[Window]:
    """The stretches of the whole that no span covers; one of no length where there is none."""
    found, reached = [Window(whole.start, whole.start)], whole.start
    for span in spans:
        found += [Window(reached, span.start)] if span.start > reached else []
        reached = max(reached, span.end)
    return [*found, *([Window(reached, whole.end)] if whole.end > reached else [])]
