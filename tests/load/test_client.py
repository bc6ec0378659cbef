"""Each way an exchange can end is told apart, in time, and costs no other request anything."""

import math
import resource
import select
import socket
import struct
import threading
import time
from contextlib import suppress

import pytest
from one_response import one_response
from scripted_server import BODY, CHUNKED, OK, scripted_server

from harness.errors import UsageError
from harness.history import Outcome
from harness.load import unpatched
from harness.load.client import Client
from harness.load.clock import RECEIVE_TIMESTAMPS, now, received_at
from harness.load.request import Request, Response

PATIENCE_S = 0.7


@pytest.fixture(scope="module")
def server():
    with scripted_server() as server:
        yield server


def ask(server, path, times=1, method="POST", body=b"image", timeout_s=20.0):
    """The last of several responses to the same request, and how many connections they took."""
    client, before = Client(server.url, timeout_s=timeout_s), server.connections
    for _ in range(times):
        response = one_response(client, Request(method, path, (), body))
        time.sleep(0.02)  # for the server's end of a connection to arrive
    client.close()
    return response, server.connections - before


def many(client, path, n) -> list[Response]:
    """The responses to n requests at once, in the order they came."""
    responses = []
    for _ in range(n):
        client.send(client.prepare(Request("GET", path)), b"0", responses.append)
    while len(responses) < n:
        if not client.turn():
            client.wait(1.0)
    return responses


@pytest.mark.skipif(RECEIVE_TIMESTAMPS is None, reason="no such kernel")
def test_a_response_came_when_this_machine_had_it_however_late_it_is_read(server):
    client, responses = Client(server.url, timeout_s=20.0), []
    for about in ("the first on its connection", "one on a warm connection"):
        client.send(client.prepare(Request("GET", "/ok")), about.encode()[:3], responses.append)
        while not responses:
            select.select([client.epoll.fileno()], [], [], 10)
            time.sleep(0.05)
            read = now()
            client.turn()
        response = responses.pop()
        assert response.outcome is Outcome.OK and response.sent <= response.first_byte <= response.done < read, about
    client.close()


@pytest.mark.parametrize(
    ("noted_ago_s", "sent_ago_s", "is_used"),
    [(None, 1, False), (0.2, 1, True), (2, 1, False), (-1, 1, False)],
    ids=["none", "between request and now", "before the request", "from a clock that was set back"],
)
def test_a_receive_timestamp_is_used_only_between_its_request_and_now(noted_ago_s, sent_ago_s, is_used):
    ancillary = []
    if noted_ago_s is not None:
        seconds, rest = divmod(time.time_ns() - int(1e9 * noted_ago_s), 10**9)
        ancillary = [(socket.SOL_SOCKET, 35, struct.pack("@qq", seconds, rest))]
    before = now()
    received = received_at(ancillary, before - sent_ago_s)
    assert (received < before) is is_used


# path, outcome, status, body, connections that three requests take
RESPONSES = [
    ("/ok", Outcome.OK, 200, BODY, 1),
    ("/chunked", Outcome.OK, 200, BODY, 1),
    ("/until-close", Outcome.OK, 200, BODY, 3),
    ("/old", Outcome.OK, 200, BODY, 3),
    ("/interim", Outcome.OK, 200, BODY, 1),
    ("/no-content", Outcome.OK, 204, b"", 1),
    ("/says-close", Outcome.OK, 200, b"ok", 3),
    ("/closes-later", Outcome.OK, 200, BODY, 3),
    ("/extra", Outcome.OK, 200, BODY, 3),
    ("/twice", Outcome.OK, 200, BODY, 3),
    ("/not-found", Outcome.REFUSED_BY_SERVICE, 404, b"", 1),
    ("/shed", Outcome.REFUSED_BY_SERVICE, 503, b"no", 1),
]


