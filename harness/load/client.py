"""How a request is sent: one HTTP/1.1 exchange over a warm connection, and exactly how it ended.

One thread carries all exchanges over non-blocking sockets: `send` never waits, `turn` does what can be done now and
hands over every exchange that ended. A greenlet or a task for each request would cost more than the request does.

Answers are framed by llhttp through httptools: complete (chunked, interim answers), in C at some 2 us an answer, and
strict about what smuggling is made of. h11 is pure Python and costs many times as much.

An answer is done when its last byte had come to this machine, as the kernel notes it, and not when this process got
round to reading it: a generator that is kept waiting for a processor would report its own wait as the service's.

A request is never sent twice, not even when a kept connection turns out to be gone: a retry would hide the very
failure this client is there to see. Instead a connection that ends while it is idle is dropped as it does.
"""

from __future__ import annotations

import errno
import math
import platform
import socket
import ssl
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Container, Iterable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import gevent.monkey
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from harness.errors import UsageError
from harness.history import Outcome
from harness.load.odd import Manner

KEPT_BODY_BYTES = 1 << 20  # more than this of a body is counted but not kept: an endless answer must not fill memory
READ_BYTES = 1 << 14
EVENTS_AT_ONCE = 64  # so that what is due next is never kept waiting by a crowd of answers
CONTINUE_S = 1.0  # how long a body waits for the 100 it asked for
LOOK_UP_AGAIN_S = 1.0
# What this machine could not give is the generator's failure, never the service's.
OUR_OWN_LIMITS = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM}

_ANCHOR = time.time() - time.monotonic()
# Not gevent's: they would switch greenlets where only what is ready now is wanted.
_socket = gevent.monkey.get_original("socket", "socket")
_getaddrinfo = gevent.monkey.get_original("socket", "getaddrinfo")
_thread = gevent.monkey.get_original("_thread", "start_new_thread")
_epoll = gevent.monkey.get_original("select", "epoll")
_select = gevent.monkey.get_original("select", "select")
_IN, _OUT, _BROKEN = 0x001, 0x004, 0x018  # EPOLLIN, EPOLLOUT, EPOLLERR | EPOLLHUP; select loses them to gevent

# SO_TIMESTAMPNS, which Python does not name: with what is read comes when the kernel had it.
_STAMPED = 35 if sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64") else None
_STAMP = struct.Struct("@qq")  # seconds and nanoseconds of the wall clock
_NOTE_BYTES = socket.CMSG_SPACE(_STAMP.size)

_CONNECTING, _HANDSHAKE, _BUSY, _IDLE, _CLOSED = range(5)


def now() -> float:
    """Unix seconds that never step: the wall clock as it was at the start, carried on by the monotonic clock."""
    return time.monotonic() + _ANCHOR


class Request(NamedTuple):
    """What is to be sent, and what is known of it; Host, X-Request-ID and Content-Length are added to the headers.

    The same object may be given again and again: what goes over the wire is then made once.
    """

    method: str
    path: str
    headers: Iterable[tuple[str, str]] = ()
    body: bytes = b""
    expected: int = -1  # the class the input was made with, -1 unknown
    step: int = 0
    name: str = ""  # in Locust's statistics; the path when empty
    after_s: float = 0.0  # in a visit: how long after the answer before it this one is due
    manner: Manner | None = None  # of an odd client: slow, or gone before it has sent all
    answers: Container[int] = ()  # the statuses it may be answered with; empty: any below 400


class Answer(NamedTuple):
    """How one request ended. Times are Unix seconds of `now`, nan for what did not happen. Bytes came when the kernel
    here had them, on Linux and without TLS; else when they were read."""

    outcome: Outcome
    status: int  # as soon as a head came, even when the rest did not; 0 without
    body: bytes
    sent: float  # when it was handed to a connection
    first_byte: float
    done: float
    bytes_out: int  # on the wire, head and body
    bytes_in: int
    error: str = ""  # what went wrong, in few distinct words; empty when OK
    request_id: str = ""


