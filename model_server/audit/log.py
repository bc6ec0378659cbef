"""The writer of the audit log. A request leaves its record in a bounded queue. One thread writes what is there, twenty
times a second: then it survives the death of this process. Another has the disk keep it, for the case of a power cut,
so that a slow disk does not hold up the first.

The file may be renamed at any time, as logrotate does it: the log goes on in a new one, its next piece.
"""

import contextlib
import functools
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from model_server import __version__
from model_server.audit.chain import Chain, Head, Record, fields, own, parse, stopped
from model_server.audit.verify import Finding, Report, head_path, verify
from model_server.storage.stores import Stores, locked
from model_server.telemetry import tracing
from model_server.telemetry.encoding import rfc3339
from model_server.telemetry.metrics import Metrics
from model_server.threads import LOOK_IN_S, LOSS_WINDOW_S, Outbox, Repeated

AT_ONCE = 500  # records written together
QUEUE = 10_000
TAIL_BYTES = 4 << 20  # read of a file; several times what can be written before a head is
LONGEST = 300  # characters of any text that a client sent
FIELDS = "timestamp event_type principal resource action result remote_address user_agent request_id"  # of every record
EMPTY = dict.fromkeys(FIELDS.split(), "")

Item = tuple[dict[str, Any], tracing.Link | None]  # a record's fields, and the request that it is of


class Broken(Exception):
    """The log that is there is not ours to go on with."""


class End(NamedTuple):
    """How the log ends that is there."""

    head: Head
    in_order: bool  # its writer ended by a stop; so did one that has not begun yet
    last_record_at: str = ""  # RFC 3339
    rotated: bool = False  # it ends in another file, and this one is empty
    glue: bytes = b""  # what is to be written before the next line
    torn: dict[str, Any] | None = None  # what the next record is to say of the part of one that a killed writer left
    why: str = ""  # it is not whole, and no crash explains that


