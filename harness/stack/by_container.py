"""Control by the API of a container engine. A container is known again by its id: a name may pass to another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import StackError
from harness.stack import cgroup
from harness.stack.control import CONTAINER, Found, Seen
from harness.stack.engine import PERIOD_US, Box, Engine, Gone
from harness.stack.process import identify
from harness.stack.undo import Undo

COMPOSE = "com.docker.compose"  # what its labels begin with, also those of podman-compose


@dataclass(frozen=True)
class Container:
    """The container that has a name now, at an engine; with `compose`, a file, that of the service of this name in it,
    and of several the one with this number. restarted_by: who starts it again when it has ended."""

    engine: str
    name: str
    restarted_by: str = ""
    compose: str = ""
    number: int = 1

    def look(self) -> Box | None:
        """The container; None where there is none of that name. Raises StackError where the engine does not say."""
        if self.compose:
            return self._composed()
        try:
            return Engine(self.engine).find(self.name)
        except Gone:
            return None

    def seen(self, before: tuple[Any, ...]) -> Seen:
        """One that was renamed is known by its id."""
        box = self.look() or (Container(self.engine, before[0]).look() if before else None)
        if box is None or not box.runs:
            return Seen(False, code=None if box is None else box.code)
        return Seen(True, (box.id, box.started), identify(box.pid) if box.is_here else None)

    def _composed(self) -> Box | None:
        """By the labels that compose gives it. Raises StackError where several have them."""
        labels = {f"{COMPOSE}.service": self.name, f"{COMPOSE}.container-number": str(self.number)}
        known = Engine(self.engine).labelled(labels)
        mine = [box for box, of in known if Path(self.compose).resolve() in _files(of)]
        if len(mine) > 1:
            names = ", ".join(sorted(box.name for box in mine))
            raise StackError(f"{self.where} is several containers: {names}; name one by `container`")
        return mine[0] if mine else None

    @property
    def where(self) -> str:
        """What it is called, for a message."""
        return f"service {self.name} of {self.compose}" if self.compose else f"container {self.name}"

    def found(self) -> Found:
        box = self.look()
        if box is None or not box.runs:
            state = "there is none of that name" if box is None else f"it is {box.status}"
            raise StackError(f"{self.where} is not running: {state}; start it, or name the one that runs")
        known = {"engine": self.engine, "id": box.id, "name": box.name}
        return {CONTAINER: known, "began": box.started, "restarted_by": self.restarted_by}

    def start(self) -> None:
        """Start it again."""
        if (box := self.look()) is None:
            raise StackError(f"{self.where} was removed, so it cannot be started; make it anew")
        Engine(self.engine).start(box.id)

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


def _files(labels: Mapping[str, str]) -> set[Path]:
    """The compose files that a container was made by."""
    folder = Path(labels.get(f"{COMPOSE}.project.working_dir", "/"))
    named = labels.get(f"{COMPOSE}.project.config_files", "").split(",")
    return {(folder / name).resolve() for name in named if name}
