"""Slow and aborting clients, against a server that notes what it receives and when."""

import math
import socket
import threading
import time

import pytest

from harness.errors import UsageError
from harness.history import Outcome
from harness.load.request import ClientPace
from harness.load.slow_client import exchange

BODY = b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000
MESSAGE = b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n" + b"y" * 1000


@pytest.fixture
def server():
    """Its port, what it received as (moment, bytes), and an event: set, it does not wait for all of MESSAGE."""
    listener = socket.create_server(("127.0.0.1", 0))
    came, early = [], threading.Event()

    def serve():
        peer, _ = listener.accept()
        with peer:
            while sum(len(data) for _, data in came) < len(MESSAGE):
                data = peer.recv(65536)
                came.append((time.monotonic(), data))
                if not data:
                    return
                if early.is_set():
                    break
            peer.sendall(BODY)
            peer.recv(1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1], came, early
    listener.close()
    thread.join(10)


def test_a_client_that_is_slow_to_send_sends_all_piece_by_piece(server):
    port, came, _ = server
    ended = exchange("127.0.0.1", port, MESSAGE, ClientPace(send_per_s=2000), 30)
    assert (ended.outcome, ended.status, ended.bytes_out) == (Outcome.OK, 200, len(MESSAGE))
    assert b"".join(data for _, data in came) == MESSAGE
    assert ended.done - ended.sent >= 0.9 * len(MESSAGE) / 2000


def test_a_client_that_is_slow_to_read_gets_all_in_the_end(server):
    port, _, _ = server
    ended = exchange("127.0.0.1", port, MESSAGE, ClientPace(read_per_s=4000), 30)
    assert (ended.outcome, ended.bytes_in, len(ended.body)) == (Outcome.OK, len(BODY), 2000)
    assert ended.done - ended.first_byte >= 0.8 * len(BODY) / 4000


def test_an_aborting_client_is_no_failure_of_the_service(server):
    port, came, _ = server
    ended = exchange("127.0.0.1", port, MESSAGE, ClientPace(abort_after=0.5), 30)
    assert ended.outcome is Outcome.ABANDONED and ended.bytes_out == math.ceil(len(MESSAGE) / 2)
    until = time.monotonic() + 20
    while not (came and came[-1][1] == b"") and time.monotonic() < until:
        time.sleep(0.01)
    assert sum(len(data) for _, data in came) == ended.bytes_out


def test_a_response_that_comes_before_all_is_sent_is_read(server):
    port, _, early = server
    early.set()
    ended = exchange("127.0.0.1", port, MESSAGE, ClientPace(send_per_s=200), 30)
    assert (ended.outcome, ended.status) == (Outcome.OK, 200) and ended.bytes_out < len(MESSAGE)


def test_a_slow_exchange_ends_at_its_timeout(server):
    port, _, _ = server
    ended = exchange("127.0.0.1", port, MESSAGE, ClientPace(send_per_s=50), 0.5)
    assert ended.outcome is Outcome.TIMEOUT and "0.5 s" in ended.error


def test_nobody_there_is_no_connection():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        ended = exchange("127.0.0.1", closed.getsockname()[1], MESSAGE, ClientPace(send_per_s=50), 5)
    assert ended.outcome is Outcome.CONNECT_FAILED and math.isnan(ended.sent)


@pytest.mark.parametrize("pace", [ClientPace(send_per_s=0), ClientPace(abort_after=0), ClientPace(abort_after=1.5)])
def test_a_pace_that_makes_no_sense_is_refused(pace):
    with pytest.raises(UsageError, match="pace: "):
        pace.check()
