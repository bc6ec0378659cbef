"""JSON logs: one object a line, written by a thread of its own, so that a full pipe or disk never stops the service.

What a request sends is never in them: no image, no patient's data. So the text of an error, in which a library may
quote what it was given, is left out.
"""

import logging
import os
import time
import traceback
import warnings
from functools import partial
from typing import Any

import structlog

from model_server import SERVICE, __version__
from model_server.telemetry.correlation import IDS
from model_server.telemetry.encoding import dumps, rfc3339
from model_server.threads import LOOK_IN_S, Outbox, Repeated

NAMES = {"debug": "DEBUG", "info": "INFO", "warning": "WARN", "error": "ERROR", "critical": "ERROR"}
LEVELS = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARN": logging.WARNING, "ERROR": logging.ERROR}
LEVELS["OFF"] = logging.CRITICAL  # nothing of ours is
CORRELATION = ("trace_id", "span_id", "request_id")
AT_ONCE = 256
QUOTE_DATA = ("pydicom", "PIL", "python_multipart", "opentelemetry.trace")  # whose own messages may quote a request
OF_THE_MACHINE = (MemoryError, OSError, RuntimeError)  # errors whose text says what failed, not what was given


def now() -> str:
    """RFC 3339, UTC."""
    return rfc3339(time.time())


class Lines:
    """A bounded queue of lines and the thread that writes them to a file descriptor; what does not fit is counted."""

    def __init__(self, descriptor: int = 1, limit: int = 10_000):
        self.lost = 0
        self.made = {level: 0 for level in LEVELS if level != "OFF"}
        self._descriptor = descriptor
        self._waiting: Outbox[bytes] = Outbox(limit)
        self.close = Repeated("logs", self._write, LOOK_IN_S, last=self._write).close  # which writes what is queued

    def put(self, level: str, line: bytes) -> None:
        self.made[level] += 1
        if not self._waiting.put(line):
            self.lost += 1

    debug = info = warning = error = critical = put  # as structlog calls it

    def _write(self) -> None:
        for lines in self._waiting.batches(AT_ONCE):
            data, written = b"".join(lines), 0
            try:
                while written < len(data):
                    written += os.write(self._descriptor, data[written:])
            except OSError:  # a full disk or a closed pipe: the service goes on without its log
                self.lost += len(lines) - data.count(b"\n", 0, written)


class Forward(logging.Handler):
    """Sends what libraries log (uvicorn, asyncio) the same way. It never raises: that would end what they are doing."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:  # its arguments do not fit, and may hold anything
            message = str(record.msg)
        level = min(record.levelno // 10 * 10, logging.CRITICAL)  # structlog knows no others
        raised = {"exc_info": record.exc_info} if record.exc_info else {}
        structlog.get_logger().log(level, message, logger=record.name, **raised)


def configure(level: str = "INFO", lines: Lines | None = None, deployment: str = "none") -> Lines:
    """Send structlog's and the standard library's logs to `lines` as JSON; gives the lines, to be closed at the end.
    Who logs with every request keeps a logger, `structlog.get_logger().bind()`: to make one costs twice the line."""
    lines = lines or Lines()
    structlog.configure(
        processors=[
            structlog.processors.ExceptionRenderer(lambda raised: origin(raised[1])),
            partial(_as_line, deployment),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=max(LEVELS[level], logging.WARNING), handlers=[Forward()], force=True)
    for name in QUOTE_DATA:
        logging.getLogger(name).propagate = False
        logging.getLogger(name).addHandler(logging.NullHandler())  # with none at all they would write to stderr
    warnings.showwarning = _warned
    return lines


def _as_line(deployment: str, _logger: Any, method: str, event: dict[str, Any]) -> tuple[tuple[str, bytes], dict]:
    """The arguments of `Lines.put`: the fixed fields first, everything else under `context`."""
    level, ids = NAMES[method], IDS.get() or {}
    line = {"timestamp": now(), "level": level, "service": SERVICE, "version": __version__}
    for key in CORRELATION:
        line[key] = event.pop(key, None) or ids.get(key)
    line["message"] = event.pop("event")
    line["context"] = {"deployment": deployment} | event
    return (level, dumps(line) + b"\n"), {}


def origin(error: BaseException) -> str:
    """The places an error and its causes came through, and their kinds; the text only of those that say what failed in
    the machine, and never of those that say what was wrong with what they were given."""
    text = f": {error}" if isinstance(error, OF_THE_MACHINE) else ""
    own = "".join(traceback.format_tb(error.__traceback__)) + type(error).__qualname__ + text
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return f"{origin(cause)}\nthen\n{own}" if cause else own


def _warned(message, category, filename, lineno, file=None, line=None) -> None:
    structlog.get_logger().warning("A library warns", kind=category.__name__, place=f"{filename}:{lineno}")