@pytest.mark.parametrize("path, outcome, status, body, connections", RESPONSES, ids=[a[0][1:] for a in RESPONSES])
def test_a_complete_response_is_read_to_its_end_and_its_connection_kept_if_it_may_be(
    server, path, outcome, status, body, connections
):
    response, took = ask(server, path, times=3)
    assert (response.outcome, response.status, response.body, took) == (outcome, status, body, connections)
    assert response.sent <= response.first_byte <= response.done <= now()
    assert bool(response.error) == (outcome is not Outcome.OK)


def test_a_response_to_head_has_no_body_whatever_it_says(server):
    response, took = ask(server, "/head", times=3, method="HEAD", body=b"")
    assert (response.outcome, response.body, took) == (Outcome.OK, b"", 1)


FAILURES = [
    ("/close", Outcome.BROKEN, 0, "closed without a response"),
    ("/half-head", Outcome.BROKEN, 0, "closed before the response ended"),
    ("/half-body", Outcome.BROKEN, 200, "closed before the response ended"),
    ("/half-chunk", Outcome.BROKEN, 200, "closed before the response ended"),
    ("/no-last-chunk", Outcome.BROKEN, 200, "closed before the response ended"),
    ("/only-interim", Outcome.BROKEN, 100, "closed before the response ended"),
    ("/reset", Outcome.BROKEN, 0, "ECONNRESET"),
    ("/reset-in-body", Outcome.BROKEN, 200, "ECONNRESET"),
    ("/garbage", Outcome.GARBAGE, 0, "not HTTP"),
    ("/bad-chunk", Outcome.GARBAGE, 200, "not HTTP"),
    ("/two-lengths", Outcome.GARBAGE, 0, "not HTTP"),
    ("/silent", Outcome.TIMEOUT, 0, "no complete response in 0.7 s"),
    ("/drip", Outcome.TIMEOUT, 200, "no complete response in 0.7 s"),
    ("/drip-body", Outcome.TIMEOUT, 200, "no complete response in 0.7 s"),
]


@pytest.mark.parametrize("path, outcome, status, error", FAILURES, ids=[f[0][1:] for f in FAILURES])
def test_an_incomplete_response_says_how_it_failed(server, path, outcome, status, error):
    response, took = ask(server, path, timeout_s=PATIENCE_S if outcome is Outcome.TIMEOUT else 20.0)
    assert (response.outcome, took) == (outcome, 1)
    assert response.error.startswith(error)
    assert response.status == status or (path == "/drip" and response.status == 0)
    if outcome is Outcome.TIMEOUT:
        assert response.done - response.sent >= PATIENCE_S - 0.05


def test_a_response_cut_at_any_byte_is_broken_and_never_ok():
    with scripted_server({f"/{i}": [OK[:i], "close"] for i in range(len(OK) + 1)}) as server:
        outcomes = [ask(server, f"/{i}")[0].outcome for i in range(len(OK) + 1)]
    assert outcomes == [Outcome.BROKEN] * len(OK) + [Outcome.OK]


def test_a_port_nobody_listens_on_is_a_failed_connection():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = Client(f"http://127.0.0.1:{unused.getsockname()[1]}", timeout_s=PATIENCE_S)
        assert client.warm(3) == 0
        response = one_response(client, Request("GET", "/"))
    assert (response.outcome, response.error, response.bytes_out) == (Outcome.CONNECT_FAILED, "ECONNREFUSED", 0)
    assert math.isnan(response.sent) and math.isnan(response.first_byte) and response.done <= now()


def test_a_host_without_an_address_is_a_failed_connection():
    client = Client("http://nowhere.invalid", timeout_s=20)
    response = one_response(client, Request("GET", "/"))
    assert (response.outcome, response.error) == (Outcome.CONNECT_FAILED, "host name unknown")


def test_a_listener_that_does_not_accept_costs_no_more_than_the_timeout():
    with socket.create_server(("127.0.0.1", 0), backlog=1) as full:
        client = Client(f"http://127.0.0.1:{full.getsockname()[1]}", timeout_s=PATIENCE_S)
        begun = now()
        responses = many(client, "/", 8)
    assert {response.outcome for response in responses} == {Outcome.TIMEOUT}
    assert all(response.done - begun >= PATIENCE_S - 0.05 for response in responses)


