"""Too few pods, or none: a Deployment or StatefulSet is scaled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from harness.errors import FaultError
from harness.faults.fault import Facts, Fault
from harness.faults.network import asked
from harness.stack.control import SCALE, holder
from harness.stack.stack import Stack
from harness.stack.undo import Undo

LOOK_S = 1.0


@dataclass(frozen=True)
class Scale(Fault):
    """The workload that makes the pods of a component makes so many `replicas`; its rollback has it make as many as
    before. `witness_query`: PromQL that gives a result only while it shows; without one, that nobody answers at the
    component's address, which is so with none."""

    replicas: int
    component: str = "server"
    witness_query: str = ""
    kind: ClassVar[str] = "scale"
    undone: ClassVar[str] = "as many replicas as before"
    deeds: ClassVar[tuple[str, ...]] = (SCALE,)

    def mistakes(self) -> Iterator[tuple[str, str]]:
        if not 0 <= self.replicas <= 1000:
            yield "replicas", f"must be from 0 to 1000; got {self.replicas}"
        if self.replicas and not self.witness_query:
            yield "witness_query", "is missing: how does it show that there are others than before?"

    def target(self, stack: Stack) -> Facts:
        found, look = stack.control(self.component).scaled(), stack.react(self.component, LOOK_S)
        if found["workload"]["replicas"] == self.replicas:
            raise FaultError(f"scale: {found['workload']['name']} has {self.replicas} replicas already")
        return {**found, "answered_before": look is not None and look.kind == "accepted"}

    def undo(self, facts: Facts) -> list[Undo]:
        return holder(facts).unscales(facts)

    def start(self, stack: Stack, facts: Facts) -> None:
        if not stack.control(self.component).scale(facts, self.replicas):
            raise FaultError(f"scale: {facts['workload']['name']} is no longer there")

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """What Prometheus says, or a client of the component's address."""
        if self.witness_query:
            return asked(stack, self.witness_query)
        if not facts["answered_before"] or stack.react(self.component, LOOK_S).kind == "accepted":
            return None
        return f"{stack.addresses[self.component]} answered before, and nobody answers there now"
