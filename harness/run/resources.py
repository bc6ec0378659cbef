"""Has the resources of every component sampled while a block lasts."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from harness.errors import StackError
from harness.eventlog import Log
from harness.history import Resources
from harness.stack.ledger import PRIVATE
from harness.stack.stack import Stack
from harness.watch import processors
from harness.watch.resources import Sampler, on_disk, used

WALK_AT_MOST = 0.02  # of the time goes into looking through folders: many files are counted less often


@contextmanager
def sampled(stack: Stack, log: Log) -> Iterator[None]:
    """Resources of the stack's components go to `resources.jsonl` of its run."""
    sampler = Sampler(stack.run / "resources.jsonl", Look(stack))
    sampler.start()
    try:
        yield
    finally:
        sampler.stop()
        if sampler.failure is not None:
            log.event("run", "resources", "fail", problem=f"{type(sampler.failure).__name__}: {sampler.failure}")


class Look:
    """Looks at every component; what it remembers are the ticks of the time before, and what it found on the disk."""

    def __init__(self, stack: Stack):
        self._stack = stack
        self._roots = {os.getpid()}  # whoever started the processes of the run
        with suppress(OSError, ValueError, KeyError):
            self._roots.add(int(json.loads((stack.run / "owner.json").read_text())["pid"]))
        self._before: Mapping[str, int] = {}
        self._disk: dict[str, tuple[float, int]] = {}  # when to look again; bytes

    def __call__(self) -> Iterator[Resources]:
        others, idle = self._processors()
        run = self._stack.run
        names = sorted(path.name for path in (run / "pids").iterdir() if path.suffix != ".new")
        names = [name for name in names if name not in self._stack.monitoring]
        replicas = [name for name in names if name not in self._stack.dependencies]
        for name in names:
            try:
                main = self._stack.pid(name)
                found = used(pid.pid for pid in self._stack.members(name, main))
            except StackError:  # it has no process now
                continue
            if found is not None:
                role = "replica" if name in replicas else "dependency"
                disk = self._on_disk(name, alone=role == "replica" and len(replicas) == 1)
                yield Resources(time.time(), name, role, main.pid, main.started, *found, disk, others, idle)

    def _on_disk(self, name: str, alone: bool) -> int:
        """Of a replica that is the only one, all of {state}."""
        due, found = self._disk.get(name, (0.0, 0))
        if (began := time.monotonic()) >= due:
            state, run = self._stack.run / PRIVATE / "state", self._stack.run
            found = on_disk(state if alone else state / name) + on_disk(run / "logs" / f"{name}.log")
            took = time.monotonic() - began
            self._disk[name] = (began + took / WALK_AT_MOST, found)
        return found

    def _processors(self) -> tuple[float | None, float | None]:
        """The shares of all processors since the last time: of what is not of the run, and idle."""
        now, before = processors.ticks(self._roots), self._before
        self._before = now
        spent = {name: now[name] - before[name] for name in now if name in before}
        if spent.get("all", 0) <= 0 or "own" not in spent:
            return None, None
        others = max(0, spent["busy"] - spent["own"]) + spent["stolen"]
        return round(others / spent["all"], 4), round(spent["idle"] / spent["all"], 4)
