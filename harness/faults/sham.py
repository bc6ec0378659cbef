"""All the machinery and no fault: whatever moves now is a false positive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults.fault import Facts
from harness.stack.ledger import Undo
from harness.stack.stack import Stack


@dataclass(frozen=True)
class Sham:
    """Goes through target, ledger, start and undo, and breaks nothing."""

    process: str = "server"
    kind: ClassVar[str] = "sham"
    sham: ClassVar[bool] = True

    def target(self, stack: Stack) -> Facts:
        return stack.pid(self.process)._asdict()

    def undo(self, facts: Facts) -> list[Undo]:
        return [Undo("continue", facts["pid"], facts["started"])]  # harmless to a process that is not stopped

    def start(self, stack: Stack, facts: Facts) -> None:
        pass

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        return None
