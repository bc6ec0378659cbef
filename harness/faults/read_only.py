"""A disk becomes read-only, as a file system does after an error of its device."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import time
import uuid
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
    needs: ClassVar[tuple[str, ...]] = ("mount",)

    def target(self, stack: Stack) -> Facts:
        folder = stack.state / self.component
        if not folder.is_dir():
            raise FaultError(f"read_only: {self.component} has no folder {{state}}/{self.component}")
        return {"folder": str(folder), "source": f"read-only-{uuid.uuid4().hex[:8]}", "at": time.time()}

    def undo(self, facts: Facts) -> list[Undo]:
        return [Undo("unmount", {"path": facts["folder"], "source": facts["source"]})]

    def start(self, stack: Stack, facts: Facts) -> None:
        folder, empty = facts["folder"], stack.state.with_name("empty")
        empty.mkdir(exist_ok=True)  # an overlay of one layer is none
        layers = ":".join(re.sub(r"([\\:,])", r"\\\1", str(layer)) for layer in (folder, empty))
        command = ["mount", "-t", "overlay", "-o", f"ro,lowerdir={layers}", facts["source"], folder]
        done = subprocess.run(command, capture_output=True, text=True, timeout=MOUNT_S)
        if done.returncode != 0:
            raise FaultError(f"read_only: {folder} could not be made so: {done.stderr.strip()}")

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
