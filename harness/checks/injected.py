"""Injected: the experiment really took place, and left nothing behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.checks.check import Check
from harness.checks.evidence import of_events, of_fault, some
from harness.checks.parameters import ExperimentName, Parameters
from harness.checks.view import View
from harness.eventlog import Event
from harness.history import History
from harness.units import count, duration, listed
from harness.verdict import Result, Verdict

WITNESS_REMEDY = (
    "say in its contract what shows it from outside, as `witness: {query: ...}`, {http: ...} or {command: ...}; or "
    "break it by an action of harness.chaos.actions, which has a witness of its own"
)


@dataclass(frozen=True)
class Injected(Check):
    """The baseline was met, the whole method ran, every fault was witnessed, every undo done, the ledger is empty.

    Chaos Toolkit's own exit code says none of this: it is 0 when the fault could not be injected at all.
    """

    experiment: str
    place: str = ""
    starts: bool = False  # the service is to be started for it as its contract says
    kind: ClassVar[str] = "injected"

    class Parameters(Parameters):
        experiment: ExperimentName | None = None

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> tuple[Injected, ...]:
        """One for the experiment that is named, or for each."""
        name = cls.Parameters.read(parameters, view)["experiment"]
        starts = {experiment for experiment, contract in view.contracts if contract.start is not None}
        names = [name] if name else view.phases[1:]
        return tuple(cls(experiment, starts=experiment in starts) for experiment in names)

    @property
    def subject(self) -> str:
        return f"{self.experiment}: injected"

    def judge(self, history: History) -> Result:
        """INCONCLUSIVE with all that is missing, causes before what follows; FAIL if something was left behind."""
        if left := self._left(history):
            reason = f"{count(len(left), 'fault')} left behind (bound 0): {listed(left)}{self._rolled_back(history)}"
            remedy = "`harness heal` undoes it; end the experiment with a rollback that does, as the action `heal`"
            evidence = some(of_events(self._ledgers(history)[-1:]), of_fault(history, self.experiment))
            figures = {"measured": len(left), "bound": 0, "unit": "faults"}
            return self.result(Verdict.FAIL, reason, remedy=remedy, evidence=evidence, **figures)
        if missing := [*self.troubles(history), *self._after(history)]:
            remedy = f"see journals/{self.experiment}.json and its log"
            steps = [e for e in history.of("chaos") if self._is_mine(history, e) and e.outcome != "ok"]
            evidence = some(of_fault(history, self.experiment), of_events(steps))
            remedy = WITNESS_REMEDY if self._foreign(history) else remedy
            return self.result(Verdict.INCONCLUSIVE, "; ".join(missing), remedy, evidence=evidence)
        journal, faults = history.journals[self.experiment], self._edges(history, "start")
        sham = sum(bool(e.detail.get("sham")) for e in faults)
        proof = f"{count(len(faults) - sham, 'fault')} witnessed" + (f" and {sham} sham" if sham else "")
        reason = (
            f"baseline met before and after, {len(journal['run'])} of {len(journal['run'])} activities ran, {proof}"
        )
        return self.result(Verdict.PASS, f"{reason}, 0 left behind (bound 0)", measured=0, bound=0, unit="faults")

    def troubles(self, history: History) -> list[str]:
        """Why the experiment is none: what of it did not take place, or did not end, whatever the service did. Nothing
        that was seen in it is then attributable to its fault, or to the service."""
        left = self._left(history)
        found = [*self._cut_off(history), *self._faults(history), *self._of_others(history)]
        return [*found, *([f"{listed(left)} left behind"] if left else [])]

    def _cut_off(self, history: History) -> Iterator[str]:
        """Where the journal ends before the method does."""
        journal = history.journals.get(self.experiment)
        for e in history.of("run", within=history.phase(self.experiment)):
            if e.name == "experiment-overran" and e.detail.get("experiment") == self.experiment:
                yield f"it was stopped, being not over after {duration(e.detail['after_s'])}"
        if journal is None:
            said = [e for e in history.of("run", "no-journal") if e.detail.get("experiment") == self.experiment]
            why = str(said[-1].detail.get("problem", "")).partition("; last lines")[0] if said else ""
            yield "Chaos Toolkit left no journal" + (f": {why}" if why else "")
            return
        states, status = journal.get("steady_states") or {}, journal.get("status")
        if status != "completed" and (status in ("interrupted", "aborted") or not states.get("after")):
            yield f"the journal's status is {status!r}, not completed"
        yield from _steady(states.get("before"), "before")
        if not states.get("after"):
            yield from _steady(None, "after")
        planned, done = (journal.get("experiment") or {}).get("method") or [], journal.get("run") or []
        if len(done) != len(planned):
            yield f"{len(done)} of {len(planned)} activities of the method ran"
        yield from (_failed(a, "method") for a in done if a.get("status") != "succeeded" and not _is_probe(a))

    def _after(self, history: History) -> Iterator[str]:
        """What did not go well once the fault was there: it may be the service's doing."""
        journal = history.journals.get(self.experiment) or {}
        if after := (journal.get("steady_states") or {}).get("after"):
            if journal.get("status") == "failed":
                yield "the journal's status is 'failed', not completed"
            yield from _steady(after, "after")
        if journal.get("deviated"):
            yield "the steady state deviated"
        yield from (
            _failed(a, "method") for a in journal.get("run") or [] if a.get("status") != "succeeded" and _is_probe(a)
        )
        planned, done = (journal.get("experiment") or {}).get("rollbacks") or [], journal.get("rollbacks") or []
        if len(done) != len(planned):
            yield f"{len(done)} of {len(planned)} activities of the rollbacks ran"
        yield from (_failed(a, "rollbacks") for a in done if a.get("status") != "succeeded")
        if not self._ledgers(history):
            yield "the ledger was not read after it"
        if (end := self._planned_start(history, "end")) is not None and end.outcome != "ok":
            yield f"the service was not started again as before: {end.detail.get('problem')}"

    def _faults(self, history: History) -> Iterator[str]:
        """What the fault events do not show, or what came before the fault."""
        yield from self._before(history)
        starts = self._edges(history, "start")
        if not starts:
            foreign = self._foreign(history)
            which = f": {listed(foreign)} of the method is no action of the harness, and has no witness"
            yield f"no fault is recorded to have begun{which if foreign else ''}"
        for start in starts:
            of_it = [e for e in history.of("fault") if e.detail.get("id") == start.detail.get("id")]
            if start.outcome != "ok" or any(e.detail.get("edge") == "start-failed" for e in of_it):
                problem = next((e.detail["problem"] for e in of_it if e.detail.get("problem")), "no reason given")
                yield f"{start.name} could not be started: {problem}"
            seen = [e for e in of_it if e.detail.get("edge") == "witness"]
            if not start.detail.get("sham") and not any(e.outcome == "ok" for e in seen):
                how = f": {seen[-1].detail['evidence']}" if seen and seen[-1].detail.get("evidence") else ""
                yield f"no witness saw {start.name} take effect{how}"
            undone = [e for e in of_it if e.detail.get("edge") == "stop"]
            if not any(e.outcome == "ok" for e in undone):
                how = f": {undone[-1].detail['problem']}" if undone and undone[-1].detail.get("problem") else ""
                if any(e.detail.get("edge") == "lease" and e.outcome == "ok" for e in of_it):
                    how = " by it, but by the watchdog when its lease was over"
                yield f"{start.name} is not recorded as undone{how}"

    def _before(self, history: History) -> Iterator[str]:
        """That the service was not started for it, and what of earlier experiments was still there when it began, the
        last time where it was repeated."""
        begin = self._planned_start(history, "begin")
        if begin is not None and begin.outcome != "ok":
            yield f"the service was not started as its contract says: {begin.detail.get('problem')}"
        elif begin is None and self.starts:
            yield "that the service was started as its contract says is not recorded"
        for name in ("baseline", "alertmanager"):
            mine = [e for e in history.of("run", name) if e.detail.get("experiment") == self.experiment]
            if mine and mine[-1].outcome != "ok":
                alerts = [str(alert) for alert in mine[-1].detail.get("alerts") or ()]
                still = (
                    f"{listed(alerts)} still fired or pended" if alerts else "it could not be seen whether alerts fired"
                )
                yield {
                    "baseline": f"{still} when it began, for longer than `settle`",
                    "alertmanager": "Alertmanager could not be replaced by a fresh one, so groups of before lived on",
                }[name]

    def _planned_start(self, history: History, edge: str) -> Event | None:
        """The last planned start for this experiment, or the last one after it."""
        mine = [e for e in history.of("run", "planned-start") if e.detail.get("experiment") == self.experiment]
        return next((e for e in reversed(mine) if e.detail.get("edge") == edge), None)

    def _of_others(self, history: History) -> Iterator[str]:
        """Faults that began before it and were still on in it."""
        window = history.phase(self.experiment)
        over = {e.detail.get("id"): e.at for e in history.of("fault") if _is_over(e)}
        for e in history.of("fault") if window else ():
            began_before = e.detail.get("edge") == "start" and e.at < window.start and not e.detail.get("sham")
            if began_before and over.get(e.detail.get("id"), window.end) > window.start:
                yield f"{e.name} of {e.detail.get('experiment')} was still on in it"

    def _foreign(self, history: History) -> list[str]:
        """The actions of its method that are not the harness' own, where no fault is recorded."""
        method = ((history.journals.get(self.experiment) or {}).get("experiment") or {}).get("method") or []
        if self._edges(history, "start"):
            return []
        return [
            repr(a.get("name", "?"))
            for a in method
            if a.get("type") == "action" and (a.get("provider") or {}).get("module") != "harness.chaos.actions"
        ]

    def _left(self, history: History) -> list[str]:
        ledgers = self._ledgers(history)
        return [str(x) for x in ledgers[-1].detail.get("left", ())] if ledgers else []

    def _ledgers(self, history: History) -> list[Event]:
        return [e for e in history.of("run", "ledger") if e.detail.get("experiment") == self.experiment]

    def _rolled_back(self, history: History) -> str:
        """What became of the rollbacks of an experiment that left something behind, as an addition to a sentence."""
        journal = history.journals.get(self.experiment)
        if journal is None:
            return ""
        done = journal.get("rollbacks") or []
        if failed := [_failed(a, "rollbacks") for a in done if a.get("status") != "succeeded"]:
            return f"; {'; '.join(failed)}"
        names = [repr((a.get("activity") or {}).get("name", "?")) for a in done]
        return f"; {listed(names)} of the rollbacks succeeded and undid nothing of it" if names else "; no rollback ran"

    def _edges(self, history: History, edge: str) -> list:
        return [e for e in history.of("fault") if self._is_mine(history, e) and e.detail.get("edge") == edge]

    def _is_mine(self, history: History, event: Event) -> bool:
        """Of this experiment, and of its last time where it was repeated."""
        window = history.phase(self.experiment)
        return event.detail.get("experiment") == self.experiment and (window is None or event.at >= window.start)


