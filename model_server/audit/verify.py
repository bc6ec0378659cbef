"""Whether an audit log is whole: each line that was changed, cut, moved or put in, by its number and with the why."""

import functools
import gzip
import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from model_server.audit.chain import Chain, Head, Record, fields, own, parse, stopped, torn

ENOUGH = 20  # findings listed; after so many the rest says nothing new


class Finding(NamedTuple):
    """What was found at a line of a piece."""

    line: int
    why: str
    file: str = ""


@dataclass
class Report:
    """The log is whole when both `broken` and `unclear` are empty. `interrupted` are the ends of the service that were
    not in order, after which records may be missing that no chain can miss; `notes` are no findings."""

    records: int = 0
    end: Head | None = None  # after the last record that is genuine; None: there was none
    last: bytes = b""  # what was signed of the last record that is not the log's own
    loose: bytearray = field(default_factory=bytearray)  # what follows the last record
    broken: list[Finding] = field(default_factory=list)
    unclear: list[Finding] = field(default_factory=list)
    interrupted: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)


def head_path(log: Path) -> Path:
    return log.with_name(log.name + ".head")


def in_order(logs: Iterable[Path]) -> list[Path]:
    """The pieces of a log by their first records; last one that has none, as a rotation leaves it for a moment."""

    def first(log: Path) -> float:
        with _opened(log) as lines:
            return next((record.seq for line in lines if (record := parse(line[:-1]))), math.inf)

    return sorted(logs, key=first)


def verify_files(logs: Sequence[Path], key: bytes, at_least: int = 0) -> Report:
    """Verify the pieces of a log, oldest first, and the head beside the last. A piece may be compressed: NAME.gz.
    Raises OSError, EOFError and zlib.error when one cannot be read."""
    try:
        head = head_path(logs[-1]).read_bytes()
    except FileNotFoundError:
        head = None
    verifier = Verifier(head, key)
    for log in logs:
        with _opened(log) as lines:
            verifier.piece(lines, str(log))
    return verifier.finish(at_least)


def _opened(log: Path) -> BinaryIO:
    return gzip.open(log) if log.suffix == ".gz" else log.open("rb")


def verify(
    lines: Iterable[bytes], head: bytes | None, key: bytes, at_least: int = 0, after: Head | None = None
) -> Report:
    """Verify a log of one piece, or the end of one: `after` is then the record that comes before its lines."""
    verifier = Verifier(head, key, after)
    verifier.piece(lines)
    return verifier.finish(at_least)


