"""A process hangs: its connections stay open and nothing answers."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from typing import ClassVar

from harness.errors import FaultError, StackError
from harness.faults.fault import Facts, Fault
from harness.stack.process import Pid, processes_of, send, state
from harness.stack.stack import Stack
from harness.stack.undo import Undo

STOPPED_WITHIN_S = 3.0
LOOKS = 3  # at how it reacts while it is well; the slowest counts
LOOK_S = 3.0
PATIENCE, PATIENCE_S = 5.0, (0.5, 5.0)  # a hang lasts so many times longer than any of them took, within these


@dataclass(frozen=True)
class Pause(Fault):
    """SIGSTOP to every process of a component, undone by SIGCONT to the same ones, as far as they still exist."""

    component: str = "server"
    kind: ClassVar[str] = "pause"
    undone: ClassVar[str] = "SIGCONT to the same processes"
    ends_with_process: ClassVar[bool] = True
    of_monitoring: ClassVar[bool] = True

    def target(self, stack: Stack) -> Facts:
        main = stack.pid(self.component)
        takes_s: list[float] = []
        while len(takes_s) < LOOKS and (look := stack.react(self.component, LOOK_S)) and look.kind == "accepted":
            takes_s.append(look.took_s)
        return {
            **main._asdict(),
            "at": time.time(),
            "others": [list(pid) for pid in stack.members(self.component, main) if pid != main],
            "accepts_within_s": max(takes_s) if len(takes_s) == LOOKS else None,
        }

    def undo(self, facts: Facts) -> list[Undo]:
        stopped = {key: facts[key] for key in ("pid", "started", "others")}
        return [Undo("continue", {"component": self.component, **stopped})]

    def start(self, stack: Stack, facts: Facts) -> Facts:
        main = Pid(facts["pid"], facts["started"])
        if not send(main, signal.SIGSTOP):  # first, because it starts the others
            raise FaultError(f"pause: {self.component} (pid {main.pid}) was gone before it could be stopped")
        return {**facts, "others": [list(pid) for pid in stop_all(stack, self.component, main) if pid != main]}

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


def stop_all(stack: Stack, component: str, main: Pid) -> list[Pid]:
    """SIGSTOP to every process of a component, its main one first, until all are stopped; gives them."""
    send(main, signal.SIGSTOP)
    until = time.monotonic() + STOPPED_WITHIN_S
    while True:
        found = stack.members(component, main)
        running = [pid for pid in found if state(pid) not in ("T", "t", None)]
        if not running or time.monotonic() > until:
            return found
        for pid in running:
            send(pid, signal.SIGSTOP)
        time.sleep(0.01)
