"""A component: what a fault can name, one process with all that come of it, through all that take its place."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from harness.stack.process import NOBODY, Child, Pid, end_members, members, origin, started_ticks

INSIDE = "HARNESS_INSIDE"  # the variable that names `inside_control` to a process whose environment was added to


def inside_control(run: Path, name: str) -> Path:
    """The file that says what is to break inside the processes of a component, for a module that an experiment has put
    on their path."""
    return run.resolve() / "requests" / f"inside-{name}"


def stop_notice(run: Path, name: str) -> Path:
    """The file that is there while a component has been asked to end for good: the kubelet then asks no liveness or
    startup probe. It goes when the component is started again."""
    return run / "requests" / f"stopping-{name}"


def restart_request(run: Path, name: str) -> Path:
    """The file by which anybody asks for a restart of a component: empty, or {"added": ...} to its environment until
    the next one. It is removed when the component is ready again."""
    return run / "requests" / f"restart-{name}"


class Component:
    """A named process. Each start is a new generation; the process id is on file in `pids/NAME` of the run.

    It lives as long as its main process, the one that was started, as a container does. What that one leaves behind is
    ended with it: it would hold the port that the next generation needs.

    Whoever looks at several of its fields, or changes them, holds `lock`. `spawn` is given what `added` and `released`
    say: what the environment of the next generation has beside its own, and more of it by a release.
    """

    def __init__(self, name: str, run: Path, spawn: Callable[[Mapping[str, str]], Child]):
        self.name = name
        self.lock = threading.RLock()
        self.child: Child | None = None
        self.generation = 0
        self.since = 0.0  # monotonic: when this generation was started
        self.added: Mapping[str, str] = {}
        self.released: Mapping[str, str] = {}
        self._run, self._spawn = run, spawn
        self._main, self._mark = NOBODY, name

    def start(self) -> None:
        """Start the next generation. Raises StackError."""
        with self.lock:
            stop_notice(self._run, self.name).unlink(missing_ok=True)
            self.child = self._spawn({**self.added, **self.released})
            self.generation += 1
            self.since = time.monotonic()
            pid_file = self._run / "pids" / self.name
            pid_file.parent.mkdir(exist_ok=True)
            self._main = Pid(self.child.pid, started_ticks(self.child.pid) or 0)
            scratch = pid_file.with_suffix(".new")
            self._mark = origin(self.child.pid, self._run) or self.name
            scratch.write_text(json.dumps({**self._main._asdict(), "mark": self._mark}))
            os.replace(scratch, pid_file)

    @property
    def code(self) -> int | None:
        """Of its exit; None while it lives."""
        return self.child.popen.returncode

    def alive(self) -> bool:
        return self.child is not None and self.child.alive()

    def announce_stop(self) -> None:
        """Say that it is asked to end: its next start takes that back."""
        notice = stop_notice(self._run, self.name)
        notice.parent.mkdir(exist_ok=True)
        notice.touch()

    @property
    def is_stopping(self) -> bool:
        """Whether it has been asked to end (`stop_notice`)."""
        return stop_notice(self._run, self.name).exists()

    def end(self, grace_s: float) -> None:
        """SIGTERM to the main process, the grace, SIGKILL, also to all that is left of it; nothing where there is no
        process. Not for whoever holds the lock: nobody else may wait for so long."""
        if self.child is not None:
            known = members(self._run, self._mark, self._main)
            self.child.end(grace_s)
            end_members(self._run, self._mark, self._main, known)

    @property
    def restart_request(self) -> Path:
        """See `restart_request`."""
        return restart_request(self._run, self.name)
