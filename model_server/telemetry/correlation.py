"""What ties together everything that one request leaves behind: its ids, given by the caller or made here."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

Headers = Sequence[tuple[bytes, bytes]]  # as ASGI has them: names in lower case

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
IDS: ContextVar[Mapping[str, str] | None] = ContextVar("ids", default=None)  # of the request being answered here


def header(headers: Headers, name: bytes) -> str | None:
    """The first header of that name."""
    return next((value.decode("latin-1") for one, value in headers if one == name), None)


def made_trace_id() -> int:
    """A trace id of 128 bits. Half of it is the time, so that the database's index by request id grows at its end: at
    random each row is a page of its own, which takes SQLite 10 us and more. Sampling looks at the other half."""
    return time.time_ns() << 64 | random.getrandbits(64)


def parent_of(headers: Headers) -> Context | None:
    """The caller's span as W3C's traceparent and tracestate name it; None where they name none, or two."""
    if sum(name == b"traceparent" for name, _ in headers) != 1:
        return None
    context = _PROPAGATOR.extract(headers, Context(), _HEADERS)
    return context if trace.get_current_span(context).get_span_context().is_valid else None


def request_id(headers: Headers, trace_id: str) -> str:
    """The caller's X-Request-ID where it is well formed and there once, else the trace id."""
    given = {value for name, value in headers if name == b"x-request-id"}
    form = REQUEST_ID.fullmatch(given.pop()) if len(given) == 1 else None
    return form[0].decode() if form else trace_id


class _Headers(Getter[Headers]):
    """How the propagator reads headers: every one of a name, in order."""

    def get(self, carrier: Headers, key: str) -> list[str] | None:
        wanted = key.lower().encode("ascii")
        return [value.decode("latin-1") for name, value in carrier if name == wanted] or None

    def keys(self, carrier: Headers) -> list[str]:
        return list(_names(carrier))


def _names(carrier: Headers) -> Iterable[str]:
    return dict.fromkeys(name.decode("latin-1") for name, _ in carrier)


_PROPAGATOR, _HEADERS = TraceContextTextMapPropagator(), _Headers()
