"""Traces, from the real server to a real collector."""

import collections
import time

import pytest
from collector import Collector, attributes
from real_server import serving

from model_server.audit.log import AT_ONCE as AUDIT_AT_ONCE
from model_server.telemetry import tracing
from model_server.telemetry.export import AT_ONCE, WAITING
from model_server.telemetry.tracing import BadVariable, Tracer

FAILS = """
import model_server.inference.model as m
real, calls = m.Model.predict, []
def predict(self, pixels):
    if pixels.std():  # no image of one grey, as the canary shows it
        calls.append(1)  # the first is the start's
        1 / (len(calls) < 2)
    return real(self, pixels)
m.Model.predict = predict
"""
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(scope="module")
def traced(collector, tmp_path_factory):
    """A server that traces only what its callers have sampled; the environment names its collector, as everywhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        with serving(tmp_path_factory.mktemp("traced"), "--trace-ratio", "0") as client:
            yield client


def parent(trace_id: str, flags: str = "01") -> dict[str, str]:
    return {"traceparent": f"00-{trace_id}-{SPAN}-{flags}"}


def test_a_request_is_one_trace_from_its_caller_to_its_batch(traced, collector, corpus):
    body = corpus[0][0]
    told = traced.post("/predict", content=body, headers=parent(TRACE) | {"tracestate": "a=1", "X-Request-ID": "t1"})
    root = traced.until(lambda: next(iter(collector.named("POST /predict")), None))
    assert (root.trace_id.hex(), root.parent_span_id.hex(), root.trace_state) == (TRACE, SPAN, "a=1")
    assert root.kind == root.SPAN_KIND_SERVER and not root.status.code
    assert attributes(root) == {
        "http.request.method": "POST", "http.route": "/predict", "http.response.status_code": 200,
        "request.id": "t1", "image.size": len(body), "model.version": "1.0.0",
        "prediction.result": told.json()["class"],
        "prediction.confidence": pytest.approx(abs(told.json()["probability"] - 0.5) + 0.5, abs=1e-5),
    }  # fmt: skip
    children = [span for span in collector.spans if span.parent_span_id == root.span_id]
    assert [span.name for span in children] == ["queue_wait", "preprocessing", "queue_wait", "model_inference"]
    times = [t for span in children for t in (span.start_time_unix_nano, span.end_time_unix_nano)]
    assert times == sorted(times)  # one after the other
    assert root.start_time_unix_nano <= times[0] and times[-1] <= root.end_time_unix_nano
    assert abs(root.end_time_unix_nano / 1e9 - time.time()) < 3600
    assert all(span.trace_id == root.trace_id and span.kind == span.SPAN_KIND_INTERNAL for span in children)
    assert len({span.span_id for span in collector.spans}) == len(collector.spans)

    (batch,) = collector.named("model_inference batch")
    (to_batch,), (to_root,) = children[-1].links, batch.links
    assert (to_batch.trace_id, to_batch.span_id) == (batch.trace_id, batch.span_id)
    assert (to_root.trace_id, to_root.span_id) == (root.trace_id, root.span_id)
    assert attributes(batch) == {"batch.size": 1, "model.version": "1.0.0"}
    assert collector.resources[0]["service.name"] == "pneumonia-detector"


def test_the_callers_span_id_is_in_the_log_lines_and_the_servers_own_too(traced, collector, corpus):
    trace = "1" * 32
    traced.post("/predict", content=corpus[0][0], headers=parent(trace))
    line = traced.until(lambda: next((x for x in traced.log if x["trace_id"] == trace), None))
    root = traced.until(lambda: next((s for s in collector.named("POST /predict") if s.trace_id.hex() == trace), None))
    assert line["span_id"] == root.span_id.hex()


def test_only_what_is_sampled_is_sent(traced, collector, corpus):
    before = {span.trace_id for span in list(collector.spans)}
    traced.post("/predict", content=corpus[0][0])  # the ratio is 0
    traced.post("/predict", content=corpus[0][0], headers=parent("2" * 32, "00"))
    traced.post("/predict", content=corpus[0][0], headers=parent("3" * 32))
    traced.until(lambda: any(span.trace_id.hex() == "3" * 32 for span in list(collector.spans)))
    assert {s.trace_id.hex() for s in collector.spans if s.name == "POST /predict" and s.trace_id not in before} == {
        "3" * 32
    }


def test_a_refused_request_has_a_trace_and_a_probe_has_none(traced, collector):
    traced.post("/predict", content=b"nonsense", headers=parent("4" * 32))
    traced.get("/health/live", headers=parent("5" * 32))
    traced.get("/nothing/here", headers=parent("6" * 32))
    other = traced.until(lambda: next(iter(collector.named("GET other")), None))
    assert attributes(other)["http.response.status_code"] == 404
    refused = next(span for span in collector.named("POST /predict") if span.trace_id.hex() == "4" * 32)
    assert attributes(refused)["http.response.status_code"] == 415 and not refused.status.code
    assert not any(span.trace_id.hex() == "5" * 32 for span in collector.spans)


def spans_of(collector, trace: str) -> dict[str, list[dict]]:
    """Attributes of the children in a trace, by name."""
    found = collections.defaultdict(list)
    for span in list(collector.spans):
        if span.trace_id.hex() == trace:
            found[span.name].append(attributes(span))
    return found


def test_an_image_that_cannot_be_read_shows_where_it_failed(traced, collector):
    traced.post("/predict", content=b"nonsense", headers=parent("a" * 32))
    spans = traced.until(lambda: (s := spans_of(collector, "a" * 32)) and "POST /predict" in s and s)
    assert spans["queue_wait"] == [{"queue": "decode"}] and spans["preprocessing"] == [{"error.type": "BadInput"}]


def test_inference_that_fails_shows_it(serve, collector, corpus):
    with serve("--otlp-endpoint", collector.url, "--trace-ratio", "1", defect=FAILS) as client:
        assert client.post("/predict", content=corpus[0][0], headers=parent("b" * 32)).status_code == 500
        failed = client.until(lambda: (s := spans_of(collector, "b" * 32)) and "POST /predict" in s and s)
        [inference] = failed["model_inference"]
        assert inference == {"batch.size": 1, "model.version": "1.0.0", "error.type": "ZeroDivisionError"}


def test_what_is_stored_for_requests_is_linked_to_them_and_what_they_wait_for_is_theirs(traced, collector, corpus):
    traced.post("/predict", content=corpus[0][0], headers=parent("8" * 32))
    traced.post("/feedback", json={"request_id": "never-seen", "label": "NORMAL"}, headers=parent("9" * 32))
    for store in ("database write", "audit write"):
        written = traced.until(lambda store=store: collector.named(store))
        assert traced.until(
            lambda store=store: any(
                link.trace_id.hex() == "8" * 32 for span in collector.named(store) for link in span.links
            )
        )
        assert all(link.span_id for span in written for link in span.links)
    root = next(span for span in collector.named("POST /feedback") if span.trace_id.hex() == "9" * 32)
    children = [span.name for span in collector.spans if span.parent_span_id == root.span_id]
    assert children == ["database read"] and attributes(root)["http.response.status_code"] == 404


def test_without_an_endpoint_nothing_is_traced(served, corpus):
    served.post("/predict", content=corpus[0][0], headers=parent("7" * 32))
    assert served.metric("trace_spans_exported_total") == served.metric("trace_spans_dropped_total") == 0


def test_a_collector_that_does_not_answer_or_is_dead_holds_up_no_request_and_may_come_back(serve, corpus, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
    collector = Collector()
    collector.answering.clear()
    with serve("--otlp-endpoint", collector.url, "--trace-ratio", "1") as client:

        def predict():
            assert client.post("/predict", content=corpus[0][0]).status_code == 200
            return True

        client.until(lambda: predict() and collector.waiting)
        for _ in range(20):
            predict()
        assert client.metric("trace_spans_exported_total") == 0
        client.until(lambda: client.metric("trace_spans_dropped_total"))  # it took too long
        collector.close()
        dropped = client.metric("trace_spans_dropped_total")
        client.until(lambda: predict() and client.metric("trace_spans_dropped_total") > dropped)
        back = Collector(collector.port)
        client.until(lambda: predict() and back.named("POST /predict"))
        client.until(lambda: client.metric("trace_spans_exported_total"))
        back.close()


@pytest.mark.parametrize(
    ("environ", "waiting", "at_once"),
    [
        ({}, WAITING, AT_ONCE),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "100"}, 100, 100),  # fewer than are sent at once
        ({"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "50000"}, WAITING, WAITING),  # more than may wait
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "0", "OTEL_BSP_SCHEDULE_DELAY": "often"}, WAITING, AT_ONCE),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "-1", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": " "}, WAITING, AT_ONCE),
    ],
)
def test_spans_that_wait_are_bounded_and_each_is_sent_or_counted_as_dropped(environ, waiting, at_once):
    collector = Collector()
    collector.answering.clear()
    tracer = Tracer(collector.url, environ=environ)
    made = 2 * waiting + at_once
    for _ in range(made):
        _, trace = tracer.begin([])
        trace.end("x")
    assert made - waiting - at_once <= tracer.dropped <= made - waiting and tracer.exported == 0
    collector.answering.set()
    tracer.close(within_s=60)
    collector.close()
    assert tracer.exported + tracer.dropped == made and tracer.exported == len(collector.spans)


def test_what_cannot_be_sent_is_counted_and_does_not_end_the_others():
    collector = Collector()
    tracer = Tracer(collector.url)
    _, trace = tracer.begin([])
    trace.end("half a character: \ud800")
    deadline = time.monotonic() + 60
    while not tracer.dropped and time.monotonic() < deadline:
        time.sleep(0.01)
    _, trace = tracer.begin([])
    trace.end("good", too_large=1 << 70, small=1)
    tracer.close(within_s=60)
    collector.close()
    assert (tracer.dropped, tracer.exported) == (1, 1)
    assert [attributes(span) for span in collector.named("good")] == [{"small": 1}]


@pytest.mark.parametrize(
    ("ratio", "environ", "traced"),
    [
        (0.0, {}, 0),
        (1.0, {}, 100),
        (1.0, {"OTEL_TRACES_SAMPLER": "always_off"}, 0),
        (0.0, {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1"}, 100),
    ],
)
def test_the_environments_sampler_wins_over_the_ratio(monkeypatch, ratio, environ, traced):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    tracer = Tracer("http://127.0.0.1:9", ratio, environ=environ)
    began = [tracer.begin([]) for _ in range(100)]
    assert sum(trace is not None for _, trace in began) == traced
    assert all(trace.link.context.trace_id == int(ids["trace_id"], 16) for ids, trace in began if trace)
    tracer.close(within_s=0)


def test_a_share_of_those_whose_caller_has_not_decided_is_traced_and_a_later_request_sees_none_before_it():
    tracer = Tracer("http://127.0.0.1:9", 0.5)
    sampled = sum(tracer.begin([])[1] is not None for _ in range(1000))
    assert 350 < sampled < 650
    told = {flag: [(b"traceparent", f"00-{TRACE}-{SPAN}-{flag}".encode())] for flag in ("00", "01")}
    assert tracer.begin(told["01"])[1] and tracing.link()
    for headers, traced in ((told["00"], True), (told["01"], False)):  # as on one connection, one after the other
        assert tracer.begin(headers, traced)[1] is None and tracing.link() is None
    tracer.close(within_s=0)


def test_opentelemetrys_own_variables_win(monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "theirs")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment=blue,team=x")
    collector = Collector()
    tracer = Tracer(collector.url, attributes={"deployment": "green"})
    _, trace = tracer.begin([])
    trace.end("x")
    tracer.close(within_s=60)
    collector.close()
    said = collector.resources[0]
    assert (said["service.name"], said["deployment"], said["team"]) == ("theirs", "blue", "x")


def test_what_is_done_for_many_at_once_is_linked_to_each():
    collector = Collector()
    tracer = Tracer(collector.url)
    links = [tracer.begin([])[1].link for _ in range(AUDIT_AT_ONCE)]
    now = time.perf_counter()
    tracing.shared("write", links, now, now)
    tracer.close(within_s=60)
    collector.close()
    [written] = collector.named("write")
    assert {link.span_id for link in written.links} == {link.context.span_id.to_bytes(8) for link in links}


@pytest.mark.parametrize(
    "environ",
    [{"OTEL_SDK_DISABLED": " True"}, {"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_EXPORTER_OTLP_ENDPOINT": " "}],
)
def test_opentelemetrys_own_variables_turn_it_off(environ):
    tracer = Tracer("" if "OTEL_EXPORTER_OTLP_ENDPOINT" in environ else "http://127.0.0.1:9", environ=environ)
    ids, trace = tracer.begin([])
    assert trace is None and not tracer.on and int(ids["trace_id"], 16) and int(ids["span_id"], 16)


WRONG = {
    "OTEL_SPAN_LINK_COUNT_LIMIT": "x",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "-1",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "many",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://[::1",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER": "nobody",
}


@pytest.mark.parametrize(("name", "value"), WRONG.items(), ids=WRONG)
def test_a_variable_that_makes_no_sense_is_named_and_not_shown(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(BadVariable, match=name if "PROVIDER" not in name else "nobody"):
        Tracer("http://127.0.0.1:9")


@pytest.mark.parametrize("url", ["http://", "http://:4318", "http://x:port", "https://x:70000"])
def test_an_endpoint_that_is_none_is_refused(url):
    with pytest.raises(BadVariable, match="--otlp-endpoint"):
        Tracer(url)


def test_a_server_with_such_a_variable_says_so_and_ends_as_with_a_wrong_setting(tmp_path, monkeypatch):
    monkeypatch.setenv("OTEL_SPAN_LINK_COUNT_LIMIT", "x")
    with serving(tmp_path, "--otlp-endpoint", "http://127.0.0.1:9", wait=False) as server:
        assert server.process.wait(60) == 2
        assert "OTEL_SPAN_LINK_COUNT_LIMIT" in server.log[-1]["context"]["reason"]


def test_white_space_around_opentelemetrys_variables_is_dropped_and_another_protocol_is_told(tmp_path, monkeypatch):
    collector = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f" {collector.url}\n")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on ")
    with serving(tmp_path) as server:
        server.get("/v2")
        server.until(lambda: collector.named("GET /v2"))
        told = [line["message"] for line in server.log if "http/protobuf" in line["message"]]
    collector.close()
    assert told == ["Traces are sent as http/protobuf, whatever OTEL_EXPORTER_OTLP_PROTOCOL says"]


def test_what_a_caller_puts_in_its_trace_headers_is_in_no_log(served):
    state = {"tracestate": "DOE^JANE,=,a=1"}
    for headers in (state, {"traceparent": "0" * 2000 + "DOE^JANE"}):
        served.post("/predict", content=b"x", headers=parent("e" * 32) | headers | {"X-Request-ID": "told-state"})
    served.until(lambda: sum(line["request_id"] == "told-state" for line in served.log) == 2)
    assert "DOE" not in served.log_path.read_text()
