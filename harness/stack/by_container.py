"""Control by the API of a container engine. A container is known again by its id: a name may pass to another one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.errors import StackError
from harness.stack import cgroup
from harness.stack.control import CONTAINER, Found
from harness.stack.engine import PERIOD_US, Box, Engine, Gone
from harness.stack.undo import Undo


@dataclass(frozen=True)
class Container:
    """The container that has a name now, at an engine. restarted_by: who starts it again when it has ended."""

    engine: str
    name: str
    restarted_by: str = ""

    def look(self) -> Box | None:
        """The container; None where there is none of that name. Raises StackError where the engine does not say."""
        try:
            return Engine(self.engine).find(self.name)
        except Gone:
            return None

    def found(self) -> Found:
        box = self.look()
        if box is None or not box.runs:
            state = "there is none of that name" if box is None else f"it is {box.status}"
            raise StackError(f"container {self.name} is not running: {state}; start it, or name the one that runs")
        known = {"engine": self.engine, "id": box.id, "name": self.name}
        return {CONTAINER: known, "began": box.started, "restarted_by": self.restarted_by}

    def start(self) -> None:
        """Start it again."""
        Engine(self.engine).start(Engine(self.engine).find(self.name).id)

    def kill(self, found: Found) -> bool:
        return self._done(found, Engine(self.engine).kill)

    def stop(self, found: Found, grace_s: float) -> bool | None:
        if not self._done(found, lambda id: Engine(self.engine).stop(id, grace_s)):
            return None
        box = self.look()
        return box is not None and box.code == 137  # 128 + SIGKILL

    def pause(self, found: Found) -> Found:
        Engine(self.engine).pause(found[CONTAINER]["id"])
        return found

    def limits(self, found: Found) -> Found:
        """What it may take now: by the kernel where it runs here, else as the engine has it on file."""
        box = Engine(self.engine).find(found[CONTAINER]["id"])
        quota, period = box.quota_us, box.period_us
        group, held = cgroup.of(box.pid, "cpu") if box.is_here else None, 0
        if group is not None:
            held = group.number("cpu.stat", "cpu.stat", "nr_throttled")
            said = group.read("cpu.cfs_quota_us", "cpu.max").split()
            if said:
                quota = 0 if said[0] in ("-1", "max") else int(said[0])
                period = int(said[1]) if said[1:] else group.number("cpu.cfs_period_us", "") or period
        return {
            **found,
            "pid": box.pid if box.is_here else 0,
            "held_before": held,
            "limits": {"quota_us": quota, "period_us": period},
        }

    def limit(self, found: Found, cores: float) -> None:
        """So many processors' time."""
        Engine(self.engine).limit(found[CONTAINER]["id"], round(cores * PERIOD_US), PERIOD_US)

    @staticmethod
    def resumes(component: str, found: Found) -> list[Undo]:
        return [Undo("unpause_container", found[CONTAINER])]

    @staticmethod
    def revives(component: str, found: Found) -> list[Undo]:
        """Also where somebody restarts it: who is to do it may have gone with the harness."""
        return [Undo("start_container", {**found[CONTAINER], "restarted_by": found["restarted_by"]})]

    @staticmethod
    def unlimits(found: Found) -> list[Undo]:
        return [Undo("limit_container", {**found[CONTAINER], **found["limits"]})]

    def _done(self, found: Found, deed: Callable[[str], None]) -> bool:
        try:
            box = Engine(self.engine).find(found[CONTAINER]["id"])
            if not box.runs or box.started != found["began"]:
                return False
            if box.status == "paused":
                Engine(self.engine).unpause(box.id)  # else nothing of it can end
            deed(box.id)
        except Gone:
            return False
        return True
