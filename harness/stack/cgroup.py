"""Control groups of our own, for what a component may take: of version 1 or 2, wherever its processes are now.

A group lies beside or below the one that the component is in, so that what limits that one goes on. It is left and
removed by the verb `leave_cgroup` of stack/undo.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from harness.errors import StackError
from harness.stack.process import Pid

ROOT = Path("/sys/fs/cgroup")
PREFIX = "harness-"  # what the name of every group of ours begins with
ALL_IN_WITHIN_S = 3.0


class Group(NamedTuple):
    """A control group: for one controller in version 1, for all in version 2."""

    version: int
    folder: Path

    def read(self, v1: str, v2: str) -> str:
        """The content of the file that has this name in each version; empty where there is none."""
        with suppress(OSError):
            return (self.folder / (v1 if self.version == 1 else v2)).read_text()
        return ""

    def number(self, v1: str, v2: str, key: str = "") -> int:
        """What such a file says; of one with several lines, the one that begins with a key. 0 where nothing is said."""
        lines = [line.split() for line in self.read(v1, v2).splitlines()]
        said = [words[-1] for words in lines if not key or words[0] == key]
        return int(said[0]) if said and said[0].isdigit() else 0


def of(pid: int, controller: str, root: Path = ROOT, proc: Path = Path("/proc")) -> Group | None:
    """The group of a process that a controller acts by; None where there is none, or none that can be seen here."""
    try:
        lines = (proc / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return None
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controller in controllers.split(","):
            return _seen(1, (root / controller).resolve(), path)
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if not controllers and (found := _seen(2, root, path)):
            return found if controller in (found.read("", "cgroup.controllers")).split() else None
    return None


def ours(group: Group, name: str) -> Group:
    """Where the group of a fault is to be: below the one of version 1; in version 2 below the root, else beside it, for
    a group that has others below it has no processes there."""
    beside = group.version == 2 and (group.folder / "cgroup.type").exists()
    return Group(group.version, (group.folder.parent if beside else group.folder) / f"{PREFIX}{name}")


def make(group: Group, controller: str, settings: Mapping[str, str]) -> None:
    """Make a group and write into its files; `?` before a name: where there is such a file. Raises StackError."""
    try:
        if group.version == 2 and controller not in (
            (group.folder.parent / "cgroup.subtree_control").read_text().split()
        ):
            (group.folder.parent / "cgroup.subtree_control").write_text(f"+{controller}")
        group.folder.mkdir()
        for name, text in settings.items():
            file = group.folder / name.removeprefix("?")
            if file.exists() or not name.startswith("?"):
                file.write_text(text)
    except OSError as error:
        raise StackError(f"control group {group.folder}: {error.strerror}") from error


def move_all(group: Group, found: Callable[[], Sequence[Pid]]) -> None:
    """Put processes into a group, until all that are found are in it. Raises StackError."""
    procs, until = group.folder / "cgroup.procs", time.monotonic() + ALL_IN_WITHIN_S
    while missing := {pid.pid for pid in found()} - set(map(int, procs.read_text().split())):
        if time.monotonic() > until:
            raise StackError(f"not in the control group {group.folder}: {sorted(missing)}")
        for pid in missing:
            with suppress(ProcessLookupError):
                procs.write_text(str(pid))


def _seen(version: int, mount: Path, path: str) -> Group | None:
    """A group by its path, which may be told from outside of what is mounted here."""
    for folder in (mount / path.lstrip("/"), mount):
        if (folder / "cgroup.procs").exists():
            return Group(version, folder)
    return None
