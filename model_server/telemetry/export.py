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
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

from model_server import SERVICE, __version__
from model_server.telemetry.correlation import made_trace_id

WAITING = 16_384  # spans that wait to be sent; beyond it they are dropped and counted
AT_ONCE = 2048
EVERY_MS = 1000


class Export:
    """A tracer whose spans a thread sends. What it drops is counted."""

    def __init__(self, endpoint: str, ratio: float, attributes: Mapping[str, str], environ: Mapping[str, str]):
        said = {"service.name": SERVICE, "service.version": __version__, **attributes}
        resource = Resource.create().merge(Resource(said)).merge(OTELResourceDetector().detect())
        self._exporter = Counted(f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None)
        self._processor = Bounded(
            self._exporter,
            max_queue_size=None if environ.get("OTEL_BSP_MAX_QUEUE_SIZE") else WAITING + AT_ONCE,
            schedule_delay_millis=None if environ.get("OTEL_BSP_SCHEDULE_DELAY") else EVERY_MS,
            max_export_batch_size=None if environ.get("OTEL_BSP_MAX_EXPORT_BATCH_SIZE") else AT_ONCE,
        )
        sampler = None if environ.get("OTEL_TRACES_SAMPLER") else ParentBasedTraceIdRatio(ratio)
        self._provider = TracerProvider(
            sampler=sampler, resource=resource, id_generator=InOrderOfTime(), shutdown_on_exit=False
        )
        self._provider.add_span_processor(self._processor)
        self.tracer = self._provider.get_tracer(SERVICE, __version__)

    @property
    def exported(self) -> int:
        return self._exporter.taken

    @property
    def dropped(self) -> int:
        return self._exporter.refused + self._processor.dropped

    def close(self, within_s: float) -> None:
        """Send what waits; give up after `within_s` seconds."""
        ending = threading.Thread(target=self._provider.shutdown, name="traces-end", daemon=True)
        ending.start()
        ending.join(within_s)


class InOrderOfTime(RandomIdGenerator):
    """Ids of traces as `made_trace_id` makes them."""

    def generate_trace_id(self) -> int:
        return made_trace_id()

    def is_trace_id_random(self) -> bool:
        return True  # the 56 bits that samplers look at


class Counted(OTLPSpanExporter):
    """An exporter that says how many spans came to it, and how many the collector took."""

    came = taken = refused = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.came += len(spans)
        result = SpanExportResult.FAILURE
        try:
            result = super().export(spans)
        finally:  # it raises where a span cannot be encoded
            if result is SpanExportResult.SUCCESS:
                self.taken += len(spans)
            else:
                self.refused += len(spans)
        return result


class Bounded(BatchSpanProcessor):
    """The SDK's, which drops the oldest spans in silence when there are too many; this one drops the new ones, and
    counts them."""

    def __init__(self, exporter: Counted, **options: int | None):
        super().__init__(exporter, **options)
        self._counted, self._number, self.dropped, self._kept = exporter, itertools.count(1), 0, 0

    def on_end(self, span: ReadableSpan) -> None:
        if not (span.context and span.context.trace_flags.sampled):
            return
        if self._kept - self._counted.came >= WAITING:
            self.dropped += 1
            return
        self._kept = next(self._number)
        super().on_end(span)
