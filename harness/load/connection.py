"""One connection: its states, the HTTP/1.1 exchange it carries, and exactly how that exchange ended.

Responses are framed by llhttp through httptools: complete (chunked, interim responses), in C at some 2 us a response,
and strict about what request smuggling uses. h11 is pure Python and costs many times as much.
"""

from __future__ import annotations

import errno
import math
import socket
import ssl
from typing import Any, Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from harness.history import Outcome
from harness.load import tls, unpatched
from harness.load.clock import ANCILLARY_BYTES, RECEIVE_TIMESTAMPS, now, received_at
from harness.load.request import Prepared, Response

KEPT_BODY_BYTES = 1 << 20  # more than this of a body is counted but not kept: an endless response must not fill memory
READ_BYTES = 1 << 14
CONTINUE_S = 1.0  # how long a body waits for the 100 it asked for
# What this machine could not provide is the generator's failure, never the service's.
OWN_LIMITS = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM}

_IN, _OUT, _BROKEN = unpatched.EPOLLIN, unpatched.EPOLLOUT, unpatched.EPOLLERR | unpatched.EPOLLHUP
_OK = Outcome.OK  # looked up once: most exchanges end so
CONNECTING, HANDSHAKE, BUSY, IDLE, CLOSED = range(5)


class Pool(Protocol):
    """What a connection needs of the client it belongs to."""

    host: str
    tls: ssl.SSLContext | None
    timeout_s: float
    connect_timeout_s: float | None
    read_timeout_s: float | None
    epoll: Any
    connections: dict[int, Connection]
    next_deadline: float
    in_flight: int

    def is_idle(self, connection: Connection) -> None: ...

    def on_response(self, context: Any, response: Response) -> None: ...


