"""Slow and aborting clients: slow to send, slow to read, or gone before the request is complete.

They are few and slow by nature, so each has a greenlet and a connection of its own; the fast path of the schedule stays
free of them. They use plain HTTP only. gevent is imported for these greenlets, and patches nothing by that.
"""

from __future__ import annotations

import math

import gevent
import gevent.select
import gevent.socket
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from harness.history import Outcome
from harness.load.clock import now
from harness.load.connection import KEPT_BODY_BYTES
from harness.load.request import ClientPace, Response

PIECES_PER_S = 10  # how often a slow client sends or reads
BUFFER_BYTES = 4096  # asked of the kernel, so that what a slow reader leaves unread fills it and the server must wait


def exchange(host: str, port: int, message: bytes, pace: ClientPace, timeout_s: float) -> Response:
    """One request and its response, in this greenlet, within timeout_s. Every failure is a Response, none raises."""
    one = _Exchange(pace)
    outcome, error = Outcome.OK, ""
    timeout = gevent.Timeout.start_new(timeout_s)
    try:
        one.connect(host, port)
        if not one.send(message):
            outcome, error = Outcome.ABANDONED, "aborted by the client, as its scenario has it"
        elif not one.receive():
            ended = "closed before the response ended" if one.bytes_in else "closed without a response"
            outcome, error = Outcome.BROKEN, ended
        elif one.status >= 400:
            outcome, error = Outcome.REFUSED_BY_SERVICE, f"status {one.status}"
    except gevent.Timeout as fired:
        if fired is not timeout:
            raise
        outcome, error = Outcome.TIMEOUT, f"no complete response in {timeout_s:g} s"
    except gevent.GreenletExit:
        outcome, error = Outcome.TIMEOUT, "given up at the end of the run"
    except (HttpParserError, HttpParserUpgrade) as garbage:
        outcome, error = Outcome.GARBAGE, f"not HTTP: {garbage}"
    except OSError as broken:
        outcome = Outcome.CONNECT_FAILED if math.isnan(one.sent) else Outcome.BROKEN
        error = (broken.strerror or type(broken).__name__).lower()
    finally:
        timeout.close()
        one.close()
    return Response(
        outcome, one.status, one.body, one.sent, one.first_byte, now(), one.bytes_out, one.bytes_in, error, "", one.cut,
        one.head,
    )  # fmt: skip


class _Exchange:
    """A connection, and what was sent and received over it. The on_* are called by the parser."""

    def __init__(self, pace: ClientPace):
        self._pace = pace
        self._sock: gevent.socket.socket | None = None
        self._parser = HttpResponseParser(self)
        self.status = self.bytes_out = self.bytes_in = 0
        self.sent = self.first_byte = math.nan
        self.body = self.head = b""
        self.complete = self.cut = False

    def connect(self, host: str, port: int) -> None:
        self._sock = gevent.socket.socket(*gevent.socket.getaddrinfo(host, port, type=gevent.socket.SOCK_STREAM)[0][:3])
        if self._pace.read_per_s < math.inf:
            self._sock.setsockopt(gevent.socket.SOL_SOCKET, gevent.socket.SO_RCVBUF, BUFFER_BYTES)
        self._sock.connect((host, port))

    def send(self, message: bytes) -> bool:
        """Whether it did not abort: all was sent, or a response came before."""
        self.sent = now()
        end = max(1, math.ceil(self._pace.abort_after * len(message)))
        piece, pause_s = _pieces(self._pace.send_per_s, end)
        while self.bytes_out < end:
            part = message[self.bytes_out : min(end, self.bytes_out + piece)]
            self._sock.sendall(part)
            self.bytes_out += len(part)
            if self.bytes_out < end and gevent.select.select([self._sock], [], [], pause_s)[0]:
                return True  # there is a response already: read it
        return end == len(message)

    def receive(self) -> bool:
        """Whether a complete response came."""
        piece, pause_s = _pieces(self._pace.read_per_s, 1 << 14)
        while not self.complete:
            data = self._sock.recv(piece)
            if not data:
                return False
            if not self.bytes_in:
                self.first_byte = now()
            self.bytes_in += len(data)
            if self.status < 200:
                self.head += data
            self._parser.feed_data(data)
            if not self.complete:
                gevent.sleep(pause_s)
        return True

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        if len(self.body) < KEPT_BODY_BYTES:
            self.body += data
        else:
            self.cut = True

    def on_message_complete(self) -> None:
        self.complete = self.status >= 200


def _pieces(per_s: float, whole: int) -> tuple[int, float]:
    """(bytes at a time, seconds between) that make a rate."""
    if per_s == math.inf:
        return whole, 0.0
    piece = max(1, round(per_s / PIECES_PER_S))
    return piece, piece / per_s
