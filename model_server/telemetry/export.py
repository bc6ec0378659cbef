"""Where spans go: OpenTelemetry's SDK and its exporter, OTLP over HTTP."""

import itertools
import threading
from collections.abc import Mapping, Sequence
from contextvars import ContextVar

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBasedTraceIdRatio
from opentelemetry.trace import Span, SpanKind

from model_server import SERVICE, __version__

WAITING = 16_384  # spans that wait to be sent; beyond it they are dropped and counted
AT_ONCE = 2048
EVERY_MS = 1000

TRACE_ID: ContextVar[int] = ContextVar("trace_id", default=0)  # of the span that begins


class Export:
    """A tracer whose spans a thread sends, all of them: what is sampled is decided once, when a request begins."""

    def __init__(self, endpoint: str, ratio: float, attributes: Mapping[str, str], environ: Mapping[str, str]):
        told = {"service.name": SERVICE, "service.version": __version__, **attributes}
        resource = Resource.create(told).merge(OTELResourceDetector().detect())
        self.exporter = Counted(f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None)
        self.processor = Bounded(self.exporter, environ)
        limits = SpanLimits(max_links=None if environ.get("OTEL_SPAN_LINK_COUNT_LIMIT") else SpanLimits.UNSET)
        provider = TracerProvider(ALWAYS_ON, resource, id_generator=Ids(), span_limits=limits, shutdown_on_exit=False)
        provider.add_span_processor(self.processor)
        self.tracer = provider.get_tracer(SERVICE, __version__)
        sampler = None if environ.get("OTEL_TRACES_SAMPLER") else ParentBasedTraceIdRatio(ratio)
        self._sampler = TracerProvider(sampler, shutdown_on_exit=False).sampler  # else the environment's

    def request(self, parent: Context, trace_id: int) -> Span | None:
        """The span of a request of that trace, which begins; None where it is not sampled."""
        if not self._sampler.should_sample(parent, trace_id, "request", SpanKind.SERVER).decision.is_sampled():
            return None
        token = TRACE_ID.set(trace_id)
        try:
            return self.tracer.start_span("request", parent, SpanKind.SERVER)
        finally:
            TRACE_ID.reset(token)

    def close(self, within_s: float) -> None:
        """Send what waits; give up after `within_s` seconds."""
        ending = threading.Thread(target=self.processor.shutdown, name="traces-end", daemon=True)
        ending.start()
        ending.join(within_s)


class Ids(RandomIdGenerator):
    """The trace id that was given, else one of its own."""

    def generate_trace_id(self) -> int:
        return TRACE_ID.get() or super().generate_trace_id()


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
            return int(text) if text.isdecimal() and 0 < int(text) <= 1 << 31 else default

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
