"""Spans joined from bytes are, to OpenTelemetry's own classes, the spans that they would have made."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.resources import Resource

from model_server import __version__
from model_server.telemetry import otlp
from model_server.telemetry.correlation import Parent
from model_server.telemetry.tracing import INTERNAL, SERVER, Link, Trace, Tracer

EPOCH_NS = 1_700_000_000_123_456_789
RESOURCE = {"service.name": "pneumonia-detector", "service.version": "1"}
EXPORTER = otlp.Exporter("http://127.0.0.1:1", RESOURCE)


def reference(traces: list[Trace], span_ids: list[bytes]) -> ExportTraceServiceRequest:
    """The same by the classes; `span_ids` are those that the children were given."""
    request, given_ids = ExportTraceServiceRequest(), iter(span_ids)
    resource = request.resource_spans.add()
    resource.resource.attributes.extend(key_values(Resource.create(RESOURCE).attributes))
    scope = resource.scope_spans.add()
    scope.scope.name, scope.scope.version = "model_server", __version__

    def add(span, link: Link, span_id: bytes, parent: bytes) -> trace_pb2.Span:
        (name, attributes, _), began, ended, links = span
        made = scope.spans.add(
            trace_id=bytes.fromhex(link.trace_id),
            span_id=span_id,
            parent_span_id=parent,
            name=name,
            kind=INTERNAL,
            start_time_unix_nano=EPOCH_NS + int(1e9 * began),
            end_time_unix_nano=EPOCH_NS + int(1e9 * ended),
            attributes=key_values(attributes),
        )
        for to in links:
            made.links.add(trace_id=bytes.fromhex(to.trace_id), span_id=bytes.fromhex(to.span_id))
        return made

    for trace in traces:
        root_id = bytes.fromhex(trace.link.span_id)
        root = add(trace.root, trace.link, root_id, bytes.fromhex(trace.parent.span_id) if trace.parent else b"")
        root.kind = trace.kind
        if trace.parent:
            root.trace_state = trace.parent.state
        if trace.failed:
            root.status.code = trace_pb2.Status.STATUS_CODE_ERROR
        for child in trace.children:
            add(child, trace.link, next(given_ids), root_id)
    return request


def key_values(attributes) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


def any_value(value) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(string_value=str(value))


def check(traces: list[Trace]) -> None:
    ours = ExportTraceServiceRequest.FromString(EXPORTER.encoded(traces, EPOCH_NS))
    roots = [bytes.fromhex(trace.link.span_id) for trace in traces]
    spans = iter(ours.resource_spans[0].scope_spans[0].spans)
    children = []
    for trace, root_id in zip(traces, roots, strict=True):
        assert next(spans).span_id == root_id
        children += [next(spans).span_id for _ in trace.children]
    assert all(len(span_id) == 8 for span_id in children) and len(set(children)) == len(children)
    theirs = reference(traces, children)
    assert ours.SerializeToString() == theirs.SerializeToString()  # bytes, as NaN is not equal to itself


texts = st.text(max_size=20) | st.sampled_from(["", "é" * 64, "x" * 127, "x" * 128])
numbers = st.integers(-(1 << 63), (1 << 63) - 1) | st.sampled_from(
    [0, 1, 127, 128, 16383, 16384, (1 << 28) - 1, 1 << 28, -1]
)
values = {
    "text": texts,
    "number": numbers,
    "share": st.floats().map(lambda value: value + 0.0),  # 0.0 and -0.0 are equal, and so may stand for each other
    "flag": st.booleans(),
    "other": st.none() | st.binary(max_size=3),
}  # an attribute's values are of one type
keys = st.tuples(st.sampled_from(sorted(values)), texts)
attributes = st.lists(keys, max_size=5).flatmap(
    lambda found: st.fixed_dictionaries({f"{kind}{key}": values[kind] for kind, key in found})
)
links = st.builds(
    Link,
    st.binary(min_size=16, max_size=16).map(bytes.hex),
    st.binary(min_size=8, max_size=8).map(bytes.hex),
    st.none(),
)
times = st.floats(0, 1e7)
spans = st.tuples(texts, times, times, st.lists(links, max_size=5), attributes)
parents = st.builds(Parent, st.binary(min_size=8, max_size=8).map(bytes.hex), st.just(True), texts)


@st.composite
def traces(draw) -> Trace:
    trace = Trace(draw(links), draw(st.none() | parents), draw(st.sampled_from([INTERNAL, SERVER])))
    name, began, ended, to, has = draw(spans)
    trace.root, trace.failed = ((name, has, len(to)), began, ended, tuple(to)), draw(st.booleans())
    for name, began, ended, to, has in draw(st.lists(spans, max_size=4)):
        trace.child(name, began, ended, *to, **has)
    return trace


@settings(deadline=None)
@given(st.lists(traces(), max_size=4), st.integers(1, 3))
def test_the_bytes_are_the_messages_that_the_classes_make(several, times):
    check(several * times)


def traced(request_id: str, size: int, shared: Link) -> Trace:
    """What a real request leaves."""
    tracer = SimpleNamespace(put=lambda trace: None)
    trace = Trace(Link(f"{size:032x}", f"{size:016x}", tracer))
    trace.child("queue_wait", 1.0, 1.5, queue="decode")
    trace.child("preprocessing", 1.5, 1.75)
    trace.child("queue_wait", 1.75, 2.0, queue="inference")
    trace.child("model_inference", 2.0, 2.25, shared, **{"batch.size": 8, "model.version": "1.0.0"})
    trace.attributes = {"image.size": size, "model.version": "1.0.0", "prediction.confidence": 1 / size}
    Tracer.end(tracer, trace, "POST /predict", 1.0, **{"http.route": "/predict", "request.id": request_id})
    return trace


def test_requests_after_one_another_differ_where_they_should():
    shared = [Link(f"{batch:032x}", f"{batch:016x}", None) for batch in range(1, 65)]
    check([traced(f"request {i}", i, shared[i // 8]) for i in range(1, 500)])


def test_values_that_are_never_seen_again_are_not_kept():
    for kind in (int, str):
        kept = otlp._writer(f"many.{kind.__name__}", kind).__self__
        check([with_root({f"many.{kind.__name__}": kind(i)}) for i in range(10 * otlp.KEPT)])
        assert len(kept) == otlp.KEPT


@pytest.mark.parametrize("length", [0, 127, 128, 16383, 16384, 1 << 21])
def test_texts_of_any_length(length):
    check([with_root({"long": length * "x", "long, and not ASCII": length * "é"})])


def test_roots_with_one_attribute_of_several_types():
    check([with_root({"mixed": value}) for value in (1, True, 1.0, "1", 0, False, -0.0, 0.0, None)])


def with_root(attributes) -> Trace:
    trace = Trace(Link("1" * 32, "2" * 16, None))
    trace.root = ("root", attributes, 0), 1.0, 2.0, ()
    return trace


@pytest.mark.parametrize("value", [1 << 63, -(1 << 63) - 1, "\ud800"])
def test_what_opentelemetry_cannot_say_is_refused(value):
    with pytest.raises(ValueError):
        EXPORTER.encoded([with_root({"n": value})], EPOCH_NS)
