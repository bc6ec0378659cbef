"""Spans in OpenTelemetry's own messages, sent by its own exporter."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.resources import Resource

from model_server import __version__, tracing

FAILED = trace_pb2.Status(code=trace_pb2.Status.STATUS_CODE_ERROR)


class Exporter(OTLPSpanExporter):
    """Sends traces as this service keeps them. Endpoint, headers, certificates, compression and time-out come from
    OpenTelemetry's environment variables; a base URL given here beats theirs."""

    def __init__(self, endpoint: str, resource: Mapping[str, str]):
        super().__init__(endpoint.rstrip("/") + "/v1/traces" if endpoint else None)
        self._resource = _attributes(Resource.create(resource).attributes)

    def send(self, traces: Sequence[tracing.Trace]) -> bool:
        """Whether the collector took them; tries again for as long as the exporter's time-out allows."""
        # The public way in takes the SDK's spans, which are what costs.
        return self._client.export(self.encoded(traces).SerializeToString()).success

    def encoded(self, traces: Sequence[tracing.Trace]) -> ExportTraceServiceRequest:
        request = ExportTraceServiceRequest()
        resource = request.resource_spans.add()
        resource.resource.attributes.extend(self._resource)
        scope = resource.scope_spans.add()
        scope.scope.name, scope.scope.version = "model_server", __version__
        epoch_ns = time.time_ns() - time.perf_counter_ns()
        for trace in traces:
            trace_id, root_id = _ids(trace.link)
            parent = bytes.fromhex(trace.parent.span_id) if trace.parent else b""
            root = _add(scope.spans, trace.root, trace_id, root_id, parent, epoch_ns)
            root.kind = trace.kind
            root.attributes.extend(_attributes(trace.root.attributes))
            if trace.parent:
                root.trace_state = trace.parent.state
            if trace.failed:
                root.status.CopyFrom(FAILED)
            for child in trace.children:
                made = _add(scope.spans, child, trace_id, random.randbytes(8), root_id, epoch_ns)
                made.MergeFromString(_unchanging(tuple(child.attributes.items())))
        return request


def _add(spans, span: tracing.Span, trace_id: bytes, span_id: bytes, parent: bytes, epoch_ns: int) -> trace_pb2.Span:
    made = spans.add(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=parent,
        name=span.name,
        start_time_unix_nano=epoch_ns + int(1e9 * span.began),
        end_time_unix_nano=epoch_ns + int(1e9 * span.ended),
    )
    for link in span.links:
        linked_trace, linked_span = _ids(link)
        made.links.add(trace_id=linked_trace, span_id=linked_span)
    return made


def _ids(link: tracing.Link) -> tuple[bytes, bytes]:
    return bytes.fromhex(link.trace_id), bytes.fromhex(link.span_id)


def _attributes(attributes: Mapping[str, Any]) -> list[KeyValue]:
    return [_attribute(key, value) for key, value in attributes.items()]


@functools.lru_cache(1024, typed=True)
def _unchanging(attributes: tuple[tuple[str, Any], ...]) -> bytes:
    """What the spans of one kind have in common, as the wire has it: the parts of a message are simply joined."""
    return trace_pb2.Span(kind=tracing.INTERNAL, attributes=_attributes(dict(attributes))).SerializeToString()


@functools.lru_cache(1024, typed=True)  # most are the same in every trace
def _attribute(key: str, value: Any) -> KeyValue:
    return KeyValue(key=key, value=_value(value))


def _value(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(string_value=str(value))
