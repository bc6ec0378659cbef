"""A component gets too little processor time, as under the limit of a container that was set too low."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.errors import FaultError
from harness.faults.fault import Facts, Fault
from harness.stack import cgroup
from harness.stack.process import Pid
from harness.stack.stack import Stack
from harness.stack.undo import Undo

PERIOD_US = 100_000
THROTTLED = 3  # so many periods in which the kernel kept it from running show that it wants more than it gets


@dataclass(frozen=True)
class CpuLimit(Fault):
    """All processes of a component share `cores` of processor time, by a control group of their own.

    A process that takes the place of one is whole.
    """

    cores: float
    component: str = "server"
    kind: ClassVar[str] = "cpu_limit"
    undone: ClassVar[str] = "its processes leave the control group, which is removed"
    needs: ClassVar[tuple[str, ...]] = ("cgroup_cpu",)
    ends_with_process: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0.01 <= self.cores < math.inf:
            raise ValueError(f"cores: must be a number from 0.01 on; got {self.cores}")

    def target(self, stack: Stack) -> Facts:
        main = stack.pid(self.component)
        if (now := cgroup.of(main.pid, "cpu")) is None:
            raise FaultError(f"cpu_limit: {self.component} is in no control group that limits its processor time")
        group = cgroup.ours(now, f"cpu-{uuid.uuid4().hex[:8]}")
        return {**main._asdict(), "version": now.version, "group": str(group.folder), "back": str(now.folder)}

    def undo(self, facts: Facts) -> list[Undo]:
        return [Undo("leave_cgroup", {"path": facts["group"], "back": facts["back"]})]

    def start(self, stack: Stack, facts: Facts) -> None:
        main, group = Pid(facts["pid"], facts["started"]), cgroup.Group(facts["version"], Path(facts["group"]))
        quota_us = round(self.cores * PERIOD_US)
        limit = {
            1: {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": str(quota_us)},
            2: {"cpu.max": f"{quota_us} {PERIOD_US}"},
        }
        cgroup.make(group, "cpu", limit[group.version])
        cgroup.move_all(group, lambda: stack.members(self.component, main))

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """The kernel's account of the group that the component is in by its own word: how often it was held back."""
        main = stack.pid(self.component)
        group = cgroup.of(main.pid, "cpu")
        held = group.number("cpu.stat", "cpu.stat", "nr_throttled") if group else 0
        if held < THROTTLED:
            return None
        periods = group.number("cpu.stat", "cpu.stat", "nr_periods")
        return f"the kernel kept {self.component} from running in {held} of {periods} periods of its control group"
