"""A process is killed, as the kernel's out-of-memory killer does it."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

from harness.errors import FaultError, StackError
from harness.faults.fault import Facts, Fault
from harness.stack.process import Pid, processes_of
from harness.stack.stack import Stack
from harness.stack.undo import Undo

LOOK_S = 1.0


@dataclass(frozen=True)
class Kill(Fault):
    """SIGKILL to every process of a component, and for `again_for_s` to whatever takes its place, as while memory is
    short.

    A replica needs no rollback: to bring it back is the supervisor's work, which is tested. A dependency is started
    again by its rollback.
    """

    component: str = "server"
    again_for_s: float = 0
    kind: ClassVar[str] = "kill"
    ends_with_process: ClassVar[bool] = True
    of_monitoring: ClassVar[bool] = True

    def target(self, stack: Stack) -> Facts:
        main, found = stack.pid(self.component), stack.react(self.component, LOOK_S)
        return {
            **main._asdict(),
            "at": time.time(),
            "dependency": self.component in stack.unattended,
            "refused_before": found is not None and found.kind == "refused",
        }

    def undo(self, facts: Facts) -> list[Undo]:
        return [Undo("restart_component", {"component": self.component})] if facts["dependency"] else []

    def start(self, stack: Stack, facts: Facts) -> None:
        main = Pid(facts["pid"], facts["started"])
        if main not in stack.kill(self.component, main):
            raise FaultError(f"kill: {self.component} (pid {main.pid}) was gone before it could be killed")
        until = time.monotonic() + self.again_for_s
        while time.monotonic() < until:
            with suppress(StackError):  # nothing has taken its place yet
                stack.kill(self.component, stack.pid(self.component))
            time.sleep(0.02)

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """A client: the component's own address accepted connections before, and refuses them now. Where it has no
        known address, the kernel's process table: nothing carries the component's mark. Else whoever looks after the
        component, who has started it anew."""
        address = stack.addresses.get(self.component)
        if address is None and not processes_of(stack.run, self.component):
            return f"/proc: nothing is marked as {self.component} any more"
        if address and not facts["refused_before"] and stack.react(self.component, LOOK_S).kind == "refused":
            return f"{address} accepted connections before and refuses them now"
        if stack.started_since(self.component, facts["at"]):
            return f"{self.component} was started anew"
        if address and facts["refused_before"]:
            raise StackError(f"{address} refused connections before the fault, too, so nothing can be seen there")
        return None
