"""A file of the service is not as it should be: it is gone, cut short, broken, another, or an operator changed it."""

from __future__ import annotations

import hashlib
import os
import random
import shlex
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from harness.errors import FaultError
from harness.faults.fault import Facts, Fault
from harness.stack import prometheus
from harness.stack.spec import filled
from harness.stack.stack import Stack
from harness.stack.undo import Undo, saved

CUT_BYTES = 1000
COMMAND_WITHIN_S = 30.0
MOVED = ("missing", "blocked")  # the files themselves come back, and not a copy of them
LEAST_BYTES = 4  # of what is cut or changed within


@dataclass(frozen=True)
class File(Fault):
    """What becomes of the files in {state} that `path` names, like `weights/model.bin` or `server/records.db*`:

    missing    they are moved away, and back by the rollback
    blocked    the same, and an empty folder is in the place of each, so that none can be made anew
    cut        the last kilobyte is gone, a quarter at most, and for good: a log cannot become an older copy of itself

    or of one file, which the rollback puts back byte for byte, with its mode and owner:

    empty      it has no content
    truncated  the second half is gone
    changed    a byte in the middle is another
    garbled    it is as long as before, and noise
    replaced   it holds what the file `by` holds
    edited     it is as a `command` leaves it that an operator would give

    `by` and `command` may have {state}, and {python}, the harness' own. `witness_query`: PromQL that gives a result
    only while it shows from outside.
    """

    path: str
    becomes: Literal["missing", "blocked", "cut", "empty", "truncated", "changed", "garbled", "replaced", "edited"]
    witness_query: str
    by: str = ""
    command: str = ""
    component: str = "server"
    kind: ClassVar[str] = "file"
    touches: ClassVar[str] = "{path} in the service's folder of the run"
    undone: ClassVar[str] = "the files are moved or written back; what is cut off a log is gone"

    def mistakes(self) -> Iterator[tuple[str, str]]:
        path = Path(self.path)
        if not path.parts or path.is_absolute() or {"..", "{state}"} & {*path.parts}:
            yield "path", f"must be below {{state}}, and without it, like server/records.db; got {self.path!r}"
        for name, becomes in (("by", "replaced"), ("command", "edited")):
            given, wanted = bool(getattr(self, name)), self.becomes == becomes
            if wanted and not given:
                yield name, f"is missing: a file that is {becomes} takes it"
            elif given and not wanted:
                yield name, f"goes with becomes: {becomes} alone; drop it"
        try:
            shlex.split(self.command)
        except ValueError as error:
            yield "command", f"cannot be split into arguments: {error}"

    def target(self, stack: Stack) -> Facts:
        found = sorted(path for path in stack.state.glob(self.path) if path.is_file() and not path.is_symlink())
        if not found:
            raise FaultError(f"file: there is no file {{state}}/{self.path}")
        if self.becomes not in MOVED and len(found) > 1:
            raise FaultError(f"file: {self.path} must be one file to be {self.becomes}; it names {len(found)}")
        if self.becomes in ("cut", "truncated", "changed", "garbled") and found[0].stat().st_size < LEAST_BYTES:
            raise FaultError(f"file: {self.path} must have {LEAST_BYTES} bytes or more to be {self.becomes}")
        id = uuid.uuid4().hex[:8]
        moved = [[str(path), str(path.with_name(f".{path.name}.away-{id}"))] for path in found]
        try:
            copy = None if self.becomes in (*MOVED, "cut") else saved(stack.run, found[0]).arguments
        except (OSError, ValueError) as error:
            raise FaultError(f"file: {found[0]}: {error}") from error
        return {"moved": moved, "copy": copy}

    def undo(self, facts: Facts) -> list[Undo]:
        if self.becomes in MOVED:
            return [Undo("move_back", {"path": path, "away": away}) for path, away in facts["moved"]]
        return [Undo("restore_file", facts["copy"])] if facts["copy"] else []

    def start(self, stack: Stack, facts: Facts) -> None:
        if self.becomes in MOVED:
            for path, away in facts["moved"]:
                os.rename(path, away)
                if self.becomes == "blocked":
                    os.mkdir(path, 0o700)
            return
        path = Path(facts["moved"][0][0])
        match self.becomes:
            case "cut" | "truncated":  # in place: somebody may append to it
                size = path.stat().st_size
                os.truncate(path, size // 2 if self.becomes == "truncated" else size - min(CUT_BYTES, size // 4))
            case "edited":
                _run([filled(part, _values(stack)) for part in shlex.split(self.command)])
            case _:
                path.write_bytes(self._content(path.read_bytes(), stack))
        if facts["copy"] and path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == facts["copy"]["sha256"]:
            raise FaultError(f"file: {path} is as it was: nothing was broken")

    def _content(self, now: bytes, stack: Stack) -> bytes:
        """What is written in the place of what is there now."""
        middle = len(now) // 2
        match self.becomes:
            case "changed":
                return now[:middle] + bytes([now[middle] ^ 0xFF]) + now[middle + 1 :]
            case "garbled":
                return random.Random(7).randbytes(len(now))
            case "replaced":
                return Path(filled(self.by, _values(stack))).read_bytes()
        return b""

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """The component itself, or that nothing is heard of it, as Prometheus stored it."""
        result = prometheus.query(stack.prometheus_url, self.witness_query)
        return prometheus.shown(self.witness_query, result) if result else None


def _values(stack: Stack) -> dict[str, object]:
    return {**stack.values, "python": sys.executable}


def _run(argv: list[str]) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_WITHIN_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FaultError(f"file: {error}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise FaultError(f"file: {argv[0]} exited with {done.returncode}: {' '.join(said)[-200:]}")
