"""All the machinery and no fault: whatever moves now is a false positive."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from harness.faults.fault import Facts
from harness.faults.pause import Pause
from harness.stack.stack import Stack
from harness.stack.undo import Undo


@dataclass(frozen=True)
class Sham(Pause):
    """Goes through target, ledger, start and undo, and breaks nothing."""

    kind: ClassVar[str] = "sham"
    undone: ClassVar[str] = "nothing was broken"
    deeds: ClassVar[tuple[str, ...]] = ()
    sham: ClassVar[bool] = True
    of_monitoring: ClassVar[bool] = False

    def target(self, stack: Stack) -> Facts:
        """Where there are several replicas and none is named, the first will do."""
        replicas = [name for name in stack.addresses if name not in stack.unattended]
        if self.component == "server" and replicas and "server" not in replicas:
            return replace(self, component=replicas[0]).target(stack)
        return super().target(stack) if stack.controls.get(self.component) != {} else {}

    def undo(self, facts: Facts) -> list[Undo]:
        """Nothing of what is only observed."""
        return super().undo(facts) if facts else []

    def start(self, stack: Stack, facts: Facts) -> Facts:
        """Nothing. The undo is harmless to a process that is not stopped."""
        return facts

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        return None
