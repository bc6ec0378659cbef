"""A row records whether its status was expected, and whether its client was slow."""

import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness.history import EXPECTS_STATUS, SLOW_CLIENT, Outcome, read_rows
from harness.stack import generator

SCENARIO = """
from harness.load.arrivals import constant
from harness.load.locust import ClientPace, OpenModelUser, Request

KINDS = [
    Request("GET", "/401", expect_status=(401,)),
    Request("GET", "/200", expect_status=(401,)),
    Request("GET", "/404", expect_status=range(400, 404)),
    Request("GET", "/503", expect_status=(401,)),
    Request("GET", "/401"),
    Request("GET", "/200", pace=ClientPace(send_per_s=100_000)),
    Request("GET", "/200", step=7, pace=ClientPace(send_per_s=100_000)),
    Request("GET", "/200", step=7),
]

class Asks(OpenModelUser):
    arrivals = constant(40)
    timeout_s = 5.0

    def request(self, k):
        return KINDS[k % len(KINDS)]
"""

SAID = [  # for each kind: status, outcome, step
    (401, Outcome.OK, EXPECTS_STATUS),
    (200, Outcome.UNEXPECTED_STATUS, EXPECTS_STATUS),
    (404, Outcome.UNEXPECTED_STATUS, EXPECTS_STATUS),
    (503, Outcome.REFUSED_BY_SERVICE, EXPECTS_STATUS),
    (401, Outcome.REFUSED_BY_SERVICE, 0),
    (200, Outcome.OK, SLOW_CLIENT),
    (200, Outcome.OK, SLOW_CLIENT | 7),
    (200, Outcome.OK, 7),
]


class Answers(BaseHTTPRequestHandler):
    """With the status that its path names."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(int(self.path[1:]))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def run(tmp_path):
    """Runs a scenario for a moment; gives its finished process and its rows in the order of the schedule."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def run(text):
        (tmp_path / "asks.py").write_text(text)
        argv = generator.command(
            tmp_path / "asks.py", f"http://127.0.0.1:{server.server_port}", arrivals=None, for_s=0.6,
            rows=tmp_path / "rows", events=tmp_path / "events", name="load",
        )  # fmt: skip
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        rows = read_rows(tmp_path / "rows")
        return done, rows[rows["seq"].argsort()]

    yield run
    server.shutdown()
    server.server_close()


def test_a_row_records_an_expected_status_and_a_slow_client(run):
    done, rows = run(SCENARIO)
    assert done.returncode == 0 and len(rows) == 24, done.stderr
    for row in rows:
        assert (row["status"], row["outcome"], row["step"]) == SAID[row["seq"] % len(SAID)], row
    assert "UNEXPECTED_STATUS: status 404" in done.stdout + done.stderr, "Locust's own table says it too"


def test_a_step_that_would_be_read_as_a_slow_client_is_a_mistake(run):
    done, rows = run(SCENARIO.replace('"/200", step=7)', '"/200", step=1 << 14)'))
    assert done.returncode == 2 and "step: must be from 0 to 16383, got 16384" in done.stderr
    assert set(rows[7::8]["outcome"]) == {Outcome.UNSENT} and set(rows[:7]["outcome"]) != {Outcome.UNSENT}
