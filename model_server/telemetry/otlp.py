"""Spans in OpenTelemetry's own messages, sent by its own exporter.

The messages are joined from bytes: to fill in the protobuf classes costs four times as much, on the service's own core.
On the wire a message is its fields one after the other, in any order. So what hardly changes is encoded once, by the
classes, and what always does for all spans together: ids and times as rows of a table, attributes of roots by column.
"""

from __future__ import annotations

import functools
import struct
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
from google.protobuf.message import Message
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status
from opentelemetry.sdk.resources import Resource

from model_server import __version__
from model_server.telemetry import tracing

KEPT = 64  # values of an attribute that are kept as they are written


def _before(size: int, message: Message) -> bytes:
    """What the wire has of a message before its last `size` bytes: when those are a field's value, its tag and length,
    and when they are an empty field's length, its tag."""
    written = message.SerializeToString()
    return written[: len(written) - size]


RESOURCE_SPANS = _before(1, ExportTraceServiceRequest(resource_spans=[ResourceSpans()]))
SCOPE_SPANS = _before(1, ResourceSpans(scope_spans=[ScopeSpans()]))
SPANS = _before(1, ScopeSpans(spans=[Span()]))
PARENT_SPAN_ID = _before(8, Span(parent_span_id=bytes(8)))
TRACE_STATE = _before(2, Span(trace_state="-"))
SPAN_LINK = Span(links=[Span.Link(trace_id=bytes(16), span_id=bytes(8))])
LINK_SPAN_ID = _before(8, Span.Link(span_id=bytes(8)))
LINK_TRACE_ID = _before(16 + len(LINK_SPAN_ID) + 8, SPAN_LINK)  # and before it the tag and length of the link
LINK_SIZE = SPAN_LINK.ByteSize()
SCOPE = ScopeSpans(scope=InstrumentationScope(name="model_server", version=__version__)).SerializeToString()
FAILED = Span(status=Status(code=Status.STATUS_CODE_ERROR)).SerializeToString()


def _row(**fields: Any) -> np.ndarray:
    """A span of these fields, to be repeated and filled in: each a column, behind one for its tag."""
    columns, written = [], b""
    for name, value in fields.items():
        field = Span(**{name: value}).SerializeToString()
        kind = f"V{len(value)}" if isinstance(value, bytes) else "<u8"
        columns += ("", f"V{len(field) - np.dtype(kind).itemsize}"), (name, kind)
        written += field
    return np.frombuffer(written, columns)


WHAT, BEGAN, ENDED = map(itemgetter, range(3))  # of a tracing.Span
ROOT = _row(trace_id=bytes(16), span_id=bytes(8), start_time_unix_nano=1, end_time_unix_nano=1)
CHILD = _row(
    trace_id=bytes(16), span_id=bytes(8), parent_span_id=bytes(8), start_time_unix_nano=1, end_time_unix_nano=1
)
RANDOM = np.random.default_rng()
IDS = np.dtype([("trace_id", "V16"), ("span_id", "V8")])


class Exporter(OTLPSpanExporter):
    """Sends traces as this service keeps them. Endpoint, headers, certificates, compression and time-out come from
    OpenTelemetry's environment variables; a base URL given here beats theirs."""

    def __init__(self, endpoint: str, resource: Mapping[str, str]):
        super().__init__(endpoint.rstrip("/") + "/v1/traces" if endpoint else None)
        made = ResourceSpans()
        for key, value in Resource.create(resource).attributes.items():
            made.resource.attributes.add(key=key, value=_value(value))
        self._resource = made.SerializeToString()

    def send(self, traces: Sequence[tracing.Trace]) -> bool:
        """Whether the collector took them; tries again for as long as the exporter's time-out allows."""
        # The public way in takes the SDK's spans, which are what costs.
        return self._client.export(self.encoded(traces, time.time_ns() - time.perf_counter_ns())).success

    def encoded(self, traces: Sequence[tracing.Trace], epoch_ns: int) -> bytes:
        """An ExportTraceServiceRequest; `time.perf_counter()` was 0 at `epoch_ns`. Raises ValueError for what
        OpenTelemetry cannot say."""
        spans = b"".join(_spans(traces, epoch_ns))
        scope = SCOPE_SPANS + _varint(len(SCOPE) + len(spans)) + SCOPE
        resource = _varint(len(self._resource) + len(scope) + len(spans)) + self._resource
        return b"".join((RESOURCE_SPANS, resource, scope, spans))


def _spans(traces: Sequence[tracing.Trace], epoch_ns: int) -> list[bytes]:
    """Each root and behind it its children, in pieces."""
    families = [tuple(trace.children) for trace in traces]  # as they are now: somebody may still add to one
    sizes, children = [len(family) for family in families], list(chain.from_iterable(families))
    ids = np.frombuffer(bytes.fromhex("".join([trace.link.trace_id + trace.link.span_id for trace in traces])), IDS)
    trace_id, span_id = ids["trace_id"], ids["span_id"]
    roots = _filled(ROOT, [trace.root for trace in traces], epoch_ns, trace_id=trace_id, span_id=span_id)
    rows = _filled(
        CHILD, children, epoch_ns,
        trace_id=np.repeat(trace_id, sizes), parent_span_id=np.repeat(span_id, sizes),
        span_id=np.frombuffer(RANDOM.bytes(8 * len(children)), "V8"),
    )  # fmt: skip
    pieces: list[bytes] = []
    whats: list[tracing.What] = []
    done = 0
    for root, rest, family in zip(roots, _roots(traces), families, strict=True):
        pieces += SPANS, _length(len(root) + len(rest)), root, rest
        if not family:
            continue
        if whats != (whats := list(map(WHAT, family))):  # most requests do what the one before did
            heads_and_rows = list(chain.from_iterable((_head(*what), b"") for what in whats))
            linked = [place for place, (_, _, links) in enumerate(whats) if links]
        heads_and_rows[1::2] = rows[done : (done := done + len(family))]
        for place in linked:
            heads_and_rows[2 * place + 1] += _links(family[place][3])
        pieces += heads_and_rows
    return pieces


