"""Whether an audit log is whole: each line that was changed, cut, moved or put in, by its number and with the why."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from model_server.audit.chain import TORN, Chain, Head, parse, torn

# Never inside a value, where each quote has a backslash before it; older logs have a blank after the colon.
ACCOUNTS = re.compile(rb'"event_type": ?"%s"' % TORN.encode())
ENOUGH = 20  # findings listed; after so many the rest says nothing new


@dataclass
class Report:
    """`broken` and `unclear` are (line number, why); intact when both are empty. `notes` are no findings."""

    records: int = 0
    end: Head | None = None  # after the last record
    loose: bytes = b""  # what follows it
    broken: list[tuple[int, str]] = field(default_factory=list)
    unclear: list[tuple[int, str]] = field(default_factory=list)
    notes: list[tuple[int, str]] = field(default_factory=list)


def head_path(log: Path) -> Path:
    return log.with_name(log.name + ".head")


def verify_file(log: Path, key: bytes, at_least: int = 0) -> Report:
    """Verify a log and the head beside it. Raises OSError when the log cannot be read."""
    try:
        head = head_path(log).read_bytes()
    except FileNotFoundError:
        head = None
    with log.open("rb") as lines:
        return verify(lines, head, key, at_least)


def verify(
    lines: Iterable[bytes], head: bytes | None, key: bytes, at_least: int = 0, after: Head | None = None
) -> Report:
    """Verify a log's lines, newlines kept, against the content of its head file (None: there is none).

    `at_least` is how many records it is known to have had, from a witness elsewhere; `after` is the record that comes
    before the first of the lines, where they are only a log's end.
    """
    chain, report = Chain(key), Report()
    at = after = after or chain.start
    ends = {after.seq: after.mac}  # what the head may name
    sealed = chain.read_head(head) if head is not None else None
    loose: list[tuple[int, bytes]] = []  # what has not the form of a record, until a record accounts for it
    number = 0
    for number, line in enumerate(lines, 1):
        record = parse(line[:-1]) if line.endswith(b"\n") else None
        if record is None:
            loose.append((number, line))
            continue
        if loose or ACCOUNTS.search(record.signed):
            _settle(number, loose, record.signed if chain.follows(at, record) else None, report)
            loose = []
        if not chain.follows(at, record):
            report.broken.append((number, _why(at, record.seq)))
        at = Head(record.seq, record.mac)  # go on from what it says, so that one edit is one finding
        report.records += 1
        if sealed and at.seq == sealed.seq:
            ends[at.seq] = at.mac
        if len(report.broken) >= ENOUGH:
            return report
    report.end = at
    if loose:
        _left_over(loose, report)
    if head is None:
        report.broken.append((number, "the head beside the log is missing, so a cut tail could not be seen"))
    elif sealed is None:
        report.broken.append((number, "the head beside the log was changed, or belongs to another key"))
    elif sealed.seq >= after.seq and sealed.seq not in ends:
        report.broken.append((number, f"cut: the head says that record {sealed.seq} was written, the log lacks it"))
    elif ends.get(sealed.seq, sealed.mac) != sealed.mac:
        report.broken.append((number, f"record {sealed.seq} is not the one that the head was written after"))
    if at.seq < at_least:
        report.broken.append((number, f"cut: {at_least} records are known of, the log ends with record {at.seq}"))
    return report


def _why(before: Head, seq: int) -> str:
    if seq == before.seq + 1:
        return f"record {seq} was changed, or the one before it was, or it was written with another key"
    return f"record {seq} stands where {before.seq + 1} belongs: a line was cut, put in or moved here"


def _settle(number: int, loose: list[tuple[int, bytes]], signed: bytes | None, report: Report) -> None:
    """Lines that are no records are in order when the record after them accounts for exactly these bytes."""
    told = json.loads(signed + b"}") if signed is not None and ACCOUNTS.search(signed) else {}
    found = hashlib.sha256(b"".join(line for _, line in loose)).hexdigest()
    if told.get("torn_sha256") == found:
        report.notes.append((loose[0][0], "a killed writer left part of a record; the next record accounts for it"))
    elif loose:
        report.broken += [(at, "not a record") for at, _ in loose]
    elif told:
        report.broken.append((number, "the part of a record that this record accounts for is gone"))


def _left_over(loose: list[tuple[int, bytes]], report: Report) -> None:
    report.loose = b"".join(line for _, line in loose)
    if all(torn(line) for _, line in loose):
        report.unclear.append((loose[0][0], "part of a record: its writer was killed, or somebody put this in"))
    else:
        report.broken += [(number, "not a record") for number, line in loose if not torn(line)]
