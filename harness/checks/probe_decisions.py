"""ProbeDecisions: the probes did the right thing during a fault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field

from harness.checks.check import Check, NoEvidence
from harness.checks.effect import effect
from harness.checks.evidence import of_events, of_fault, of_probes, phase, some
from harness.checks.parameters import ExperimentName, Parameters
from harness.eventlog import Event
from harness.history import History, ProbeAnswer, Window
from harness.units import count, duration, listed
from harness.verdict import Result, Verdict

LATEST = 3  # answers of readiness that are shown where none decided anything


@dataclass(frozen=True)
class ProbeDecisions(Check):
    """In an experiment a component is restarted for the expected cause or not at all, leaves traffic or does not, and
    is in traffic at the end."""

    experiment: str
    component: str = "server"
    restart: Literal["exit", "liveness", "never"] = "never"
    readiness: Literal["unready", "ready", "any"] = "any"
    at_most: int = 1  # restarts, where one is expected
    place: str = ""
    kind: ClassVar[str] = "probes"

    class Parameters(Parameters):
        experiment: ExperimentName
        component: str = "server"
        restart: Literal["exit", "liveness", "never"]
        readiness: Literal["ready", "unready", "any"] = "any"
        at_most: int = Field(1, ge=1)

    @property
    def subject(self) -> str:
        return f"{self.experiment}: probes" + ("" if self.component == "server" else f" of {self.component}")

    def judge(self, history: History) -> Result:
        """FAIL on a wrong decision; INCONCLUSIVE without any probe answer in the phase."""
        window = phase(history, self.experiment)
        probes = [p for p in history.probes if p.component == self.component]
        answers = [p for p in probes if window.start <= p.at <= window.end]
        if not answers:
            about = f"no probe answer of {self.component} is recorded in {self.experiment}"
            raise NoEvidence(about, "see the harness' output; does the service have probes?")
        restarts = [e for e in history.of("probe", "restart", window) if e.detail.get("process") == self.component]
        began = _began(history, self.experiment, window)
        wrong = [*self._restarts(restarts), *self._readiness(probes, window, began, restarts)]
        bound = 0 if self.restart == "never" else self.at_most
        figures = {"measured": len(restarts), "bound": bound, "unit": "restarts"}
        if wrong:
            remedy = "see probes.jsonl for the raw answers; replay them with other periods and thresholds"
            asked = [p for p in probes if p.probe == "readiness" and p.at <= window.end]
            deciding = _deciding(answers) or asked[-LATEST:]
            evidence = some(of_events(restarts), of_probes(deciding), of_fault(history, self.experiment))
            return self.result(Verdict.FAIL, "; ".join(wrong), remedy=remedy, evidence=evidence, **figures)
        if not any(p.decision in ("ready", "unready") for p in probes if p.at <= window.end):
            raise NoEvidence("no readiness decision is recorded", "does the service have a readiness probe?")
        did = f"{count(len(restarts), 'restart')} (bound {bound})" + (f" by {self.restart}" if restarts else "")
        left = [p for p in answers if p.decision == "unready"]
        traffic = "never out of traffic"
        if left or restarts:
            out = min(x.at for x in [*left, *restarts])
            traffic = f"out of traffic after {duration(out - began)}, and back"
        return self.result(Verdict.PASS, f"{did}, {traffic}, as expected; {len(answers):,} answers", **figures)

    def _restarts(self, restarts: list[Event]) -> list[str]:
        causes = [str(e.detail.get("cause")) for e in restarts]
        if self.restart == "never":
            return (
                [f"restarted {count(len(causes), 'time')} by {listed(sorted(set(causes)))}, bound 0"] if causes else []
            )
        if not causes:
            return [f"never restarted; 1 restart by {self.restart} expected"]
        wrong = [f"restarted by {cause} instead of {self.restart}" for cause in sorted({*causes} - {self.restart})]
        if len(causes) > self.at_most:
            wrong.append(f"restarted {count(len(causes), 'time')}, bound {self.at_most}")
        return wrong

    def _readiness(self, probes: list[ProbeAnswer], window: Window, began: float, restarts: list[Event]) -> list[str]:
        decisions = [(p.at, p.decision) for p in probes if p.probe == "readiness" and p.decision]
        unready = [at for at, decision in decisions if decision == "unready" and window.start <= at <= window.end]
        # A process that ended by itself is out of traffic before any probe can say so; one that hangs is not.
        left = unready or [e.at for e in restarts if e.detail.get("cause") == "exit"]
        wrong = []
        if self.readiness == "unready" and not left:
            wrong.append(f"readiness never took it out of traffic in {duration(window.length)}; at least once expected")
        if self.readiness == "ready" and unready:
            times, after = count(len(unready), "time"), duration(unready[0] - began)
            wrong.append(f"readiness took it out of traffic {times}, first after {after}; never expected")
        changes = sorted([d for d in decisions if d[0] <= window.end] + [(e.at, "restarted") for e in restarts])
        if changes and changes[-1][1] != "ready":
            ago = duration(window.end - changes[-1][0])
            wrong.append(f"still not ready at the end, {ago} after it was {changes[-1][1]}; ready expected")
        return wrong


def _deciding(answers: list[ProbeAnswer]) -> list[ProbeAnswer]:
    """The answers that decided something, then those that failed."""
    return [p for p in answers if p.decision] + [p for p in answers if not p.decision and not p.ok]


def _began(history: History, experiment: str, window: Window) -> float:
    """When the fault began, or the phase where none did."""
    found = effect(history, experiment)
    return window.start if found is None else found.start
