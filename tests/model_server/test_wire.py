"""Bytes that are no request, or one that never ends: refused in the one shape, and nothing is held."""

import asyncio
import contextlib
import json
import socket
import threading
import time
import tracemalloc

import pytest
from starlette.requests import Request

from model_server.http.bodies import Bodies

HOST = b"POST /predict HTTP/1.1\r\nHost: x\r\n"


def said(port: int, *pieces: bytes, every_s: float = 0.0) -> bytes:
    """Everything that the server answers to these bytes, until it closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as s:
        with contextlib.suppress(ConnectionError):  # it may close while we still send
            for piece in pieces:
                s.sendall(piece)
                time.sleep(every_s)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while piece := s.recv(65536):
                answer += piece
        return answer


def problem(answer: bytes) -> dict:
    """The problem in an answer; the last one where there are several."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head.lower(), answer
    told = json.loads(body)
    assert b"x-request-id: " + told["request_id"].encode() in head.lower()
    assert head.startswith(b"HTTP/1.1 %d " % told["status"])
    return told


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A server that waits for nothing longer than a second."""
    from real_server import serving

    with serving(tmp_path_factory.mktemp("quick"), "--deadline-s", "1") as client:
        yield client


REFUSED = {
    "no HTTP": (b"hello, is this the pneumonia service?\r\n\r\n", 400, "not_http"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(600), 400, "not_http"),
    "an unknown method": (b"FETCH / HTTP/1.1\r\n\r\n", 400, "not_http"),
    "another version": (b"GET /predict HTTP/7.0\r\n\r\n", 400, "not_http"),
    "two lengths": (HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400, "not_http"),
    "a length and chunks": (
        HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "not_http",
    ),
    "a negative length": (HOST + b"Content-Length: -5\r\n\r\n", 400, "not_http"),
    "a header without a name": (HOST + b": x\r\n\r\n", 400, "not_http"),
    "a null in a header": (HOST + b"X: a\0b\r\n\r\n", 400, "not_http"),
    "a path that is none": (b"GET \xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", 400, "not_http"),
    "CONNECT": (b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "not_http"),
    "a huge header": (HOST + b"X: " + b"x" * 100_000 + b"\r\n\r\n", 431, "head_too_large"),
    "a header without end": (HOST + b"X: " + b"x" * (8 << 20), 431, "head_too_large"),
    "a thousand headers": (
        HOST + b"".join(b"X-%d: %d\r\n" % (i, i) for i in range(5000)) + b"\r\n", 431, "head_too_large",
    ),
    "a huge path": (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431, "head_too_large"),
}  # fmt: skip


@pytest.mark.parametrize(("sent", "status", "reason"), REFUSED.values(), ids=REFUSED)
def test_bytes_that_are_no_request_are_refused_counted_and_recorded(quick, sent, status, reason):
    before = quick.metric("invalid_input_total", reason=reason) or 0
    recorded = quick.metric("audit_events_total", event_type="request", result="refused") or 0
    told = problem(said(quick.port, sent))
    assert (told["status"], told["reason"]) == (status, reason)
    assert quick.metric("invalid_input_total", reason=reason) == before + 1
    assert quick.metric("audit_events_total", event_type="request", result="refused") == recorded + 1


def test_trailers_without_end_are_refused(quick):
    sent = HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX: "
    assert problem(said(quick.port, sent, *[b"x" * 16384] * 100))["reason"] == "head_too_large"


def test_headers_that_drip_are_given_up(quick):
    told = problem(said(quick.port, b"GET / HT", *[b"x"] * 50, every_s=0.05))
    assert told["status"] in (400, 408)
    told = problem(said(quick.port, HOST, *[b"X: y\r\n"] * 60, every_s=0.05))
    assert (told["status"], told["reason"]) == (408, "slow_head")


def test_a_body_that_drips_is_given_up_and_the_connection_closed(quick):
    told = problem(said(quick.port, HOST + b"Content-Length: 1000\r\n\r\n", *[b"x"] * 60, every_s=0.05))
    assert (told["status"], told["reason"]) == (408, "slow_body")


def test_bodies_in_arrival_are_bounded_together(serve, corpus):
    with serve("--max-held-bytes", "3000000", "--deadline-s", "20") as client:
        started = HOST + b"Content-Length: 9000000\r\n\r\n" + b"x" * 1_000_000
        with contextlib.ExitStack() as holding:
            for _ in range(2):
                s = holding.enter_context(socket.create_connection(("127.0.0.1", client.port)))
                s.sendall(started)
            client.until(lambda: client.metric("request_bodies_held_bytes") == 2_000_000)
            refused = client.post("/predict", content=b"x" * 2_000_000)
            assert (refused.status_code, refused.json()["reason"]) == (503, "too_many_bodies")
            assert refused.headers["retry-after"]
            assert client.post("/predict", content=corpus[0][0]).status_code == 200  # a small one still fits
        client.until(lambda: client.metric("request_bodies_held_bytes") == 0)
        assert client.post("/predict", content=b"x" * 2_000_000).status_code == 415  # nothing is held any more


def test_a_body_takes_no_more_memory_than_its_bytes_however_small_its_pieces():
    """s08: pieces of two bytes took twenty times as much as was counted."""
    count, bodies = 200_000, Bodies(max_bytes=1 << 20, max_held_bytes=1 << 20, deadline_s=300)
    left = iter(range(count - 1, -1, -1))

    async def receive() -> dict:
        return {"type": "http.request", "body": b"xy", "more_body": next(left) > 0}

    async def read() -> None:
        request = Request({"type": "http", "headers": []}, receive)
        async with bodies.read(request) as (body, _):
            assert body == b"xy" * count and bodies.held_bytes == 2 * count

    tracemalloc.start()
    try:
        asyncio.run(read())
        assert tracemalloc.get_traced_memory()[1] < 3 << 20  # the body, its copy, the one it is compared with, asyncio
    finally:
        tracemalloc.stop()
    assert bodies.held_bytes == 0


def test_aborted_uploads_and_readers_that_go_leave_nothing_behind(quick, corpus):
    body = corpus[0][0]
    whole = HOST + b"Content-Length: %d\r\n\r\n" % len(body) + body

    def abort(cut: int) -> None:
        with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", quick.port)) as s:
            s.sendall(whole[:cut])
            if cut % 2:  # by RST rather than FIN
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    quick.until(lambda: quick.metric("http_requests_in_flight") == 0)
    files = quick.metric("process_open_fds")
    threads = [threading.Thread(target=abort, args=(len(whole) * i // 100,)) for i in range(1, 101)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    quick.until(lambda: quick.metric("http_requests_in_flight") == quick.metric("inference_queue_depth") == 0)
    quick.until(lambda: quick.metric("process_open_fds") <= files + 2)
    assert quick.metric("http_requests_total", endpoint="/predict", status="500") == 0
    assert quick.post("/predict", content=body).status_code == 200


def test_every_line_of_the_log_is_still_json(quick):
    said(quick.port, b"nonsense\r\n\r\n")
    assert quick.log
