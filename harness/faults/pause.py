"""A process hangs: its connections stay open and nothing answers."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import ClassVar

from harness.errors import FaultError
from harness.faults.fault import Facts, Fault
from harness.stack.process import Pid, send, state
from harness.stack.stack import Stack
from harness.stack.undo import Undo


@dataclass(frozen=True)
class Pause(Fault):
    """SIGSTOP to a component, undone by SIGCONT to that same process if it still exists."""

    component: str = "server"
    kind: ClassVar[str] = "pause"
    ends_with_process: ClassVar[bool] = True

    def target(self, stack: Stack) -> Facts:
        return stack.pid(self.component)._asdict()

    def undo(self, facts: Facts) -> list[Undo]:
        return [Undo("continue", facts)]

    def start(self, stack: Stack, facts: Facts) -> None:
        if not send(Pid(**facts), signal.SIGSTOP):
            raise FaultError(f"pause: {self.component} (pid {facts['pid']}) was gone before it could be stopped")

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """The kernel's process table: the process is stopped (T), or was ended while it was."""
        match state(Pid(**facts)):
            case "T":
                return f"/proc: process {facts['pid']} ({self.component}) is stopped"
            case None:
                return f"/proc: process {facts['pid']} ({self.component}) was replaced while it was stopped"
        return None