def _steady(state: Mapping[str, Any] | None, edge: str) -> Iterator[str]:
    """What is wrong with the steady state before or after the method."""
    if state and not state.get("probes"):
        yield f"the steady state has no probe, so nothing was looked at {edge} the method"
    elif not (state and state.get("steady_state_met")):
        why = f": {_unmet(state)}" if state else ", it was not looked at"
        yield f"the steady state was not met {edge} the method{why}"


def _failed(activity: Mapping[str, Any], part: str) -> str:
    name = (activity.get("activity") or {}).get("name", "?")
    return f"{name!r} of the {part} {activity.get('status', 'was cut off')}{_raised(activity)}"


def _is_probe(activity: Mapping[str, Any]) -> bool:
    return (activity.get("activity") or {}).get("type") == "probe"


def _is_over(event: Event) -> bool:
    return event.detail.get("edge") in ("stop", "lease") and event.outcome == "ok"


def _unmet(state: Mapping[str, Any]) -> str:
    """Which probe of the steady state did not hold, and what it gave."""
    for probe in state.get("probes") or ():
        if not probe.get("tolerance_met"):
            name = (probe.get("activity") or {}).get("name", "?")
            return f"{name!r} gave {str(probe.get('output'))[:80]}{_raised(probe)}"
    return "no probe held"


def _raised(activity: Mapping[str, Any]) -> str:
    """The last line of what an activity raised."""
    lines = "".join(activity.get("exception") or ()).strip().splitlines()
    return f" ({lines[-1][:160]})" if lines else ""