class Prepared(NamedTuple):
    """A request as it goes over the wire, but for its id."""

    before: bytes  # up to the id
    after: bytes  # from the id on
    body: bytes = b""  # what waits for "100 Continue", where the request asks for that
    no_body: bool = False  # the answer has none, whatever its head says (HEAD)


class Client:
    """Sends requests to one host over kept-alive connections.

    timeout_s bounds each request as a whole, from the call of `send` to the last byte, handshake included;
    connect_timeout_s, when given, the connecting alone, read_timeout_s each silence in an answer. A kept connection
    is used for at most idle_s after its last answer, because servers close idle ones (uvicorn after 5 s) and a request
    that crosses with that is lost. ca_file: whom to trust instead of the system's authorities; verify=False trusts
    anybody. Raises UsageError for a URL or a file that is none.

    `answered(about, answer)` is called once for every `send`, within `turn`. Every failure is an Answer, none raises.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        answered: Callable[[Any, Answer], None] = lambda about, answer: about(answer),
        connect_timeout_s: float | None = None,
        read_timeout_s: float | None = None,
        idle_s: float = 4.0,
        ca_file: str | None = None,
        verify: bool = True,
    ):
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise UsageError(f"host: {error}, got {url!r}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"host: must be like http://127.0.0.1:8000, got {url!r}")
        self.tls = _trust(ca_file, verify) if parts.scheme == "https" else None
        self.host = parts.hostname
        self.port = port or (443 if self.tls else 80)
        self.timeout_s, self.connect_timeout_s, self.read_timeout_s = timeout_s, connect_timeout_s, read_timeout_s
        self._idle_s = idle_s
        self._prefix = parts.path.rstrip("/")
        self._host_line = f"Host: {parts.netloc.rpartition('@')[2]}\r\n"
        self.answered = answered
        self.in_flight = 0
        self.epoll = _epoll()
        self._poll = self.epoll.poll
        self.connections: dict[int, _Connection] = {}  # by file number
        self._idle: list[_Connection] = []  # the newest last
        self._over: deque[tuple[Any, Answer]] = deque()  # ended before they could be waited for
        self.next_deadline = math.inf  # Unix time before which nothing can have waited too long
        self._addresses: list | None = None
        self._unknown_until = 0.0  # no use in looking the host up again before
        self._looking = False

    def prepare(self, request: Request) -> Prepared:
        """The bytes of a request. Raises UnicodeEncodeError for what no head can hold."""
        method, path, headers, body = request[:4]
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
        length = f"Content-Length: {len(body)}\r\n" if body or method in ("POST", "PUT", "PATCH") else ""
        before = f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._host_line}{lines}{length}X-Request-ID: "
        waits = bool(body) and "\r\nexpect: 100-continue\r\n" in before.lower()
        after = b"\r\n\r\n" if waits else b"\r\n\r\n" + body
        return Prepared(before.encode("latin-1"), after, body if waits else b"", method == "HEAD")

    def send(self, prepared: Prepared, request_id: bytes, about: Any) -> None:
        """Begin one exchange; `about` comes back with its answer."""
        self.in_flight += 1
        at = time.monotonic() + _ANCHOR
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.state == _IDLE:
                if at - connection.since < self._idle_s:
                    break
                connection.close()
        else:
            connection = self._open(about)
            if connection is None:
                return
        deadline = at + self.timeout_s
        connection.begin(prepared, request_id, about, at, deadline)
        if connection.deadline < self.next_deadline:
            self.next_deadline = connection.deadline

    def turn(self) -> bool:
        """Do what can be done now; whether there was anything to do."""
        connections, events = self.connections, self._poll(0, EVENTS_AT_ONCE)
        for fd, what in events:
            connection = connections.get(fd)
            if connection is not None:
                if what == _IN and connection.state == _BUSY:
                    connection.read()
                else:
                    connection.happened(what)
        for _ in range(len(self._over)):  # and not what these answers cause in turn
            self.in_flight -= 1
            self.answered(*self._over.popleft())
        at = time.monotonic() + _ANCHOR
        if at >= self.next_deadline:
            self._expire(at)
        return bool(events)

    def wait(self, for_s: float) -> None:
        """Sleep until there is something to do, for a time at most; to some 0.1 ms, where epoll itself rounds to 1."""
        for_s = min(for_s, max(0.0, self.next_deadline - now()))
        fd = self.epoll.fileno()
        if self._over:
            return
        if fd < 1024:
            _select([fd], [], [], for_s)
        else:
            self._poll(for_s, 1)

    def ask(self, request: Request, request_id: bytes = b"0") -> Answer:
        """The answer to one request, waited for."""
        answers: list[Answer] = []
        answered, self.answered = self.answered, lambda about, answer: about(answer)
        try:
            self.turn()  # for connections that ended meanwhile
            self.send(self.prepare(request), request_id, answers.append)
            while not answers:
                if not self.turn():
                    self.wait(1.0)
        finally:
            self.answered = answered
        return answers[0]

    def warm(self, connections: int, within_s: float = 1.0) -> int:
        """Open connections ahead of the load; gives how many came about. Failures are left for rows to tell."""
        end = now() + within_s
        for connection in [self._open(None) for _ in range(connections)]:
            if connection is not None:
                connection.deadline = end
        self.next_deadline = min(self.next_deadline, end)
        while any(c.state < _BUSY for c in self.connections.values()):
            if not self.turn():
                self.wait(0.05)
        return sum(c.state == _IDLE for c in self.connections.values())

    def give_up(self, why: str) -> None:
        """End every exchange that is still under way."""
        for connection in list(self.connections.values()):
            if connection.about is not None:
                connection.end(Outcome.TIMEOUT, why)
        self.turn()

    def close(self) -> None:
        """Close the kept connections."""
        for connection in list(self.connections.values()):
            connection.close()
        self._idle.clear()
        self.epoll.close()

    def is_idle(self, connection: _Connection) -> None:
        self._idle.append(connection)
        if connection.since - self._idle[0].since > self._idle_s:  # surplus ones grow old at the front
            self._idle.pop(0).close()

    def _open(self, about: Any) -> _Connection | None:
        """A connection on its way; None where there is none to be had, which is then the answer."""
        at = now()
        addresses = self._known(at)
        if not addresses:
            self._failed(about, Outcome.CONNECT_FAILED, "host name unknown", at)
            return None
        try:
            return _Connection(self, addresses, at)
        except OSError as error:
            ours = error.errno in OUR_OWN_LIMITS
            self._failed(about, Outcome.UNSENT if ours else Outcome.CONNECT_FAILED, _words(error), at)
            return None

    def _failed(self, about: Any, outcome: Outcome, error: str, at: float) -> None:
        if about is not None:
            self._over.append((about, Answer(outcome, 0, b"", math.nan, math.nan, at, 0, 0, error)))

    def _known(self, at: float) -> list | None:
        """Where the host is; looked up once, for a look-up per connection would measure the resolver. One that failed
        is repeated beside the load, never in its way."""
        if self._addresses is None and at >= self._unknown_until and not self._looking:
            if self._unknown_until:
                self._looking = True
                _thread(self._look_up, ())
            else:
                self._look_up()
        return self._addresses

    def _look_up(self) -> None:
        try:
            self._addresses = _getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError:
            self._unknown_until = now() + LOOK_UP_AGAIN_S
        self._looking = False

    def _expire(self, at: float) -> None:
        """End what has waited too long."""
        soonest = math.inf
        for connection in list(self.connections.values()):
            if connection.deadline <= at:
                connection.expired(at)
            if connection.deadline < soonest:
                soonest = connection.deadline
        self.next_deadline = max(soonest, at + 0.01)  # however many wait, they are not looked through all the time


class _Connection:
    """One connection and the exchange it carries, if any. The on_* are called by the parser, within `read`."""

    __slots__ = (
        "about", "body", "body_waits", "bytes_in", "bytes_out", "client", "complete", "continued", "deadline", "error",
        "fd", "first_byte", "head", "limit", "message", "others", "parser", "rest", "reusable", "sent", "since", "sock",
        "state", "status", "tls", "unread", "unsent", "wants_no_body",
    )  # fmt: skip

    def __init__(self, client: Client, addresses: list, at: float):
        self.client = client
        self.about = self.tls = None
        self.others = iter(addresses)
        self.deadline = self.limit = math.inf
        self.rest: memoryview | None = None  # of what is being sent
        self.message = b""  # what is to be sent as soon as there is a connection
        self._fresh()
        self._connect(next(self.others), at)

    def begin(self, prepared: Prepared, request_id: bytes, about: Any, at: float, limit: float) -> None:
        """Carry one exchange, until `limit`."""
        client = self.client
        self.about, self.deadline, self.limit = about, limit, limit
        self.body_waits, self.wants_no_body = prepared.body, prepared.no_body
        message = prepared.before + request_id + prepared.after
        if self.state == _IDLE:
            self.state, self.sent = _BUSY, at
            if client.read_timeout_s is not None or self.body_waits:
                self._allow(at)
            self._write(message)
        else:
            self.message = message
            if client.connect_timeout_s is not None:
                self.deadline = min(limit, at + client.connect_timeout_s)

    def read(self) -> None:
        """Take what has come."""
        try:
            if self.tls is None:
                data, notes, _, _ = self.sock.recvmsg(READ_BYTES, _NOTE_BYTES)
            else:
                data, notes = self._read_tls(), None
        except BlockingIOError:
            return
        except OSError as broken:
            self._broken(_words(broken))
            return
        if data:
            client, came = self.client, _came(notes, self.sent)
            if not self.bytes_in:
                self.first_byte = came
            self.bytes_in += len(data)
            known = self.status
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade:
                self.end(Outcome.GARBAGE, "not HTTP: it switched protocols unasked")
                return
            except HttpParserError as garbage:
                # What follows a complete answer only costs the connection.
                self.reusable = False
                if not self.complete:
                    self.end(Outcome.GARBAGE, f"not HTTP: {garbage}")
                    return
            if self.complete:
                if self.status < 400:
                    self.end(Outcome.OK, "", came)
                else:
                    self.end(Outcome.REFUSED_BY_SERVICE, f"status {self.status}", came)
                return
            if known < 200:
                self.head += data
            if self.continued:
                self.continued = False
                self._write_body()
            if client.read_timeout_s is not None:
                self._allow(time.monotonic() + _ANCHOR)
        elif data is not None:
            self._ended()

    def happened(self, what: int) -> None:
        """Anything else than an answer's bytes."""
        if self.state == _CONNECTING:
            refused = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if refused:
                self._try_next(OSError(refused, ""))
            elif what & _OUT:
                self._connected()
        elif self.state == _HANDSHAKE:
            try:
                if what & _OUT and self.rest is not None:
                    self._push(b"")
                if not what & (_IN | _BROKEN):
                    return
                self._fill()
            except BlockingIOError:
                return
            except OSError as broken:
                self._unfit(_words(broken))
                return
            self._shake_hands()
        elif self.state == _IDLE:  # it can only be the end of it, or an answer nobody asked for
            try:
                if self.tls is None or self._read_tls() is not None:
                    self.close()
            except OSError:
                self.close()
        elif self.state == _BUSY:
            if what & _OUT and self.rest is not None:
                self._write(b"")
            if what & (_IN | _BROKEN):
                self.read()

    def expired(self, at: float) -> None:
        """Its deadline has passed."""
        if self.about is None:
            if self.state < _BUSY:
                self.close()  # a warm-up that took too long
            self.deadline = math.inf
        elif self.body_waits and self.state == _BUSY and at < self.limit:
            self._write_body()
        elif at >= self.limit:
            self.end(Outcome.TIMEOUT, f"no complete answer in {self.client.timeout_s:g} s")
        elif self.state < _BUSY:
            self.end(Outcome.CONNECT_FAILED, f"no connection in {self.client.connect_timeout_s:g} s")
        elif self.rest is not None:
            self._allow(at)  # it is still being asked
        else:
            self.end(Outcome.TIMEOUT, f"not a byte for {self.client.read_timeout_s:g} s")

    def end(self, outcome: Outcome, error: str, done: float | None = None) -> None:
        """The exchange is over: hand over its answer, and keep the connection if it may be used again."""
        client, about = self.client, self.about
        if done is None:
            done = time.monotonic() + _ANCHOR
        answer = Answer(
            outcome, self.status, bytes(self.body), self.sent, self.first_byte, done, self.bytes_out, self.bytes_in,
            error,
        )  # fmt: skip
        self.about, self.deadline = None, math.inf
        if self.reusable and self.complete and self.rest is None and not self.error and not self.body_waits:
            if self.wants_no_body:
                self.parser = HttpResponseParser(self)  # it waits for a body that its head announced
            self.state, self.since = _IDLE, done
            self.status = self.bytes_in = self.bytes_out = 0
            self.complete = False
            self.body, self.first_byte = b"", math.nan
            if self.head:
                self.head = b""
            client.is_idle(self)
        else:
            self.close()
        client.in_flight -= 1
        if about is not None:
            client.answered(about, answer)

    def close(self) -> None:
        if self.state != _CLOSED:
            self.state, self.deadline = _CLOSED, math.inf
            self.client.connections.pop(self.fd, None)
            self.sock.close()
            self.parser = None  # which holds this in turn

    def on_message_begin(self) -> None:
        self.reusable = False  # also when a second answer begins behind the one that was asked for

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

    def on_message_complete(self) -> None:
        if self.status >= 200:
            if not self.complete:
                self.complete, self.reusable = True, self.parser.should_keep_alive()
        elif self.status == 100:
            self.continued = bool(self.body_waits)

    def _fresh(self) -> None:
        """As nothing was sent or received over it yet."""
        self.parser = HttpResponseParser(self)
        self.status = self.bytes_in = self.bytes_out = 0
        self.complete = self.reusable = self.continued = self.wants_no_body = False
        self.body: bytes | bytearray = b""
        self.head = b""  # what came until the head was complete, where it did not come at once
        self.body_waits = b""
        self.error = ""
        self.sent = self.first_byte = math.nan

    def _connect(self, address: tuple, at: float) -> None:
        """Set out for one address. Raises OSError when that fails at once and there is no other."""
        family, kind, protocol, _, where = address
        self.sock = _socket(family, kind, protocol)
        self.fd = self.sock.fileno()
        self.state, self.since = _CONNECTING, at
        try:
            self.sock.setblocking(False)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if _STAMPED is not None:
                self.sock.setsockopt(socket.SOL_SOCKET, _STAMPED, 1)
            code = self.sock.connect_ex(where)
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, "")
            self.client.epoll.register(self.fd, _IN | _OUT)
            self.client.connections[self.fd] = self
        except OSError:
            self.sock.close()
            self.state = _CLOSED
            following = next(self.others, None)
            if following is None:
                raise
            self._connect(following, at)

    def _try_next(self, refused: OSError) -> None:
        self.client.connections.pop(self.fd, None)
        self.sock.close()
        self.state = _CLOSED
        following = next(self.others, None)
        try:
            if following is None:
                raise refused
            self._connect(following, now())
        except OSError as error:
            if self.about is None:
                return
            ours = error.errno in OUR_OWN_LIMITS
            self.end(Outcome.UNSENT if ours else Outcome.CONNECT_FAILED, _words(error))

    def _connected(self) -> None:
        self.client.epoll.modify(self.fd, _IN)
        if self.client.tls is not None:
            self.unread, self.unsent = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.tls = self.client.tls.wrap_bio(self.unread, self.unsent, server_hostname=self.client.host)
            self.state = _HANDSHAKE
            self._shake_hands()
        else:
            self._ready()

    def _shake_hands(self) -> None:
        """One step of it: read what came before, and call again when more has come."""
        try:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self._push(self.unsent.read())
                return
            self._push(self.unsent.read())
        except ssl.SSLCertVerificationError as error:
            self._unfit(f"certificate: {error.verify_message.rstrip('.')}")
        except ssl.SSLError as error:
            self._unfit(f"TLS: {(error.reason or str(error)).lower().replace('_', ' ')}")
        except OSError as error:
            self._unfit(_words(error))
        else:
            self._ready()

    def _unfit(self, error: str) -> None:
        """The other end is not whom we may talk to."""
        if self.about is None:
            self.close()
        else:
            self.end(Outcome.CONNECT_FAILED, error)

    def _ready(self) -> None:
        at = now()
        self.since = at
        if self.about is None:
            self.state, self.deadline = _IDLE, math.inf
            self.client.is_idle(self)
            return
        self.state, self.sent = _BUSY, at
        self._allow(at)
        message, self.message = self.message, b""
        self._write(message)

    def _write(self, data: bytes) -> None:
        """Send, or go on sending; a server may answer and close before it has read everything, so look for that."""
        self.bytes_out += len(data)
        if self.tls is not None and data:
            self.tls.write(data)
            data = self.unsent.read()
        try:
            self._push(data)
        except OSError as broken:
            self.error = _words(broken)
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

    def _fill(self) -> None:
        """Bring what has come to the TLS layer. Raises BlockingIOError when nothing has, OSError."""
        data = self.sock.recv(READ_BYTES)
        if data:
            self.unread.write(data)
        else:
            self.unread.write_eof()

    def _read_tls(self) -> bytes | None:
        """Decrypted bytes, b"" at the end, None when there is nothing to read yet. Raises OSError."""
        self._fill()
        pieces = []
        try:
            while piece := self.tls.read(READ_BYTES):
                pieces.append(piece)
        except ssl.SSLWantReadError:
            return b"".join(pieces) or None
        except ssl.SSLEOFError:
            pass
        return b"".join(pieces)

    def _ended(self) -> None:
        """The other end closed: that completes an answer whose length was never announced, and breaks any other."""
        if not self.error and self.status >= 200 and not self.parser.should_keep_alive() and _until_the_end(self.head):
            self.complete = True
            if self.status < 400:
                self.end(Outcome.OK, "")
            else:
                self.end(Outcome.REFUSED_BY_SERVICE, f"status {self.status}")
        else:
            self._broken("closed before the answer ended" if self.bytes_in else "closed without an answer")

    def _broken(self, why: str) -> None:
        self.reusable = False
        self.end(Outcome.BROKEN, self.error or why)


