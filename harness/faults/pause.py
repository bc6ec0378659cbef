"""A process hangs: its connections stay open and nothing answers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

from harness.errors import StackError
from harness.faults.fault import Facts, Fault, held
from harness.stack.control import PAUSE, holder
from harness.stack.process import processes_of, state
from harness.stack.stack import Stack
from harness.stack.undo import Undo

LOOKS = 3  # at how it reacts while it is well; the slowest counts
LOOK_S = 3.0
PATIENCE, PATIENCE_S = 5.0, (0.5, 5.0)  # a hang lasts so many times longer than any of them took, within these


@dataclass(frozen=True)
class Pause(Fault):
    """SIGSTOP to every process of a component, undone by SIGCONT to the same ones, as far as they still exist. A
    container is paused and unpaused."""

    component: str = "server"
    kind: ClassVar[str] = "pause"
    undone: ClassVar[str] = "SIGCONT to the same processes; a container is unpaused"
    deeds: ClassVar[tuple[str, ...]] = (PAUSE,)
    ends_with_process: ClassVar[bool] = True
    of_monitoring: ClassVar[bool] = True

    def target(self, stack: Stack) -> Facts:
        found = stack.control(self.component).found()
        takes_s: list[float] = []
        while len(takes_s) < LOOKS and (look := stack.react(self.component, LOOK_S)) and look.kind == "accepted":
            takes_s.append(look.took_s)
        return {
            **found,
            "at": time.time(),
            "accepts_within_s": max(takes_s) if len(takes_s) == LOOKS else None,
        }

    def undo(self, facts: Facts) -> list[Undo]:
        return holder(facts).resumes(self.component, facts)

    def start(self, stack: Stack, facts: Facts) -> Facts:
        return held(self, stack, facts, "stopped").pause(facts)

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """A client: connections to the component's own address were accepted before, and no process takes one now.
        Where it has no known address, the kernel's process table: all that carry the component's mark are stopped."""
        if stack.started_since(self.component, facts["at"]):
            return f"{self.component} was started anew while it was stopped"
        address, took_s = stack.addresses.get(self.component), facts["accepts_within_s"]
        if address is None:
            marked = processes_of(stack.run, self.component)
            stopped = marked and all(state(pid) in ("T", "t") for pid in marked)
            return f"/proc: all that is marked as {self.component} is stopped ({len(marked)})" if stopped else None
        if took_s is None:
            raise StackError(f"{address} accepted no connection before the fault either, so nothing can be seen there")
        shortest_s, longest_s = PATIENCE_S
        patience_s = min(max(PATIENCE * took_s, shortest_s), longest_s)
        if stack.react(self.component, patience_s).kind != "unaccepted":
            return None
        return f"a client of {address} was accepted by nobody in {patience_s:.2g} s; before in {1000 * took_s:.0f} ms"
