"""Stops: a component that is asked to end loses no request, says so before, and ends by itself in time."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from harness.checks.check import Check, NoEvidence
from harness.checks.evidence import of_events, of_probes, of_rows, outcomes, phase, some, waited_for
from harness.checks.parameters import ExperimentName, Parameters
from harness.eventlog import Event
from harness.history import History, Outcome, ProbeAnswer, Window
from harness.parameters import Duration
from harness.units import count, duration, listed
from harness.verdict import Result, Verdict

REFUSED = os.strerror(errno.ECONNREFUSED)
TERMINATED = (143, -15)  # ended by SIGTERM, as a shell says it and as the kernel does


class _Stop(NamedTuple):
    """What became of one component that was asked to end, in Unix seconds."""

    at: float  # SIGTERM
    event: Event  # of the fault: how it ended
    restart: Event  # of the supervisor: with which exit code
    out: float  # when it was out of traffic
    refused: float  # when the first client or probe was refused, or its process was gone
    no: ProbeAnswer | None  # the first answer no to its readiness probe, by a process that was still there


@dataclass(frozen=True)
class Stops(Check):
    """In an experiment that stops a component, every request that came while it was in traffic is answered, its
    readiness probe is answered no before connections are refused, and it ends by itself in time.

    A request counts that was under way when SIGTERM came, or was sent after it and before readiness took the component
    out of traffic. It is lost where it ends without a complete answer, or in a 5xx. Connections that are refused are
    not requests that came: with one replica and no other to go to they are expected, and `clients` bounds them.
    """

    experiment: str
    component: str = "server"
    exits_within_s: float | None = None  # None: within the grace period
    exit_codes: tuple[int, ...] = (0,)
    readiness_first: bool = True
    lost_at_most: int = 0
    generator: str = "load"
    kind: ClassVar[str] = "stops"

    class Parameters(Parameters):
        experiment: ExperimentName
        component: str = "server"
        exits_within_s: Duration | None = Field(None, alias="exits_within")
        exit_codes: tuple[int, ...] = (0,)
        readiness_first: bool = True
        lost_at_most: int = Field(0, ge=0)

    @property
    def subject(self) -> str:
        return f"{self.experiment}: stop" + ("" if self.component == "server" else f" of {self.component}")

    def judge(self, history: History) -> Result:
        """FAIL with all that is wrong; INCONCLUSIVE where no stop, no request or no readiness answer is recorded."""
        window = phase(history, self.experiment)
        stop = self._stop(history, window)
        came, lost, refused = self._requests(history, window, stop)
        figures = {"measured": len(lost), "bound": self.lost_at_most, "unit": "requests"}
        wrong: list[str] = []
        if len(lost) > self.lost_at_most:
            of = f"{len(lost):,} of {count(len(came), 'request')} that came while it was in traffic"
            wrong.append(f"{of} were lost (bound {self.lost_at_most}): {outcomes(lost)}")
        if why := self._not_first(history, stop, window):
            wrong.append(why)
        if why := self._ended_wrong(stop):
            wrong.append(why)
        took_s, refusals = stop.event.took, f"; {len(refused):,} found nobody there, which `clients` bounds"
        if wrong:
            evidence = some(
                of_rows(lost), of_events([stop.event, stop.restart]), of_probes(self._answers(history, stop, window))
            )
            remedy = (
                "after SIGTERM go on answering while readiness says no, for longer than it takes to leave traffic; "
                "then refuse connections, answer what is under way, and exit with 0"
            )
            return self.result(Verdict.FAIL, "; ".join(wrong) + refusals, remedy, evidence=evidence, **figures)
        if not len(came):
            raise NoEvidence(f"no request came while {self.component} was being stopped", "load at a higher rate")
        reason = f"{len(lost)} of {count(len(came), 'request')} lost (bound {self.lost_at_most})"
        if stop.no is not None:
            first = duration(max(0.0, stop.refused - stop.no.at))
            reason += f", readiness said no {first} before connections were refused"
        reason += f", ended by itself with {stop.restart.detail.get('code')} after {duration(took_s)}"
        return self.result(Verdict.PASS, f"{reason} (bound {duration(self._within_s(stop))}){refusals}", **figures)

    def attributable(self, history: History) -> bool:
        """That it ended too late, by force or with another code is its own doing; so is a broken connection."""
        window = phase(history, self.experiment)
        stop = self._stop(history, window)
        _, lost, _ = self._requests(history, window, stop)
        return bool(self._ended_wrong(stop)) or np.count_nonzero(lost["outcome"] != Outcome.TIMEOUT) > self.lost_at_most

    def _stop(self, history: History, window: Window) -> _Stop:
        """The first stop of the component in the experiment."""
        began = [
            e.at
            for e in history.of("fault", "stop", window)
            if e.detail.get("edge") == "start" and e.detail.get("component") == self.component
        ]
        if not began:
            raise NoEvidence(
                f"{self.component} was never stopped in {self.experiment}", "let its method do so, by the action `stop`"
            )
        at = began[0]
        after = Window(at, window.end)
        ends = [e for e in history.of("stack", "stopped", after) if e.detail.get("component") == self.component]
        restarts = [e for e in history.of("probe", "restart", after) if e.detail.get("process") == self.component]
        if not ends or not restarts:
            what = "how it ended" if not ends else "that it was started again"
            raise NoEvidence(f"the record does not say {what} after it was asked to", "see the experiment's log")
        probes = [p for p in history.probes if p.component == self.component and at <= p.at <= restarts[0].at]
        rows = history.requests(after, self.generator)
        nobody = rows["done"][rows["outcome"] == Outcome.CONNECT_FAILED]
        gone = [at + ends[0].took, *nobody[:1].tolist(), *(p.at for p in probes if _refused(p))]
        left = [e.at for e in history.of("probe", "traffic", after) if _left(e, self.component)]
        said_no = (p for p in probes if p.probe == "readiness" and _said_no(p))
        return _Stop(at, ends[0], restarts[0], min([*left, restarts[0].at]), min(gone), next(said_no, None))

    def _requests(self, history: History, window: Window, stop: _Stop) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The rows of requests that came while it was in traffic, those of them that were lost, and those that found
        nobody there until it was in traffic again."""
        rows = waited_for(history, window, self.generator)
        with np.errstate(invalid="ignore"):
            came = rows[(rows["done"] >= stop.at) & (rows["sent"] < stop.out)]
        came = came[came["outcome"] != Outcome.CONNECT_FAILED]
        whole = np.isin(came["outcome"], (Outcome.OK, Outcome.REFUSED_BY_SERVICE, Outcome.UNEXPECTED_STATUS))
        lost = came[~whole | (came["status"] >= 500)]
        return came, lost, rows[(rows["done"] >= stop.at) & (rows["outcome"] == Outcome.CONNECT_FAILED)]

    def _not_first(self, history: History, stop: _Stop, window: Window) -> str:
        """That connections were refused before readiness had said no; empty where it had."""
        if not self.readiness_first or (stop.no is not None and stop.no.at <= stop.refused):
            return ""
        asked = [p.at for p in history.probes if p.probe == "readiness" and p.component == self.component]
        if not any(window.start <= at <= stop.at for at in asked):
            raise NoEvidence(
                f"no answer to the readiness probe of {self.component} is recorded before its stop",
                "see the harness' output; does the service have a readiness probe?",
            )
        after = duration(max(0.0, stop.refused - stop.at))
        return f"connections were refused {after} after SIGTERM, before its readiness probe was ever answered no"

    def _ended_wrong(self, stop: _Stop) -> str:
        """That it did not end by itself, in time, with the right code; empty where it did."""
        took_s, code, cause = stop.event.took, stop.restart.detail.get("code"), stop.restart.detail.get("cause")
        bound = duration(self._within_s(stop))
        if stop.event.detail.get("killed"):
            return f"it had not ended {duration(took_s)} after SIGTERM and was killed (bound {bound})"
        if cause != "exit":
            return f"it was restarted by {cause} before it ended by itself (bound {bound})"
        if took_s > self._within_s(stop):
            return f"it ended only {duration(took_s)} after SIGTERM (bound {bound})"
        if code not in self.exit_codes and not (code in TERMINATED and {*TERMINATED} & {*self.exit_codes}):
            how = "by SIGTERM itself, which it does not handle" if code in TERMINATED else f"with exit code {code}"
            return f"it ended {how}, after {duration(took_s)} ({listed(list(map(str, self.exit_codes)))} expected)"
        return ""

    def _within_s(self, stop: _Stop) -> float:
        grace_s = stop.event.detail.get("grace_s", 30.0)
        return grace_s if self.exits_within_s is None else self.exits_within_s

    def _answers(self, history: History, stop: _Stop, window: Window) -> list[ProbeAnswer]:
        """The last answer to its readiness probe before the stop, and the first after it."""
        mine = [p for p in history.probes if p.probe == "readiness" and p.component == self.component]
        before = [p for p in mine if window.start <= p.at < stop.at]
        return before[-1:] + [p for p in mine if stop.at <= p.at <= window.end][:2]


def _said_no(answer: ProbeAnswer) -> bool:
    """Whether what was asked was there and answered no: with a status, or as the exit code of a command."""
    return not answer.ok and bool(answer.status or answer.reason.startswith("exit code"))


def _refused(answer: ProbeAnswer) -> bool:
    return not answer.ok and answer.reason == REFUSED


def _left(event: Event, component: str) -> bool:
    return event.detail.get("process") == component and not event.detail.get("in_traffic")
