"""Each way an exchange can end is told apart, in time, and costs no other request anything."""

import math
import resource
import socket
import time

import gevent
import pytest
from odd_server import ANSWER, OK, odd_server

from harness.errors import UsageError
from harness.history import Outcome
from harness.load.client import Client, Request, now

PATIENCE_S = 0.7


@pytest.fixture(scope="module")
def server():
    with odd_server() as server:
        yield server


def ask(server, path, times=1, method="POST", body=b"image", timeout_s=PATIENCE_S):
    """The last of several answers to the same request, and how many connections they took."""
    client, before = Client(server.url, timeout_s=timeout_s), server.connections
    message = client.message(Request(method, path, (), body))
    for _ in range(times):
        answer = client.send(message, no_body=method == "HEAD")
        time.sleep(0.02)  # for the server's end of a connection to arrive
    client.close()
    return answer, server.connections - before


# path, outcome, status, body, connections that three requests take
ANSWERS = [
    ("/ok", Outcome.OK, 200, ANSWER, 1),
    ("/chunked", Outcome.OK, 200, ANSWER, 1),
    ("/until-close", Outcome.OK, 200, ANSWER, 3),
    ("/old", Outcome.OK, 200, ANSWER, 3),
    ("/interim", Outcome.OK, 200, ANSWER, 1),
    ("/no-content", Outcome.OK, 204, b"", 1),
    ("/says-close", Outcome.OK, 200, b"ok", 3),
    ("/closes-later", Outcome.OK, 200, ANSWER, 3),
    ("/extra", Outcome.OK, 200, ANSWER, 3),
    ("/twice", Outcome.OK, 200, ANSWER, 3),
    ("/not-found", Outcome.REFUSED_BY_SERVICE, 404, b"", 1),
    ("/shed", Outcome.REFUSED_BY_SERVICE, 503, b"no", 1),
]


@pytest.mark.parametrize("path, outcome, status, body, connections", ANSWERS, ids=[a[0][1:] for a in ANSWERS])
def test_a_complete_answer_is_read_to_its_end_and_its_connection_kept_if_it_may_be(
    server, path, outcome, status, body, connections
):
    answer, took = ask(server, path, times=3)
    assert (answer.outcome, answer.status, answer.body, took) == (outcome, status, body, connections)
    assert answer.sent <= answer.first_byte <= answer.done <= now()
    assert bool(answer.error) == (outcome is not Outcome.OK)


def test_an_answer_to_head_has_no_body_whatever_it_says(server):
    answer, took = ask(server, "/head", times=3, method="HEAD", body=b"")
    assert (answer.outcome, answer.body, took) == (Outcome.OK, b"", 1)


FAILURES = [
    ("/close", Outcome.BROKEN, 0, "closed without an answer"),
    ("/half-head", Outcome.BROKEN, 0, "closed before the answer ended"),
    ("/half-body", Outcome.BROKEN, 200, "closed before the answer ended"),
    ("/half-chunk", Outcome.BROKEN, 200, "closed before the answer ended"),
    ("/no-last-chunk", Outcome.BROKEN, 200, "closed before the answer ended"),
    ("/only-interim", Outcome.BROKEN, 100, "closed before the answer ended"),
    ("/reset", Outcome.BROKEN, 0, "ECONNRESET"),
    ("/reset-in-body", Outcome.BROKEN, 200, "ECONNRESET"),
    ("/garbage", Outcome.GARBAGE, 0, "not HTTP"),
    ("/bad-chunk", Outcome.GARBAGE, 200, "not HTTP"),
    ("/two-lengths", Outcome.GARBAGE, 0, "not HTTP"),
    ("/silent", Outcome.TIMEOUT, 0, "no complete answer in 0.7 s"),
    ("/drip", Outcome.TIMEOUT, 200, "no complete answer in 0.7 s"),
    ("/drip-body", Outcome.TIMEOUT, 200, "no complete answer in 0.7 s"),
]


@pytest.mark.parametrize("path, outcome, status, error", FAILURES, ids=[f[0][1:] for f in FAILURES])
def test_an_incomplete_answer_says_how_it_failed(server, path, outcome, status, error):
    answer, took = ask(server, path, times=1)
    assert (answer.outcome, took) == (outcome, 1)
    assert answer.error.startswith(error)
    assert answer.status == status or (path == "/drip" and answer.status == 0)
    if outcome is Outcome.TIMEOUT:
        assert answer.done - answer.sent >= PATIENCE_S - 0.05


def test_an_answer_cut_at_any_byte_is_broken_and_never_ok():
    with odd_server({f"/{i}": [OK[:i], "close"] for i in range(len(OK) + 1)}) as server:
        outcomes = [ask(server, f"/{i}")[0].outcome for i in range(len(OK) + 1)]
    assert outcomes == [Outcome.BROKEN] * len(OK) + [Outcome.OK]


