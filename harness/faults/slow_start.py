"""A start takes too long, as while a disk or a registry that it reads from is slow."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.errors import FaultError, StackError
from harness.faults.fault import Facts, Fault
from harness.stack.process import Pid
from harness.stack.stack import Stack
from harness.stack.undo import Undo

ANEW_WITHIN_S = 60.0
LOOK_S, IDLE_S = 0.5, 0.5


@dataclass(frozen=True)
class SlowStart(Fault):
    """A component is killed, and what takes its place gets no further with its start until this is undone: it is
    stopped by SIGSTOP as soon as it is there, and each of its processes with it."""

    component: str = "server"
    kind: ClassVar[str] = "slow_start"
    replaces: ClassVar[bool] = True
    undone: ClassVar[str] = "SIGCONT to what is starting"

    def target(self, stack: Stack) -> Facts:
        if self.component in stack.dependencies:
            raise FaultError(f"slow_start: nobody starts {self.component} again when it is killed")
        return {**stack.pid(self.component)._asdict(), "at": time.time()}

    def undo(self, facts: Facts) -> list[Undo]:
        # By the component's mark, which the new process has, too: it is not known before it is there.
        return [Undo("continue", {"component": self.component, **{k: facts[k] for k in Pid._fields}})]

    def start(self, stack: Stack, facts: Facts) -> None:
        before = Pid(facts["pid"], facts["started"])
        if before not in stack.kill(self.component, before):
            raise FaultError(f"slow_start: {self.component} (pid {before.pid}) was gone before it could be killed")
        until = time.monotonic() + ANEW_WITHIN_S
        while time.monotonic() < until:
            with suppress(StackError):
                if stack.pid(self.component) != before:
                    control = stack.control(self.component)
                    control.pause(control.found())
                    return
            time.sleep(0.005)
        raise FaultError(f"slow_start: {self.component} was not started anew within {ANEW_WITHIN_S:g} s")

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """The kernel's account and a client: the component has been started anew, takes no processor time, and accepts
        no connection where its address is known."""
        new = stack.pid(self.component)
        if new == Pid(facts["pid"], facts["started"]):
            return None
        took = _ticks(new)
        time.sleep(IDLE_S)
        look = stack.react(self.component, LOOK_S)
        if took is None or _ticks(new) != took or (look is not None and look.kind == "accepted"):
            return None
        said = f"; its address is {look.kind}" if look else ""
        return f"{self.component} was started anew (pid {new.pid}) and takes no processor time{said}"


def _ticks(pid: Pid) -> int | None:
    """The processor time that a process has had; None once it is gone."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])
    return None
