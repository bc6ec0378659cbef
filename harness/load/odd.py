"""Clients with odd manners: slow to send, slow to read, or gone before they have sent all.

Few and slow by nature, so each has a greenlet and a connection of its own; the schedule's fast way stays free of them.
They speak plain HTTP only.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import gevent
import gevent.select
import gevent.socket
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from harness.errors import UsageError
from harness.history import Outcome

PIECES_PER_S = 10  # a slow client sends or reads so often
BUFFER_BYTES = 4096  # asked of the kernel, so that what a slow reader leaves unread fills it and is felt by the server


class Manner(NamedTuple):
    """How a client departs from sending all and reading all as fast as it goes."""

    up_per_s: float = math.inf  # bytes sent a second
    down_per_s: float = math.inf  # bytes read a second
    leaves_after: float = 1.0  # share of the request after which it goes away; 1: it stays

    def check(self) -> None:
        """Raises UsageError."""
        if not (self.up_per_s > 0 and self.down_per_s > 0 and 0 < self.leaves_after <= 1):
            raise UsageError(f"manner: rates must be above 0 and leaves_after within 0 and 1, got {self!r}")


class Ended(NamedTuple):
    """How an exchange ended. Unix seconds; nan for what did not happen."""

    outcome: Outcome
    status: int
    body: bytes
    sent: float
    first_byte: float
    done: float
    bytes_out: int
    bytes_in: int
    error: str = ""


def exchange(host: str, port: int, message: bytes, manner: Manner, timeout_s: float, now) -> Ended:
    """One request and its answer, in this greenlet, for timeout_s at most. Every failure is an Ended, none raises."""
    talk = _Talk(manner, now)
    outcome, error = Outcome.OK, ""
    timeout = gevent.Timeout.start_new(timeout_s)
    try:
        talk.connect(host, port)
        if not talk.send(message):
            outcome, error = Outcome.ABANDONED, "went away, as it was meant to"
        elif not talk.receive():
            outcome, error = Outcome.BROKEN, "closed before the answer ended" if talk.bytes_in else "closed unanswered"
        elif talk.status >= 400:
            outcome, error = Outcome.REFUSED_BY_SERVICE, f"status {talk.status}"
    except gevent.Timeout as fired:
        if fired is not timeout:
            raise
        outcome, error = Outcome.TIMEOUT, f"no complete answer in {timeout_s:g} s"
    except gevent.GreenletExit:
        outcome, error = Outcome.TIMEOUT, "given up at the end of the run"
    except (HttpParserError, HttpParserUpgrade) as garbage:
        outcome, error = Outcome.GARBAGE, f"not HTTP: {garbage}"
    except OSError as broken:
        outcome = Outcome.CONNECT_FAILED if math.isnan(talk.sent) else Outcome.BROKEN
        error = (broken.strerror or type(broken).__name__).lower()
    finally:
        timeout.close()
        talk.close()
    return Ended(
        outcome, talk.status, talk.body, talk.sent, talk.first_byte, now(), talk.bytes_out, talk.bytes_in, error
    )


class _Talk:
    """A connection, and what came and went over it. The on_* are called by the parser."""

    def __init__(self, manner: Manner, now):
        self._manner, self._now = manner, now
        self._sock: gevent.socket.socket | None = None
        self._parser = HttpResponseParser(self)
        self.status = self.bytes_out = self.bytes_in = 0
        self.sent = self.first_byte = math.nan
        self.body = b""
        self.complete = False

    def connect(self, host: str, port: int) -> None:
        self._sock = gevent.socket.socket(*gevent.socket.getaddrinfo(host, port, type=gevent.socket.SOCK_STREAM)[0][:3])
        if self._manner.down_per_s < math.inf:
            self._sock.setsockopt(gevent.socket.SOL_SOCKET, gevent.socket.SO_RCVBUF, BUFFER_BYTES)
        self._sock.connect((host, port))

    def send(self, message: bytes) -> bool:
        """Whether it stayed: all was sent, or an answer came before."""
        self.sent = self._now()
        end = max(1, math.ceil(self._manner.leaves_after * len(message)))
        piece, pause_s = _pace(self._manner.up_per_s, end)
        while self.bytes_out < end:
            part = message[self.bytes_out : min(end, self.bytes_out + piece)]
            self._sock.sendall(part)
            self.bytes_out += len(part)
            if self.bytes_out < end and gevent.select.select([self._sock], [], [], pause_s)[0]:
                return True  # it answers already: look at what it says
        return end == len(message)

    def receive(self) -> bool:
        """Whether a complete answer came."""
        piece, pause_s = _pace(self._manner.down_per_s, 1 << 14)
        while not self.complete:
            data = self._sock.recv(piece)
            if not data:
                return False
            if not self.bytes_in:
                self.first_byte = self._now()
            self.bytes_in += len(data)
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
        if len(self.body) < 1 << 20:
            self.body += data

    def on_message_complete(self) -> None:
        self.complete = self.status >= 200


def _pace(per_s: float, whole: int) -> tuple[int, float]:
    """(bytes at a time, seconds between) that make a rate."""
    if per_s == math.inf:
        return whole, 0.0
    piece = max(1, round(per_s / PIECES_PER_S))
    return piece, piece / per_s
