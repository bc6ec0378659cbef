"""A planned restart: a process is asked to end, as the kubelet does for a release or when a node is drained."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.errors import FaultError
from harness.eventlog import append
from harness.faults.fault import Facts, Fault, held
from harness.history import ProbeAnswer
from harness.recordfile import records
from harness.stack.component import stop_notice
from harness.stack.control import STOP, holder
from harness.stack.process import processes_of
from harness.stack.stack import Stack
from harness.stack.undo import Undo

LOOK_S = 1.0


@dataclass(frozen=True)
class Stop(Fault):
    """SIGTERM to the main process of a component, and SIGKILL to all of it once `terminationGracePeriodSeconds` of
    service.yaml are over; it returns when that process is gone.

    Meanwhile liveness and startup probes are not asked, as by the kubelet. A replica needs no rollback: its supervisor
    starts it again. A dependency is started again by its rollback.
    """

    component: str = "server"
    kind: ClassVar[str] = "stop"
    replaces: ClassVar[bool] = True
    undone: ClassVar[str] = "whoever looks after it starts it again, else the harness does"
    deeds: ClassVar[tuple[str, ...]] = (STOP,)
    lease_s: ClassVar[float] = 120
    ends_with_process: ClassVar[bool] = True
    of_monitoring: ClassVar[bool] = True

    def target(self, stack: Stack) -> Facts:
        there, found = stack.control(self.component).found(), stack.react(self.component, LOOK_S)
        return {
            **there,
            "at": time.time(),
            "dependency": self.component in stack.unattended and self.component not in stack.controls,
            "refused_before": found is not None and found.kind == "refused",
            "notice": str(stop_notice(stack.run.resolve(), self.component)),
        }

    def undo(self, facts: Facts) -> list[Undo]:
        return [Undo("remove", {"path": facts["notice"]}), *holder(facts).revives(self.component, facts)]

    def start(self, stack: Stack, facts: Facts) -> None:
        control = held(self, stack, facts, "stopped")
        notice, began = Path(facts["notice"]), time.monotonic()
        notice.parent.mkdir(exist_ok=True)
        notice.touch()
        killed = control.stop(facts, stack.grace_s)
        if killed is None:
            notice.unlink(missing_ok=True)
            raise FaultError(f"stop: {self.component} was gone before it could be stopped")
        took_s = time.monotonic() - began
        about = {"component": self.component, "killed": killed, "grace_s": stack.grace_s}
        append(stack.run, "stack", "stopped", "fail" if killed else "ok", took=took_s, **about)

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """A client: the component's own address accepted connections before, and refuses them now. Else its readiness
        probe, which is answered no, or whoever looks after it, who has started it anew. Where it has neither, the
        kernel's process table: nothing carries its mark."""
        address = stack.addresses.get(self.component)
        if address and not facts["refused_before"] and stack.react(self.component, LOOK_S).kind == "refused":
            return f"{address} accepted connections before and refuses them now"
        for p in records(stack.run / "probes.jsonl", ProbeAnswer, open_end=True):
            if p.at >= facts["at"] and p.component == self.component and p.probe == "readiness" and not p.ok:
                return f"the readiness probe of {self.component} got {p.status or 'no response'}"
        if stack.started_since(self.component, facts["at"]):
            return f"{self.component} was started anew"
        if address is None and not processes_of(stack.run, self.component):
            return f"/proc: nothing is marked as {self.component} any more"
        return None
