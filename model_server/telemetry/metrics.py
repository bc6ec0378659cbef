"""Every metric of the service, under the names its dashboards and alerts know; docs/metrics.md says what each means."""

import re
from collections.abc import Callable
from typing import Any, Self

import psutil
from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as PLAIN
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from model_server import __version__
from model_server.classes import CLASSES
from model_server.telemetry import container
from model_server.telemetry.readings import GCPauses, Guarded, Readings, Sampled

LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0)  # 0.5 is the SLO's bound
INFERENCE_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
LAG_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
CONFIDENCE = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99, 1.0)
disable_created_metrics()  # series that double the exposition, and that nothing here asks for
BYTES = tuple(1 << bits for bits in range(10, 25, 2))
WEIGHT = re.compile(r"q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)")


class Metrics:
    """The metrics of one server, in a registry of their own; while they are not `on` it is empty."""

    def __init__(self, commit: str = "unknown", environment: str = "local", deployment: str = "none", on: bool = True):
        self.on = on
        self.registry = CollectorRegistry(auto_describe=False)
        counter, histogram = self.counter, self.histogram
        # Probes and scrapes are not clients: counted apart, they neither dilute an error ratio nor raise an error rate.
        self.requests = counter("http_requests_total", "Clients' requests answered.", "method", "endpoint", "status")
        about = "From a request's head to the end of its answer."
        self.request_duration = histogram("http_request_duration_seconds", about, LATENCY_S, "method", "endpoint")
        self.request_size = histogram("http_request_size_bytes", "Bodies received.", BYTES, "endpoint")
        self.response_size = histogram("http_response_size_bytes", "Bodies sent.", BYTES, "endpoint")
        self.probes = counter("probe_requests_total", "Probes and scrapes answered.", "endpoint", "status")
        self.invalid = counter("invalid_input_total", "Requests refused for what they held.", "reason")
        self.shed = counter("requests_shed_total", "Requests answered 503 at once because the queue was full.")
        self.expired = counter("request_deadlines_missed_total", "Requests that took longer than allowed.")
        self.dropped = counter("inference_jobs_dropped_total", "Requests expired or left before the model saw them.")
        self.predictions = counter("ml_predictions_total", "Predictions made.", "model_version", "prediction")
        self.inference = histogram("ml_inference_duration_seconds", "One batch.", INFERENCE_S, "model_version")
        self.confidence = histogram("ml_prediction_confidence", "Probability of the predicted class.", CONFIDENCE)
        self.preprocessing = histogram("ml_preprocessing_duration_seconds", "Decoding one image.", INFERENCE_S)
        self.feedback = counter("ml_feedback_total", "True labels received.")
        self.queue_wait = histogram("inference_queue_wait_seconds", "From admission to inference.", LATENCY_S)
        self.batch_size = histogram("inference_batch_size", "Images inferred together.", (1, 2, 4, 8, 16, 32, 64))
        self.failures = counter("inference_failures_total", "Batches that failed, a canary's among them.", "kind")
        self.loop_lag = histogram("event_loop_lag_seconds", "How late the event loop runs what is due.", LAG_S)
        self.predicted: dict[str, Any] = {}  # what counts predictions, by class, once a model is loaded
        self.in_flight = 0
        if on:
            PlatformCollector(registry=self.registry)
            GCCollector(registry=self.registry)
            self.registry.register(GCPauses())
            self.registry.register(Sampled(ProcessCollector(registry=None), Readings(MACHINE)))
        self._facts("build_info", "What is running.", version=__version__, commit=commit)
        self._facts("deployment_info", "Where it runs.", environment=environment, deployment=deployment)
        self.reading("http_requests_in_flight", "Clients' requests being answered.", lambda: self.in_flight)

    def serves(self, endpoint: str) -> None:
        """Show an endpoint's series from the start, so that a rate sees the first of each."""
        for status in ("200", "500", "503", "504"):
            self.requests.labels("POST", endpoint, status)

    def model(self, version: str, sha256: str, architecture: str, device: str) -> None:
        """Say which model is loaded, and where."""
        self.predicted = {name: self.predictions.labels(version, name) for name in CLASSES}
        told = {"version": version, "sha256": sha256, "architecture": architecture, "device": device}
        self._facts("ml_model_info", "The loaded model.", **told)

    def reading(self, name: str, about: str, read: Callable[[], Any], *labels: str) -> None:
        """Add what is read when scraped. `read` gives the value, None where there is none; with labels, a mapping from
        their values to the value. A name that ends in `_total` is a counter's, any other a gauge's."""
        self.register(Readings({name: (about, read, labels)}))

    def register(self, collector: Any) -> None:
        """Add a collector of the client library's kind. One that fails does not take the others with it."""
        if self.on:
            self.registry.register(Guarded(collector.collect))

    def expose(self, accept: str = "") -> tuple[bytes, str]:
        """The exposition, and its content type, in the format that an Accept header asks for."""
        if wants_openmetrics(accept):
            return generate_openmetrics(self.registry), OPENMETRICS
        return generate_latest(self.registry), PLAIN

    def _facts(self, name: str, about: str, **labels: str) -> None:
        self.reading(name, about, lambda: {tuple(labels.values()): 1}, *labels)

    def counter(self, name: str, about: str, *labels: str) -> Any:
        """A new counter; one that does nothing while metrics are off."""
        return self._kept(Counter(name, about, labels, registry=None))

    def histogram(self, name: str, about: str, buckets: tuple[float, ...], *labels: str) -> Any:
        """A new histogram; one that does nothing while metrics are off."""
        return self._kept(Histogram(name, about, labels, buckets=buckets, registry=None))

    def _kept(self, metric: Counter | Histogram) -> Any:
        if self.on:
            self.registry.register(metric)
        return metric if self.on else NOTHING


