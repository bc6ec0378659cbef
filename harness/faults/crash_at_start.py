"""A component cannot start: what takes its place ends by itself, as for a setting that is wrong or a file not there."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

from harness.errors import FaultError, StackError
from harness.faults.fault import Facts, Fault
from harness.history import History
from harness.stack.process import Pid, state
from harness.stack.stack import Stack
from harness.stack.undo import Undo

ANEW_WITHIN_S = 60.0  # beyond the back-off, which doubles from 10 s on
ENDS_WITHIN_S = 15.0
LIMIT = 3  # of descriptors: standard input, output and error are all that it has


@dataclass(frozen=True)
class CrashAtStart(Fault):
    """A component is killed, and so many `times` what takes its place cannot open a file, and ends with an exit code of
    its own. It returns when the last of these is gone."""

    times: int = 1
    component: str = "server"
    kind: ClassVar[str] = "crash_at_start"
    replaces: ClassVar[bool] = True
    undone: ClassVar[str] = "nothing is left of it: the supervisor starts the next process"
    lease_s: ClassVar[float] = 120
    ends_with_process: ClassVar[bool] = True

    def mistakes(self) -> Iterator[tuple[str, str]]:
        if not 1 <= self.times <= 5:
            yield "times", f"must be from 1 to 5, for the back-off doubles; got {self.times}"

    def target(self, stack: Stack) -> Facts:
        if self.component in stack.dependencies:
            raise FaultError(f"crash_at_start: nobody starts {self.component} again when it is killed")
        return {**stack.pid(self.component)._asdict(), "at": time.time()}

    def undo(self, facts: Facts) -> list[Undo]:
        return []  # what is limited ends by itself, and its supervisor starts the next one

    def start(self, stack: Stack, facts: Facts) -> None:
        before = Pid(facts["pid"], facts["started"])
        if before not in stack.kill(self.component, before):
            raise FaultError(f"crash_at_start: {self.component} (pid {before.pid}) was gone before it could be killed")
        for _ in range(self.times):
            before = self._next(stack, before)
            with suppress(ProcessLookupError):
                resource.prlimit(before.pid, resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
            until = time.monotonic() + ENDS_WITHIN_S
            while state(before) is not None:
                if time.monotonic() > until:
                    stack.kill(self.component, before)  # else it would stay as it is
                    raise FaultError(f"crash_at_start: {self.component} started all the same, without descriptors")
                time.sleep(0.01)

    def _next(self, stack: Stack, before: Pid) -> Pid:
        until = time.monotonic() + ANEW_WITHIN_S
        while time.monotonic() < until:
            with suppress(StackError):
                if (new := stack.pid(self.component)) != before:
                    return new
            time.sleep(0.005)
        raise FaultError(f"crash_at_start: {self.component} was not started anew within {ANEW_WITHIN_S:g} s")

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """Its supervisor, which collects the exit code: one that ended by itself, and not well."""
        codes = [
            event.detail["code"]
            for event in History.read(stack.run).of("probe", "restart")
            if event.at >= facts["at"] and event.detail["process"] == self.component and event.detail["cause"] == "exit"
        ]
        ended = [code for code in codes if code is not None and code > 0]
        if len(ended) < self.times:
            return None
        return f"its supervisor saw {self.component} end with exit code {', '.join(map(str, ended))}"
