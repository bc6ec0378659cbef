"""Traces over OTLP/HTTP. A request leaves one small record; a thread makes spans of many at once and sends them.

The SDK's own spans cost many times what a record does, in the middle of the request. What it is good at, it still does
here: where to send to, with which headers, certificates and compression, when to try again.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import structlog

from model_server import SERVICE, __version__
from model_server.telemetry.correlation import Parent
from model_server.telemetry.outbox import Outbox

WAITING = 4096  # requests whose spans wait to be sent; beyond it they are dropped and counted
AT_ONCE = 512
EVERY_S = 1.0  # to send takes 1.5 ms, and 3 us for each request
INTERNAL, SERVER = 1, 2  # SpanKind
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

CURRENT: ContextVar[Trace | None] = ContextVar("trace", default=None)  # of the request being answered here, if sampled


class Link(NamedTuple):
    """Another span, as a span points to it; small, so that what waits long may keep one."""

    trace_id: str
    span_id: str
    tracer: Tracer


# Plain tuples: a request makes five, and to make named ones takes several times as long.
What = tuple[str, Mapping[str, Any], int]  # a span's name, attributes and number of links; equal ones are encoded alike
Span = tuple[What, float, float, tuple[Link, ...]]  # when it began and ended, in `time.perf_counter()`'s seconds


class Trace:
    """The spans of one sampled request, or of what was done for several: a root and its children. Any thread may add
    to it until its root has ended."""

    __slots__ = ("attributes", "children", "failed", "kind", "link", "parent", "root")

    def __init__(self, link: Link, parent: Parent | None = None, kind: int = SERVER):
        self.link, self.parent, self.kind = link, parent, kind
        self.attributes: dict[str, Any] = {}  # of the root
        self.children: list[Span] = []
        self.failed = False
        self.root: Span | None = None

    def child(self, name: str, began: float, ended: float, *links: Link, **attributes: Any) -> None:
        """Add a span under the root."""
        self.children.append(((name, attributes, len(links)), began, ended, links))


def annotate(**attributes: Any) -> None:
    """Add to the attributes of the root span of the request being answered here, if it is sampled."""
    if trace := CURRENT.get():
        trace.attributes.update(attributes)


@contextlib.contextmanager
def span(name: str, **attributes: Any) -> Iterator[None]:
    """What happens inside is a span of the request being answered here; nothing at all when that is not sampled."""
    trace = CURRENT.get()
    if trace is None:
        yield
        return
    began = time.perf_counter()
    try:
        yield
    finally:
        trace.child(name, began, time.perf_counter(), **attributes)


def link() -> Link | None:
    """To the root span of the request being answered here, if it is sampled."""
    trace = CURRENT.get()
    return trace.link if trace else None


def shared(name: str, links: Sequence[Link], began: float, ended: float, **attributes: Any) -> Link | None:
    """Something done for several requests at once: a trace of its own, linked to theirs, even if they have ended. What
    to link theirs to; None when none of them is sampled."""
    if not links:
        return None
    tracer = links[0].tracer
    own = Trace(Link(random.randbytes(16).hex(), random.randbytes(8).hex(), tracer), kind=INTERNAL)
    own.root = (name, attributes, len(links)), began, ended, tuple(links)
    tracer.put(own)
    return own.link


class Tracer:
    """Decides which requests are traced, and sends their spans; while it is off none is.

    On when an endpoint is given, here or in OpenTelemetry's own environment variables. Raises ImportError when it is on
    and OpenTelemetry is not installed.
    """

    def __init__(self, endpoint: str = "", ratio: float = 1.0, environ: Mapping[str, str] = os.environ):
        self.on = bool(endpoint or any(environ.get(name) for name in ENDPOINTS))
        self.exported = self.dropped = 0  # spans
        self._below = f"{round(ratio * (1 << 64)):016x}" if ratio < 1 else "g"  # as digits, which sort as numbers do
        self._ended: Outbox[Trace] = Outbox(WAITING)
        self._stopping = False
        if self.on:
            otlp = importlib.import_module("model_server.telemetry.otlp")  # a tenth of a second, which only those pay who trace
            self._exporter = otlp.Exporter(endpoint, {"service.name": SERVICE, "service.version": __version__})
            self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
            self._thread.start()

    def begin(self, ids: Mapping[str, str], parent: Parent | None) -> Trace | None:
        """The trace of a request that is answered here from now on; None when it is not sampled."""
        if trace := self.sampled(ids, parent):
            CURRENT.set(trace)
        return trace

    def sampled(self, ids: Mapping[str, str], parent: Parent | None) -> Trace | None:
        """A trace for a request, None when it is not sampled: as its caller has decided, else the given share of all,
        the same ones as in every other service that samples by the trace id."""
        if not self.on or not (parent.sampled if parent else ids["trace_id"][16:] < self._below):
            return None
        return Trace(Link(ids["trace_id"], ids["span_id"], self), parent)

    def end(self, trace: Trace, name: str, began: float, failed: bool = False, **attributes: Any) -> None:
        """The root ends now."""
        trace.root = (name, trace.attributes | attributes, 0), began, time.perf_counter(), ()
        trace.failed = failed
        self.put(trace)

    def put(self, trace: Trace) -> None:
        """Have an ended trace sent. Never waits: when too many wait to be sent already, it is dropped and counted."""
        if not self._ended.put(trace):
            self.dropped += _spans(trace)

    def close(self, within_s: float = 1.0) -> None:
        """Send what waits; give up after `within_s` seconds."""
        if self.on:
            self._stopping = True
            self._ended.wake()
            self._thread.join(within_s)
            self._exporter.shutdown()  # it may be waiting to try again

    def _run(self) -> None:
        while not self._stopping:
            self._ended.wait(EVERY_S)
            while traces := self._ended.take(AT_ONCE):
                self._send(traces)

    def _send(self, traces: list[Trace]) -> None:
        count = sum(map(_spans, traces))
        try:
            taken = self._exporter.send(traces)
        except Exception:
            structlog.get_logger().exception("Traces cannot be sent", spans=count)
            taken = False
        if taken:
            self.exported += count
        else:
            self.dropped += count


def _spans(trace: Trace) -> int:
    return 1 + len(trace.children)
