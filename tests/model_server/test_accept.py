"""Metrics in the format that is asked for, each well formed."""

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from model_server.telemetry.metrics import OPENMETRICS, PLAIN, Metrics


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
def test_openmetrics_is_for_those_who_ask(accept, content_type):
    assert Metrics(on=False).expose(accept)[1] == content_type


def test_the_real_exposition_in_both_formats_is_well_formed(served, corpus):
    served.post("/predict", content=corpus[0][0])
    openmetrics = served.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert openmetrics.headers["content-type"] == OPENMETRICS
    families = {family.name: family for family in text_string_to_metric_families(openmetrics.text)}
    assert any(sample.exemplar for sample in families["http_request_duration_seconds"].samples)
    assert served.get("/metrics").headers["content-type"] == PLAIN
    repeated = [("Accept", "text/plain;q=0.5"), ("Accept", "application/openmetrics-text")]
    assert served.get("/metrics", headers=repeated).headers["content-type"] == OPENMETRICS
