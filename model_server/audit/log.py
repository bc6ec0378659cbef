"""The writer of the audit log. A request leaves its record in a bounded queue; one thread seals and writes them."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
import time
from pathlib import Path
from typing import Any

import structlog

from model_server.audit.chain import TORN, Chain, Head, parse
from model_server.audit.verify import head_path, verify
from model_server.storage.stores import Stores
from model_server.telemetry import tracing
from model_server.telemetry.metrics import Metrics
from model_server.telemetry.moments import rfc3339
from model_server.telemetry.outbox import Outbox

LOOK_IN_S = 0.1
AT_ONCE = 500  # records written together
RETRY_S = 0.5
QUEUE = 10_000
TAIL_BYTES = 4 << 20  # read at the start to go on from; several times what can be written before a head is
LONGEST = 300  # characters of any text that a client sent


class Broken(Exception):
    """The log that is there cannot be gone on with."""


class AuditLog:
    """An open log. Raises Broken or OSError when it cannot be opened; later failures are counted and tried again."""

    def __init__(self, path: Path, key: bytes, metrics: Metrics, stores: Stores, limit: int = QUEUE):
        self._path, self._chain, self._stores = path, Chain(key), stores
        self._outbox: Outbox[tuple[dict[str, Any], tracing.Link | None]] = Outbox(limit)
        self._links: list[tracing.Link] = []  # to the requests whose records are sealed and not yet written
        self._lost = self._lost_told = 0
        self._events = metrics.counter("audit_events_total", "Audit records made.", "event_type", "result")
        self._failures = metrics.counter(
            "audit_write_failures_total", "Audit records lost, and attempts to write that failed."
        )
        self.writable = True
        self._unwritten, self._stopping = b"", False
        self._file = _open(path)
        try:
            self._head = self._resume(key)
        except BaseException:
            os.close(self._file)
            raise
        self._written = self._head.seq
        metrics.readings({"audit_log_records": ("Records in the audit log.", lambda: self._written)})
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def record(
        self, event_type: str, result: str, *, principal: str = "", resource: str = "", action: str = "",
        remote_address: str = "", user_agent: str = "", request_id: str = "", **more: Any,
    ) -> None:  # fmt: skip
        """Put a record on its way; never waits. `event_type` and `result` are each one of a few words."""
        self._events.labels(event_type, result).inc()
        fields = {
            "timestamp": time.time(), "event_type": event_type, "principal": principal, "resource": resource[:LONGEST],
            "action": action[:LONGEST], "result": result, "remote_address": remote_address,
            "user_agent": user_agent[:LONGEST], "request_id": request_id, **more,
        }  # fmt: skip
        if not self._outbox.put((fields, tracing.link())):
            self._lost += 1
            self._failures.inc()

    def close(self, within_s: float = 2.0) -> None:
        """Write what is queued; give up after `within_s` seconds."""
        self._stopping = True
        self._outbox.wake()
        self._thread.join(within_s)
        if not self._thread.is_alive():
            os.close(self._file)  # and let the lock go
        if self._outbox or self._unwritten:
            structlog.get_logger().error("Audit records lost at the end", count=len(self._outbox))

    def _resume(self, key: bytes) -> Head:
        """Where the log that is there ends; accounts for what a killed writer left. Raises Broken."""
        beside = head_path(self._path)
        size = self._path.stat().st_size
        if not beside.exists() and size == 0:
            self._seal_head(self._chain.start)
        with self._path.open("rb") as log:
            log.seek(max(0, size - TAIL_BYTES))
            lines = log.readlines()
        after = None
        if size > TAIL_BYTES:
            begins = next((i for i, line in enumerate(lines[1:], 1) if parse(line[:-1])), None)
            if begins is None:
                raise Broken(f"{self._path}: its last {TAIL_BYTES} bytes hold no record")
            first = parse(lines[begins][:-1])
            after, lines = Head(first.seq, first.mac), lines[begins + 1 :]
        report = verify(lines, beside.read_bytes() if beside.exists() else None, key, after=after)
        if report.broken:
            raise Broken(
                f"the audit log {self._path} cannot be gone on with: {report.broken[0][1]}; `python -m "
                f"model_server.audit verify {self._path}` says more; move it and its .head away to begin another"
            )
        if record := parse(report.loose):  # killed before the newline, and nothing else is missing
            if not self._chain.follows(report.end, record):
                raise Broken(f"the audit log {self._path} cannot be gone on with: its last line is not ours")
            self._unwritten = b"\n"
            return Head(record.seq, record.mac)
        if report.loose:
            ended = report.loose.endswith(b"\n")
            self._unwritten = b"" if ended else b"\n"
            left = report.loose + self._unwritten
            structlog.get_logger().warning("Audit log ended in part of a record", bytes=len(left))
            self.record(TORN, "ok", torn_bytes=len(left), torn_sha256=hashlib.sha256(left).hexdigest())
        return report.end

    def _run(self) -> None:
        while True:
            stopping = self._stopping
            try:
                self._write()
            except Exception as error:  # whatever it is, this thread must live
                self._failures.inc()
                self._stores.failed("audit", "write")
                if self.writable:
                    structlog.get_logger().error("Audit log cannot be written", reason=f"{error}")
                self.writable = False
                if stopping:
                    return
                time.sleep(RETRY_S)
                continue
            self.writable = True
            if stopping:
                return
            self._outbox.wait(LOOK_IN_S)

    def _write(self) -> None:
        """Write what is queued. Raises OSError; what was sealed is kept and written first next time."""
        full = True  # as in `Outbox.batches`
        while self._unfinished or (full and self._outbox):
            self._follow()
            full = self._seal()
            with self._stores.operation("audit", "write") as done:
                done.size = len(self._unwritten)
                while self._unwritten:  # a full disk may take a part
                    self._unwritten = self._unwritten[os.write(self._file, self._unwritten) :]
                os.fdatasync(self._file)  # before the head: after a power cut the head must not know more than the log
                self._seal_head(self._head)
            self._written = self._head.seq
            tracing.shared("audit write", self._links, done.began, time.perf_counter(), bytes=done.size)
            self._links = []

    @property
    def _unfinished(self) -> bool:
        """Whether something is sealed and not written, written and not in the head, or lost and not told."""
        return bool(self._unwritten) or self._written < self._head.seq or self._lost > self._lost_told

    def _seal(self) -> bool:
        """Seal the next batch, unless one waits to be written; whether there may be more of them."""
        if len(self._unwritten) >= 2:  # more than the newline that ends a killed writer's part of a record
            return True
        lines = [self._unwritten]
        if (lost := self._lost) > self._lost_told:
            lines.append(self._sealed(_own("audit_lost", records=lost - self._lost_told)))
            self._lost_told = lost
        taken = self._outbox.take(AT_ONCE)
        lines += [self._sealed(fields) for fields, _ in taken]
        self._links += [link for _, link in taken if link]
        self._unwritten = b"".join(lines)
        return len(taken) == AT_ONCE

    def _sealed(self, fields: dict[str, Any]) -> bytes:
        fields["timestamp"] = rfc3339(fields["timestamp"])
        line, self._head = self._chain.line(self._head, fields)
        return line

    def _seal_head(self, head: Head) -> None:
        beside = head_path(self._path)
        scratch = beside.with_name(beside.name + ".new")
        scratch.write_bytes(self._chain.head(head))
        scratch.replace(beside)

    def _follow(self) -> None:
        """Go on at the path when the file there is no longer ours; the gap shows, for the chain goes on."""
        ours = os.fstat(self._file)
        with contextlib.suppress(FileNotFoundError):
            there = self._path.stat()
            if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                return
        replacement = _open(self._path)  # fails while its folder is away: then it may come back, with the log in it
        structlog.get_logger().error("Audit log was moved or removed", path=str(self._path))
        self._failures.inc()
        os.close(self._file)
        self._file = replacement
        self._unwritten += self._sealed(_own("audit_reopened"))


def _own(event_type: str, **more: Any) -> dict[str, Any]:
    """A record that the log makes of itself."""
    nobody = dict.fromkeys(("principal", "resource", "action", "remote_address", "user_agent", "request_id"), "")
    return {"timestamp": time.time(), "event_type": event_type, "result": "failed", **nobody, **more}


def _open(path: Path) -> int:
    """A descriptor to append to the log, with the lock on it. Raises Broken when another process has it."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise Broken(f"another process writes the audit log {path}") from None
    return file
