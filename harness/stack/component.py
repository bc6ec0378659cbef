"""A component: one process of the stack that a fault can name, through all the processes that take its place."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from harness.stack.process import Child, started_ticks


class Component:
    """A named process. Each start is a new generation; the process id is on file in `pids/NAME` of the run.

    Whoever looks at several of its fields, or changes them, holds `lock`.
    """

    def __init__(self, name: str, run: Path, spawn: Callable[[], Child]):
        self.name = name
        self.lock = threading.RLock()
        self.child: Child | None = None
        self.generation = 0
        self.since = 0.0  # monotonic: when this generation was started
        self._run, self._spawn = run, spawn

    def start(self) -> None:
        """Start the next generation. Raises StackError."""
        with self.lock:
            self.child = self._spawn()
            self.generation += 1
            self.since = time.monotonic()
            pid_file = self._run / "pids" / self.name
            pid_file.parent.mkdir(exist_ok=True)
            scratch = pid_file.with_suffix(".new")
            scratch.write_text(json.dumps({"pid": self.child.pid, "started": started_ticks(self.child.pid) or 0}))
            os.replace(scratch, pid_file)

    def alive(self) -> bool:
        return self.child is not None and self.child.alive()

    def end(self, grace_s: float) -> None:
        """SIGTERM, the grace, SIGKILL; nothing where there is no process."""
        with self.lock:
            if self.child is not None:
                self.child.end(grace_s)

    @property
    def restart_request(self) -> Path:
        """The file by which anybody asks for a restart; it is removed when the component is ready again."""
        return self._run / "requests" / f"restart-{self.name}"