class AuditLog:
    """An open log, from the record of the service's start to that of its stop, which `close` makes. Raises Broken or
    OSError when it cannot be opened; later failures are counted and tried again."""

    def __init__(
        self, path: Path, key: bytes, metrics: Metrics, stores: Stores, limit: int = QUEUE, deployment: str = "none",
    ):  # fmt: skip
        self._path, self._chain, self._stores, self._deployment = path, Chain(key), stores, deployment
        self._outbox: Outbox[Item] = Outbox(limit)
        self._rest = b""  # of the lines of its batch what is not in the file yet
        self._glue = b""  # to be written before the next line
        self._lost = self._lost_told = 0
        self._broken = False
        self._events = metrics.counter("audit_events_total", "Audit records made.", "event_type", "result")
        self._failures = metrics.counter(
            "audit_write_failures_total", "Audit records lost, and attempts to write that failed."
        )
        self._failing: set[str] = set()  # of what is done again and again
        self._file, self._left = _open(path), []  # and those of earlier pieces, until they are synced and closed
        self._size = os.fstat(self._file).st_size  # as we wrote it
        try:
            end = find_end(path, key)
            self._head = self._next = end.head  # after the last record in the file, and after the batch
            self._synced: Head | None = None  # what the head beside the log says, once it was written here
            if end.head == self._chain.start:
                self._seal_head(end.head)  # from here on one that is missing was removed
        except BaseException:
            os.close(self._file)
            raise
        self._go_on(end)
        metrics.reading("audit_log_records", "Records in the audit log.", lambda: self._head.seq)
        broken = "1 from a start on a log that was cut or changed, until it is rotated or the service starts again."
        metrics.reading("audit_log_broken", broken, lambda: int(self._broken))
        stores.unwritten["audit"] = lambda: self.unwritten_s
        write, sync = (functools.partial(self._tried, work) for work in (self._write, self._sync))
        self._writes = Repeated("audit", write, LOOK_IN_S, last=self._end)
        self._syncs = Repeated("audit-sync", sync, LOOK_IN_S, last=sync)

    @property
    def writable(self) -> bool:
        """Whether the last attempt to write was good, and the last to have it kept."""
        return not self._failing

    @property
    def unwritten_s(self) -> float:
        """For how long the oldest record waits that is not in the file: what a SIGKILL now would lose."""
        oldest = self._outbox.oldest()
        return max(0.0, time.time() - oldest[0]["timestamp"]) if oldest else 0.0

    def record(self, event_type: str, result: str, **fields: Any) -> None:
        """Put a record on its way; never waits. `event_type` and `result` are each one of a few words."""
        self._events.labels(event_type, result).inc()
        if not self._outbox.put((_made(event_type, result, **fields), tracing.link())):
            self._lost += 1
            self._failures.inc()

    def close(self, within_s: float = 2.0) -> bool:
        """Write what is queued and that the service stops, within `within_s` seconds. Whether it is on the disk."""
        until = time.monotonic() + within_s
        ended = self._writes.close(within_s) and self._syncs.close(max(0.0, until - time.monotonic()))
        if ended:
            os.close(self._file)  # and let the lock go
        if left := len(self._outbox):
            structlog.get_logger().error("Audit records lost at the end", count=left)
        return ended and self.writable

    def _go_on(self, end: End) -> None:
        """Say how the log ended before, and that the service starts."""
        self._glue = end.glue
        if end.why:
            self._begin_piece("audit_broken", why=end.why)
        elif end.rotated:
            self._begin_piece("audit_rotated", **(end.torn or {}))
        elif end.torn:
            self.record("audit_recovered", "ok", **end.torn)
        if end.torn:
            structlog.get_logger().warning("Audit log ended in part of a record", bytes=end.torn["torn_bytes"])
        if not end.in_order:
            about = {"last_record_at": end.last_record_at, "loss_window_s": LOSS_WINDOW_S}
            self.record("audit_interrupted", "failed", **about)
            structlog.get_logger().warning("Service did not end in order, audit records may be missing", **about)
        self._told("start", loss_window_s=LOSS_WINDOW_S, deployment=self._deployment)

    def _told(self, action: str, **more: Any) -> None:
        self.record("service", "ok", resource="service", action=action, version=__version__, **more)

    def _tried(self, work: Callable[[], None]) -> bool:
        """Whether it was done; what fails is counted, and tried again at the next look."""
        try:
            work()
        except Exception as error:  # whatever it is, the thread must live
            self._failures.inc()
            if self.writable:
                structlog.get_logger().error("Audit log cannot be written", reason=f"{error}")
            self._failing.add(work.__name__)
            return False
        self._failing.discard(work.__name__)
        return True

    def _end(self) -> None:
        if self._tried(self._write):  # with all before it written there is room for it, and it is the last
            self._told("stop")
            self._tried(self._write)

    def _write(self) -> None:
        """Raises OSError; what was taken is kept and written first next time."""
        for batch in self._outbox.batches(AT_ONCE):
            self._follow()
            if not self._rest:
                if (lost := self._lost) > self._lost_told:
                    batch.insert(0, (_made("audit_lost", "failed", records=lost - self._lost_told), None))
                    self._lost_told = lost
                self._seal()
            self._append()

    def _seal(self) -> None:
        """Make the lines of the batch."""
        lines, head = [self._glue], self._head
        for record, _ in self._outbox.batch:
            line, head = self._chain.line(head, record | {"timestamp": rfc3339(record["timestamp"])})
            lines.append(line)
        self._rest, self._glue, self._next = b"".join(lines), b"", head

    def _append(self) -> None:
        """Write the batch. From then on it survives the death of this process."""
        with self._stores.operation("audit", "write") as done:
            done.size = len(self._rest)
            while self._rest:
                written = os.write(self._file, self._rest)  # a full disk may take a part
                self._rest = self._rest[written:]
                self._size += written
        links = [link for _, link in self._outbox.batch if link]
        self._head = self._next
        self._outbox.batch.clear()
        tracing.shared("audit write", links, done.began, time.perf_counter(), bytes=done.size)

    def _sync(self) -> None:
        """Have the disk keep what was written, and only then say in the head how far that goes: after a power cut the
        head must not know more than the log. Raises OSError."""
        head, file = self._head, self._file  # in this order: the records are in this file and those that were left
        if head == self._synced and not self._left:
            return
        left = [*self._left]
        with self._stores.operation("audit", "write"):
            for each in {file, *left}:
                os.fdatasync(each)
            self._seal_head(head)
        self._synced = head
        for old in left:
            self._left.remove(old)
            os.close(old)

    def _seal_head(self, head: Head) -> None:
        beside = head_path(self._path)
        scratch = beside.with_name(beside.name + ".new")
        scratch.write_bytes(self._chain.head(head))
        scratch.replace(beside)

    def _follow(self) -> None:
        """Go on in a new piece when the file at the path is not ours any more, or was truncated."""
        ours = os.fstat(self._file)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(self._path.stat(), ours):
                if ours.st_size < self._size:
                    self._size = ours.st_size
                    self._begin_piece("audit_truncated")
                    self._glue = b"\n" if self._size else b""  # it may end in part of a line
                return
        if ours.st_nlink and self._rest:
            self._append()  # what was begun there
        with self._stores.operation("audit", "write"):
            file = _open(self._path)  # fails while its folder is away: then it may come back, with the log in it
        self._left.append(self._file)
        self._file, self._size = file, os.fstat(file).st_size
        self._begin_piece("audit_rotated" if ours.st_nlink else "audit_removed")

    def _begin_piece(self, event_type: str, **more: Any) -> None:
        """Have the batch, none of which is in the piece, begin with a record of what the log goes on after."""
        self._broken = event_type == "audit_broken"
        log = structlog.get_logger().bind(path=str(self._path), records=self._head.seq)
        if in_order := event_type == "audit_rotated":
            log.info("Audit log goes on in a new file")
        else:
            self._failures.inc()
            log.error(f"Audit log was {event_type.removeprefix('audit_')}", **more)
        about = {"after_mac": self._head.mac, "loss_window_s": LOSS_WINDOW_S, **more}
        self._outbox.batch.insert(0, (_made(event_type, "ok" if in_order else "failed", **about), None))
        self._rest = b""


