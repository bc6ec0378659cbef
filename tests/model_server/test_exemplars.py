"""A real Prometheus stores the exemplars, and reads the same series in OpenMetrics as in plain text."""

import socket
import subprocess
import time

import httpx
import pytest
import yaml

from harness.stack import tools

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def prometheus(served, tmp_path_factory):
    """A Prometheus that scrapes the server; gives a function that asks its API."""
    folder = tmp_path_factory.mktemp("prometheus")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    scrape = {"job_name": "server", "static_configs": [{"targets": [f"127.0.0.1:{served.port}"]}]}
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"global": {"scrape_interval": "250ms", "scrape_timeout": "250ms"}, "scrape_configs": [scrape]})
    )
    process = subprocess.Popen(
        [
            tools.find().prometheus, f"--config.file={folder}/config.yaml", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage", "--log.level=error",
        ]
    )  # fmt: skip

    def ask(path, **query):
        answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/{path}", params=query)
        return answer.json()["data"] if answer.status_code != 503 else []  # it is starting

    try:
        yield ask
    finally:
        process.kill()
        process.wait()


def test_an_exemplar_with_the_trace_id_is_stored(served, prometheus, corpus):
    began = time.time()
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}

    def stored():
        served.post("/predict", content=corpus[0][0], headers=headers)
        found = prometheus(
            "query_exemplars", query="http_request_duration_seconds_bucket", start=began - 60, end=time.time() + 60
        )
        return [e for series in found for e in series["exemplars"] if e["labels"] == {"trace_id": TRACE}]

    assert float(served.until(stored)[0]["value"]) > 0


def test_the_rules_series_are_there_under_their_names(served, prometheus, corpus):
    served.post("/predict", content=corpus[0][0])

    def value(query: str) -> float | None:
        result = prometheus("query", query=query)["result"]
        return float(result[0]["value"][1]) if result else None

    served.until(lambda: value("up") == 1)
    for name in ("requests_shed_total", "process_cpu_seconds_total", "ml_feedback_total", "service_ready"):
        assert served.until(lambda name=name: value(name) is not None)
    predicted = 'http_requests_total{endpoint="/predict",status="200"}'
    served.until(lambda: value(predicted) == served.metric("http_requests_total", endpoint="/predict", status="200"))
    for bound in ("0.5", "1.0", "+Inf"):  # the form the text format has too
        assert value(f'http_request_duration_seconds_bucket{{endpoint="/predict",le="{bound}"}}') > 0
        assert served.metric("http_request_duration_seconds_bucket", endpoint="/predict", le=bound) > 0
