"""The memory of a container is used up: nearly, or beyond what the kernel allows, so that it kills a process."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from harness.errors import FaultError
from harness.faults.fault import Facts, Fault
from harness.stack import cgroup
from harness.stack.control import KILL, PROCESSES
from harness.stack.process import Pid, identify, spawn, state
from harness.stack.stack import Stack
from harness.stack.undo import Undo

MIB = 1 << 20
LEAST_MIB, MOST_MIB = 32, 4096
USAGE = {1: "memory.usage_in_bytes", 2: "memory.current"}
LIMIT = {1: "memory.limit_in_bytes", 2: "memory.max"}
MARGIN = 0.03  # of the limit: what the kernel takes back and gives out again meanwhile
FULL_WITHIN_S = 20.0

# Beside the component in its group, as a second container of a pod may be. It keeps the group as full as it is told,
# and ends when the group is gone. Beyond the limit the kernel spares it and takes the larger one.
FILLER = """
import mmap, os, sys, time
group, usage, at, beyond, piece = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "1", 1 << 20
try:
    open("/proc/self/oom_score_adj", "w").write("-900")
except OSError:
    pass
open(f"{group}/cgroup.procs", "w").write(str(os.getpid()))
kept = []
while os.path.exists(group):
    with open(f"{group}/{usage}") as file:
        used = len(kept) * piece if beyond else int(file.read())
    if used + piece <= at:
        kept.append(mmap.mmap(-1, piece, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        kept[-1].write(b"x" * piece)
    elif used > at + piece and kept:
        kept.pop().close()
    else:
        time.sleep(0.02)
"""


@dataclass(frozen=True)
class MemoryFull(Fault):
    """The processes of a component get a control group that may take `limit_mib` more than they have, and a process
    beside them there fills it to a share: `filled` below 1 leaves them short of memory, above 1 the kernel's
    out-of-memory killer ends one. With `filled: 0` nothing fills it: it is a limit that was not there before.

    What they had before counts to where they were. A process that takes the place of one is not in the group.
    """

    filled: float = 0.95
    limit_mib: int = 256
    component: str = "server"
    kind: ClassVar[str] = "memory_full"
    undone: ClassVar[str] = "the filler is ended; its processes leave the control group, which is removed"
    deeds: ClassVar[tuple[str, ...]] = (PROCESSES,)
    needs: ClassVar[tuple[str, ...]] = ("cgroup_memory",)
    ends_with_process: ClassVar[bool] = True

    def mistakes(self) -> Iterator[tuple[str, str]]:
        if not LEAST_MIB <= self.limit_mib <= MOST_MIB:
            yield "limit_mib", f"must be from {LEAST_MIB} to {MOST_MIB}; got {self.limit_mib}"
        if not (self.filled == 0 or 0.1 <= self.filled <= 0.97 or 1.1 <= self.filled <= 2):
            yield "filled", f"must be 0, or from 0.1 to 0.97, or for a kill from 1.1 to 2; got {self.filled:g}"

    @classmethod
    def asks(cls, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        """What is filled beyond the limit has the kernel kill it."""
        filled = arguments.get("filled", 0)
        return (*cls.deeds, KILL) if isinstance(filled, (int, float)) and filled > 1 else cls.deeds

    def target(self, stack: Stack) -> Facts:
        main = stack.pid(self.component)
        if (now := cgroup.of(main.pid, "memory")) is None:
            raise FaultError(f"memory_full: {self.component} is in no control group that limits its memory")
        group = cgroup.ours(now, f"memory-{uuid.uuid4().hex[:8]}")
        return {**main._asdict(), "version": now.version, "group": str(group.folder), "back": str(now.folder)}

    def undo(self, facts: Facts) -> list[Undo]:
        filler = [Undo("end", dict(zip(Pid._fields, facts["filler"], strict=True)))] if "filler" in facts else []
        return [*filler, Undo("leave_cgroup", {"path": facts["group"], "back": facts["back"]})]

    def start(self, stack: Stack, facts: Facts) -> Facts | None:
        main, group = Pid(facts["pid"], facts["started"]), cgroup.Group(facts["version"], Path(facts["group"]))
        limit, usage = self.limit_mib * MIB, USAGE[group.version]
        swap = {"?memory.memsw.limit_in_bytes": str(limit)} if group.version == 1 else {"?memory.swap.max": "0"}
        cgroup.make(group, "memory", {LIMIT[group.version]: str(limit), **swap})
        cgroup.move_all(group, lambda: stack.members(self.component, main))
        if not self.filled:
            return None
        beyond = self.filled > 1
        argv = [sys.executable, "-S", "-c", FILLER, str(group.folder), usage, str(round(self.filled * limit))]
        child = spawn("filler", [*argv, str(int(beyond))], stack.run)
        if (filler := identify(child.pid)) is None:
            child.check()
            raise FaultError("memory_full: the process that fills it ended at once")
        until = time.monotonic() + FULL_WITHIN_S
        while time.monotonic() < until and child.alive() and not self._is_full(group, main):
            time.sleep(0.02)
        return {**facts, "filler": list(filler)}

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """The kernel: which group the component is in, and how full that is; or that it killed for want of memory, and
        that the component's process is gone."""
        main = Pid(facts["pid"], facts["started"])
        if self.filled > 1:
            group = cgroup.Group(facts["version"], Path(facts["group"]))
            killed = _kills(group)
            if not killed or state(main) is not None:
                return None
            return f"the kernel killed {killed} for want of memory, and {self.component} (pid {main.pid}) is gone"
        group = cgroup.of(main.pid, "memory")
        if group is None or not self._is_full(group, main):
            return None
        used, limit = group.number(USAGE[1], USAGE[2]), group.number(LIMIT[1], LIMIT[2])
        return f"the control group of {self.component} uses {used / MIB:.0f} MiB of {limit / MIB:.0f} MiB"

    def _is_full(self, group: cgroup.Group, main: Pid) -> bool:
        if self.filled > 1:
            return _kills(group) > 0 and state(main) is None
        used, limit = group.number(USAGE[1], USAGE[2]), group.number(LIMIT[1], LIMIT[2])
        if not self.filled:
            return limit == self.limit_mib * MIB
        return limit > 0 and used / limit >= self.filled - MARGIN


def _kills(group: cgroup.Group) -> int:
    return group.number("memory.oom_control", "memory.events", "oom_kill")