class Nothing:
    """Stands for every metric when metrics are off."""

    def labels(self, *_values: str) -> Self:
        return self

    def inc(self, *_: Any) -> None: ...

    observe = inc


NOTHING = Nothing()


def wants_openmetrics(accept: str) -> bool:
    """Whether an Accept header (RFC 9110, 12.5.1) asks for it by its name, and does not want plain text more."""
    wanted: dict[str, float] = {}  # from 0 to 1; one named twice, as most; one with no valid weight is passed over
    for told in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in told.split(";"))
        if weight := WEIGHT.fullmatch(next((part for part in parameters if part.startswith("q=")), "q=1")):
            wanted[kind] = max(wanted.get(kind, 0.0), float(weight[1]))
    openmetrics = wanted.get("application/openmetrics-text", 0.0)
    plain = next((wanted[kind] for kind in ("text/plain", "text/*", "*/*") if kind in wanted), 0.0)
    return openmetrics > 0 and openmetrics >= plain


def _traffic(which: str) -> dict[tuple[str], int]:
    return {(interface,): getattr(seen, which) for interface, seen in container.traffic().items()}


MACHINE = {  # what the process and its container use
    "process_threads": ("Threads of this process.", lambda: psutil.Process().num_threads()),
    "container_memory_usage_bytes": ("Memory in use.", lambda: container.memory().used_bytes),
    "container_memory_working_set_bytes": (
        "Memory in use, without page cache that nobody has used lately.", lambda: container.memory().working_set_bytes,
    ),
    "container_spec_memory_limit_bytes": ("Memory allowed.", lambda: container.memory().limit_bytes),
    "container_cpu_usage_seconds_total": ("CPU time used.", lambda: container.cpu().used_s),
    "container_cpu_quota_cores": ("Cores allowed.", lambda: container.cpu().cores),
    "container_cpu_throttled_seconds_total": (
        "Time kept from running by the quota.", lambda: container.cpu().throttled_s,
    ),
    "network_receive_bytes_total": ("Bytes received.", lambda: _traffic("bytes_recv"), ("interface",)),
    "network_transmit_bytes_total": ("Bytes sent.", lambda: _traffic("bytes_sent"), ("interface",)),
}  # fmt: skip
