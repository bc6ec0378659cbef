"""All the machinery and no fault: whatever moves now is a false positive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults.fault import Facts, Fault
from harness.stack.stack import Stack
from harness.stack.undo import Undo


@dataclass(frozen=True)
class Sham(Fault):
    """Goes through target, ledger, start and undo, and breaks nothing."""

    component: str = "server"
    kind: ClassVar[str] = "sham"
    sham: ClassVar[bool] = True
    ends_with_process: ClassVar[bool] = True

    def target(self, stack: Stack) -> Facts:
        return stack.pid(self.component)._asdict()

    def undo(self, facts: Facts) -> list[Undo]:
        return [Undo("continue", facts)]  # harmless to a process that is not stopped

    def start(self, stack: Stack, facts: Facts) -> None:
        pass

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        return None
