"""What ties together everything that one request leaves behind: its ids, given by the caller or made here."""

import random
import re
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

Headers = Sequence[tuple[bytes, bytes]]  # as ASGI has them: names in lower case

REQUEST_ID = re.compile("[A-Za-z0-9._:-]{1,64}")
IDS: ContextVar[Mapping[str, str] | None] = ContextVar("ids", default=None)  # of the request being answered here
W3C = TraceContextTextMapPropagator()


def made_trace_id() -> int:
    """A trace id of 128 bits. Half of it is the time, so that the database's index by request id grows at its end: at
    random each row is a page of its own, which takes SQLite 10 us and more. Sampling looks at the other half."""
    return time.time_ns() << 64 | random.getrandbits(64)


def parent_of(headers: Headers) -> Context | None:
    """The caller's span as W3C's traceparent and tracestate name it; None where they name none, or two."""
    parents = _values(headers, b"traceparent")
    if len(parents) != 1:
        return None
    context = W3C.extract({"traceparent": parents, "tracestate": _values(headers, b"tracestate")}, Context())
    return context if trace.get_current_span(context).get_span_context().is_valid else None


def request_id(headers: Headers, trace_id: str) -> str:
    """The caller's X-Request-ID where it is well formed and there once, else the trace id."""
    given = {*_values(headers, b"x-request-id")}
    return given.pop() if len(given) == 1 and all(map(REQUEST_ID.fullmatch, given)) else trace_id


def _values(headers: Headers, name: bytes) -> list[str]:
    return [value.decode("latin-1") for one, value in headers if one == name]
