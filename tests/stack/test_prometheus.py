"""Questions to Prometheus, against a server that answers as it does."""

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from harness.errors import StackError
from harness.stack import prometheus

PROMTOOL = shutil.which("promtool") or "promtool is not installed"
RESULT = [{"metric": {"job": "server"}, "value": [1700000000, "3"]}]


class Prometheus(BaseHTTPRequestHandler):
    def do_GET(self):
        address = urlsplit(self.path)
        known = address.path == "/api/v1/query" and parse_qs(address.query) == {"query": ["sum(up) > 2"]}
        content = {"data": {"result": RESULT}} if known else {"status": "error", "error": "parse error"}
        self.send_response(200 if known else 400)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *_):
        pass


def test_an_expression_gives_its_value_and_a_mistake_its_reason():
    with HTTPServer(("127.0.0.1", 0), Prometheus) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert prometheus.query(url, "sum(up) > 2") == RESULT
        with pytest.raises(StackError, match=r"did not answer 'sum\(': 400 .*parse error"):
            prometheus.query(url, "sum(")
        server.shutdown()
    with pytest.raises(StackError, match="did not answer 'up'"):
        prometheus.query(url, "up")


def test_what_production_adds_is_in_the_configuration_and_promtool_takes_it(tmp_path):
    made = prometheus.config(
        job="svc",
        targets=["127.0.0.1:1"],
        metrics_path="/metrics",
        alertmanager="127.0.0.1:2",
        rule_files=[],
        scrape_s=0.25,
        evaluation_s=0.25,
        external_labels={"cluster": "prod", "version": "010"},
        alert_relabel_configs=[{"action": "labeldrop", "regex": "replica"}],
        target_labels={"team": "imaging"},
    )
    assert made["global"]["external_labels"] == {"cluster": "prod", "version": "010"}
    assert made["alerting"]["alert_relabel_configs"] == [{"action": "labeldrop", "regex": "replica"}]
    assert made["scrape_configs"][0]["static_configs"] == [{"targets": ["127.0.0.1:1"], "labels": {"team": "imaging"}}]
    file = prometheus.write_config(tmp_path / "prometheus.yaml", made)
    assert prometheus.check_config(PROMTOOL, file) == []


def test_what_prometheus_does_not_take_of_that_is_known_before_it_is_started():
    assert prometheus.rejected(PROMTOOL, external_labels={"a": "b"}, target_labels={"c": "d"}) == []
    (problem,) = prometheus.rejected(PROMTOOL, alert_relabel_configs=[{"regex": "(", "target_label": "x"}])
    assert problem.startswith("error parsing regexp: missing closing )")