def _filled(row: np.ndarray, spans: Sequence[tracing.Span], epoch_ns: int, **ids: np.ndarray) -> list[bytes]:
    """The row, for each span with its ids and times."""
    rows = np.repeat(row, len(spans))
    for field, values in ids.items():
        rows[field] = values
    for field, of in ("start_time_unix_nano", BEGAN), ("end_time_unix_nano", ENDED):
        seconds = np.fromiter(map(of, spans), float, len(spans))
        rows[field] = epoch_ns + (1e9 * seconds).astype(np.int64)
    return rows.view(f"V{row.itemsize}").tolist()


def _roots(traces: Sequence[tracing.Trace]) -> list[bytes]:
    """What each root has beside its row."""
    alike: defaultdict[tuple, list[int]] = defaultdict(list)
    for place, trace in enumerate(traces):
        name, attributes, _ = trace.root[0]
        alike[name, trace.kind, tuple(attributes)].append(place)
    roots = [b""] * len(traces)
    for (name, kind, keys), places in alike.items():
        columns = [[_named(name, kind)] * len(places)]
        columns += map(_column, keys, zip(*[traces[place].root[0][1].values() for place in places], strict=True))
        for place, fields in zip(places, zip(*columns, strict=True), strict=True):
            root, trace = b"".join(fields), traces[place]
            if links := trace.root[3]:
                root += _links(links)
            if parent := trace.parent:
                state = parent.state.encode()
                root += PARENT_SPAN_ID + bytes.fromhex(parent.span_id) + TRACE_STATE + _length(len(state)) + state
            if trace.failed:
                root += FAILED
            roots[place] = root
    return roots


def _head(name: str, attributes: Mapping[str, Any], links: int) -> bytes:
    """What a child has before its row; behind it come its links."""
    written = [_writer(key, type(value))(value) for key, value in attributes.items()]
    what = b"".join([_named(name, tracing.INTERNAL), *written])
    return SPANS + _length(len(what) + CHILD.itemsize + links * LINK_SIZE) + what


@functools.lru_cache(1024)
def _named(name: str, kind: int) -> bytes:
    return Span(name=name, kind=kind).SerializeToString()


@functools.lru_cache(16)  # a batch is linked to from each of its requests
def _links(links: tuple[tracing.Link, ...]) -> bytes:
    trace_id, span_id = LINK_TRACE_ID.hex(), LINK_SPAN_ID.hex()
    return bytes.fromhex("".join([f"{trace_id}{link.trace_id}{span_id}{link.span_id}" for link in links]))


def _column(key: str, values: Sequence[Any]) -> Iterable[bytes]:
    """An attribute of several spans, each as a field."""
    kinds = set(map(type, values))
    if len(kinds) == 1:
        return map(_writer(key, *kinds), values)
    return [_writer(key, type(value))(value) for value in values]


@functools.lru_cache(1024)
def _writer(key: str, kind: type) -> Callable[[Any], bytes]:
    """What makes a field of a value."""
    if kind is float:
        before = _before(8, _attribute(key, 1.0))
        return functools.partial(struct.Struct(f"<{len(before)}sd").pack, before)
    if kind is str:
        return _Kept(functools.partial(_text, key)).__getitem__
    if kind is int:
        return _Kept(functools.partial(_number, key)).__getitem__
    return lambda value: _attribute(key, value).SerializeToString()


class _Kept(dict):
    """Values as they are written. The first are kept, and most attributes have no others; those that have, like the ids
    of requests, are written each time, which costs less than to keep what is not seen again."""

    def __init__(self, write: Callable[[Any], bytes]):
        self._write = write

    def __missing__(self, value: Any) -> bytes:
        written = self._write(value)
        if len(self) < KEPT:
            self[value] = written
        return written


def _text(key: str, value: str) -> bytes:
    text = value.encode()
    return _before_text(key, len(text)) + text


def _number(key: str, value: int) -> bytes:
    if not 0 <= value < 1 << 28:
        return _attribute(key, value).SerializeToString()
    number = _varint(value)
    return _before_number(key, len(number)) + number


@functools.lru_cache(1024)
def _before_text(key: str, size: int) -> bytes:
    return _before(size, _attribute(key, size * "-"))


@functools.lru_cache(1024)
def _before_number(key: str, size: int) -> bytes:
    return _before(size, _attribute(key, 1 << 7 * (size - 1)))


def _attribute(key: str, value: Any) -> Span:
    return Span(attributes=[KeyValue(key=key, value=_value(value))])


def _value(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(string_value=str(value))


def _varint(number: int) -> bytes:
    """A length or whole number as the wire has it: seven bits a byte, the lowest first."""
    written = b""
    while number > 127:
        written += BYTE[number & 127 | 128]
        number >>= 7
    return written + BYTE[number]


BYTE = [bytes([byte]) for byte in range(256)]
_length = functools.lru_cache(1024)(_varint)
