"""Where a writer goes on: at the end of the log's file, or of its last piece where the file was renamed meanwhile."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from model_server.audit.chain import Chain, Head, fields, parse, stopped
from model_server.audit.verify import Finding, Report, head_path, verify

TAIL_BYTES = 4 << 20  # read of a file; several times what can be written before a head is


class Broken(Exception):
    """The log that is there cannot be gone on with."""


class End(NamedTuple):
    """How the log ends that is there."""

    head: Head
    in_order: bool  # its writer ended by a stop; so did one that has not begun yet
    last_record_at: str = ""  # RFC 3339
    rotated: bool = False  # it ends in another file, and this one is empty
    glue: bytes = b""  # what is to be written before the next line
    torn: dict[str, Any] | None = None  # what the next record is to say of the part of one that a killed writer left


def find_end(path: Path, key: bytes) -> End:
    """The end of the log at the path, whose file is there. Raises Broken and OSError."""
    chain, empty = Chain(key), path.stat().st_size == 0
    beside = head_path(path)
    sealed = beside.read_bytes() if beside.exists() else None
    if sealed is None and empty:
        return End(chain.start, in_order=True)
    report, rotated = _tail(path, sealed, key), False
    if report.broken and empty:  # then another may be its last piece; the latest first
        files = [file for file in path.parent.glob(f"{path.name}?*") if file.is_file()]
        for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
            if not (before := _tail(file, sealed, key)).broken:
                report, rotated = before, True
                break
    head, last, loose, glue, torn = report.end, report.last, bytes(report.loose), b"", None
    record, why = None if rotated else parse(loose), report.broken[0].why if report.broken else ""
    if record and not why and not chain.follows(head, record):
        why = "its last line is not ours"
    if why:
        raise Broken(
            f"the audit log {path} cannot be gone on with: {why}; `python -m model_server.audit verify {path}` says "
            "more; move it and its .head away to begin another"
        )
    if record:  # killed before the newline, and nothing else is missing
        head, last, glue = Head(record.seq, record.mac), record.signed, b"\n"
    elif loose:
        glue = b"" if rotated or loose.endswith(b"\n") else b"\n"
        left = loose + glue
        torn = {"torn_bytes": len(left), "torn_sha256": hashlib.sha256(left).hexdigest()}
    in_order = head == chain.start or stopped(last)
    return End(head, in_order, fields(last).get("timestamp", ""), rotated, glue, torn)


def _tail(path: Path, sealed: bytes | None, key: bytes) -> Report:
    """What is found in the last bytes of a piece."""
    size = path.stat().st_size
    with path.open("rb") as piece:
        piece.seek(max(0, size - TAIL_BYTES))
        lines = piece.readlines()
    if size <= TAIL_BYTES:
        return verify(lines, sealed, key)
    begins = next((i for i, line in enumerate(lines[1:], 1) if parse(line[:-1])), None)
    if begins is None:
        return Report(broken=[Finding(0, f"its last {TAIL_BYTES} bytes hold no record")])
    first = parse(lines[begins][:-1])
    report = verify(lines[begins + 1 :], sealed, key, after=Head(first.seq, first.mac))
    report.last = report.last or first.signed
    return report
