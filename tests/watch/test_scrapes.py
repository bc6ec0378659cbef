"""A scrape without hurry: what it reads, and what of it Prometheus could not take."""

import http.server
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import yaml

from harness.stack import prometheus
from harness.watch import scrapes

GOOD = b"""# HELP a_total b
# TYPE a_total counter
a_total{x="1",y="}\\" "} 3
a_total{x="2"} 4 # {id="7"} 1
b 1.5e3 9
# EOF
"""


@contextmanager
def exposing(body: bytes, status: int = 200, after_s: float = 0.0):
    class Exposer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            time.sleep(after_s)
            self.send_response(status if self.path == "/metrics" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(BrokenPipeError):
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Exposer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def scraped(folder: Path, target: str, timeout_s: float = 5.0, **more) -> dict:
    about = {"job": "svc", "metrics_path": "/metrics", **more, "alertmanager": "127.0.0.1:1", "rule_files": []}
    settings = prometheus.config(**about, targets=[target], scrape_s=1, evaluation_s=1)
    config = prometheus.write_config(folder / "prometheus.yaml", settings)
    (found,) = scrapes.unhurried(config, "http://127.0.0.1:1", timeout_s)
    assert yaml.safe_load(config.read_text())
    return found


def test_what_is_exposed_is_counted(tmp_path):
    with exposing(GOOD) as target:
        found = scraped(tmp_path, target)
    assert {**found, "took_s": 0} == {
        "target": target, "took_s": 0, "last_error": "", "status": 200, "samples": 3, "bytes": len(GOOD), "twice": 0,
        "problem": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'a{x="1"} 1\na{x="2"} 1\na{x="1"} 2\n', 'a{x="1"} is there twice'),
        (b"a 1\nb one\n", "line 2 is no sample: b one"),
        (b"<html>\n", "line 1 is no sample: <html>"),
        (b"a 1\na{x=1} 2\n", "line 2 is no sample: a{x=1} 2"),
    ],
)
def test_what_prometheus_could_not_take_is_named(body, problem):
    assert scrapes.read(body)["problem"] == problem


def test_a_status_and_a_time_that_is_over(tmp_path):
    with exposing(b"", status=500) as target:
        assert scraped(tmp_path, target)["problem"] == "it answered with status 500"
    with exposing(GOOD, after_s=1.0) as target:
        found = scraped(tmp_path, target, timeout_s=0.1)
    assert found["timed_out"] and found["problem"].startswith("no answer")


def test_nobody_there(tmp_path):
    found = scraped(tmp_path, "127.0.0.1:1")
    assert found["problem"].startswith("no answer") and not found["timed_out"]


def test_what_prometheus_dropped_is_in_its_log(tmp_path):
    log = tmp_path / "prometheus.log"
    head = 'ts=2026-11-28T18:47:05.277Z caller=scrape.go:1 level=warn component="scrape manager" scrape_pool=svc '
    log.write_text(
        f'{head}target=http://127.0.0.1/metrics msg="Error on ingesting out-of-order samples" num_dropped=3\n'
        f'{head}msg="Error on ingesting samples with different value but same timestamp" num_dropped=12\n'
        f'{head}msg="Error on ingesting out-of-order exemplars" num_dropped=1\n'
        f'{head.replace("scrape manager", "rule manager")}msg="Error on ingesting out-of-order result from rule" n=1\n'
        "ts=2026-11-28T18:47:06Z level=warn msg=other\n"
    )
    found = list(scrapes.dropped(log, 0))
    assert [(e.detail["why"], e.detail["samples"]) for e in found] == [
        ("out-of-order samples", 3),
        ("samples with different value but same timestamp", 12),
    ]
    assert found[0].at == pytest.approx(1795891625.277)
    assert not list(scrapes.dropped(log, found[0].at + 1)) and not list(scrapes.dropped(tmp_path / "none", 0))


def test_a_target_may_have_a_path_of_its_own(tmp_path):
    with exposing(GOOD) as target:
        own = {target: {"__metrics_path__": "/metrics"}}
        assert scraped(tmp_path, target, metrics_path="/other", labels=own)["status"] == 200
        assert scraped(tmp_path, target, metrics_path="/other")["status"] == 404
