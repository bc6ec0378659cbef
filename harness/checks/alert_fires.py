"""AlertFires: proof 1 of an alert, the unmodified production rule on the recorded fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from pydantic import Field

from harness.alert import Alert
from harness.checks.check import Check, NoEvidence
from harness.checks.effect import effect
from harness.checks.evidence import of_alert, of_fault, of_series, setting, some, timed_out
from harness.checks.parameters import AlertName, ExperimentName, Parameters
from harness.checks.view import View
from harness.history import History, Replay, Window
from harness.parameters import Duration
from harness.units import duration, listed
from harness.verdict import Reference, Result, Verdict

PASS, INCONCLUSIVE, FAIL = Verdict


@dataclass(frozen=True)
class AlertFires(Check):
    """The production rule fires in time, goes on firing while the fault lasts, and resolves in time after it."""

    experiment: str
    alert: Alert
    severity: str
    fires_within_s: float  # production seconds after the fault began
    resolves_within_s: float | None = None  # production seconds after its effect ended; None: not judged
    place: str = ""
    reads: tuple[str, ...] = ()  # the metrics that its rule names
    held_s: float | None = None  # production seconds that the recorded fault is to last; None: as it was recorded
    growing: tuple[str, ...] = ()  # gauges that go on growing then
    predicted: tuple[float, float] | None = None  # when it fires at the earliest and latest, by its form alone
    kind: ClassVar[str] = "alert_fires"

    class Parameters(Parameters):
        experiment: ExperimentName
        alert: AlertName
        fires_within_s: Duration = Field(alias="fires_within")
        resolves_within_s: Duration | None = Field(None, alias="resolves_within")

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> tuple[AlertFires, ...]:
        given = cls.Parameters.read(parameters, view)
        rule = view.one(given["alert"])
        about = {"alert": rule.alert, "severity": rule.severity, "place": rule.place, "reads": rule.reads}
        return (cls(**given | about),)

    @property
    def subject(self) -> str:
        return f"{self.experiment}: {self.alert}"

    def replay(self, history: History) -> Replay:
        """What promtool made of the rule on the record of this experiment."""
        found = self._replays(history).get(str(self.alert))
        if found is None:
            raise NoEvidence(
                f"no replay of {self.alert} on the record of {self.experiment}",
                "is the rule in the service's rules, and did the replay run? see the run's log",
            )
        if found.problem:
            raise NoEvidence(
                found.problem, f"what promtool was given is in the run's folder, replay/{self.experiment}/"
            )
        return found

    def _replays(self, history: History) -> Mapping[str, Replay]:
        return (history.replays if self.held_s is None else history.held).get(self.experiment, {})

    def timings(self, history: History) -> dict[str, float]:
        """What is known, in production seconds after the fault began."""
        found = self._replays(history).get(str(self.alert))
        known = ("pending_s", "firing_s", "last_firing_s", "fault_end_s")
        times = {k: getattr(found, k) for k in known if getattr(found, k, None) is not None}
        bounds = dict(zip(("earliest_firing_s", "latest_firing_s"), self.predicted or (), strict=False))
        return times | bounds if times else {}

    def judge(self, history: History) -> Result:
        """FAIL as SILENT, LATE, FALSE-RESOLVED or UNRESOLVED; INCONCLUSIVE where the record ends too early."""
        found = self.replay(history)
        result = self._judged(history, found)
        if self.held_s is not None and found.held:
            how = f"by replay of the recorded fault held for {duration(self.held_s)}, {found.held}"
            result = replace(result, reason=f"{result.reason}; {how}")
        return result if result.verdict is PASS else replace(result, evidence=self._evidence(history))

    def _judged(self, history: History, replay: Replay) -> Result:
        fires = duration(self.fires_within_s)
        if replay.fired_before:
            reason = f"was already firing before the fault began, so firing within {fires} proves nothing"
            remedy = "let the effect of what came before die down, or mend what makes it fire in peace"
            return self.result(INCONCLUSIVE, reason, remedy)
        if replay.firing_s is None:
            return self._silent(history, replay)
        if replay.pending_before:  # else it would seem faster than it is
            if replay.sure_s is None:
                reason = "was already pending before the fault began, and too soon over to tell the two apart"
                remedy = "let the effect of what came before die down, or run again with more processor"
                return self.result(INCONCLUSIVE, reason, remedy)
            replay = replay._replace(firing_s=replay.sure_s)
        figures = {"measured": replay.firing_s, "bound": self.fires_within_s, "unit": "s"}
        if replay.firing_s > self.fires_within_s:
            reason = f"the production rule fires only after {duration(replay.firing_s)}, bound {fires}"
            remedy = "shorten the rule's `for` or window, or widen the contract"
            return self.result(FAIL, reason, remedy, status="LATE", **figures)

        said = f"the production rule fires after {duration(replay.firing_s)} (bound {fires})"
        evaluation = setting(history, "time_scale") * setting(history, "evaluation_s")
        scrape = setting(history, "time_scale") * setting(history, "scrape_s")
        last = replay.firing_s if replay.last_firing_s is None else replay.last_firing_s
        if replay.ended_s is None or replay.fault_end_s is None:
            missing = "where the record ends" if replay.ended_s is None else "an end of the fault's effect"
            reason = f"{said}, but the record does not hold {missing}, so whether it resolves in time cannot be judged"
            return self.result(INCONCLUSIVE, reason, "record on until the service has recovered", **figures)
        still = last > replay.ended_s - 1.5 * evaluation
        lasted = self._fault_lasted(history, replay.fault_end_s)
        if not still and last + evaluation + scrape < lasted:
            early = f"{duration(lasted - last)} before the fault was over (fault {duration(lasted)})"
            remedy = "the expression loses its data while the fault goes on: use up, absent or a longer window"
            reason = f"{said}, but resolves {early}{self._timed_out(history)}"
            return self.result(FAIL, reason, remedy, status="FALSE-RESOLVED", **figures)
        if self.resolves_within_s is None:
            reason = f"{said}; when it resolves is not judged, for the contract does not bound it"
            return self.result(PASS, reason, status="PROVEN", **figures)
        resolves = duration(self.resolves_within_s)
        after = max(0.0, last + evaluation - replay.fault_end_s)
        if still and replay.ended_s - replay.fault_end_s <= self.resolves_within_s:
            recorded = duration(max(0.0, replay.ended_s - replay.fault_end_s))
            reason = f"{said}; it still fires where the record ends, {recorded} after the effect (bound {resolves})"
            return self.result(INCONCLUSIVE, reason, "record on until it has resolved", **figures)
        if still or after > self.resolves_within_s:
            how = f"was still firing {duration(after)} after" if still else f"resolves only {duration(after)} after"
            reason = f"{said}, but {how} the effect, bound {resolves}{self._timed_out(history)}"
            remedy = "shorten the rule's window or keep_firing_for, or widen the contract"
            return self.result(FAIL, reason, remedy, status="UNRESOLVED", **figures)
        reason = f"{said} and resolves {duration(after)} after the effect (bound {resolves})"
        return self.result(PASS, reason, status="PROVEN", **figures)

    def _evidence(self, history: History) -> tuple[Reference, ...]:
        """What its rule reads, from the fault's begin on, what it made of that live, and the fault."""
        found, window = effect(history, self.experiment), history.phase(self.experiment)
        if window is None:
            return ()
        since = window if found is None else Window(found.start, found.over or window.end)
        read = [of_series({"__name__": name}, since) for name in self.reads]
        return some(read, of_alert(history, window, self.alert), of_fault(history, self.experiment))

    def _fault_lasted(self, history: History, effect_s: float) -> float:
        """How long there was something to see for sure, in production seconds: the fault itself, not what lingers."""
        found = effect(history, self.experiment)
        if found is None or found.gone is None:
            return effect_s
        held_s = self._replays(history)[str(self.alert)].added_s
        return min(effect_s, (found.gone - found.start) * setting(history, "time_scale") + held_s)

    def _timed_out(self, history: History) -> str:
        window = history.phase(self.experiment)
        return timed_out(history, window) if window else ""

    def _silent(self, history: History, replay: Replay) -> Result:
        fires, figures = duration(self.fires_within_s), {"bound": self.fires_within_s, "unit": "s"}
        pending = "" if replay.pending_s is None else f"; it was pending from {duration(replay.pending_s)} on"
        recorded = 0.0 if replay.ended_s is None else replay.ended_s
        if recorded < self.fires_within_s:
            reason = f"had not fired where the record ends, after {duration(recorded)} (bound {fires}){pending}"
            return self.result(INCONCLUSIVE, reason, "record on for longer", **figures)
        lasted = "" if replay.fault_end_s is None else f" The effect lasted {duration(replay.fault_end_s)}."
        remedy = "compare the rule's expression, threshold and `for` with what the fault did to its series"
        if replay.blind:
            lacking = f"no sample of {listed(replay.blind)}, which it reads, is in the record: "
            remedy = "see whether the service and Prometheus' configuration give the rule what it reads"
        else:
            lacking = ""
        never = f"the production rule never fired in {duration(recorded)} of record, bound {fires}{pending}.{lasted}"
        reason = f"{lacking}{never}{self._timed_out(history)}"
        return self.result(FAIL, reason, remedy, status="SILENT", **figures)
