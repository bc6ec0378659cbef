"""Injected: the experiment really took place, and left nothing behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.checks.check import Check, NoEvidence
from harness.checks.parameters import ExperimentName, Parameters
from harness.checks.view import View
from harness.eventlog import Event
from harness.history import History
from harness.units import count, listed
from harness.verdict import Result, Verdict


@dataclass(frozen=True)
class Injected(Check):
    """The baseline was met, the whole method ran, every fault was witnessed, every undo done, the ledger is empty.

    Chaos Toolkit's own exit code says none of this: it is 0 when the fault could not be injected at all.
    """

    experiment: str
    place: str = ""
    kind: ClassVar[str] = "injected"

    class Parameters(Parameters):
        experiment: ExperimentName | None = None

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> tuple[Injected, ...]:
        """One for the experiment that is named, or for each."""
        name = cls.Parameters.read(parameters, view)["experiment"]
        return tuple(cls(experiment) for experiment in ([name] if name else view.phases[1:]))

    @property
    def subject(self) -> str:
        return f"{self.experiment}: injected"

    def judge(self, history: History) -> Result:
        """INCONCLUSIVE with all that is missing; FAIL if something was left behind."""
        ledgers = [e for e in history.of("run", "ledger") if e.detail.get("experiment") == self.experiment]
        left = [str(x) for x in ledgers[-1].detail.get("left", ())] if ledgers else []
        if left:
            reason = f"{count(len(left), 'fault')} left behind (bound 0): {listed(left)}"
            return self.result(Verdict.FAIL, reason, measured=len(left), bound=0, unit="faults", remedy="harness heal")
        missing = [*self._journal(history), *self._faults(history)]
        if not ledgers:
            missing.append("the ledger was not read after it")
        if missing:
            raise NoEvidence("; ".join(missing), f"see journals/{self.experiment}.json and its log")
        journal, faults = history.journals[self.experiment], self._edges(history, "start")
        sham = sum(bool(e.detail.get("sham")) for e in faults)
        proof = f"{count(len(faults) - sham, 'fault')} witnessed" + (f" and {sham} sham" if sham else "")
        reason = (
            f"baseline met before and after, {len(journal['run'])} of {len(journal['run'])} activities ran, {proof}"
        )
        return self.result(Verdict.PASS, f"{reason}, 0 left behind (bound 0)", measured=0, bound=0, unit="faults")

    def _journal(self, history: History) -> Iterator[str]:
        """What the Chaos Toolkit journal does not show."""
        journal = history.journals.get(self.experiment)
        if journal is None:
            yield "Chaos Toolkit left no journal"
            return
        if journal.get("status") != "completed":
            yield f"the journal's status is {journal.get('status')!r}, not completed"
        states = journal.get("steady_states") or {}
        for edge in ("before", "after"):
            state = states.get(edge)
            if state and not state.get("probes"):
                yield f"the steady state has no probe, so nothing was looked at {edge} the method"
            elif not (state and state.get("steady_state_met")):
                why = f": {_unmet(state)}" if state else ", it was not looked at"
                yield f"the steady state was not met {edge} the method{why}"
        if journal.get("deviated"):
            yield "the steady state deviated"
        experiment = journal.get("experiment") or {}
        for part, key in (("method", "run"), ("rollbacks", "rollbacks")):
            planned, done = experiment.get(part) or [], journal.get(key) or []
            if len(done) != len(planned):
                yield f"{len(done)} of {len(planned)} activities of the {part} ran"
            for activity in done:
                if activity.get("status") != "succeeded":
                    name = (activity.get("activity") or {}).get("name", "?")
                    yield f"{name!r} of the {part} {activity.get('status', 'was cut off')}{_raised(activity)}"

    def _faults(self, history: History) -> Iterator[str]:
        """What the fault events do not show, or what came before the fault."""
        yield from self._before(history)
        starts = self._edges(history, "start")
        if not starts:
            yield "no fault is recorded to have begun"
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
                yield f"{start.name} is not recorded as undone{how}"

    def _before(self, history: History) -> Iterator[str]:
        """What of earlier experiments was still there when it began, the last time where it was repeated."""
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

    def _edges(self, history: History, edge: str) -> list:
        return [e for e in history.of("fault") if self._is_mine(history, e) and e.detail.get("edge") == edge]

    def _is_mine(self, history: History, event: Event) -> bool:
        """Of this experiment, and of its last time where it was repeated."""
        window = history.phase(self.experiment)
        return event.detail.get("experiment") == self.experiment and (window is None or event.at >= window.start)


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
