"""A file grows in the run's folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults.fault import Facts, Fault
from harness.stack.stack import Stack
from harness.stack.undo import Undo


@dataclass(frozen=True)
class Grow(Fault):
    """Writes a file of some size."""

    size: int
    name: str = "balloon"
    kind: ClassVar[str] = "grow"
    lease_s: ClassVar[float] = 5

    def target(self, stack: Stack) -> Facts:
        return {"path": str(stack.run.resolve() / self.name)}

    def undo(self, facts: Facts) -> list[Undo]:
        return [Undo("remove", facts)]

    def start(self, stack: Stack, facts: Facts) -> None:
        with open(facts["path"], "wb") as out:
            out.write(bytes(self.size))

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        grown = {p.name: p.stat().st_size for p in stack.run.iterdir()}.get(self.name, 0)
        return f"the folder lists {self.name} with {grown} bytes" if grown >= self.size else None
