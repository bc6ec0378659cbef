"""A process is killed, as the kernel's out-of-memory killer does it."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import ClassVar

from harness.errors import FaultError
from harness.faults.fault import Facts
from harness.stack.ledger import Undo
from harness.stack.process import Pid, send, state
from harness.stack.stack import Stack


@dataclass(frozen=True)
class Kill:
    """SIGKILL to a process of the stack. Nothing to undo: to bring it back is the kubelet's work, which is tested."""

    process: str = "server"
    kind: ClassVar[str] = "kill"
    sham: ClassVar[bool] = False

    def target(self, stack: Stack) -> Facts:
        return stack.pid(self.process)._asdict()

    def undo(self, facts: Facts) -> list[Undo]:
        return []

    def start(self, stack: Stack, facts: Facts) -> None:
        if not send(Pid(**facts), signal.SIGKILL):
            raise FaultError(f"kill: {self.process} (pid {facts['pid']}) was gone before it could be killed")

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """The kernel's process table: that process, told by its start time, runs no more."""
        if state(Pid(**facts)) is None:
            return f"/proc: process {facts['pid']} ({self.process}) has ended, seen by process {os.getpid()}"
        return None
