"""The write-ahead log of rollbacks: an undo is on disk before its fault begins. Only this calls stack/undo.py."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.eventlog import append
from harness.stack.process import Pid, end_all
from harness.stack.undo import PRIVATE, Undo
from harness.stack.volume import unmount_below

PROXIES = "foreign-proxies"  # URLs, one a line: what the run has put into a Toxiproxy that is not its own


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

    def record(self) -> dict[str, Any]:
        """As it is written to the ledger; `read` gives it back."""
        for step in self.undo:
            step.check()
        return {**vars(self), "undo": [step.record() for step in self.undo]}

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Entry:
        return cls(**{**record, "undo": tuple(Undo.read(step) for step in record["undo"])})


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
        """Write down a fault that is about to begin. Raises ValueError if there is no such undo as it needs."""
        entry = Entry(uuid.uuid4().hex[:8], kind, experiment, params, facts, tuple(undo), time.time() + lease_s)
        self._append({"begin": entry.record()})
        return entry

    def amend(self, entry: Entry, facts: Mapping[str, Any], undo: Sequence[Undo]) -> Entry:
        """The same entry, now that more is known of what it started (a process id, say)."""
        amended = replace(entry, facts=facts, undo=tuple(undo))
        self._append({"begin": amended.record()})
        return amended

    def undo(self, entries: Sequence[Entry]) -> list[tuple[Entry, str]]:
        """Undo faults in the given order and write that down; with each the reason why it could not be undone, empty
        where it was. One that could not be undone stays open, and the others are undone all the same."""
        return [(entry, self._undo(entry)) for entry in entries]

    def _undo(self, entry: Entry) -> str:
        problems = []
        for step in entry.undo:
            try:
                step.carry_out(self.path.parent)
            except Exception as error:  # whatever it is, the other steps are still to be done
                problems.append(f"{step.verb}: {error or type(error).__name__}")
        try:
            if not problems:
                self._append({"undone": entry.id})
        except OSError as error:
            problems.append(f"this could not be written to the ledger: {error}")
        return f"{entry.kind} {entry.id} could not be undone: {'; '.join(problems)}" if problems else ""

    def close(self, entry: Entry) -> None:
        """Write down that a fault is over without undoing it: somebody else did."""
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
                entry = Entry.read(record["begin"])
                entries[entry.id] = entry
            else:
                entries.pop(record["undone"], None)
        return list(reversed(entries.values()))

    def _append(self, record: Mapping[str, Any]) -> None:
        line = (json.dumps(record) + "\n").encode()
        fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                line = b"\n" + line  # the last line was cut short; it must not spoil this one
            if os.write(fd, line) != len(line):
                raise OSError(f"no room for a line of {self.path}")
            os.fsync(fd)
        finally:
            os.close(fd)


def undo(run: Path, entries: Sequence[Entry], by: str, edge: str = "stop") -> list[tuple[Entry, str]]:
    """Undo faults as the ledger does, each recorded as an event of the run. The edge is `stop` where the run or its
    experiment ends a fault, and `lease` where a fault has outlived its lease."""
    outcomes = Ledger(run).undo(entries)
    for entry, problem in outcomes:
        about = {"id": entry.id, "experiment": entry.experiment, "by": by, "problem": problem}
        append(run, "fault", entry.kind, "fail" if problem else "ok", edge=edge, **about)
    return outcomes


def heal(run: Path) -> tuple[list[Entry], list[Pid], list[str]]:
    """Undo every open fault of a run, end its processes and remove what is private to its stack. Gives the faults
    undone, processes ended, what failed.

    No event is recorded: the run may be over, and its evidence sealed."""
    ledger = Ledger(run)
    outcomes = ledger.undo(ledger.open())
    failed = [problem for _, problem in outcomes if problem]
    failed += _without_proxies(run)
    ended = end_all(run)
    unmount_below(run / PRIVATE)
    shutil.rmtree(run / PRIVATE, ignore_errors=True)
    return [entry for entry, problem in outcomes if not problem], ended, failed


def _without_proxies(run: Path) -> list[str]:
    """Delete what a run has put into a proxy of somebody else's; gives why what could not be."""
    file, failed = run / PROXIES, []
    for url in file.read_text().splitlines() if file.exists() else ():
        try:
            Undo("delete_proxy_rule", {"url": url}).carry_out(run)
        except (OSError, ValueError) as error:
            failed.append(f"the proxy {url} could not be deleted: {error}")
    if not failed:
        file.unlink(missing_ok=True)
    return failed
