"""What a proxy can do to HTTP: whole responses are taken apart and given on otherwise, as one more toxic, `http`.

Its attribute `what` says how: `status`, `delay` and `truncated` of any response; `malformed`, `renamed`, `exploded` and
`empty` of the text in which a service gives its metrics, whole or by series. It is for the stream `downstream`, and for
connections without TLS. What begins with no status line, such as the rest of a response that was under way when the
toxic came, is passed on as it is.
"""

from __future__ import annotations

import re
import zlib
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar

from harness.stack.toxics import End, Stage

BODY_BYTES = 16 << 20  # of a response; a longer one is passed on as it is
HEAD_BYTES = 64 << 10
NO_BODY = re.compile(rb"HTTP/1\.[01] (1\d\d|204|304)\b")
GARBAGE = b'this is { no "exposition\n'
OF_METRICS = ("malformed", "renamed", "exploded", "empty")
WHATS = ("status", "delay", "truncated", *OF_METRICS)


@dataclass
class Response:
    """A response, its body without chunks and compression; `raw` as it came."""

    raw: bytes
    head: list[bytes]  # the status line and the header's lines
    body: bytes

    def with_body(self, body: bytes) -> bytes:
        """The same response with another body."""
        framing = (b"content-length:", b"transfer-encoding:", b"content-encoding:")
        kept = [line for line in self.head if not line.lower().startswith(framing)]
        return b"\r\n".join([*kept, b"Content-Length: %d" % len(body), b"", body])


class Reader:
    """Takes responses out of a stream."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Response | bytes]:
        """The responses that are whole now, and bytes that are to be passed on as they are."""
        self._rest += data
        found: list[Response | bytes] = []
        while self._rest:
            if not (self._rest.startswith(b"HTTP/1.") or b"HTTP/1.".startswith(self._rest)):
                found.append(self.flush())
                break
            head, gap, after = self._rest.partition(b"\r\n\r\n")
            if not gap and len(self._rest) <= HEAD_BYTES:
                break
            if (length := _length(head, after)) is None and len(after) <= BODY_BYTES:
                break
            if not gap or length is None or length > BODY_BYTES:
                found.append(self.flush())
                break
            raw, self._rest = self._rest[: len(head) + 4 + length], after[length:]
            found.append(_response(raw, head, after[:length]))
            if NO_BODY.match(head) and b" 101 " in head[:13]:
                found.append(self.flush())
        return [one for one in found if one]

    def flush(self) -> bytes:
        """What is there of a response that never becomes whole."""
        rest, self._rest = self._rest, b""
        return rest

    def last(self) -> Response | bytes:
        """What is there when no more comes: a response whose body has no length ends with its connection."""
        rest = self.flush()
        head, gap, body = rest.partition(b"\r\n\r\n")
        endless = not {b"content-length", b"transfer-encoding"} & {name for name, _ in _fields(head)}
        return _response(rest, head, body) if gap and rest.startswith(b"HTTP/1.") and endless else rest


class Http(Stage):
    """Changes responses."""

    attributes: ClassVar = {
        "what": "status", "status": 503, "delay": 0, "series": "", "to": "", "label": "exploded", "values": 100,
    }  # fmt: skip

    def begin(self) -> None:
        self._reader = Reader()

    async def data(self, data: bytes, at: float) -> None:
        for one in self._reader.feed(data):
            await self._give(one, at)
        if self.over and (rest := self._reader.flush()):
            await self.next.take(rest, at)

    async def end(self, how: End, at: float) -> None:
        if rest := self._reader.last():
            await self._give(rest, at)
        await self.next.finish(how, at)

    async def _give(self, one: Response | bytes, at: float) -> None:
        if isinstance(one, bytes) or self.over:
            await self.next.take(one if isinstance(one, bytes) else one.raw, at)
        elif self.what == "truncated":
            await self.next.take(one.raw[: len(one.raw) - max(1, len(one.body) // 2)], at)
            self.connection.close()
        else:
            if self.what == "delay":
                await self.sleep(self.delay / 1000)
            await self.next.take(self.changed(one), at)

    def changed(self, response: Response) -> bytes:
        """What is given on for a response."""
        if self.what == "status":
            body = f"{self.status} of the proxy\n".encode()
            phrase = HTTPStatus(self.status).phrase if self.status in HTTPStatus._value2member_map_ else "Fault"
            head = f"HTTP/1.1 {self.status} {phrase}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
            return head.encode() + body
        if self.what in OF_METRICS:
            return response.with_body(spoiled(response.body, self.what, self.series, self.to, self.label, self.values))
        return response.raw


def spoiled(exposition: bytes, what: str, series: str, to: str, label: str, values: int) -> bytes:
    """Metrics in the text format, spoiled."""
    if what == "empty":
        return b""
    lines = exposition.splitlines(keepends=True)
    if what == "malformed":
        middle = len(lines) // 2
        return b"".join([*lines[:middle], GARBAGE, *lines[middle:]])
    name = series.encode()
    if what == "renamed":
        mine = re.compile(rb"^(# (?:HELP|TYPE|UNIT) )?%s(?=[ {])" % re.escape(name), re.M)
        return mine.sub(rb"\g<1>" + (to or f"{series}_renamed").encode(), exposition)
    mine = re.compile(rb"^%s(?:\{(.*)\})?( [^#\n]*)" % re.escape(name))
    made = []
    for line in lines:
        made.append(line)
        if found := mine.match(line):
            given = (found[1] or b"").rstrip(b",") + (b"," if found[1] else b"")
            pairs = (b'%s{%s%s="%d"}%s\n' % (name, given, label.encode(), i, found[2].rstrip()) for i in range(values))
            made += pairs
    return b"".join(made)


def _length(head: bytes, after: bytes) -> int | None:
    """How many bytes the body takes of what follows; None while it is not whole, or ends with the connection."""
    if NO_BODY.match(head):
        return 0
    fields = dict(_fields(head))
    if b"chunked" in fields.get(b"transfer-encoding", b"").lower():
        at = 0
        while (end := after.find(b"\r\n", at)) >= 0:
            try:
                size = int(after[at:end].partition(b";")[0], 16)
            except ValueError:
                return BODY_BYTES + 1
            at = end + 2 + size + 2
            if not size:  # trailers end with an empty line
                stop = after.find(b"\r\n", end)
                rest = after.find(b"\r\n\r\n", end)
                return at if after[end + 2 : at] == b"\r\n" else (rest + 4 if stop >= 0 <= rest else None)
            if at > len(after):
                return None
        return None
    length = fields.get(b"content-length", b"")
    if not length.isdigit():
        return None
    return int(length) if int(length) <= len(after) or int(length) > BODY_BYTES else None


def _fields(head: bytes) -> list[tuple[bytes, bytes]]:
    pairs = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return [(name.strip().lower(), value.strip()) for name, _, value in pairs]


def _response(raw: bytes, head: bytes, body: bytes) -> Response:
    fields = dict(_fields(head))
    if b"chunked" in fields.get(b"transfer-encoding", b"").lower():
        body = _without_chunks(body)
    if fields.get(b"content-encoding", b"").lower() == b"gzip":
        with suppress(zlib.error):  # then it is no text either
            body = zlib.decompressobj(31).decompress(body, BODY_BYTES)
    return Response(raw, head.split(b"\r\n"), body)


def _without_chunks(body: bytes) -> bytes:
    parts, at = [], 0
    while size := int(body[at : body.find(b"\r\n", at)].partition(b";")[0], 16):
        start = body.find(b"\r\n", at) + 2
        parts.append(body[start : start + size])
        at = start + size + 2
    return b"".join(parts)
