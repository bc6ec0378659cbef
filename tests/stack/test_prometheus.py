"""Questions to Prometheus, against a server that answers as it does."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from harness.errors import StackError
from harness.stack import prometheus

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
