"""A process is killed, as the kernel's out-of-memory killer does it."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

from harness.errors import FaultError, StackError
from harness.faults.fault import Facts, Fault
from harness.stack.process import Pid, send, state
from harness.stack.stack import Stack
from harness.stack.undo import Undo


@dataclass(frozen=True)
class Kill(Fault):
    """SIGKILL to a component, and for `again_for_s` to whatever takes its place, as while memory is short.

    A replica needs no rollback: to bring it back is the supervisor's work, which is tested. A dependency is started
    again by its rollback.
    """

    component: str = "server"
    again_for_s: float = 0
    kind: ClassVar[str] = "kill"
    ends_with_process: ClassVar[bool] = True

    def target(self, stack: Stack) -> Facts:
        return {**stack.pid(self.component)._asdict(), "dependency": self.component in stack.dependencies}

    def undo(self, facts: Facts) -> list[Undo]:
        return [Undo("restart_component", {"component": self.component})] if facts["dependency"] else []

    def start(self, stack: Stack, facts: Facts) -> None:
        if not send(_process(facts), signal.SIGKILL):
            raise FaultError(f"kill: {self.component} (pid {facts['pid']}) was gone before it could be killed")
        until = time.monotonic() + self.again_for_s
        while time.monotonic() < until:
            with suppress(StackError):  # nothing has taken its place yet
                send(stack.pid(self.component), signal.SIGKILL)
            time.sleep(0.02)

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """The kernel's process table: that process, identified by its start time, runs no more."""
        if state(_process(facts)) is None:
            return f"/proc: process {facts['pid']} ({self.component}) has ended, seen by process {os.getpid()}"
        return None


def _process(facts: Facts) -> Pid:
    return Pid(facts["pid"], facts["started"])
