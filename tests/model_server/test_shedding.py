"""A full queue refuses in the protocol: the answer is whole, the connection stays usable, and everything counts it."""

import json
import re

import pytest
from collector import attributes
from real_server import Connection, serving
from test_served_health import WEDGED

DEADLINE_S = 3  # no stall of a machine should be taken for a client that waits
TRACE = "0af7651916cd43dd8448eb211c80319c"
INFER = "/v2/models/pneumonia-detector/infer"


@pytest.fixture(scope="module")
def full(tmp_path_factory, corpus, collector):
    """A server whose queue is full and stays so: inference stands still."""
    flags = ("--max-queue", "2", "--deadline-s", str(DEADLINE_S), "--wedged-after-s", "3600")
    traced = ("--otlp-endpoint", collector.url, "--trace-ratio", "0")
    with serving(tmp_path_factory.mktemp("full"), *flags, *traced, defect=WEDGED) as client:
        # One at a time until it is full: each waits for its deadline, and one that a stall of the machine made late for
        # its own body is no loss.
        client.until(lambda: client.post("/predict", content=corpus[0][0]).status_code == 503)
        assert client.metric("inference_queue_depth") == 2
        yield client


def head(path: str = "/predict", *more: str, length: int | None = 5) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", *more] + ([f"Content-Length: {length}"] if length is not None else [])
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.fixture
def connection(full):
    connection = Connection(full.port)
    yield connection
    connection.socket.close()


SENT = {
    "all at once": (head() + b"image",),
    "the body later": (head(), b"im", b"age"),
    "no body at all": (head(length=0),),
    "in chunks": (head("/predict", "Transfer-Encoding: chunked", length=None), b"5\r\nimage\r\n", b"0\r\n\r\n"),
    "tensors": (head(INFER) + b"image",),
    "who waits to be let go on": (head("/predict", "Expect: 100-continue") + b"image",),
    "a query": (head("/predict?a=b") + b"image",),
}


@pytest.mark.parametrize("pieces", SENT.values(), ids=SENT)
def test_the_answer_is_whole_and_the_connection_goes_on(full, connection, pieces):
    connection.send(pieces[0])
    status, headers, told = connection.answer()
    told = json.loads(told)
    assert (status, headers["content-type"], headers["retry-after"]) == (503, "application/problem+json", "1")
    assert "date" in headers and headers["x-request-id"] == told["request_id"]
    assert (told["status"], told["reason"]) == (503, "queue_full") and "2 requests are waiting" in told["detail"]
    assert ("error" in told) == (INFER.encode() in pieces[0]), "where clients of that protocol look for it"
    for piece in pieces[1:]:
        connection.send(piece)
    connection.send(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"openapi" in connection.answer()[2]


def test_requests_behind_each_other_are_each_answered_in_order(connection):
    ids = [f"id-{i}" for i in range(5)]
    connection.send(b"".join(head("/predict", f"X-Request-ID: {i}") + b"image" for i in ids))
    assert [connection.answer()[1]["x-request-id"] for _ in ids] == ids


def test_who_closes_is_answered_and_closed(connection):
    connection.send(head("/predict", "Connection: close") + b"image")
    assert connection.answer()[0] == 503
    with pytest.raises(IndexError):
        connection.answer()


def test_a_body_that_never_comes_holds_no_connection(connection):
    connection.send(head())
    assert connection.answer()[0] == 503
    with pytest.raises(IndexError):
        connection.answer()


def test_what_is_no_request_for_inference_is_answered(full):
    assert full.get("/health/live").status_code == 200
    assert full.get("/predict").status_code == 405 and full.post("/predictions", content=b"x").status_code == 404


def test_each_refusal_is_counted_once(full, connection):
    def counted() -> list[float]:
        about = {"method": "POST", "endpoint": "/predict"}
        return [
            full.metric("requests_shed_total"),
            full.metric("http_requests_total", status="503", **about),
            full.metric("http_request_duration_seconds_count", **about),
            full.metric("http_request_size_bytes_count", endpoint="/predict"),
            full.metric("http_response_size_bytes_count", endpoint="/predict"),
        ]

    before = counted()
    for _ in range(7):
        connection.send(head() + b"image")
        connection.answer()
    assert [after - was for after, was in zip(counted(), before, strict=True)] == [7] * 5


def test_a_refusal_is_in_its_callers_trace_and_one_line_a_second_in_the_log(full, connection, collector):
    connection.send(head("/predict", f"traceparent: 00-{TRACE}-b7ad6b7169203331-01", "X-Request-ID: t7") + b"image")
    connection.answer()
    root = full.until(lambda: next(iter(collector.named("POST /predict")), None))
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == (TRACE, "b7ad6b7169203331")
    assert root.status.code == root.status.STATUS_CODE_ERROR
    assert attributes(root) == {
        "http.request.method": "POST", "http.route": "/predict", "http.response.status_code": 503, "request.id": "t7",
    }  # fmt: skip
    assert collector.named("POST /predict") == [root], "and what was not sampled is in none"
    lines = [line["context"] for line in full.log if line["message"] == "Requests shed"]
    assert lines and all(line["queue"] == 2 and line["count"] >= 1 for line in lines)
    assert not re.search("Request failed|Traceback", full.log_path.read_text())
