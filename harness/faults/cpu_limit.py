"""A component gets too little processor time, as under the limit of a container that was set too low."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.errors import FaultError
from harness.faults.fault import Facts, Fault
from harness.stack import cgroup
from harness.stack.by_process import Processes
from harness.stack.control import LIMIT, holder
from harness.stack.process import Pid
from harness.stack.stack import Stack
from harness.stack.undo import Undo

PERIOD_US = 100_000
LEAST = 0.01  # cores; the kernel takes no quota below a hundredth of a period
THROTTLED = 3  # so many periods in which the kernel kept it from running show that it wants more than it gets


@dataclass(frozen=True)
class CpuLimit(Fault):
    """All processes of a component share `cores` of processor time, by a control group of their own; a container by
    its limits.

    A process that takes the place of one is whole.
    """

    cores: float
    component: str = "server"
    kind: ClassVar[str] = "cpu_limit"
    undone: ClassVar[str] = "its processes leave the control group, which is removed; a container gets its limits back"
    deeds: ClassVar[tuple[str, ...]] = (LIMIT,)
    needs: ClassVar[tuple[str, ...]] = ("cgroup_cpu",)  # also to see the limit of a container
    ends_with_process: ClassVar[bool] = True

    def mistakes(self) -> Iterator[tuple[str, str]]:
        if self.cores < LEAST:
            yield "cores", f"must be {LEAST:g} or more; got {self.cores:g}"

    def target(self, stack: Stack) -> Facts:
        control = stack.control(self.component)
        if not isinstance(control, Processes):
            return control.limits(control.found())
        main = stack.pid(self.component)
        if (now := cgroup.of(main.pid, "cpu")) is None:
            raise FaultError(f"cpu_limit: {self.component} is in no control group that limits its processor time")
        group = cgroup.ours(now, f"cpu-{uuid.uuid4().hex[:8]}")
        return {**main._asdict(), "version": now.version, "group": str(group.folder), "back": str(now.folder)}

    def undo(self, facts: Facts) -> list[Undo]:
        if "group" not in facts:
            return holder(facts).unlimits(facts)
        return [Undo("leave_cgroup", {"path": facts["group"], "back": facts["back"]})]

    def start(self, stack: Stack, facts: Facts) -> None:
        if "group" not in facts:
            stack.control(self.component).limit(facts, self.cores)
            return
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
        pid = facts["pid"] if "group" not in facts else stack.pid(self.component).pid
        group = cgroup.of(pid, "cpu") if pid else None
        held = group.number("cpu.stat", "cpu.stat", "nr_throttled") if group else 0
        held -= facts.get("held_before", 0)
        if held < THROTTLED:
            return None
        periods = group.number("cpu.stat", "cpu.stat", "nr_periods")
        return f"the kernel kept {self.component} from running in {held} of {periods} periods of its control group"
