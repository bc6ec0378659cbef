"""What must be undone, written down before it is done.

An undo is data, not code: a few verbs on exactly identified things, so that the watchdog, a later `harness heal`, or a
person can carry it out without knowing the fault. Every verb is idempotent.
"""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.stack.process import Pid, end_all, send, state


@dataclass(frozen=True)
class Undo:
    """One step back: `continue` wakes a stopped process, `end` ends one."""

    verb: str
    pid: int
    started: int  # clock ticks, so that a reused number is never touched

    def carry_out(self) -> None:
        """Do it, or see that it is not needed any more. Raises OSError if it cannot be done."""
        target = Pid(self.pid, self.started)
        match self.verb:
            case "continue":
                send(target, signal.SIGCONT)
            case "end":
                send(target, signal.SIGTERM)
                until = time.monotonic() + 3
                while state(target) and time.monotonic() < until:
                    time.sleep(0.02)
                send(target, signal.SIGKILL)
            case _:
                raise ValueError(f"the ledger does not know how to undo by {self.verb!r}")


@dataclass(frozen=True)
class Entry:
    """A fault that was begun: what it is, how to undo it, and when it must be over at the latest."""

    id: str
    kind: str
    experiment: str
    params: Mapping[str, Any]
    facts: Mapping[str, Any]
    undo: tuple[Undo, ...]
    until: float  # Unix seconds: the lease


class Ledger:
    """`ledger.jsonl` of a run: entries and, later, that they were undone. Every line is on disk before it counts."""

    def __init__(self, run: Path):
        self.path = run / "ledger.jsonl"

    def add(
        self,
        kind: str,
        experiment: str,
        params: Mapping[str, Any],
        facts: Mapping[str, Any],
        undo: Sequence[Undo],
        lease_s: float,
    ) -> Entry:
        entry = Entry(uuid.uuid4().hex[:8], kind, experiment, params, facts, tuple(undo), time.time() + lease_s)
        self._append({"begin": asdict(entry)})
        return entry

    def amend(self, entry: Entry, facts: Mapping[str, Any], undo: Sequence[Undo]) -> Entry:
        """The same entry, now that more is known of what it started (a process id, say)."""
        amended = Entry(entry.id, entry.kind, entry.experiment, entry.params, facts, tuple(undo), entry.until)
        self._append({"begin": asdict(amended)})
        return amended

    def undone(self, entry: Entry) -> None:
        self._append({"undone": entry.id})

    def open(self) -> list[Entry]:
        """The faults not yet undone, latest first."""
        entries: dict[str, Entry] = {}
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue  # cut short by a kill: then what it announces was not begun
            if "begin" in record:
                begin = record["begin"]
                entries[begin["id"]] = Entry(**{**begin, "undo": tuple(Undo(**u) for u in begin["undo"])})
            else:
                entries.pop(record["undone"], None)
        return list(reversed(entries.values()))

    def _append(self, record: Mapping[str, Any]) -> None:
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(fd, (json.dumps(record) + "\n").encode())
            os.fsync(fd)
        finally:
            os.close(fd)


def undo(ledger: Ledger, entry: Entry) -> str | None:
    """Carry out an entry's undo and write that down; gives the reason if it could not be, and keeps the entry then."""
    try:
        for step in entry.undo:
            step.carry_out()
    except (OSError, ValueError) as error:
        return f"{entry.kind} {entry.id} could not be undone: {error}"
    ledger.undone(entry)
    return None


def heal(run: Path) -> tuple[list[Entry], list[Pid], list[str]]:
    """Undo every open fault of a run and end its processes. Gives the faults undone, processes ended, what failed."""
    ledger = Ledger(run)
    healed, failed = [], []
    for entry in ledger.open():
        problem = undo(ledger, entry)
        healed += [] if problem else [entry]
        failed += [problem] if problem else []
    return healed, end_all(run), failed
