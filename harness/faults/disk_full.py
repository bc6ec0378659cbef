"""A disk fills up, and stays full whatever is removed from it."""

from __future__ import annotations

import errno
import os
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.errors import FaultError
from harness.faults.fault import Facts, Fault
from harness.stack import prometheus
from harness.stack.process import Pid, identify, spawn
from harness.stack.stack import Stack
from harness.stack.undo import Undo
from harness.stack.volume import free_bytes
from harness.units import size

CLOSE_BYTES = 1 << 20  # a file system keeps a little for itself


@dataclass(frozen=True)
class DiskFull(Fault):
    """The disk of a component, `start.disk` in service.yaml, fills up evenly in `over_s` seconds until `left_bytes` are
    left, and stays so. `witness_query`: PromQL that gives a result only while the component itself says so, where it
    does.
    """

    left_bytes: int = 0
    over_s: float = 0
    witness_query: str = ""
    component: str = "server"
    kind: ClassVar[str] = "disk_full"
    touches: ClassVar[str] = "the disk of {component}"
    undone: ClassVar[str] = "the filler is ended and its file removed"
    needs: ClassVar[tuple[str, ...]] = ("disk",)

    def mistakes(self) -> Iterator[tuple[str, str]]:
        for name in ("left_bytes", "over_s"):
            if getattr(self, name) < 0:
                yield name, f"must be 0 or more; got {getattr(self, name):g}"

    def target(self, stack: Stack) -> Facts:
        folder = stack.volume(self.component)
        free = free_bytes(folder)
        if free <= self.left_bytes:
            raise FaultError(f"disk_full: {size(free)} are free already, and {size(self.left_bytes)} are to be left")
        return {"file": str(folder / f".ballast-{uuid.uuid4().hex[:8]}"), "free_before": free}

    def undo(self, facts: Facts) -> list[Undo]:
        filler = [Undo("end", {key: facts[key] for key in Pid._fields})] if "pid" in facts else []
        return [Undo("remove", {"path": facts["file"]}), *filler]  # without the file the filler ends by itself

    def start(self, stack: Stack, facts: Facts) -> Facts:
        Path(facts["file"]).touch(0o600)
        argv = [sys.executable, "-m", "harness.stack.filler", facts["file"], str(self.left_bytes), str(self.over_s)]
        child = spawn("filler", argv, stack.run)
        found = identify(child.pid)
        if found is None:
            child.check()
            raise FaultError("disk_full: what fills the disk ended at once")
        return {**facts, **found._asdict(), "at": time.time()}

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """The kernel, to whom a write from outside is one too many, or, while the disk fills, that less is free than
        before; that the component has files there; and the component itself, as Prometheus stored it."""
        folder = Path(facts["file"]).parent
        if self.over_s:
            free = free_bytes(folder)
            found = f"{size(free)} are free, {size(facts['free_before'])} were" if free < facts["free_before"] else ""
        else:
            found = _refused(folder, self.left_bytes + CLOSE_BYTES)
        files = _open_files(stack, self.component, folder)
        if not found or not files:
            return None
        evidence = f"{found}; {self.component} has {files} files open there"
        if not self.witness_query:
            return evidence
        result = prometheus.query(stack.prometheus_url, self.witness_query)
        return f"{evidence}; {prometheus.shown(self.witness_query, result)}" if result else None


def _refused(folder: Path, many: int) -> str:
    """That so many bytes more cannot be written there; empty where they can."""
    trial = os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600)  # it has no name, so nothing of it can stay
    try:
        os.posix_fallocate(trial, 0, many)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"a write of {size(many)} from outside: {error.strerror}"
        raise
    finally:
        os.close(trial)
    return ""


def _open_files(stack: Stack, component: str, folder: Path) -> int:
    """How many files of that disk the component's processes have open."""
    disk, many = folder.stat().st_dev, 0
    for pid in stack.members(component, stack.pid(component)):
        for entry in Path(f"/proc/{pid.pid}/fd").iterdir():
            try:
                many += entry.stat().st_dev == disk
            except OSError:
                continue  # closed meanwhile, or no file
    return many
