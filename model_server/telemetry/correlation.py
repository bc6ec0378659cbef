"""What ties together everything that one request leaves behind: its ids, given by the caller or made here."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import NamedTuple

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
TRACEPARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
TRACESTATE = re.compile(rb"[\x20-\x7e]{1,512}")
SAMPLED = 1

IDS: ContextVar[Mapping[str, str] | None] = ContextVar("ids", default=None)  # of the request being answered here


class Parent(NamedTuple):
    """The caller's span that a request continues."""

    span_id: str
    sampled: bool
    state: str


def correlation(headers: Mapping[bytes, bytes]) -> tuple[dict[str, str], Parent | None]:
    """request_id, trace_id and span_id of a request, the caller's where well-formed, else made here; and the caller's
    span, when W3C's traceparent names one."""
    parent = None
    told, asked = headers.get(b"traceparent"), headers.get(b"x-request-id")
    traced = told and TRACEPARENT.fullmatch(told)
    if traced and not (traced[1] == b"00" and traced[5]):  # only a later version may have more fields
        state = TRACESTATE.fullmatch(headers.get(b"tracestate", b""))
        parent = Parent(traced[3].decode(), bool(int(traced[4], 16) & SAMPLED), state[0].decode() if state else "")
        trace_id = traced[2].decode()
    else:
        # Half of it is the time, so that the database's index by request id grows at its end: at random each row is a
        # page of its own, which takes SQLite 10 us and more. Sampling and others' tracers look at the other half.
        trace_id = f"{time.time_ns() << 64 | random.getrandbits(64):032x}"
    given = asked and REQUEST_ID.fullmatch(asked)
    request_id = given[0].decode() if given else trace_id
    return {"trace_id": trace_id, "span_id": f"{random.getrandbits(64):016x}", "request_id": request_id}, parent
