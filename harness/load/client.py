"""How a request is sent: one HTTP/1.1 exchange over a warm connection, and exactly how it ended.

Answers are framed by llhttp through geventhttpclient, which Locust depends on already: complete (chunked, interim
answers, bodies that end with the connection), in C at some 6 us an answer, and strict about what smuggling is made of.
httptools wraps the same parser but would be one more dependency; h11 is pure Python and costs many times as much.

A request is never sent twice, not even when a kept connection turns out to be gone: a retry would hide the very
failure this client is there to see. Instead idle connections are looked at before they are used.
"""

from __future__ import annotations

import errno
import math
import select
import ssl
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import urlsplit

import gevent
import gevent.monkey
import gevent.socket
import gevent.ssl
from geventhttpclient._parser import HTTPParseError, HTTPResponseParser

from harness.errors import UsageError
from harness.history import Outcome

KEPT_BODY_BYTES = 1 << 20  # more than this of a body is counted but not kept: an endless answer must not fill memory
READ_BYTES = 1 << 16
# What this machine could not give is the generator's failure, never the service's.
OUR_OWN_LIMITS = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM}

_ANCHOR = time.time() - time.monotonic()
_poll = gevent.monkey.get_original("select", "poll")


def now() -> float:
    """Unix seconds that never step: the wall clock as it was at the start, carried on by the monotonic clock."""
    return time.monotonic() + _ANCHOR


class Request(NamedTuple):
    """What is to be sent, and what is known of it; Host and Content-Length are added to the headers."""

    method: str
    path: str
    headers: Iterable[tuple[str, str]] = ()
    body: bytes = b""
    expected: int = -1  # the class the input was made with, -1 unknown
    step: int = 0
    name: str = ""  # in Locust's statistics; the path when empty


class Answer(NamedTuple):
    """How one request ended. Times are Unix seconds of `now`, nan for what did not happen."""

    outcome: Outcome
    status: int  # as soon as a head came, even when the rest did not; 0 without
    body: bytes
    sent: float  # when it was handed to a connection
    first_byte: float
    done: float
    bytes_out: int  # on the wire, head and body
    bytes_in: int
    error: str = ""  # what went wrong, in few distinct words; empty when OK


