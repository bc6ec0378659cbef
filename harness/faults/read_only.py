"""A disk becomes read-only, as a file system does after an error of its device."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.errors import FaultError
from harness.faults.fault import Facts, Fault
from harness.stack import prometheus
from harness.stack.stack import Stack
from harness.stack.undo import Undo

MOUNT_S = 10.0


@dataclass(frozen=True)
class ReadOnly(Fault):
    """The folder of a component, its name in {state}, can be read and no more. A file that is open already can still be
    written to: a kernel lets nobody make a file system read-only under those, only errors do.

    `witness_query`: PromQL that gives a result only while the component itself says so.
    """

    witness_query: str
    component: str = "server"
    kind: ClassVar[str] = "read_only"
    touches: ClassVar[str] = "the folder of {component}"
    undone: ClassVar[str] = "the read-only mount is taken away"
    needs: ClassVar[tuple[str, ...]] = ("mount",)

    def target(self, stack: Stack) -> Facts:
        folder = stack.state / self.component
        if not folder.is_dir():
            raise FaultError(f"read_only: {self.component} has no folder {{state}}/{self.component}")
        return {"folder": str(folder), "at": time.time()}

    def undo(self, facts: Facts) -> list[Undo]:
        return [Undo("make_writable", {"path": facts["folder"]})]

    def start(self, stack: Stack, facts: Facts) -> None:
        command = ["mount", "-o", "bind,ro", facts["folder"], facts["folder"]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=MOUNT_S)
        if done.returncode != 0:
            raise FaultError(f"read_only: {facts['folder']} could not be made so: {done.stderr.strip()}")

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """The kernel, which refuses a write from outside; and the component itself, as Prometheus stored it."""
        trial = Path(facts["folder"]) / f".trial-{os.getpid()}"
        try:
            trial.touch()
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
        else:
            trial.unlink()
            return None
        result = prometheus.query(stack.prometheus_url, self.witness_query)
        if not result:
            return None
        return f"a write from outside: Read-only file system; {prometheus.shown(self.witness_query, result)}"