def test_a_connection_may_be_given_less_time_than_a_response():
    with socket.create_server(("127.0.0.1", 0), backlog=1) as full:
        client = Client(f"http://127.0.0.1:{full.getsockname()[1]}", timeout_s=30, connect_timeout_s=0.2)
        held = [socket.create_connection(full.getsockname()) for _ in range(2)]  # what the kernel takes by itself
        responses = many(client, "/", 3)
        for s in held:
            s.close()
    assert {(a.outcome, a.error) for a in responses} == {(Outcome.CONNECT_FAILED, "no connection in 0.2 s")}
    assert all(math.isnan(a.sent) for a in responses)


def test_a_silence_may_be_given_less_time_than_a_response(server):
    client = Client(server.url, timeout_s=30, read_timeout_s=0.3)
    silent, slow = one_response(client, Request("GET", "/silent")), one_response(client, Request("GET", "/drip-body"))
    assert (silent.outcome, silent.error) == (Outcome.TIMEOUT, "no byte for 0.3 s")
    assert (slow.outcome, slow.body) == (Outcome.OK, BODY), "2 s altogether, but never silent for long"


def test_running_out_of_files_is_our_own_failure_and_not_the_services(server):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    client = Client(server.url, timeout_s=PATIENCE_S)
    one_response(client, Request("GET", "/ok"))  # one connection, known to both sides before the limit is there
    held = [socket.socket() for _ in range(3)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(s.fileno() for s in held) + 1, limits[1]))
    try:
        gaps = []
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                gaps.append(socket.socket())
        responses = many(client, "/slow", 2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for s in held + gaps:
            s.close()
        client.close()
    assert [(a.outcome, a.error) for a in responses] == [(Outcome.UNSENT, "EMFILE"), (Outcome.OK, "")]


def test_many_at_once_each_get_a_connection_and_leave_it_for_the_next(server):
    client, before = Client(server.url, timeout_s=20), server.connections
    assert client.warm(5) == 5
    for _ in range(3):
        assert {response.outcome for response in many(client, "/slow", 20)} == {Outcome.OK}
    client.close()
    assert server.connections - before == 20


def test_a_connection_that_was_idle_too_long_is_not_used_again(server):
    client, before = Client(server.url, timeout_s=PATIENCE_S, idle_s=0.05), server.connections
    for pause_s in (0, 0.1):
        time.sleep(pause_s)
        assert one_response(client, Request("GET", "/ok")).outcome is Outcome.OK
    client.close()
    assert server.connections - before == 2


@pytest.mark.parametrize("ending", ["reads on", "closes"])
def test_a_response_given_before_the_body_was_read_is_still_the_response(ending):
    listener = socket.create_server(("127.0.0.1", 0))
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    def refuse():
        connection, _ = listener.accept()
        with connection:
            connection.recv(100)
            connection.sendall(refusal)
            while ending == "reads on" and connection.recv(1 << 20):
                pass

    threading.Thread(target=refuse, daemon=True).start()
    client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=20)
    response = one_response(client, Request("POST", "/", (), bytes(4 << 20)))
    listener.close()
    assert (response.outcome, response.status) == (Outcome.REFUSED_BY_SERVICE, 413)


def test_what_is_given_up_still_gives_a_response(server):
    client, responses = Client(server.url, timeout_s=20), []
    client.send(client.prepare(Request("GET", "/silent")), b"0", responses.append)
    client.give_up("given up at the end of the run")
    assert [(a.outcome, a.error) for a in responses] == [(Outcome.TIMEOUT, "given up at the end of the run")]
    assert client.in_flight == 0


@pytest.mark.parametrize("url", ["", "127.0.0.1:80", "ftp://x", "http://", "http://x:port"])
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(UsageError, match="host: "):
        Client(url, timeout_s=1)


def test_a_request_is_complete_below_the_path_of_its_url():
    client = Client("http://user@example.org:81/base/", timeout_s=1)
    before, after, *_ = client.prepare(Request("POST", "/predict", (("A", "b"),), b"xy"))
    head = b"POST /base/predict HTTP/1.1\r\nHost: example.org:81\r\nA: b\r\nContent-Length: 2\r\n"
    assert before == head + b"X-Request-ID: " and after == b"\r\n\r\nxy"