def test_a_port_nobody_listens_on_is_a_failed_connection():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = Client(f"http://127.0.0.1:{unused.getsockname()[1]}", timeout_s=PATIENCE_S)
        assert client.warm(3) == 0
        answer = client.send(client.message(Request("GET", "/")))
    assert (answer.outcome, answer.error, answer.bytes_out) == (Outcome.CONNECT_FAILED, "ECONNREFUSED", 0)
    assert math.isnan(answer.sent) and math.isnan(answer.first_byte) and answer.done <= now()


def test_a_host_without_an_address_is_a_failed_connection():
    client = Client("http://nowhere.invalid", timeout_s=20)
    answer = client.send(client.message(Request("GET", "/")))
    assert (answer.outcome, answer.error) == (Outcome.CONNECT_FAILED, "host name unknown")


def test_a_listener_that_does_not_accept_costs_no_more_than_the_timeout():
    with socket.create_server(("127.0.0.1", 0), backlog=1) as full:
        client = Client(f"http://127.0.0.1:{full.getsockname()[1]}", timeout_s=PATIENCE_S)
        begun = now()
        sends = [gevent.spawn(client.send, client.message(Request("GET", "/"))) for _ in range(8)]
        gevent.joinall(sends)
    assert {s.value.outcome for s in sends} == {Outcome.TIMEOUT}
    assert all(s.value.done - begun >= PATIENCE_S - 0.05 for s in sends)


def test_running_out_of_files_is_our_own_failure_and_not_the_services(server):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    client = Client(server.url, timeout_s=PATIENCE_S)
    client.send(client.message(Request("GET", "/ok")))  # one connection, known to both sides before the limit is there
    held = [socket.socket() for _ in range(3)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(s.fileno() for s in held) + 1, limits[1]))
    try:
        gaps = []
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                gaps.append(socket.socket())
        sends = [gevent.spawn(client.send, client.message(Request("GET", "/slow"))) for _ in range(2)]
        gevent.joinall(sends)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for s in held + gaps:
            s.close()
        client.close()
    assert [s.value.outcome for s in sends] == [Outcome.OK, Outcome.UNSENT]
    assert sends[1].value.error == "EMFILE"


def test_many_at_once_each_get_a_connection_and_leave_it_for_the_next(server):
    client, before = Client(server.url, timeout_s=20), server.connections
    assert client.warm(5) == 5
    for _ in range(3):
        sends = [gevent.spawn(client.send, client.message(Request("GET", "/slow"))) for _ in range(20)]
        gevent.joinall(sends)
        assert {s.value.outcome for s in sends} == {Outcome.OK}
    client.close()
    assert server.connections - before == 20


def test_a_connection_that_was_idle_too_long_is_not_used_again(server):
    client, before = Client(server.url, timeout_s=PATIENCE_S, idle_s=0.05), server.connections
    for pause_s in (0, 0.1):
        time.sleep(pause_s)
        assert client.send(client.message(Request("GET", "/ok"))).outcome is Outcome.OK
    client.close()
    assert server.connections - before == 2


@pytest.mark.parametrize("ending", ["reads on", "closes"])
def test_an_answer_given_before_the_body_was_read_is_still_the_answer(ending):
    listener = socket.create_server(("127.0.0.1", 0))
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    def refuse():
        connection, _ = listener.accept()
        with connection:
            connection.recv(100)
            connection.sendall(refusal)
            while ending == "reads on" and connection.recv(1 << 20):
                pass

    gevent.get_hub().threadpool.spawn(refuse)
    client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=20)
    answer = client.send(client.message(Request("POST", "/", (), bytes(4 << 20))))
    listener.close()
    assert (answer.outcome, answer.status) == (Outcome.REFUSED_BY_SERVICE, 413)


def test_a_killed_request_still_gives_an_answer(server):
    client = Client(server.url, timeout_s=20)
    send = gevent.spawn(client.send, client.message(Request("GET", "/silent")))
    gevent.sleep(0.05)
    send.kill()
    assert send.value.outcome is Outcome.TIMEOUT and send.value.error == "given up at the end of the run"


@pytest.mark.parametrize("url", ["", "127.0.0.1:80", "ftp://x", "http://", "http://x:port"])
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(UsageError, match="host: "):
        Client(url, timeout_s=1)


def test_a_message_is_a_complete_request_below_the_paths_of_its_url():
    client = Client("http://user@example.org:81/base/", timeout_s=1)
    message = client.message(Request("POST", "/predict", (("A", "b"),), b"xy"), ("X-Request-ID", "1f"))
    head = b"POST /base/predict HTTP/1.1\r\nHost: example.org:81\r\nA: b\r\nX-Request-ID: 1f\r\nContent-Length: 2\r\n"
    assert message == head + b"\r\nxy"