def _made(event_type: str, result: str, **fields: Any) -> dict[str, Any]:
    """A record as it waits, its time in Unix seconds."""
    made = EMPTY | {"timestamp": time.time(), "event_type": event_type, "result": result} | fields
    return made | {name: made[name][:LONGEST] for name in ("resource", "action", "user_agent")}


def _open(path: Path) -> int:
    """A descriptor to append to the log, with the lock on it. Raises Broken when another process has it."""
    try:
        return locked(path, os.O_WRONLY | os.O_APPEND)
    except BlockingIOError:
        raise Broken(f"another process writes the audit log {path}") from None


def find_end(path: Path, key: bytes) -> End:
    """The end of the log at the path, whose file is there. Raises Broken and OSError."""
    chain, empty = Chain(key), path.stat().st_size == 0
    beside = head_path(path)
    sealed = beside.read_bytes() if beside.exists() else None
    if sealed is None and empty:
        return End(chain.start, in_order=True)
    report, rotated = _tail(path, sealed, chain, key), False
    if report.broken and empty:  # then another may be its last piece; the latest first
        files = [file for file in path.parent.glob(f"{path.name}?*") if file.is_file()]
        for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
            if not (before := _tail(file, sealed, chain, key)).broken:
                report, rotated = before, True
                break
    told, loose, torn = chain.read_head(sealed or b""), bytes(report.loose), None
    if told is None and report.records and report.end is None:
        raise Broken(f"the audit log {path} was written with another key; move it and its .head away to begin another")
    head, last, why = report.end or chain.start, report.last, report.broken[0].why if report.broken else ""
    glue = b"" if rotated or not loose or loose.endswith(b"\n") else b"\n"
    record = None if rotated else parse(loose)
    if record and not why and not chain.follows(head, record):
        why = "its last line is not ours"
    if why:
        head = max(head, told or head)
    elif record:  # killed before the newline, and nothing else is missing
        head, last = Head(record.seq, record.mac), record.signed
    elif loose:
        left = loose + glue
        torn = {"torn_bytes": len(left), "torn_sha256": hashlib.sha256(left).hexdigest()}
    in_order = head == chain.start or stopped(last)
    return End(head, in_order, fields(last).get("timestamp", ""), rotated, glue, torn, why)


def _tail(path: Path, sealed: bytes | None, chain: Chain, key: bytes) -> Report:
    """What is found in the last bytes of a piece, from where it last says what it goes on after."""
    size = path.stat().st_size
    with path.open("rb") as piece:
        piece.seek(max(0, size - TAIL_BYTES))
        lines = piece.readlines()
    records = [(i, record) for i, line in enumerate(lines) if (record := parse(line[:-1]))]
    joins = [(i, record) for i, record in records if _joins(chain, record)]
    if size <= TAIL_BYTES and not joins:
        return verify(lines, sealed, key)
    if not records:
        return Report(broken=[Finding(0, f"its last {TAIL_BYTES} bytes hold no record")])
    begins, first = joins[-1] if joins else records[0]
    after = Head(first.seq, first.mac)
    report = verify(lines[begins + 1 :], sealed, key, after=after)
    report.last = report.last or first.signed
    if joins or not report.records:
        report.end = report.end or after
    return report


def _joins(chain: Chain, record: Record) -> bool:
    """Whether the record is ours, and says itself which one it goes on after."""
    mac = own(record.signed).get("after_mac")
    return mac is not None and chain.follows(Head(record.seq - 1, mac), record)
