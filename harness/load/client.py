"""Sends requests over warm connections: the pool of connections to one host, and its turns.

One thread carries all exchanges over non-blocking sockets: `send` never waits, `turn` does what can be done now and
hands over every response. A greenlet or a task for each request would cost more than the request does.

A request is never sent twice, not even when a kept connection turns out to be gone: a retry would hide the very
failure this client measures. Instead a connection that ends while it is idle is dropped as it does.
"""

from __future__ import annotations

import math
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from harness.errors import UsageError
from harness.history import Outcome
from harness.load import request, tls, unpatched
from harness.load.clock import now
from harness.load.connection import BUSY, IDLE, OWN_LIMITS, Connection, error_text
from harness.load.request import Headers, Prepared, Request, Response

EVENTS_AT_ONCE = 64  # so that what is due next does not wait for a crowd of responses
RESOLVE_AGAIN_S = 1.0  # where it failed
RESOLVED_FOR_S = 5.0  # a name may lead to other addresses by then
_IN = unpatched.EPOLLIN


class Client:
    """Sends requests to one host over kept-alive connections.

    timeout_s bounds each request as a whole, from the call of `send` to the last byte, handshake included;
    connect_timeout_s, when given, the connecting alone, read_timeout_s each silence in a response. A kept connection
    is used for at most idle_s after its last response, because servers close idle ones (uvicorn after 5 s) and a
    request that crosses with that is lost. headers: added to each request that is not anonymous. For https: ca_file,
    the authorities to trust instead of the system's; verify=False, any certificate is accepted; client_cert and
    client_key, our own. connect_to: HOST:PORT to connect to in place of the URL's, whose name the requests, and the
    certificate, go by all the same. Raises UsageError for a bad URL or file.

    `on_response(context, response)` is called once for every `send`, within `turn`. Every failure is a Response, none
    raises.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        on_response: Callable[[Any, Response], None] = lambda context, response: context(response),
        connect_timeout_s: float | None = None,
        read_timeout_s: float | None = None,
        idle_s: float = 4.0,
        headers: Headers = (),
        ca_file: str | None = None,
        verify: bool = True,
        client_cert: str | None = None,
        client_key: str | None = None,
        connect_to: str | None = None,
    ):
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise UsageError(f"host: {error}, got {url!r}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"host: must be like http://127.0.0.1:8000, got {url!r}")
        self.tls = tls.context(ca_file, verify, client_cert, client_key) if parts.scheme == "https" else None
        self.host = parts.hostname
        self.port = port or (443 if self.tls else 80)
        host, _, number = (connect_to or "").rpartition(":")
        if connect_to is not None and not (host and number.isdigit()):
            raise UsageError(f"--connect-to: must be HOST:PORT, got {connect_to!r}")
        self.at = (host.strip("[]"), int(number)) if connect_to else (self.host, self.port)  # where it connects to
        self._is_name = not _is_address(self.at[0])
        self.timeout_s, self.connect_timeout_s, self.read_timeout_s = timeout_s, connect_timeout_s, read_timeout_s
        self.idle_s = idle_s
        self._prefix = parts.path.rstrip("/")
        self._headers = headers
        self.secrets = [value for _, value in headers]  # not to be quoted where the service sends them back
        self._host_line = f"Host: {parts.netloc.rpartition('@')[2]}\r\n"
        self.on_response = on_response
        self.in_flight = 0
        self.epoll = unpatched.epoll()
        self._poll = self.epoll.poll
        self.connections: dict[int, Connection] = {}  # by file number
        self._idle: list[Connection] = []  # the newest last
        self._over: deque[tuple[Any, Response]] = deque()  # ended before they could be waited for
        self.next_deadline = math.inf  # Unix time before which nothing can have waited too long
        self._addresses: list | None = None
        self._unresolved_until = 0.0  # the host is not looked up again before
        self._opened = 0
        self._resolving = False

    def prepare(self, what: Request) -> Prepared:
        """The bytes of a request. Raises UnicodeEncodeError for what no head can hold."""
        return request.prepare(what, self._prefix, self._host_line, self._headers)

    def send(self, prepared: Prepared, request_id: bytes, context: Any) -> None:
        """Begin one exchange; `context` comes back with its response."""
        self.in_flight += 1
        at = now()
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.state == IDLE:
                if at - connection.since < self.idle_s:
                    break
                connection.close()
        else:
            connection = self._open(context)
            if connection is None:
                return
        deadline = at + self.timeout_s
        connection.begin(prepared, request_id, context, at, deadline)
        if connection.deadline < self.next_deadline:
            self.next_deadline = connection.deadline

    def turn(self) -> bool:
        """Do what can be done now; whether there was anything to do."""
        connections, events = self.connections, self._poll(0, EVENTS_AT_ONCE)
        for fd, what in events:
            connection = connections.get(fd)
            if connection is not None:
                if what == _IN and connection.state == BUSY:
                    connection.read()
                else:
                    connection.happened(what)
        for _ in range(len(self._over)):  # and not what these responses cause in turn
            self.in_flight -= 1
            self.on_response(*self._over.popleft())
        at = now()
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
            unpatched.select([fd], [], [], for_s)
        else:
            self._poll(for_s, 1)

    def warm(self, connections: int, within_s: float = 1.0) -> int:
        """Open connections ahead of the load; gives the number opened. Failures show in the rows."""
        end = now() + within_s
        for connection in [self._open(None) for _ in range(connections)]:
            if connection is not None:
                connection.deadline = end
        self.next_deadline = min(self.next_deadline, end)
        while any(c.state < BUSY for c in self.connections.values()):
            if not self.turn():
                self.wait(0.05)
        return sum(c.state == IDLE for c in self.connections.values())

    def give_up(self, why: str) -> None:
        """End every exchange that is still under way."""
        for connection in list(self.connections.values()):
            if connection.context is not None:
                connection.end(Outcome.TIMEOUT, why)
        self.turn()

    def close(self) -> None:
        """Close the kept connections."""
        for connection in list(self.connections.values()):
            connection.close()
        self._idle.clear()
        self.epoll.close()

    def is_idle(self, connection: Connection) -> None:
        self._idle.append(connection)
        if connection.since - self._idle[0].since > self.idle_s:  # surplus ones grow old at the front
            self._idle.pop(0).close()

    def _open(self, context: Any) -> Connection | None:
        """A new connection, not yet established; None where there is none to be had, which is then the response."""
        at = now()
        addresses = self._known(at)
        if addresses and len(addresses) > 1:  # each in its turn, and the others where that one fails
            self._opened += 1
            turn = self._opened % len(addresses)
            addresses = [*addresses[turn:], *addresses[:turn]]
        if not addresses:
            self._failed(context, Outcome.CONNECT_FAILED, "host name unknown", at)
            return None
        try:
            return Connection(self, addresses, at)
        except OSError as error:
            ours = error.errno in OWN_LIMITS
            self._failed(context, Outcome.UNSENT if ours else Outcome.CONNECT_FAILED, error_text(error), at)
            return None

    def _failed(self, context: Any, outcome: Outcome, error: str, at: float) -> None:
        if context is not None:
            self._over.append((context, Response(outcome, 0, b"", math.nan, math.nan, at, 0, 0, error)))

    def _known(self, at: float) -> list | None:
        """The addresses of the host. A name is looked up again now and then, in a thread, for a look-up per connection
        would measure the resolver, and so is one that failed: the load does not wait for it."""
        if at >= self._unresolved_until and not self._resolving and (self._addresses is None or self._is_name):
            if self._unresolved_until:
                self._resolving = True
                unpatched.start_new_thread(self._resolve, ())
            else:
                self._resolve()
        return self._addresses

    def _resolve(self) -> None:
        try:
            self._addresses = unpatched.getaddrinfo(*self.at, type=socket.SOCK_STREAM)
            self._unresolved_until = now() + RESOLVED_FOR_S
        except OSError:  # what was known before may still serve
            self._unresolved_until = now() + RESOLVE_AGAIN_S
        self._resolving = False

    def _expire(self, at: float) -> None:
        """End what has waited too long."""
        soonest = math.inf
        for connection in list(self.connections.values()):
            if connection.deadline <= at:
                connection.expired(at)
            if connection.deadline < soonest:
                soonest = connection.deadline
        self.next_deadline = max(soonest, at + 0.01)  # however many wait, they are not examined in every turn


def _is_address(host: str) -> bool:
    """Whether it is an IP address, which no resolver is asked for."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):
            socket.inet_pton(family, host)
            return True
    return False