def _came(notes: list[tuple[int, int, bytes]] | None, sent: float) -> float:
    """When what was read just now had come: a generator that was kept from reading it makes no service slower. A note
    that says before `sent`, or later than now, is none: the wall clock was set meanwhile, or nobody had asked yet."""
    at = time.monotonic() + _ANCHOR
    if not notes:
        return at
    seconds, nanoseconds = _STAMP.unpack(notes[0][2])
    came = at - (time.time() - seconds - 1e-9 * nanoseconds)
    return came if sent <= came <= at else at


def _until_the_end(heads: bytes) -> bool:
    """Whether the first final head says neither how long its answer is nor that it comes in chunks."""
    for head in heads.split(b"\r\n\r\n"):
        fields = head.lower().split(b"\r\n")
        if not fields[0].split(b" ", 2)[1:2] or fields[0].split(b" ", 2)[1].startswith(b"1"):
            continue
        return not any(field.startswith((b"content-length:", b"transfer-encoding:")) for field in fields[1:])
    return False


def _trust(ca_file: str | None, verify: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"--ca-file: {ca_file}: {getattr(error, 'strerror', None) or error}") from error
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _words(error: OSError) -> str:
    """A failure in words that do not vary with addresses or ports, so that Locust can count equal ones together."""
    return errno.errorcode.get(error.errno or 0, "") or str(error) or type(error).__name__
