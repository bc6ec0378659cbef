"""Clients that wait to be let go on, ask for more at once, leave early, or look for holes: all are counted."""

import contextlib
import json

import pytest
from real_server import Connection, serving
from test_served_health import SLOW

HELD = (
    SLOW
    + """
import pathlib
def held(*a):
    while pathlib.Path({file!r}).exists():
        time.sleep(0.01)
    return real(*a)
m.Model.predict = held
"""
)
ABOUT = {"method": "POST", "endpoint": "/predict"}


@pytest.fixture
def connection(served):
    connection = Connection(served.port)
    with contextlib.closing(connection.socket):
        yield connection


def head(start: str = "POST /predict HTTP/1.1", *more: str, length: int | None = None) -> bytes:
    lines = [start, "Host: x", *more] + ([f"Content-Length: {length}"] if length is not None else [])
    return "\r\n".join([*lines, "", ""]).encode()


def test_who_waits_to_be_let_go_on_is(connection, corpus):
    image = corpus[0][0]
    connection.send(head("POST /predict HTTP/1.1", "Expect: 100-continue", length=len(image)))
    assert connection.answer()[0] == 100
    connection.send(image)
    assert connection.answer()[0] == 200


def test_who_is_refused_is_not_told_to_go_on(connection):
    connection.send(head("POST /predict HTTP/1.1", "Expect: 100-continue", length=1 << 30))
    assert connection.answer()[0] == 413


def test_a_refusal_can_be_read_though_the_body_still_comes(connection):
    connection.send(head("POST /predict HTTP/1.1", "Connection: close", length=17 << 20), b"x" * 1_000_000)
    status, _, told = connection.answer()
    assert (status, json.loads(told)["reason"]) == (413, "body_too_large")


def test_requests_behind_each_other_are_answered_in_order_whatever_they_ask(connection, corpus):
    image = corpus[0][0]
    connection.send(
        head("POST /predict HTTP/1.1", "X-Request-ID: a", length=len(image)) + image
        + head("GET /openapi.json HTTP/1.1", "X-Request-ID: b")
        + head("POST /predict HTTP/1.1", "X-Request-ID: c", length=0)
        + head("POST /predict HTTP/1.1", "X-Request-ID: d", length=len(image)) + image
        + head("GET /nowhere HTTP/1.1", "X-Request-ID: e")
    )  # fmt: skip
    answers = [connection.answer() for _ in range(5)]
    assert [headers["x-request-id"] for _, headers, _ in answers] == list("abcde")
    assert [status for status, *_ in answers] == [200, 200, 422, 200, 404]


def test_another_method_is_refused_counted_and_recorded_as_elsewhere(served, connection):
    before = served.metric("invalid_input_total", reason="wrong_method") or 0
    connection.send(head("PUT /predict HTTP/1.1", length=0))
    status, headers, told = connection.answer()
    assert (status, headers["allow"], json.loads(told)["reason"]) == (405, "POST", "wrong_method")
    connection.send(head("HEAD /predict HTTP/1.1"))
    assert connection.answer(has_body=False)[0] == 405
    connection.send(head("GET /v2/models/pneumonia-detector/infer HTTP/1.1"))
    assert connection.answer()[0] == 405
    assert served.metric("invalid_input_total", reason="wrong_method") == before + 3
    assert served.metric("http_requests_total", method="PUT", endpoint="/predict", status="405") >= 1


def test_thousands_behind_each_other_that_are_refused_do_not_begin_within_each_other(served):
    connection = Connection(served.port)
    connection.send(head(length=0) * 3000)
    assert {connection.answer()[0] for _ in range(3000)} == {422}


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    """A server, and a file: while it is there, inference waits."""
    folder = tmp_path_factory.mktemp("held")
    with serving(folder, "--max-batch", "1", defect=HELD.format(file=str(folder / "hold"))) as client:
        yield client, folder / "hold"


def busy(client, asked: bytes) -> Connection:
    """One whose request the model has taken, and holds."""
    batches, connection = client.metric("inference_batch_size_count"), Connection(client.port)
    connection.send(asked)
    client.until(lambda: client.metric("inference_batch_size_count") == batches + 1)
    return connection


def counted(client) -> tuple[float, float]:
    """Requests whose clients had left, and those of them that the model never saw."""
    left = client.metric("http_requests_total", status="499", **ABOUT) or 0
    return left, client.metric("inference_jobs_dropped_total")


def test_who_leaves_while_waiting_costs_no_inference_and_is_counted_so(held, corpus):
    client, hold = held
    asked, (left, dropped) = head(length=len(corpus[0][0])) + corpus[0][0], counted(client)
    hold.touch()
    waiting = [busy(client, asked), *(Connection(client.port) for _ in range(7))]
    for connection in waiting[1:]:
        connection.send(asked)
    client.until(lambda: client.metric("inference_queue_depth") == 8)
    for connection in waiting:
        connection.leave()
    client.until(lambda: client.metric("http_connections_open") <= 1)
    hold.unlink()
    client.until(lambda: client.metric("inference_queue_depth") == 0)
    assert counted(client) == (left + 8, dropped + 7), "one was with the model already"
    assert client.metric("http_requests_in_flight") == client.metric("request_bodies_held_bytes") == 0


def test_who_leaves_in_the_middle_of_a_body_is_counted_so(served, corpus):
    left = served.metric("http_requests_total", status="499", **ABOUT) or 0
    connection = Connection(served.port)
    connection.send(head(length=100_000) + b"x" * 1000)
    served.until(lambda: served.metric("http_requests_in_flight") == 1)
    connection.leave()
    served.until(lambda: served.metric("http_requests_total", status="499", **ABOUT) == left + 1)
    assert served.metric("request_bodies_held_bytes") == 0


def feedback(request_id: str) -> bytes:
    return json.dumps({"request_id": request_id, "label": "NORMAL"}).encode()


STRAY = {
    "no such model": ("GET", "/v2/models/' OR 1=1--", None, 404, "no_such_model"),
    "no such model's version": ("GET", "/v2/models/pneumonia-detector/versions/..;/ready", None, 404, "no_such_model"),
    "a null for a model": ("GET", "/v2/models/%00", None, 404, "no_such_model"),
    "a script for a model": ("POST", "/v2/models/<script>/infer", b"{}", 404, "no_such_model"),
    "another's table": ("POST", "/feedback", feedback("x'; DROP TABLE p"), 422, "bad_feedback"),
    "another's file": ("POST", "/feedback", feedback("../../etc/passwd"), 422, "bad_feedback"),
}  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "status", "reason"), STRAY.values(), ids=STRAY)
def test_who_searches_for_holes_is_counted_recorded_and_logged(served, method, path, body, status, reason):
    before = served.metric("invalid_input_total", reason=reason) or 0
    recorded = sum(_recorded(served))
    answer = served.request(method, path, content=body, headers={"X-Request-ID": "hole"})
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert served.metric("invalid_input_total", reason=reason) == before + 1
    assert sum(_recorded(served)) == recorded + 1
    served.until(lambda: any(_is_refusal(line, reason) for line in served.log))


def _recorded(served) -> list[float]:
    lines = served.get("/metrics").text.splitlines()
    return [
        float(line.rpartition(" ")[2]) for line in lines if line.startswith("audit_events_total") and "refused" in line
    ]


def _is_refusal(line: dict, reason: str) -> bool:
    return (
        line["message"] == "Request refused"
        and line["context"].get("reason") == reason
        and line["request_id"] == "hole"
    )
