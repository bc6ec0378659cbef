"""Traces by OpenTelemetry's SDK. A request has one server span, and what is done for it are its children; what is done
for several requests at once is a trace of its own, linked to theirs. Without a collector nothing is traced."""

import contextlib
import importlib
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import structlog
from opentelemetry import trace as api
from opentelemetry.context import Context

from model_server.telemetry.correlation import Headers, made_trace_id, parent_of, request_id

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"
SWITCHES = {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "none"}  # what turns traces off

CURRENT: ContextVar["Trace | None"] = ContextVar(
    "trace", default=None
)  # of the request being answered here, if sampled


class Link(NamedTuple):
    """Another span, as a span points to it; small, so that what waits long may keep one."""

    context: api.SpanContext
    tracer: api.Tracer


class Trace:
    """The span of one sampled request, and those under it. Any thread may add to it until it has ended."""

    __slots__ = ("_context", "_epoch_ns", "link", "span")

    def __init__(self, span: api.Span, tracer: api.Tracer):
        self.span, self.link = span, Link(span.get_span_context(), tracer)
        self._context, self._epoch_ns = api.set_span_in_context(span, Context()), _epoch_ns()

    def child(self, name: str, began: float, ended: float, *links: Link, **attributes: Any) -> None:
        """Add a span under the request's. began, ended: seconds of `time.perf_counter()`."""
        _done(self.link.tracer, name, self._context, links, (began, ended), self._epoch_ns, attributes)

    def end(self, name: str, failed: bool = False, **attributes: Any) -> None:
        """The request is answered."""
        self.span.update_name(name)
        self.span.set_attributes(attributes)
        if failed:
            self.span.set_status(api.StatusCode.ERROR)
        self.span.end(self._epoch_ns + time.perf_counter_ns())


def annotate(**attributes: Any) -> None:
    """Add to the attributes of the span of the request being answered here, if it is sampled."""
    if trace := CURRENT.get():
        trace.span.set_attributes(attributes)


@contextlib.contextmanager
def span(name: str, **attributes: Any) -> Iterator[None]:
    """What happens inside is a span of the request being answered here; nothing at all when that is not sampled."""
    trace, began = CURRENT.get(), time.perf_counter()
    try:
        yield
    finally:
        if trace is not None:
            trace.child(name, began, time.perf_counter(), **attributes)


def link() -> Link | None:
    """To the span of the request being answered here, if it is sampled."""
    trace = CURRENT.get()
    return trace.link if trace else None


def shared(name: str, links: Sequence[Link], began: float, ended: float, **attributes: Any) -> Link | None:
    """Something done for several requests at once: a trace of its own, linked to theirs. None when none is sampled."""
    if not links:
        return None
    tracer = links[0].tracer
    return Link(_done(tracer, name, Context(), links, (began, ended), _epoch_ns(), attributes), tracer)


def _done(
    tracer: api.Tracer, name: str, parent: Context, links: Sequence[Link], times: tuple[float, float], epoch_ns: int,
    attributes: Mapping[str, Any],
) -> api.SpanContext:  # fmt: skip
    began, ended = (epoch_ns + round(at * 1e9) for at in times)
    pointers = [api.Link(one.context) for one in links]
    made = tracer.start_span(name, parent, attributes=attributes, links=pointers, start_time=began)
    if "error.type" in attributes:
        made.set_status(api.StatusCode.ERROR)
    made.end(ended)
    return made.get_span_context()


def _epoch_ns() -> int:
    """When `time.perf_counter_ns()` was 0. The spans of one trace go by one such figure: each read is a little off."""
    return -time.perf_counter_ns() + time.time_ns()  # in this order: a child does not begin before its request


class BadVariable(Exception):
    """What is to be sent where makes no sense, as OpenTelemetry's environment variables, or ours, say it."""


class Tracer:
    """Begins the trace of each request, and its ids, traced or not. On when an endpoint is given, here or in
    OpenTelemetry's own environment variables, unless they turn it off; they win over what is given here. Raises
    BadVariable."""

    def __init__(
        self, endpoint: str = "", ratio: float = 1.0, attributes: Mapping[str, str] | None = None,
        environ: Mapping[str, str] = os.environ,
    ):  # fmt: skip
        told = {name: environ.get(name, "").strip().lower() for name in (*ENDPOINTS, *SWITCHES)}
        off = any(told[name] == value for name, value in SWITCHES.items())
        self.on = not off and bool(endpoint or any(told[name] for name in ENDPOINTS))
        self._export = None
        if self.on:
            _check({"--otlp-endpoint": endpoint} | {name: environ.get(name, "") for name in ENDPOINTS})
            if other := next((name for name in PROTOCOLS if environ.get(name) not in (None, "", PROTOCOL)), None):
                structlog.get_logger().warning(f"Traces are sent as {PROTOCOL}, whatever {other} says")
            # A third of a second, which only those pay who trace.
            export = importlib.import_module("model_server.telemetry.export")
            try:
                self._export = export.Export(endpoint, ratio, attributes or {}, environ)
            except (ValueError, OverflowError, RuntimeError) as wrong:  # the SDK's
                raise BadVariable(f"traces: {wrong}") from None

    @property
    def exported(self) -> int:
        return self._export.exporter.taken if self._export else 0

    @property
    def dropped(self) -> int:
        return self._export.exporter.refused + self._export.processor.dropped if self._export else 0

    def begin(self, headers: Headers, traced: bool = True) -> tuple[dict[str, str], Trace | None]:
        """The ids of a request that is answered here from now on, and its trace; None when it is not sampled: as its
        caller has decided, else the given share of all. traced: whether it may be at all."""
        parent = parent_of(headers)
        number = api.get_current_span(parent).get_span_context().trace_id if parent else made_trace_id()
        span = self._export.request(parent or Context(), number) if self._export and traced else None
        trace = Trace(span, self._export.tracer) if span else None
        CURRENT.set(trace)
        span_id = f"{trace.link.context.span_id if trace else random.getrandbits(64):016x}"
        trace_id = f"{number:032x}"
        return {"trace_id": trace_id, "span_id": span_id, "request_id": request_id(headers, trace_id)}, trace

    def close(self, within_s: float = 1.0) -> None:
        """Send what waits; give up after `within_s` seconds."""
        if self._export:
            self._export.close(within_s)


def _check(urls: Mapping[str, str]) -> None:
    for name, url in urls.items():
        try:
            parts = urlsplit(url)
            wrong = url and not (parts.scheme in ("http", "https") and parts.hostname and parts.port != 0)
        except ValueError:
            wrong = True
        if wrong:
            raise BadVariable(f"{name} is no http:// or https:// URL")
