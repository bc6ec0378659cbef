"""A file of a component goes missing, is cut short or is changed."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from harness.errors import FaultError
from harness.faults.fault import Facts, Fault
from harness.stack import prometheus
from harness.stack.stack import Stack
from harness.stack.undo import Undo, saved

CUT_BYTES = 1000


@dataclass(frozen=True)
class File(Fault):
    """What becomes of the files in {state} that `path` names, like `weights/model.bin` or `server/records.db*`:

    missing    they are moved away, and back by the rollback
    blocked    the same, and an empty folder is in the place of each, so that none can be made anew
    truncated  the second half is gone; the rollback puts the file back byte for byte
    changed    a byte in the middle is another; the rollback puts the file back byte for byte
    cut        the last kilobyte is gone, a quarter at most, and for good: a log cannot become an older copy of itself

    `witness_query`: PromQL that gives a result only while it shows from outside.
    """

    path: str
    becomes: Literal["missing", "blocked", "truncated", "changed", "cut"]
    witness_query: str
    component: str = "server"
    kind: ClassVar[str] = "file"
    touches: ClassVar[str] = "{path} in the service's folder of the run"
    undone: ClassVar[str] = "the files are moved or written back; what is cut off a log is gone"

    def target(self, stack: Stack) -> Facts:
        if self.becomes not in ("missing", "blocked", "truncated", "changed", "cut"):
            raise FaultError(f"file: becomes is missing, blocked, truncated, changed or cut; got {self.becomes!r}")
        if Path(self.path).is_absolute() or ".." in Path(self.path).parts:
            raise FaultError(f"file: {self.path} is not in {{state}}: no other file of this machine is touched")
        found = sorted(path for path in stack.state.glob(self.path) if path.is_file() and not path.is_symlink())
        if not found:
            raise FaultError(f"file: there is no file {{state}}/{self.path}")
        size = sum(path.stat().st_size for path in found)
        if self.becomes not in ("missing", "blocked") and (len(found) > 1 or size < 4):
            raise FaultError(f"file: {self.path} must be one file of 4 bytes or more to be {self.becomes}")
        id = uuid.uuid4().hex[:8]
        moved = [[str(path), str(path.with_name(f".{path.name}.away-{id}"))] for path in found]
        copy = saved(stack.run, found[0]).arguments if self.becomes in ("truncated", "changed") else None
        return {"moved": moved, "copy": copy}

    def undo(self, facts: Facts) -> list[Undo]:
        if self.becomes in ("missing", "blocked"):
            return [Undo("move_back", {"path": path, "away": away}) for path, away in facts["moved"]]
        return [Undo("restore_file", facts["copy"])] if facts["copy"] else []

    def start(self, stack: Stack, facts: Facts) -> None:
        for path, away in facts["moved"]:
            if self.becomes in ("missing", "blocked"):
                os.rename(path, away)
                if self.becomes == "blocked":
                    os.mkdir(path, 0o700)
                continue
            with open(path, "r+b") as file:
                size = os.fstat(file.fileno()).st_size
                if self.becomes == "changed":
                    file.seek(size // 2)
                    byte = file.read(1)
                    file.seek(size // 2)
                    file.write(bytes([byte[0] ^ 0xFF]))
                else:
                    file.truncate(size // 2 if self.becomes == "truncated" else size - min(CUT_BYTES, size // 4))

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """The component itself, or that nothing is heard of it, as Prometheus stored it."""
        result = prometheus.query(stack.prometheus_url, self.witness_query)
        return prometheus.shown(self.witness_query, result) if result else None