class Verifier:
    """Is given the pieces of a log in order, and the content of the head file beside the last (None: there is none)."""

    def __init__(self, head: bytes | None, key: bytes, after: Head | None = None):
        self._chain, self._report = Chain(key), Report()
        self._head_is_there = head is not None
        self._sealed = self._chain.read_head(head) if head is not None else None
        self._begin = self._at = after  # the record before the first given, and the one before the next
        self._named: str | None = None  # the MAC of the record that the head names, where it was found
        self._loose_at = Finding(0, "")  # where lines begin that are no records, and `report.loose` what they hold
        self._end = Finding(0, "")  # the last line looked at
        self._started, self._window_s = False, None  # whether the service was seen to run, and what it may lose

    def piece(self, lines: Iterable[bytes], name: str = "") -> None:
        """Judge the next piece: its lines, newlines kept."""
        report = self._report
        for number, line in enumerate(lines, 1):
            if len(report.broken) >= ENOUGH:
                return
            self._end = here = Finding(number, "not a record", name)
            record = parse(line[:-1]) if line.endswith(b"\n") else None
            if record is None:
                self._loose_at = self._loose_at if report.loose else here
                report.loose += line
                continue
            says = own(record.signed)
            if self._at is None or (number == 1 and "after_mac" in says):
                self._joins(here, record, says)
            follows = self._chain.follows(self._at, record)
            if report.loose or "torn_sha256" in says:
                self._settle(here, says if follows else {})
            if not follows:
                why = f"record {record.seq} was changed, or the one before it was, or it was written with another key"
                if record.seq != self._at.seq + 1:
                    expected = self._at.seq + 1
                    why = f"record {record.seq} stands where {expected} belongs: a line was cut, put in or moved here"
                self._found("broken", here, why)
            if says.get("event_type") == "audit_broken":
                self._found("broken", here, f"the service found at its start what no crash explains: {says.get('why')}")
            self._at = Head(record.seq, record.mac)  # go on from what it says, so that one edit is one finding
            report.end = self._at if follows else report.end
            report.records += 1
            if self._sealed and record.seq == self._sealed.seq:
                self._named = record.mac
            if says.get("action") == "start":
                if report.last and not stopped(report.last):
                    self._interrupted(here, "no `stop` before this start: the service did not end in order")
                self._started = True
            self._window_s = says.get("loss_window_s", self._window_s)
            if not says.get("event_type", "").startswith("audit_"):
                report.last = record.signed

    def finish(self, at_least: int = 0) -> Report:
        """What was found. `at_least` is how many records the log is known to have had, from a witness elsewhere."""
        report, at = self._report, self._at or self._chain.start
        begin, sealed = self._begin or self._chain.start, self._sealed
        broken = functools.partial(self._found, "broken", self._end)
        if len(report.broken) >= ENOUGH:
            return report
        if report.loose and all(map(torn, report.loose.splitlines(keepends=True))):
            why = "part of a record: its writer was killed, or somebody put this in"
            self._found("unclear", self._loose_at, why)
        elif report.loose:
            report.broken.append(self._loose_at)
        if sealed and sealed.seq == begin.seq:
            self._named = begin.mac
        if not self._head_is_there:
            broken("the head beside the log is missing, so a cut tail could not be seen; give the next piece too")
        elif sealed is None:
            broken("the head beside the log was changed, or belongs to another key")
        elif sealed.seq >= begin.seq and self._named is None:
            broken(f"cut: the head says that record {sealed.seq} was written, the log lacks it")
        elif self._named not in (None, sealed.mac):
            broken(f"record {sealed.seq} is not the one that the head was written after")
        if at.seq < at_least:
            broken(f"cut: {at_least} records are known of, the log ends with record {at.seq}")
        if self._started and not stopped(report.last):
            self._interrupted(self._end, "no `stop` at the end: the service runs, or did not end in order")
        return report

    def _joins(self, here: Finding, record: Record, says: dict) -> None:
        """The first record of every piece but the first names the record that the piece before ended with."""
        joined = "after_mac" in says
        before = Head(record.seq - 1, says["after_mac"]) if joined else self._chain.start
        gone, lost = f"goes on after record {before.seq}", joined and says.get("result") == "failed"
        if lost and before == (self._at or before):
            gone += ": that piece was removed or truncated while it was written"
        if self._at is None:
            self._begin, self._started = before, joined
            if lost:
                self._found("broken", here, f"{gone}, and is not given")
            elif joined:
                self._found("notes", here, f"{gone}, which is in a piece that is not given")
        elif before != self._at:
            why = f"{gone}, and the piece before ends with record {self._at.seq}: one is missing or there twice"
            self._found("broken", here, why)
        elif lost:
            self._found("notes", here, f"{gone}, and is given whole")
        self._at = before

    def _interrupted(self, here: Finding, what: str) -> None:
        last = fields(self._report.last).get("timestamp", "not in these pieces")
        within = "moments" if self._window_s is None else f"{self._window_s} s"
        lost = f"what was done in the last {within} before the end may be missing, and more if the disk was slow"
        self._found("interrupted", here, f"{what}; last record: {last}; {lost}")

    def _settle(self, here: Finding, says: dict) -> None:
        """Lines that are no records are in order when the record after them accounts for exactly these bytes."""
        report = self._report
        if says.get("torn_sha256") == hashlib.sha256(report.loose).hexdigest():
            why = "a killed writer left part of a record; the next record accounts for it"
            self._found("notes", self._loose_at, why)
        elif report.loose:
            report.broken.append(self._loose_at)
        else:
            self._found("broken", here, "the part of a record that this record accounts for is gone")
        report.loose.clear()

    def _found(self, kind: str, here: Finding, why: str) -> None:
        getattr(self._report, kind).append(here._replace(why=why))