@pytest.mark.parametrize(
    "reply, outcome, body_sent",
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n", Outcome.OK, True),
        (b"", Outcome.OK, True),
        (b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n", Outcome.REFUSED_BY_SERVICE, False),
    ],
    ids=["go on", "silence", "no"],
)
def test_a_body_waits_until_it_is_asked_for_or_has_waited_long_enough(reply, outcome, body_sent):
    listener = socket.create_server(("127.0.0.1", 0))
    heads, bodies = [], []

    def response():
        connection, _ = listener.accept()
        with connection:
            heads.append(connection.recv(1000))
            connection.sendall(reply)
            bodies.append(connection.recv(1000))
            with suppress(OSError):
                connection.sendall(OK)

    server = threading.Thread(target=response)
    server.start()
    client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=20)
    response = one_response(client, Request("POST", "/", (("Expect", "100-continue"),), b"the body"))
    client.close()
    server.join(20)
    listener.close()
    assert response.outcome is outcome
    assert heads[0].endswith(b"\r\n\r\n") and bodies == [b"the body" if body_sent else b""]
    assert (response.bytes_out == len(heads[0]) + 8) == body_sent


LONG = (
    b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED + b"5;a=b\r\n" + BODY[:5] + b"\r\n11\r\n" + BODY[5:] + b"\r\n0\r\n\r\n"
)


def test_a_chunked_response_cut_at_any_byte_is_broken_and_its_pieces_may_come_anyhow():
    cut = {f"/cut{i}": [LONG[:i], "close"] for i in range(len(LONG))}
    split = {f"/split{i}": [LONG[:i], 0.002, LONG[i:]] for i in range(1, len(LONG))}
    with scripted_server(cut | split) as server:
        client = Client(server.url, timeout_s=20)
        assert {one_response(client, Request("GET", path)).outcome for path in cut} == {Outcome.BROKEN}
        whole = [one_response(client, Request("GET", path)) for path in split]
        client.close()
    assert {(a.outcome, a.status, a.body, a.bytes_in) for a in whole} == {(Outcome.OK, 200, BODY, len(LONG))}


def test_it_connects_elsewhere_and_goes_by_its_own_name(server):
    client = Client("http://shop.invalid:81/api", timeout_s=20, connect_to=server.url.removeprefix("http://"))
    prepared = client.prepare(Request("GET", "/ok"))
    assert prepared.before.startswith(b"GET /api/ok ") and b"\r\nHost: shop.invalid:81\r\n" in prepared.before
    assert many(client, "/ok", 1)[0].outcome is not Outcome.CONNECT_FAILED
    client.close()
    with pytest.raises(UsageError, match="--connect-to: must be HOST:PORT"):
        Client("http://shop.invalid", timeout_s=1, connect_to="shop")


def test_a_name_is_looked_up_again_and_all_its_addresses_are_used(monkeypatch):
    """The resolver alone is played: it gives one server, then another two."""
    with scripted_server() as first, scripted_server() as second, scripted_server() as third:
        ports = [int(one.url.rpartition(":")[2]) for one in (first, second, third)]
        known = [ports[:1]]

        def resolve(host, port, type):
            return [(socket.AF_INET, type, 0, "", ("127.0.0.1", number)) for number in known[0]]

        monkeypatch.setattr(unpatched, "getaddrinfo", resolve)
        monkeypatch.setattr("harness.load.client.RESOLVED_FOR_S", 0.05)
        client = Client("http://shop.invalid", timeout_s=20)
        assert many(client, "/ok", 1)[0].outcome is Outcome.OK and first.connections == 1
        known[0] = ports[1:]
        until = time.monotonic() + 10
        while not (second.connections and third.connections) and time.monotonic() < until:
            many(client, "/ok", first.connections + second.connections + third.connections + 1)  # one needs a new one
            time.sleep(0.06)
        client.close()
        assert second.connections and third.connections
