"""A process hangs: its connections stay open and nothing answers."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import ClassVar

from harness.errors import FaultError
from harness.faults.fault import Facts
from harness.stack.ledger import Undo
from harness.stack.process import Pid, send, state
from harness.stack.stack import Stack


@dataclass(frozen=True)
class Pause:
    """SIGSTOP to a process of the stack, undone by SIGCONT to that same process if it still exists."""

    process: str = "server"
    kind: ClassVar[str] = "pause"
    sham: ClassVar[bool] = False

    def target(self, stack: Stack) -> Facts:
        return stack.pid(self.process)._asdict()

    def undo(self, facts: Facts) -> list[Undo]:
        return [Undo("continue", facts["pid"], facts["started"])]

    def start(self, stack: Stack, facts: Facts) -> None:
        if not send(Pid(**facts), signal.SIGSTOP):
            raise FaultError(f"pause: {self.process} (pid {facts['pid']}) was gone before it could be stopped")

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """The kernel's process table: the process is stopped (T), or was ended while it was."""
        match state(Pid(**facts)):
            case "T":
                return f"/proc: process {facts['pid']} ({self.process}) is stopped"
            case None:
                return f"/proc: process {facts['pid']} ({self.process}) was replaced while it was stopped"
        return None
