"""Every metric of the service, under the names its dashboards and alerts know."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric

from model_server import __version__
from model_server.images import CLASSES
from model_server.memory import usage_and_limit

LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2.5, 5, 10)  # 0.5 is the SLO's bound
INFERENCE_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)

disable_created_metrics()  # a `_created` series for each counter says nothing the process start time does not


class Readings:
    """Gauges read when scraped: a name maps to (help, a function that gives the value, or None for no sample)."""

    def __init__(self, readings: Mapping[str, tuple[str, Callable[[], float | None]]]):
        self._readings = readings

    def collect(self) -> Iterator[Metric]:
        for name, (about, read) in self._readings.items():
            value = read()
            yield GaugeMetricFamily(name, about, value=value)


class Metrics:
    """The metrics of one server, in a registry of their own."""

    def __init__(self, commit: str = "unknown"):
        self.registry = r = CollectorRegistry(auto_describe=False)
        r.register(ContainerMemory())
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=r)
        # Probes and scrapes are not clients: counted apart, they neither dilute an error ratio nor raise an error rate.
        self.requests = Counter(
            "http_requests_total", "Clients' requests answered.", ["method", "endpoint", "status"], registry=r
        )
        self.request_duration = Histogram(
            "http_request_duration_seconds", "From a request's head to the end of its answer.", ["method", "endpoint"],
            buckets=LATENCY_S, registry=r,
        )  # fmt: skip
        self.probes = Counter(
            "probe_requests_total", "Probes and scrapes answered.", ["endpoint", "status"], registry=r
        )
        self.invalid = Counter("invalid_input_total", "Requests refused for what they held.", ["reason"], registry=r)
        self.shed = Counter(
            "requests_shed_total", "Requests answered 503 at once because the queue was full.", registry=r
        )
        self.expired = Counter("request_deadlines_missed_total", "Requests that took longer than allowed.", registry=r)
        self.predictions = Counter(
            "ml_predictions_total", "Predictions made.", ["model_version", "prediction"], registry=r
        )
        self.inference = Histogram(
            "ml_inference_duration_seconds", "One batch through the network.", ["model_version"],
            buckets=INFERENCE_S, registry=r,
        )  # fmt: skip
        self.confidence = Histogram(
            "ml_prediction_confidence", "Probability of the predicted class.",
            buckets=(0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99, 1), registry=r,
        )  # fmt: skip
        self.preprocessing = Histogram(
            "ml_preprocessing_duration_seconds", "Decoding one image.", buckets=INFERENCE_S, registry=r
        )
        self.feedback = Counter("ml_feedback_total", "True labels received.", registry=r)
        self.queue_wait = Histogram(
            "inference_queue_wait_seconds", "From admission to the start of inference.", buckets=LATENCY_S, registry=r
        )
        self.batch_size = Histogram(
            "inference_batch_size", "Requests inferred together.", buckets=(1, 2, 4, 8, 16, 32, 64), registry=r
        )
        for status in ("200", "500", "503", "504"):  # from 0, so that a rate sees the first of each
            self.requests.labels("POST", "/predict", status)
        self._facts("build_info", "What is running.", version=__version__, commit=commit)
        self.in_flight = 0
        self.readings({"http_requests_in_flight": ("Clients' requests being answered.", lambda: self.in_flight)})

    def model(self, version: str, sha256: str, architecture: str) -> None:
        """Say which model is loaded."""
        for prediction in CLASSES:
            self.predictions.labels(version, prediction)
        self._facts("ml_model_info", "The loaded model.", version=version, sha256=sha256, architecture=architecture)

    def readings(self, readings: Mapping[str, tuple[str, Callable[[], float | None]]]) -> None:
        """Add gauges that are read when scraped; where the function gives None the series is absent."""
        self.registry.register(Readings(readings))

    def expose(self) -> bytes:
        """The exposition as text: the client library takes three times as long to write OpenMetrics."""
        return generate_latest(self.registry)

    def _facts(self, name: str, about: str, **labels: str) -> None:
        family = GaugeMetricFamily(name, about, labels=list(labels))
        family.add_metric(list(labels.values()), 1)
        self.registry.register(Fixed(family))


class ContainerMemory:
    """The memory of this container, read once a scrape."""

    def collect(self) -> Iterator[Metric]:
        usage, limit = usage_and_limit()
        yield GaugeMetricFamily("container_memory_usage_bytes", "Memory in use.", value=usage)
        yield GaugeMetricFamily("container_spec_memory_limit_bytes", "Memory allowed.", value=limit)


class Fixed:
    """A metric that never changes."""

    def __init__(self, family: Metric):
        self._family = family

    def collect(self) -> list[Metric]:
        return [self._family]
