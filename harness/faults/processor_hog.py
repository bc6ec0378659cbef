"""Something else on the host computes without end, and a component waits for a processor."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from harness.errors import FaultError
from harness.faults.fault import Facts, Fault
from harness.stack.control import PROCESSES
from harness.stack.process import Pid, identify, spawn
from harness.stack.stack import Stack
from harness.stack.undo import Undo

LOOK_S = 0.5
WAITS, WAITS_MORE = 0.5, 0.1  # of the time that it would run; and so much more than before
MOST = 64
HOG = """
import os, sys, time
os.sched_setaffinity(0, map(int, sys.argv[1].split(",")))
until = time.monotonic() + float(sys.argv[2])
while time.monotonic() < until:
    sum(range(10_000))
"""


@dataclass(frozen=True)
class ProcessorHog(Fault):
    """So many `processes` compute for `for_s`, on the processors that a component may run on, or on those `cpus` of
    them.

    A `niceness` above that of what measures the service leaves the measurement alone: the kernel shares time out by it.
    """

    processes: int
    for_s: float
    niceness: int = 10
    cpus: list[int] = field(default_factory=list)  # none: all that the component may run on
    component: str = "server"
    kind: ClassVar[str] = "processor_hog"
    touches: ClassVar[str] = "the processors of {component}"
    undone: ClassVar[str] = "the hogs are ended"
    deeds: ClassVar[tuple[str, ...]] = (PROCESSES,)

    def mistakes(self) -> Iterator[tuple[str, str]]:
        if not 1 <= self.processes <= MOST:
            yield "processes", f"must be from 1 to {MOST}; got {self.processes}"
        if self.for_s <= 0:
            yield "for_s", f"must be above 0; got {self.for_s:g}"
        if not 0 <= self.niceness <= 19:
            yield "niceness", f"must be from 0 to 19; got {self.niceness}"

    def target(self, stack: Stack) -> Facts:
        main = stack.pid(self.component)
        may = os.sched_getaffinity(main.pid)
        if other := sorted(set(self.cpus) - may):
            raise FaultError(f"processor_hog: {self.component} does not run on the processors {other}")
        waits = _waits(stack.members(self.component, main), LOOK_S)
        return {**main._asdict(), "cpus": sorted(set(self.cpus) or may), "waits_before": waits}

    def undo(self, facts: Facts) -> list[Undo]:
        return [Undo("end", {"pid": pid, "started": started}) for pid, started in facts.get("hogs", ())]

    def start(self, stack: Stack, facts: Facts) -> Facts:
        argv = [sys.executable, "-S", "-c", HOG, ",".join(map(str, facts["cpus"])), str(self.for_s)]
        hogs = [spawn(f"hog-{n}", argv, stack.run, niceness=self.niceness) for n in range(1, self.processes + 1)]
        found = [identify(hog.pid) for hog in hogs]
        if not any(found):
            hogs[0].check()
            raise FaultError("processor_hog: its processes ended at once")
        return {**facts, "hogs": [list(pid) for pid in found if pid]}

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """The kernel's account of the component's own threads: of the time that they would run, how much they waited
        for a processor."""
        waits, before = _waits(stack.members(self.component, stack.pid(self.component)), LOOK_S), facts["waits_before"]
        if waits is None or waits < max(WAITS, (before or 0) + WAITS_MORE):
            return None
        was = "was idle" if before is None else f"{before:.0%}"
        return f"{self.component} waits for a processor in {waits:.0%} of the time that it would run; before {was}"


def _waits(processes: Iterable[Pid], for_s: float) -> float | None:
    """What share of the time in which they would run processes wait for a processor; None where they want none."""
    ran, waited = _account(processes)
    time.sleep(for_s)
    ran_then, waited_then = _account(processes)
    wanted = ran_then - ran + waited_then - waited
    return (waited_then - waited) / wanted if wanted > 0 else None


def _account(processes: Iterable[Pid]) -> tuple[int, int]:
    """Nanoseconds that all threads of processes have run, and have waited for a processor."""
    ran = waited = 0
    for pid in processes:
        for thread in Path(f"/proc/{pid.pid}/task").glob("*/schedstat"):
            with suppress(OSError, ValueError):  # it has ended; or the kernel does not count
                numbers = thread.read_text().split()
                ran, waited = ran + int(numbers[0]), waited + int(numbers[1])
    return ran, waited
