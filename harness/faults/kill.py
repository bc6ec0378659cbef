"""A process is killed, as the kernel's out-of-memory killer does it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.errors import FaultError, StackError
from harness.faults.fault import Facts, Fault, held
from harness.stack.control import KILL, PROCESSES, Control, Found, holder, identity
from harness.stack.process import Pid, processes_of, send, state
from harness.stack.stack import Stack
from harness.stack.undo import Undo

LOOK_S = 1.0
AGAIN_WITHIN_S = 90.0  # a back-off doubles from 10 s on, and a start takes its time


@dataclass(frozen=True)
class Kill(Fault):
    """SIGKILL to every process of a component, and for `again_for_s` to whatever takes its place, as while memory is
    short; or so many `times`, each once what took its place has accepted connections for `lives_s`. With
    `child` to one process of it that is not its main one, such as a worker of several.

    A replica needs no rollback: to bring it back is the supervisor's work, which is tested. With `at_once` that is
    asked for it anew each time and leaves out its back-off, as when a pod is deleted. A dependency is started again by
    its rollback.
    """

    component: str = "server"
    again_for_s: float = 0
    times: int = 1
    lives_s: float = 1.0
    at_once: bool = False
    child: bool = False
    kind: ClassVar[str] = "kill"
    replaces: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("again_for_s",)
    undone: ClassVar[str] = "whoever looks after it starts it again, else the harness does"
    deeds: ClassVar[tuple[str, ...]] = (KILL,)
    ends_with_process: ClassVar[bool] = True
    of_monitoring: ClassVar[bool] = True

    def mistakes(self) -> Iterator[tuple[str, str]]:
        if not 1 <= self.times <= 20:
            yield "times", f"must be from 1 to 20; got {self.times}"
        for name in ("again_for_s", "lives_s"):
            if getattr(self, name) < 0:
                yield name, f"must be 0 or more; got {getattr(self, name):g}"
        if self.child and (self.times > 1 or self.again_for_s or self.at_once):
            yield "child", "is killed once; leave out times, again_for_s and at_once"

    @classmethod
    def asks(cls, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        """A child is a process of this machine."""
        return (PROCESSES,) if arguments.get("child") else cls.deeds

    def target(self, stack: Stack) -> Facts:
        there, found = stack.control(self.component).found(), stack.react(self.component, LOOK_S)
        return {
            **there,
            "at": time.time(),
            "dependency": self.component in stack.unattended and self.component not in stack.controls,
            "refused_before": found is not None and found.kind == "refused",
        }

    def undo(self, facts: Facts) -> list[Undo]:
        return [] if self.child else holder(facts).revives(self.component, facts)

    def start(self, stack: Stack, facts: Facts) -> None:
        if self.child:
            if not any(send(Pid(*child), signal.SIGKILL) for child in facts["others"][-1:]):
                raise FaultError(f"kill: {self.component} has no process but its main one")
            return
        if not self._kill(stack, held(self, stack, facts, "killed"), facts):
            raise FaultError(f"kill: {self.component} was gone before it could be killed")
        until = time.monotonic() + self.again_for_s
        while time.monotonic() < until:
            with suppress(StackError):  # nothing has taken its place yet
                control = stack.control(self.component)
                control.kill(control.found())
            time.sleep(0.02)
        there: Found = facts
        for _ in range(self.times - 1):
            control, there = self._next(stack, there)
            self._kill(stack, control, there)

    def _kill(self, stack: Stack, control: Control, found: Found) -> bool:
        if self.at_once and self.component not in stack.dependencies:
            stack.ask_restart(self.component)  # before it, or the supervisor might begin a restart with its back-off
        return control.kill(found)

    def _next(self, stack: Stack, before: Found) -> tuple[Control, Found]:
        """What took the place of a process, once it has lived for its time."""
        until = time.monotonic() + AGAIN_WITHIN_S
        while time.monotonic() < until:
            with suppress(StackError):
                control = stack.control(self.component)
                new, look = control.found(), stack.react(self.component, LOOK_S)
                asked = self.at_once and stack.restart_request(self.component).exists()  # until it is ready
                if identity(new) != identity(before) and not asked and (look is None or look.kind == "accepted"):
                    time.sleep(self.lives_s)
                    return control, new
            time.sleep(0.02)
        raise FaultError(f"kill: nothing took the place of {self.component} within {AGAIN_WITHIN_S:g} s")

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """A client: the component's own address accepted connections before, and refuses them now. Where it has no
        known address, the kernel's process table: nothing carries the component's mark. Else whoever looks after the
        component, who has started it anew. Of a child the process table alone: one fewer of those that were there."""
        address = stack.addresses.get(self.component)
        if self.child:
            main, before = Pid(facts["pid"], facts["started"]), {Pid(*child) for child in facts["others"]}
            gone = before - set(stack.members(self.component, main))
            if not gone or state(main) is None:
                return None
            return f"/proc: of {len(before)} processes below {self.component} (pid {main.pid}) {len(gone)} is gone"
        if address is None and not processes_of(stack.run, self.component):
            return f"/proc: nothing is marked as {self.component} any more"
        if address and not facts["refused_before"] and stack.react(self.component, LOOK_S).kind == "refused":
            return f"{address} accepted connections before and refuses them now"
        if stack.started_since(self.component, facts["at"]):
            return f"{self.component} was started anew"
        if address and facts["refused_before"]:
            raise StackError(f"{address} refused connections before the fault, too, so nothing can be seen there")
        return None
