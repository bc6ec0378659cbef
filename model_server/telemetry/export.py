"""Where spans go: OpenTelemetry's SDK and its exporter, OTLP over HTTP."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBasedTraceIdRatio

from model_server import SERVICE, __version__
from model_server.telemetry.correlation import made_trace_id

WAITING = 16_384  # spans that wait to be sent; beyond it they are dropped and counted
AT_ONCE = 2048
EVERY_MS = 1000


class Export:
    """Two tracers whose spans a thread sends: `requests` samples, `sampled` has spans of sampled requests only."""

    def __init__(self, endpoint: str, ratio: float, attributes: Mapping[str, str], environ: Mapping[str, str]):
        told = {"service.name": SERVICE, "service.version": __version__, **attributes}
        resource = Resource.create(told).merge(OTELResourceDetector().detect())
        self.exporter = Counted(f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None)
        self.processor = Bounded(self.exporter, environ)
        sampler = None if environ.get("OTEL_TRACES_SAMPLER") else ParentBasedTraceIdRatio(ratio)
        self.requests, self.sampled = (self._tracer(resource, one) for one in (sampler, ALWAYS_ON))

    def _tracer(self, resource: Resource, sampler):
        provider = TracerProvider(
            sampler=sampler, resource=resource, id_generator=InOrderOfTime(), shutdown_on_exit=False
        )
        provider.add_span_processor(self.processor)
        return provider.get_tracer(SERVICE, __version__)

    def close(self, within_s: float) -> None:
        """Send what waits; give up after `within_s` seconds."""
        ending = threading.Thread(target=self.processor.shutdown, name="traces-end", daemon=True)
        ending.start()
        ending.join(within_s)


class InOrderOfTime(RandomIdGenerator):
    """Ids of traces as `made_trace_id` makes them."""

    def generate_trace_id(self) -> int:
        return made_trace_id()

    def is_trace_id_random(self) -> bool:
        return True  # the 56 bits that samplers look at


class Counted(OTLPSpanExporter):
    """Counts the spans that came to it, and of them those that the collector took, and those that it did not."""

    came = taken = refused = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.came += len(spans)
        result = super().export(spans)
        if result is SpanExportResult.SUCCESS:
            self.taken += len(spans)
        else:
            self.refused += len(spans)
        return result


class Bounded(BatchSpanProcessor):
    """The SDK's drops the oldest spans in silence when too many wait; this one drops the new ones, and counts them."""

    def __init__(self, exporter: Counted, environ: Mapping[str, str]):
        def given(name: str, default: int) -> int:
            """What the environment says; a number that makes no sense is as none, as OpenTelemetry has it."""
            text = environ.get(name, "").strip()
            return int(text) if text.isdecimal() and int(text) else default

        self._limit = given("OTEL_BSP_MAX_QUEUE_SIZE", WAITING)
        at_once = min(self._limit, given("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", AT_ONCE))
        super().__init__(
            exporter,
            max_queue_size=self._limit + at_once,  # the limit is kept here
            schedule_delay_millis=given("OTEL_BSP_SCHEDULE_DELAY", EVERY_MS),
            max_export_batch_size=at_once,
        )
        self._counted, self._number, self._kept, self.dropped = exporter, itertools.count(1), 0, 0

    def on_end(self, span: ReadableSpan) -> None:
        if not span.context.trace_flags.sampled:
            return
        if self._kept - self._counted.came >= self._limit:
            self.dropped += 1
            return
        self._kept = next(self._number)
        super().on_end(span)
