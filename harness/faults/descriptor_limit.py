"""A process has no file descriptor left: it can neither accept a connection nor open a file."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, islice
from typing import ClassVar

from harness.errors import FaultError, StackError
from harness.faults.fault import Facts, Fault
from harness.stack.control import PROCESSES
from harness.stack.process import Pid, identify
from harness.stack.stack import Stack
from harness.stack.undo import Undo

LOOK_S, PATIENCE_S = 3.0, 2.0
MOST = 100_000


@dataclass(frozen=True)
class DescriptorLimit(Fault):
    """The processes of a component may open no more files than they have open now, and `spare` ones.

    The limits that they had are given back to the same ones. A process that takes the place of one is whole.
    """

    spare: int = 0
    component: str = "server"
    kind: ClassVar[str] = "descriptor_limit"
    undone: ClassVar[str] = "its processes get their limits back"
    deeds: ClassVar[tuple[str, ...]] = (PROCESSES,)
    ends_with_process: ClassVar[bool] = True

    def mistakes(self) -> Iterator[tuple[str, str]]:
        if not 0 <= self.spare <= MOST:
            yield "spare", f"must be from 0 to {MOST:,}; got {self.spare:,}"

    def target(self, stack: Stack) -> Facts:
        main, look = stack.pid(self.component), stack.react(self.component, LOOK_S)
        limits = []
        for pid in stack.members(self.component, main):
            with suppress(ProcessLookupError):
                limits.append([*pid, resource.prlimit(pid.pid, resource.RLIMIT_NOFILE)[0]])
        return {**main._asdict(), "limits": limits, "accepted_before": look is not None and look.kind == "accepted"}

    def undo(self, facts: Facts) -> list[Undo]:
        names = ("pid", "started", "soft")
        return [Undo("limit_descriptors", dict(zip(names, limit, strict=True))) for limit in facts["limits"]]

    def start(self, stack: Stack, facts: Facts) -> None:
        main, limited = Pid(facts["pid"], facts["started"]), set()
        for pid, started, soft in facts["limits"]:
            if identify(pid) != Pid(pid, started):
                continue
            with suppress(ProcessLookupError, FileNotFoundError):
                # The limit is on the numbers of new ones, and these fill the gaps that closed ones left. What is open
                # above it stays open.
                taken = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
                first_refused = next(islice((n for n in count() if n not in taken), self.spare, None))
                hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(first_refused, soft), hard))
                limited.add(pid)
        if main.pid not in limited:
            raise FaultError(f"descriptor_limit: {self.component} (pid {main.pid}) was gone before it could be limited")

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """A client: new connections to the component's own address were accepted before, and no process takes one."""
        address = stack.addresses.get(self.component)
        if not facts["accepted_before"]:
            raise StackError(f"{address or self.component} accepted no connection before the fault either")
        if stack.react(self.component, PATIENCE_S).kind == "accepted":
            return None
        return f"a client of {address} was accepted before, and by nobody in {PATIENCE_S:g} s now"
