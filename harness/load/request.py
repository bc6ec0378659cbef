"""A request as a scenario states it, its bytes, and the response to it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Container, Iterable, Sequence
from typing import NamedTuple

from harness.errors import UsageError
from harness.history import Outcome

Headers = Sequence[tuple[str, str]]


class ClientPace(NamedTuple):
    """How fast a slow client sends and reads, and where an aborting client closes its connection."""

    send_per_s: float = math.inf  # bytes a second
    read_per_s: float = math.inf  # bytes a second
    abort_after: float = 1.0  # share of the request after which the client aborts; 1: it does not

    def check(self) -> None:
        """Raises UsageError."""
        if not (self.send_per_s > 0 and self.read_per_s > 0 and 0 < self.abort_after <= 1):
            raise UsageError(f"pace: rates must be above 0 and abort_after above 0 and at most 1, got {self!r}")


class Request(NamedTuple):
    """What is to be sent, and what is known of it. Host, X-Request-ID, Content-Length and the headers of the run (its
    credentials, see --headers-file) are added; of the latter those that the request does not set itself.

    The same object may be given again and again: its bytes are then made once.
    """

    method: str
    path: str
    headers: Iterable[tuple[str, str]] = ()
    body: bytes = b""
    expected: int = -1  # the class the input was made with, -1 unknown; where known, only an answer with a class serves
    step: int = 0
    name: str = ""  # in Locust's statistics; the path when empty
    after_s: float = 0.0  # in a visit: how long after the previous response this request is due
    pace: ClientPace | None = None  # of a slow or aborting client
    expect_status: Container[int] = ()  # the statuses that are good; empty: any below 300
    anonymous: bool = False  # without the headers of the run: the request brings its own credentials, or none


def picture(request: Request) -> int:
    """The number by which rows say which input a request is about: the same for the same bytes to the same path in
    every run, never 0; 0 for a request without a body. (Two models behind two paths answer one input differently.)"""
    if not request.body:
        return 0
    asked = hashlib.blake2b(request.path.encode() + b"\0", digest_size=8)
    asked.update(request.body)
    return int.from_bytes(asked.digest(), "little") or 1


class Response(NamedTuple):
    """How one request ended. Times are Unix seconds of `clock.now`, nan for what did not happen. Bytes came when the
    kernel here had them, on Linux and without TLS; else when they were read."""

    outcome: Outcome
    status: int  # as soon as a head came, even when the rest did not; 0 without
    body: bytes
    sent: float  # when the request was handed to a connection
    first_byte: float
    done: float
    bytes_out: int  # on the wire, head and body
    bytes_in: int
    error: str = ""  # what went wrong, as one of few distinct texts; empty when OK
    request_id: str = ""
    cut: bool = False  # the body is longer than what of it is kept
    head: bytes = b""  # what was received until the head was complete, with what of the body came along


class Prepared(NamedTuple):
    """A request as it goes over the wire, but for its id."""

    before: bytes  # up to the id
    after: bytes  # from the id on
    body: bytes = b""  # what waits for "100 Continue", where the request asks for that
    no_body: bool = False  # the response has none, whatever its head says (HEAD)


def prepare(request: Request, prefix: str, host_line: str, run_headers: Headers = ()) -> Prepared:
    """The bytes of a request to a host whose URL has the path `prefix`. Raises UnicodeEncodeError for what no head can
    hold."""
    method, path, headers, body = request[:4]
    if run_headers and not request.anonymous:
        headers = list(headers)
        own = {name.lower() for name, _ in headers}
        headers += [header for header in run_headers if header[0].lower() not in own]
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    length = f"Content-Length: {len(body)}\r\n" if body or method in ("POST", "PUT", "PATCH") else ""
    before = f"{method} {prefix}{path} HTTP/1.1\r\n{host_line}{lines}{length}X-Request-ID: "
    waits = bool(body) and "\r\nexpect: 100-continue\r\n" in before.lower()
    after = b"\r\n\r\n" if waits else b"\r\n\r\n" + body
    return Prepared(before.encode("latin-1"), after, body if waits else b"", method == "HEAD")