class Client:
    """Sends requests to one host over kept-alive connections; made for many greenlets at once.

    timeout_s bounds each request as a whole, from the call of `send` to the last byte, name look-up and handshake
    included; connect_timeout_s, when given, the connecting alone. A kept connection is used for at most idle_s after
    its last answer, because servers close idle ones (uvicorn after 5 s) and a request that crosses with that is lost.
    """

    def __init__(self, url: str, *, timeout_s: float, connect_timeout_s: float | None = None, idle_s: float = 4.0):
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise UsageError(f"host: {error}, got {url!r}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"host: must be like http://127.0.0.1:8000, got {url!r}")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._host = parts.hostname
        self._port = port or (443 if self._tls else 80)
        self._timeout_s, self._connect_timeout_s, self._idle_s = timeout_s, connect_timeout_s, idle_s
        self._prefix = parts.path.rstrip("/")
        self._host_line = f"Host: {parts.netloc.rpartition('@')[2]}\r\n"
        self._addresses: list | None = None
        self._idle: deque[tuple[float, gevent.socket.socket]] = deque()  # the newest last

    def message(self, request: Request, *more_headers: tuple[str, str]) -> bytes:
        """The bytes of a request as they go over the wire."""
        method, path, headers, body = request[:4]
        lines = "".join([f"{name}: {value}\r\n" for name, value in (*headers, *more_headers)])
        length = f"Content-Length: {len(body)}\r\n" if body or method in ("POST", "PUT", "PATCH") else ""
        return (
            f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._host_line}{lines}{length}\r\n".encode("latin-1") + body
        )

    def warm(self, connections: int, within_s: float = 1.0) -> int:
        """Open connections ahead of the load; gives how many came about. Failures are left for rows to tell."""

        def one() -> None:
            with gevent.Timeout(within_s, False), suppress(OSError):
                self._idle.append((now(), self._connect()))

        gevent.joinall([gevent.spawn(one) for _ in range(connections)])
        return len(self._idle)

    def send(self, message: bytes, *, no_body: bool = False) -> Answer:
        """Send one request and wait for its answer, for timeout_s at most. Every failure is an Answer, none raises.

        no_body: the answer has none whatever its head says (HEAD).
        """
        sock = None
        sent = first_byte = math.nan
        bytes_in = 0
        response = _Response(no_body)
        outcome, error = Outcome.OK, ""
        timeout = gevent.Timeout.start_new(self._timeout_s)
        try:
            sock = self._take()
            sent = now()
            try:
                sock.sendall(message)
            except OSError as broken:  # a server may answer and close before it has read everything: look for that
                error = _words(broken)
            while not response.complete:
                data = sock.recv(READ_BYTES)
                if data and not bytes_in:
                    first_byte = now()
                bytes_in += len(data)
                response.take(data)
                if not data and not response.complete:
                    outcome = Outcome.BROKEN
                    error = error or ("closed without an answer" if not bytes_in else "closed before the answer ended")
                    break
        except gevent.Timeout as fired:
            if fired is not timeout:
                raise
            outcome, error = Outcome.TIMEOUT, f"no complete answer in {self._timeout_s:g} s"
        except gevent.GreenletExit:
            outcome, error = Outcome.TIMEOUT, "given up at the end of the run"
        except HTTPParseError as garbage:
            outcome, error = Outcome.GARBAGE, f"not HTTP: {garbage.args[0] if garbage.args else garbage}"
        except OSError as broken:
            error = _words(broken)
            if not math.isnan(sent):
                outcome = Outcome.BROKEN
            else:
                outcome = Outcome.UNSENT if broken.errno in OUR_OWN_LIMITS else Outcome.CONNECT_FAILED
        except Exception as surprise:  # a request must end in a row, whatever happens to it
            error = f"{type(surprise).__name__}: {surprise}"
            outcome = Outcome.UNSENT if math.isnan(sent) else Outcome.BROKEN
        finally:
            timeout.close()
            if sock is not None:
                self._give_back(sock, reusable=response.reusable and not error)
        done = now()
        if outcome is Outcome.OK:
            error = ""
            if response.status >= 400:
                outcome, error = Outcome.REFUSED_BY_SERVICE, f"status {response.status}"
        return Answer(
            outcome, response.status, bytes(response.body), sent, first_byte, done,
            0 if math.isnan(sent) else len(message), bytes_in, error,
        )  # fmt: skip

    def close(self) -> None:
        """Close the kept connections."""
        while self._idle:
            self._idle.pop()[1].close()

    def _take(self) -> gevent.socket.socket:
        """The connection that was used last if it is still good, so that surplus ones grow old; else a new one."""
        while self._idle:
            since, sock = self._idle.pop()
            if now() - since < self._idle_s and not _readable(sock):
                return sock
            sock.close()
        return self._connect()

    def _give_back(self, sock: gevent.socket.socket, reusable: bool) -> None:
        if reusable:
            self._idle.append((now(), sock))
        else:
            sock.close()
        while self._idle and now() - self._idle[0][0] > self._idle_s:
            self._idle.popleft()[1].close()

    def _connect(self) -> gevent.socket.socket:
        if self._addresses is None:  # looked up once: a look-up per connection would measure the resolver
            self._addresses = gevent.socket.getaddrinfo(self._host, self._port, type=gevent.socket.SOCK_STREAM)
        refused: OSError | None = None
        for family, kind, protocol, _, address in self._addresses:
            sock = gevent.socket.socket(family, kind, protocol)
            try:
                sock.setsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY, 1)
                sock.settimeout(self._connect_timeout_s)
                sock.connect(address)
                if self._tls:
                    sock = self._tls.wrap_socket(sock, server_hostname=self._host)
                sock.settimeout(None)
                return sock
            except OSError as error:
                refused = error
                sock.close()
            except BaseException:
                sock.close()
                raise
        raise refused or OSError(errno.EADDRNOTAVAIL, f"{self._host} has no address")


class _Response(HTTPResponseParser):
    """Reads one final answer; interim ones (1xx) are passed over. The hooks are called from C and must all exist."""

    def __init__(self, no_body: bool = False):
        super().__init__()
        self.status = 0
        self.body = bytearray()
        self.complete = False
        self.reusable = False
        self._no_body = no_body

    def take(self, data: bytes) -> None:
        """Feed what was received; b"" when the connection ended. Raises HTTPParseError on what is not HTTP."""
        try:
            self.feed(data)
        except HTTPParseError:
            # What follows a complete answer only costs the connection; an end within one is broken, not garbage.
            self.reusable = False
            if data and not self.complete:
                raise

    def _on_message_begin(self) -> None:
        self.reusable = False  # also when a second answer begins behind the one that was asked for

    def _on_headers_complete(self) -> bool:
        if not self.complete:
            self.status = self.get_code()
        return self._no_body

    def _on_body(self, data: bytearray) -> None:
        if not self.complete and len(self.body) < KEPT_BODY_BYTES:
            self.body += data

    def _on_message_complete(self) -> None:
        if not self.complete and self.status >= 200:
            self.complete = True
            self.reusable = self.should_keep_alive()

    def _on_status(self, text: str) -> None: ...
    def _on_header_field(self, text: str) -> None: ...
    def _on_header_value(self, text: str) -> None: ...


def _readable(sock: gevent.socket.socket) -> bool:
    """Whether something waits on an idle connection; it can only be its end, or an answer nobody asked for."""
    poller = _poll()
    poller.register(sock.fileno(), select.POLLIN)  # hang-up and error are always reported
    return bool(poller.poll(0))


def _words(error: OSError) -> str:
    """A failure in words that do not vary with addresses or ports, so that Locust can count equal ones together."""
    if isinstance(error, gevent.socket.gaierror):
        return "host name unknown"
    return errno.errorcode.get(error.errno or 0, "") or str(error) or type(error).__name__
