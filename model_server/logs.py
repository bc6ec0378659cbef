"""JSON logs: one object a line, written by a thread of its own, so that a full pipe or disk never stops the service."""

from __future__ import annotations

import datetime
import json
import logging
import os
import queue
import threading
from typing import Any

import structlog

from model_server import SERVICE, __version__

NAMES = {"warning": "WARN", "critical": "ERROR", "exception": "ERROR"}
LEVELS = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARN": logging.WARNING, "ERROR": logging.ERROR}
CORRELATION = ("trace_id", "span_id", "request_id")


def now() -> str:
    """RFC 3339, UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def shape(_logger: Any, method: str, event: dict[str, Any]) -> str:
    """A structlog event as one line: the fixed fields first, everything else under `context`."""
    line = {"timestamp": now(), "level": NAMES.get(method, method.upper()), "service": SERVICE, "version": __version__}
    line |= {key: event.pop(key, None) for key in CORRELATION}
    line["message"] = event.pop("event")
    line["context"] = event
    return json.dumps(line, default=str) + "\n"


class Lines:
    """A bounded queue of lines and the thread that writes them to a file descriptor; what does not fit is counted."""

    def __init__(self, descriptor: int = 1, limit: int = 10_000):
        self.lost = 0
        self._descriptor = descriptor
        self._lines: queue.Queue[str | None] = queue.Queue(limit)
        self._thread = threading.Thread(target=self._write, name="logs", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self.lost += 1

    debug = info = warning = error = critical = exception = put  # what structlog calls, by level

    def close(self, within_s: float = 1.0) -> None:
        """Write what is queued; give up after `within_s` seconds."""
        try:
            self._lines.put(None, timeout=within_s)
        except queue.Full:
            return
        self._thread.join(within_s)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            data = line.encode()
            while data:
                try:
                    data = data[os.write(self._descriptor, data) :]
                except OSError:  # a full disk or a closed pipe: the service goes on without its log
                    self.lost += 1
                    break


class Forward(logging.Handler):
    """Sends what libraries log (uvicorn, asyncio) the same way."""

    def emit(self, record: logging.LogRecord) -> None:
        context = {"logger": record.name}
        if record.exc_info:
            context["exception"] = logging.Formatter().formatException(record.exc_info)
        method = {"WARNING": "warning", "CRITICAL": "critical"}.get(record.levelname, record.levelname.lower())
        getattr(structlog.get_logger(), method)(record.getMessage(), **context)


def configure(level: str = "INFO", lines: Lines | None = None) -> Lines:
    """Send structlog's and the standard library's logs to `lines` as JSON; gives the lines, to be closed at the end."""
    lines = lines or Lines()
    structlog.configure(
        processors=[structlog.processors.format_exc_info, shape],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=max(LEVELS[level], logging.WARNING), handlers=[Forward()], force=True)
    return lines
