"""Our writer gives what the client library's gives, byte for byte."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from model_server.telemetry.exposition import OPENMETRICS, PLAIN, negotiated, written


@pytest.fixture
def registry():
    disable_created_metrics()  # the service has none
    registry = CollectorRegistry()
    counter = Counter("requests_total", "Requests.", ["path", "method"], registry=registry)
    counter.labels("/a", "GET").inc(3)
    counter.labels('odd \\ " \n é', "POST").inc(1e21, {"trace_id": "abc"})
    Gauge("level_bytes", "Level.", registry=registry).set(float("nan"))
    Gauge("absent", "Nothing to say.", ["gpu"], registry=registry)
    histogram = Histogram("wait_seconds", "Waits.", ["a"], buckets=(0.001, 0.5, 1, 10_000_000), registry=registry)
    for value in (0, 0.2, 1, 7e6, 1e9):
        histogram.labels("x").observe(value, {"trace_id": f"{value}"})
    return registry


def test_the_text_is_the_librarys(registry):
    assert written(registry, openmetrics=False) == generate_latest(registry)


def test_openmetrics_is_the_librarys_exemplars_and_all(registry):
    ours = written(registry, openmetrics=True)
    assert ours == generate_openmetrics(registry) and ours.count(b"# {trace_id=") == 6


def test_a_series_in_both_formats_has_one_name_and_one_form(registry):
    def series(text: bytes) -> set[str]:
        return {x.split(" # ")[0].rpartition(" ")[0] for x in text.decode().splitlines() if not x.startswith("#")}

    assert series(written(registry, openmetrics=False)) == series(written(registry, openmetrics=True))


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", PLAIN),
        ("*/*", PLAIN),
        ("text/plain;version=0.0.4", PLAIN),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", OPENMETRICS),
        ("Application/OpenMetrics-Text", OPENMETRICS),
        ("text/plain, application/openmetrics-text", OPENMETRICS),
        ("text/plain;q=0.9, application/openmetrics-text;version=1.0.0;q=0.8", PLAIN),
        ("application/openmetrics-text;q=0.5, */*", PLAIN),
        ("application/openmetrics-text;q=0.5, text/*;q=0.4, */*;q=0.9", OPENMETRICS),
        ("application/openmetrics-text;q=0", PLAIN),
        ("application/openmetrics-text ; q=0.000, text/html", PLAIN),
        ("application/openmetrics-text;q=0.2, application/openmetrics-text;q=0.7, text/plain;q=0.6", OPENMETRICS),
        ("application/openmetrics-text;q=2", PLAIN),
        ("application/openmetrics-text-but-not-quite", PLAIN),
        (",;q=,", PLAIN),
    ],
)
def test_openmetrics_is_for_those_who_ask(registry, accept, content_type):
    assert negotiated(registry, accept)[1] == content_type


def test_the_real_exposition_in_both_formats_is_well_formed(served, corpus):
    served.post("/predict", content=corpus[0][0])
    openmetrics = served.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert openmetrics.headers["content-type"] == OPENMETRICS
    families = {family.name: family for family in text_string_to_metric_families(openmetrics.text)}
    assert any(sample.exemplar for sample in families["http_request_duration_seconds"].samples)
    assert served.get("/metrics").headers["content-type"] == PLAIN
    repeated = [("Accept", "text/plain;q=0.5"), ("Accept", "application/openmetrics-text")]
    assert served.get("/metrics", headers=repeated).headers["content-type"] == OPENMETRICS
