"""What the receiver of spans stored becomes rows; it is sent what services send, and what they should not."""

import gzip
import http.client
import json
import threading
import time

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from harness import signals
from harness.stack.collector import HEAD, receiver
from harness.telemetry import Traces
from harness.watch import traces
from harness.watch.found import found

FORM = Traces(environment={"X": "{otlp}"}, label="class", status="status", confidence="sure")
JSON = {
    "resourceSpans": [{"scopeSpans": [{"spans": [
        {
            "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "name": "POST /predict",
            "kind": 2, "startTimeUnixNano": "1795891476000000000", "endTimeUnixNano": 1795891476250000000,
            "status": {"code": 2},
            "attributes": [
                {"key": "request.id", "value": {"stringValue": "4bf9"}},
                {"key": "class", "value": {"stringValue": "NORMAL"}},
                {"key": "status", "value": {"intValue": "200"}}, {"key": "sure", "value": {"doubleValue": 0.75}},
            ],
        },
        {
            "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "00f067aa0ba902b7",
            "parentSpanId": "b7ad6b7169203331", "name": "inference", "kind": 1,
            "links": [{"traceId": "1af7651916cd43dd8448eb211c80319c", "spanId": "aaaabbbbccccdddd"}],
        },
    ]}]}]
}  # fmt: skip


@pytest.fixture
def sent(tmp_path):
    """(address of a receiver, what to send it with)."""
    (tmp_path / "signals").mkdir()
    file = open(tmp_path / signals.RECEIVED, "ab", buffering=0)  # noqa: SIM115 - closed below
    server = receiver(0, lambda kind, what: file.write(HEAD.pack(time.time(), len(what), kind) + what))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    def send(body, path="/v1/traces", method="POST", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
        headers = {"Content-Type": "application/x-protobuf"} | {k.replace("_", "-"): v for k, v in headers.items()}
        connection.request(method, path, body, headers, encode_chunked=headers.get("Transfer-Encoding") == "chunked")
        answer = connection.getresponse()
        said = answer.status, answer.read()
        connection.close()
        return said

    yield send
    server.shutdown()
    server.server_close()
    file.close()


def protobuf(tmp_path, sent):
    """The same message in protobuf, which is how the receiver keeps it."""
    assert sent(json.dumps(JSON), Content_Type="application/json; charset=utf-8") == (200, b"{}")
    *_, (_, _, taken, message) = traces.messages(tmp_path / signals.RECEIVED)
    assert taken
    return message


def test_all_forms_of_one_message_are_the_same_spans(tmp_path, sent):
    message = protobuf(tmp_path, sent)
    assert ExportTraceServiceRequest.FromString(message).resource_spans[0].scope_spans[0].spans[0].name
    assert sent(message) == (200, b"")
    assert sent(gzip.compress(message), Content_Encoding="gzip") == (200, b"")
    assert sent(iter([message[:20], message[20:]]), Transfer_Encoding="chunked") == (200, b"")
    signal = traces.read(tmp_path, FORM, ("NORMAL", "PNEUMONIA"))
    assert len(signal.rows) == 8 and signal.about["counts"] == {"messages": 4, "spans": 8, "without an id": 0}
    root, child = signal.rows[:2]
    assert all(row[name] == root[name] for row in signal.rows[::2] for name in ("request_id", "label", "confidence"))
    assert (root["request_id"], root["label"], root["status"], root["confidence"]) == (b"4bf9", 0, 200, 0.75)
    assert (root["began"], root["kind"], root["failed"]) == (1795891476.0, 2, 1)
    assert root["ended"] == pytest.approx(1795891476.25)
    assert (root["trace"].tolist(), root["parent"]) == ([0x0AF7651916CD43DD, 0x8448EB211C80319C], 0)
    assert child["parent"] == root["span"] == 0xB7AD6B7169203331
    assert signal.links[0]["to_span"] == 0xAAAABBBBCCCCDDDD and len(signal.links) == 4
    assert abs(root["received"] - time.time()) < 60
    signals.write(tmp_path, "span", signal)
    lines = found(tmp_path, "span", "4bf9")
    assert len(lines) == 8 and any(line.startswith("POST /predict: trace 0af76519") for line in lines)
    assert any("250.000 ms, request.id=4bf9, class=NORMAL" in line for line in lines)


@pytest.mark.parametrize(
    ("body", "about", "status"),
    [
        pytest.param(b"\xff\xff no protobuf", {}, 400, id="no protobuf"),
        pytest.param(b"{", {"Content_Type": "application/json"}, 400, id="JSON that is cut short"),
        pytest.param(b'{"resourceSpans": 5}', {"Content_Type": "application/json"}, 400, id="JSON of another shape"),
        pytest.param(b"no gzip", {"Content_Encoding": "gzip"}, 400, id="no gzip"),
        pytest.param(gzip.compress(b"")[:-4], {"Content_Encoding": "gzip"}, 400, id="gzip that is cut short"),
        pytest.param(b"", {"Content_Encoding": "br"}, 415, id="another encoding"),
        pytest.param(b"", {"Content_Type": "text/plain"}, 415, id="text"),
        pytest.param(b"", {"path": "/v1/trace"}, 404, id="another path"),
    ],
)
def test_what_no_collector_takes_is_refused_and_kept_as_refused(tmp_path, sent, body, about, status):
    assert sent(body, **about)[0] == status
    signal = traces.read(tmp_path, FORM, ())
    assert (len(signal.rows), signal.about["counts"]) == (0, {"refused": 1})
    assert signal.about["refused"][0].startswith(f"{status} to POST /v1/trace")


def test_other_signals_are_taken_and_forgotten(tmp_path, sent):
    assert sent(b"x", path="/v1/metrics") == (200, b"")
    assert traces.read(tmp_path, FORM, ()).about["counts"] == {}


def test_a_message_that_was_cut_short_ends_what_is_read(tmp_path, sent):
    protobuf(tmp_path, sent)
    with open(tmp_path / signals.RECEIVED, "ab") as file:
        file.write(HEAD.pack(1.0, 500, 0) + b"short")
    assert len(traces.read(tmp_path, FORM, ()).rows) == 2


def test_nothing_stored_is_the_problem_of_the_signal(tmp_path):
    assert "nothing was stored" in traces.read(tmp_path, FORM, ()).about["problem"]
