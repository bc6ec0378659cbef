"""Controls: what may be done to a component, one a file, one a line of this table.

A deed is a kind of thing that faults do. A control that has it knows how it is done, and how it is undone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from harness.stack.process import Pid
    from harness.stack.undo import Undo

KILL, STOP, PAUSE, LIMIT, SCALE, RESTART = "kill", "stop", "pause", "limit", "scale", "restart"
PROCESSES = "processes"  # what is done to its processes by the kernel of this machine
START = "start"  # what is done by how it is started: its environment, its files in {state}

BY_HARNESS = "harness"  # in restarted_by: as the kubelet does, by its probes
CONTAINER, PODS = "container", "pods"  # the keys of what is found by which it is known what it is

ABOUT = {
    KILL: "kill {it}",
    STOP: "ask {it} to end",
    PAUSE: "pause {it}",
    LIMIT: "limit the processor time of {it}",
    RESTART: "restart {it}",
    SCALE: "change the number of pods of {it}",
    PROCESSES: "reach the processes of {it} on this machine",
    START: "start {it}, with what it is to find at its start",
}


class Kind(NamedTuple):
    """What a control can do, and where that is written."""

    deeds: tuple[str, ...]
    by: str = ""


CONTROLS: dict[str, Kind] = {
    "none": Kind(()),
    "pid_file": Kind((KILL, STOP, PAUSE, LIMIT, PROCESSES), "harness.stack.by_process:Processes"),
    "container": Kind((KILL, STOP, PAUSE, LIMIT, RESTART), "harness.stack.by_container:Container"),
    "compose": Kind((KILL, STOP, PAUSE, LIMIT, RESTART), "harness.stack.by_container:Container"),
    "kubernetes": Kind((KILL, STOP, SCALE), "harness.stack.by_kubernetes:Pods"),
    "start": Kind((KILL, STOP, PAUSE, LIMIT, PROCESSES, RESTART, START), "harness.stack.by_process:Processes"),
}


class Seen(NamedTuple):
    """What a look at a component gives."""

    alive: bool
    identity: tuple[Any, ...] = ()  # of what runs: another one is in its place once this changes
    pid: Pid | None = None  # its main process, where that is one of this machine
    code: int | None = None  # of its exit


Found = Mapping[str, Any]  # what a control took hold of, by which it is known again; JSON


class Control(Protocol):
    """What faults ask of a component's control. Raises StackError where the component is not there."""

    def seen(self, before: tuple[Any, ...]) -> Seen:
        """Whether it is there; `before`: what was there when it was last seen."""

    def found(self) -> Found:
        """What is there now."""

    def kill(self, found: Found) -> bool:
        """End it at once; False where it was gone before."""

    def stop(self, found: Found, grace_s: float) -> bool | None:
        """Ask it to end, and make it after the grace; whether it had to be made; None where it was gone before."""

    def pause(self, found: Found) -> Found:
        """Let nothing of it run. Gives all that was taken hold of."""

    @staticmethod
    def resumes(component: str, found: Found) -> list[Undo]:
        """How it goes on after `pause`."""

    @staticmethod
    def revives(component: str, found: Found) -> list[Undo]:
        """How it is there again after it has ended; nothing where that is somebody else's work."""


def can(kind: str, deed: str) -> bool:
    """Whether a control has a deed."""
    return deed in CONTROLS[kind].deeds


def that_can(deed: str) -> list[str]:
    """The controls of what runs already that have a deed."""
    return [kind for kind, each in CONTROLS.items() if deed in each.deeds and kind != START]


def made(kind: str) -> Any:
    """The class of a control."""
    return resolve_name(CONTROLS[kind].by)


def holder(found: Found) -> Any:
    """The class of the control that has found something."""
    return made("container" if CONTAINER in found else "kubernetes" if PODS in found else "start")


def identity(found: Found) -> Found:
    """What tells it from whatever takes its place."""
    return {key: found[key] for key in ("pid", "started", CONTAINER, "began", PODS) if key in found}