class Connection:
    """One connection and the exchange it carries, if any. The on_* are called by the parser, within `read`."""

    __slots__ = (
        "body", "body_waits", "bytes_in", "bytes_out", "client", "complete", "context", "continued", "cut", "deadline",
        "error", "fd", "first_byte", "head", "limit", "message", "others", "parser", "rest", "reusable", "sent",
        "since", "sock", "state", "status", "tls", "wants_no_body",
    )  # fmt: skip

    def __init__(self, client: Pool, addresses: list, at: float):
        self.client = client
        self.context: Any = None  # of the request under way
        self.tls: tls.TlsChannel | None = None
        self.others = iter(addresses)
        self.deadline = self.limit = math.inf
        self.rest: memoryview | None = None  # of what is being sent
        self.message = b""  # what is to be sent as soon as there is a connection
        self._fresh()
        self._connect(at)

    def begin(self, prepared: Prepared, request_id: bytes, context: Any, at: float, limit: float) -> None:
        """Carry one exchange, until `limit`."""
        client = self.client
        self.context, self.deadline, self.limit = context, limit, limit
        self.body_waits, self.wants_no_body = prepared.body, prepared.no_body
        message = prepared.before + request_id + prepared.after
        if self.state == IDLE:
            self.state, self.sent = BUSY, at
            if client.read_timeout_s is not None or self.body_waits:
                self._allow(at)
            self._write(message)
        else:
            self.message = message
            if client.connect_timeout_s is not None:
                self.deadline = min(limit, at + client.connect_timeout_s)

    def read(self) -> None:
        """Read what has arrived."""
        try:
            if self.tls is None:
                data, ancillary, _, _ = self.sock.recvmsg(READ_BYTES, ANCILLARY_BYTES)
            else:
                data, ancillary = self._read_tls(), None
        except BlockingIOError:
            return
        except OSError as broken:
            self._broken(error_text(broken))
            return
        if data:
            client, received = self.client, received_at(ancillary, self.sent)
            if not self.bytes_in:
                self.first_byte = received
            self.bytes_in += len(data)
            if self.status < 200:
                self.head += data
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade:
                self.end(Outcome.GARBAGE, "not HTTP: it switched protocols unasked")
                return
            except HttpParserError as garbage:
                # What follows a complete response only costs the connection.
                self.reusable = False
                if not self.complete:
                    self.end(Outcome.GARBAGE, f"not HTTP: {garbage}")
                    return
            if self.complete:
                if self.status < 400:
                    self.end(_OK, "", received)
                else:
                    self.end(Outcome.REFUSED_BY_SERVICE, f"status {self.status}", received)
                return
            if self.continued:
                self.continued = False
                self._write_body()
            if client.read_timeout_s is not None:
                self._allow(now())
        elif data is not None:
            self._ended()

    def happened(self, what: int) -> None:
        """Any event but the arrival of a response's bytes."""
        if self.state == CONNECTING:
            refused = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if refused:
                self._try_next(OSError(refused, ""))
            elif what & _OUT:
                self._connected()
        elif self.state == HANDSHAKE:
            try:
                if what & _OUT and self.rest is not None:
                    self._push(b"")
                if not what & (_IN | _BROKEN):
                    return
                self.tls.received(self.sock.recv(READ_BYTES))
            except BlockingIOError:
                return
            except OSError as broken:
                self._connect_failed(error_text(broken))
                return
            self._handshake()
        elif self.state == IDLE:  # its end, or a response to no request
            try:
                if self.tls is None or self._read_tls() is not None:
                    self.close()
            except OSError:
                self.close()
        elif self.state == BUSY:
            if what & _OUT and self.rest is not None:
                self._write(b"")
            if what & (_IN | _BROKEN):
                self.read()

    def expired(self, at: float) -> None:
        """Its deadline has passed."""
        if self.context is None:
            if self.state < BUSY:
                self.close()  # a warm-up that took too long
            self.deadline = math.inf
        elif self.body_waits and self.state == BUSY and at < self.limit:
            self._write_body()
        elif at >= self.limit:
            self.end(Outcome.TIMEOUT, f"no complete response in {self.client.timeout_s:g} s")
        elif self.state < BUSY:
            self.end(Outcome.CONNECT_FAILED, f"no connection in {self.client.connect_timeout_s:g} s")
        elif self.rest is not None:
            self._allow(at)  # the request is still being sent
        else:
            self.end(Outcome.TIMEOUT, f"no byte for {self.client.read_timeout_s:g} s")

    def end(self, outcome: Outcome, error: str, done: float | None = None) -> None:
        """The exchange is over: hand over the response, and keep the connection if it may be used again."""
        client, context = self.client, self.context
        if done is None:
            done = now()
        response = Response(
            outcome, self.status, bytes(self.body), self.sent, self.first_byte, done, self.bytes_out, self.bytes_in,
            error, "", self.cut, self.head,
        )  # fmt: skip
        self.context, self.deadline = None, math.inf
        if self.reusable and self.complete and self.rest is None and not self.error and not self.body_waits:
            if self.wants_no_body:
                self.parser = HttpResponseParser(self)  # it waits for a body that its head announced
            self.state, self.since = IDLE, done
            self.status = self.bytes_in = self.bytes_out = 0
            self.complete = self.cut = False
            self.body, self.first_byte, self.head = b"", math.nan, b""
            client.is_idle(self)
        else:
            self.close()
        client.in_flight -= 1
        if context is not None:
            client.on_response(context, response)

    def close(self) -> None:
        if self.state != CLOSED:
            self.state, self.deadline = CLOSED, math.inf
            self.client.connections.pop(self.fd, None)
            self.sock.close()
            self.parser = None  # which holds this in turn

    def on_message_begin(self) -> None:
        self.reusable = False  # also when a second response begins behind the first

    def on_headers_complete(self) -> None:
        if not self.complete:
            status = self.status = self.parser.get_status_code()
            if self.wants_no_body and status >= 200:
                self.complete, self.reusable = True, self.parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        if self.complete:
            self.reusable = False
        elif not self.body:
            self.body = data
        elif len(self.body) < KEPT_BODY_BYTES:
            if type(self.body) is bytes:
                self.body = bytearray(self.body)
            self.body += data
        else:
            self.cut = True

    def on_message_complete(self) -> None:
        if self.status >= 200:
            if not self.complete:
                self.complete, self.reusable = True, self.parser.should_keep_alive()
        elif self.status == 100:
            self.continued = bool(self.body_waits)

    def _fresh(self) -> None:
        """The state before anything was sent or received."""
        self.parser = HttpResponseParser(self)
        self.status = self.bytes_in = self.bytes_out = 0
        self.complete = self.reusable = self.continued = self.wants_no_body = self.cut = False
        self.body: bytes | bytearray = b""
        self.head = b""  # what was received until the head was complete
        self.body_waits = b""
        self.error = ""
        self.sent = self.first_byte = math.nan

    def _connect(self, at: float, refused: OSError | None = None) -> None:
        """Begin to connect to the next address that does not refuse at once. Raises OSError where none is left."""
        for family, kind, protocol, _, where in self.others:
            self.sock = unpatched.socket(family, kind, protocol)
            self.fd = self.sock.fileno()
            self.state, self.since = CONNECTING, at
            try:
                self.sock.setblocking(False)
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if RECEIVE_TIMESTAMPS is not None:
                    self.sock.setsockopt(socket.SOL_SOCKET, RECEIVE_TIMESTAMPS, 1)
                code = self.sock.connect_ex(where)
                if code not in (0, errno.EINPROGRESS):
                    raise OSError(code, "")
                self.client.epoll.register(self.fd, _IN | _OUT)
                self.client.connections[self.fd] = self
                return
            except OSError as error:
                self.sock.close()
                self.state, refused = CLOSED, error
        raise refused

    def _try_next(self, refused: OSError) -> None:
        self.client.connections.pop(self.fd, None)
        self.sock.close()
        self.state = CLOSED
        try:
            self._connect(now(), refused)
        except OSError as error:
            if self.context is not None:
                ours = error.errno in OWN_LIMITS
                self.end(Outcome.UNSENT if ours else Outcome.CONNECT_FAILED, error_text(error))

    def _connected(self) -> None:
        self.client.epoll.modify(self.fd, _IN)
        if self.client.tls is not None:
            self.tls = tls.TlsChannel(self.client.tls, self.client.host)
            self.state = HANDSHAKE
            self._handshake()
        else:
            self._ready()

    def _handshake(self) -> None:
        """One step of it; called again when more was received."""
        try:
            complete = self.tls.handshake()
            self._push(self.tls.to_send())
        except OSError as error:
            self._connect_failed(error_text(error))
        else:
            if complete:
                self._ready()

    def _connect_failed(self, error: str) -> None:
        """There is no connection that may carry a request."""
        if self.context is None:
            self.close()
        else:
            self.end(Outcome.CONNECT_FAILED, error)

    def _ready(self) -> None:
        at = now()
        self.since = at
        if self.context is None:
            self.state, self.deadline = IDLE, math.inf
            self.client.is_idle(self)
            return
        self.state, self.sent = BUSY, at
        self._allow(at)
        message, self.message = self.message, b""
        self._write(message)

    def _write(self, data: bytes) -> None:
        """Send, or go on sending; a server may answer and close before it has read everything, so look for that."""
        self.bytes_out += len(data)
        if self.tls is not None and data:
            data = self.tls.encrypt(data)
        try:
            self._push(data)
        except OSError as broken:
            self.error = error_text(broken)
            self.rest = None
            self.client.epoll.modify(self.fd, _IN)

    def _push(self, data: bytes) -> None:
        """Hand bytes to the socket, and what it does not take to a later turn. Raises OSError."""
        if self.rest is not None:
            data = bytes(self.rest) + data if data else self.rest
        elif not data:
            return
        try:
            n = self.sock.send(data)
        except BlockingIOError:
            n = 0
        if n < len(data):
            if self.rest is None:
                self.client.epoll.modify(self.fd, _IN | _OUT)
            self.rest = memoryview(data)[n:]
        elif self.rest is not None:
            self.rest = None
            self.client.epoll.modify(self.fd, _IN)

    def _allow(self, at: float) -> None:
        """How long the exchange may now go on without anything happening."""
        waits_s = self.client.read_timeout_s or math.inf
        self.deadline = min(self.limit, at + (min(waits_s, CONTINUE_S) if self.body_waits else waits_s))
        if self.deadline < self.client.next_deadline:
            self.client.next_deadline = self.deadline

    def _write_body(self) -> None:
        body, self.body_waits = self.body_waits, b""
        self._allow(now())
        self._write(body)

    def _read_tls(self) -> bytes | None:
        """Decrypted bytes, b"" at the end, None when there is nothing to read yet. Raises OSError."""
        self.tls.received(self.sock.recv(READ_BYTES))
        return self.tls.decrypt()

    def _ended(self) -> None:
        """The other end closed: that completes a response whose length was never announced, and breaks any other."""
        if not self.error and self.status >= 200 and not self.parser.should_keep_alive() and _until_close(self.head):
            self.complete = True
            if self.status < 400:
                self.end(Outcome.OK, "")
            else:
                self.end(Outcome.REFUSED_BY_SERVICE, f"status {self.status}")
        else:
            self._broken("closed before the response ended" if self.bytes_in else "closed without a response")

    def _broken(self, why: str) -> None:
        self.reusable = False
        self.end(Outcome.BROKEN, self.error or why)


def _until_close(heads: bytes) -> bool:
    """Whether the first final head gives neither a length nor chunks: the body lasts until the connection ends."""
    fields = final_fields(heads.lower())
    return bool(fields) and not any(f.startswith((b"content-length:", b"transfer-encoding:")) for f in fields)


def final_fields(heads: bytes) -> list[bytes]:
    """The lines of the first final head, after any interim ones; the first is its status."""
    for head in heads.split(b"\r\n\r\n"):
        lines = head.split(b"\r\n")
        status = lines[0].split(b" ", 2)[1:2]
        if status and not status[0].startswith(b"1"):
            return lines
    return []


def error_text(error: OSError) -> str:
    """A failure without addresses or ports, so that Locust can count equal ones together."""
    if isinstance(error, ssl.SSLError):
        return tls.failure(error)
    return errno.errorcode.get(error.errno or 0, "") or str(error) or type(error).__name__
