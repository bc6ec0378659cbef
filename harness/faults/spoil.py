"""A file that the service reads is not as it should be: a key was revoked, somebody broke it, it is gone."""

from __future__ import annotations

import hashlib
import random
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from harness.errors import FaultError
from harness.faults.fault import Facts, Fault
from harness.stack import prometheus
from harness.stack.ledger import PRIVATE
from harness.stack.spec import filled
from harness.stack.stack import Stack
from harness.stack.undo import Undo, saved

COMMAND_WITHIN_S = 30.0


@dataclass(frozen=True)
class Spoil(Fault):
    """The file at `path` is `removed`, `emptied`, `cut` in the middle, or `garbled` (as long as before, and noise); or
    `replaced` by what the file `by` holds; or `changed` by a `command`, as an operator would give it. It is put back as
    it was, with its mode and owner.

    {state} in these texts is the service's folder of this run, {python} the harness' own. `witness_query` is PromQL
    that gives a result only while the service itself shows it.
    """

    path: str
    how: Literal["removed", "emptied", "cut", "garbled", "replaced", "changed"]
    witness_query: str
    by: str = ""
    command: str = ""
    kind: ClassVar[str] = "spoil"
    touches: ClassVar[str] = "{path}"
    undone: ClassVar[str] = "the file is put back as it was"

    def target(self, stack: Stack) -> Facts:
        if (self.how == "replaced") != bool(self.by) or (self.how == "changed") != bool(self.command):
            raise FaultError("spoil: `by` goes with `how: replaced` and `command` with `how: changed`, and only there")
        path = Path(_filled(self.path, stack)).absolute()
        try:
            undo = saved(stack.run, path)
        except (OSError, ValueError) as error:
            raise FaultError(f"spoil: {path}: {error}") from error
        return {"path": str(path), "undo": undo.record()}

    def undo(self, facts: Facts) -> list[Undo]:
        return [Undo.read(facts["undo"])]

    def start(self, stack: Stack, facts: Facts) -> None:
        path = Path(facts["path"])
        content = path.read_bytes()
        match self.how:
            case "removed":
                path.unlink()
            case "emptied":
                path.write_bytes(b"")
            case "cut":
                path.write_bytes(content[: len(content) // 2])
            case "garbled":
                path.write_bytes(random.Random(7).randbytes(len(content)))
            case "replaced":
                path.write_bytes(Path(_filled(self.by, stack)).read_bytes())
            case "changed":
                _run([_filled(part, stack) for part in shlex.split(self.command)])
            case _:
                raise FaultError(f"spoil: how: no such way: {self.how}")
        if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == facts["undo"]["sha256"]:
            raise FaultError(f"spoil: {path} is as it was: nothing was broken")

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """The service's own metrics, as Prometheus stored them."""
        result = prometheus.query(stack.prometheus_url, self.witness_query)
        return f"Prometheus: {self.witness_query} = {float(result[0]['value'][1]):.4g}" if result else None


def _filled(text: str, stack: Stack) -> str:
    values: dict[str, Any] = {"state": (stack.run / PRIVATE / "state").resolve(), "python": sys.executable}
    return filled(text, values)


def _run(argv: list[str]) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_WITHIN_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FaultError(f"spoil: {error}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise FaultError(f"spoil: {argv[0]} exited with {done.returncode}: {' '.join(said)[-200:]}")
