"""What checks ask for is asked and run as they say, and stored with the run."""

import json
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs

import pytest

from harness.checks import Command, Promql, judge_all
from harness.eventlog import Log
from harness.history import History
from harness.run.asked import ask_queries, run_commands
from harness.stack.process import end_all, processes_of, spawn
from harness.verdict import Verdict

PASS, INCONCLUSIVE, FAIL = Verdict


@contextmanager
def prometheus(body):
    """Answers each query with the same body; gives its address and what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def log(tmp_path):
    log = Log(tmp_path / "events.jsonl")
    for edge, at in (("begin", 100), ("end", 130)):
        log.event("run", "phase", at=at, phase="steady", edge=edge)
    yield log
    log.close()


def vector(*values):
    result = [{"metric": {"pod": str(i)}, "value": [130, value]} for i, value in enumerate(values)]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


BODIES = {
    "a vector": (vector("1", "2"), PASS, '2 at the end of steady of {pod="1"}, the worst of 2 series'),
    "too much": (vector("9"), FAIL, "9 at the end of steady"),
    "a scalar": ({"status": "success", "data": {"resultType": "scalar", "result": [130, "4"]}}, PASS, "4 at the end"),
    "not a number": (vector("NaN"), INCONCLUSIVE, "NaN"),
    "nothing": (vector(), INCONCLUSIVE, "no series"),
    "a range": ({"status": "success", "data": {"resultType": "matrix", "result": []}}, INCONCLUSIVE, "gives a matrix"),
    "a mistake": ({"status": "error", "error": "parse error"}, INCONCLUSIVE, "parse error"),
}


@pytest.mark.parametrize(("body", "verdict", "says"), BODIES.values(), ids=BODIES)
def test_a_query_is_asked_at_the_end_of_its_phase_and_judged_from_what_is_stored(tmp_path, log, body, verdict, says):
    check = Promql("sum(x)", "below", 5.0)
    with prometheus(body) as (url, asked):
        ask_queries([check, check, Promql("y", "below", 1.0, phase="crash")], "steady", url, log, at=130)
    assert asked == [{"query": ["sum(x)"], "time": ["130.000"]}]
    (result,) = judge_all([check], History.read(tmp_path))
    assert result.verdict is verdict and says in result.reason, result


def test_a_prometheus_that_is_gone_is_no_verdict(tmp_path, log):
    ask_queries([Promql("x", "below", 5.0)], "steady", "http://127.0.0.1:9", log, at=130)
    (result,) = judge_all([Promql("x", "below", 5.0)], History.read(tmp_path))
    assert result.verdict is INCONCLUSIVE and "Prometheus did not answer the query: ConnectError" in result.reason


SCRIPTS = {
    "pass": ("print('fine')", PASS, ": fine"),
    "inconclusive": ("sys.exit(3)", INCONCLUSIVE, "exit code 3"),
    "fail": ("print('rows', file=sys.stderr); sys.exit(7)", FAIL, "exit code 7"),
    "it gets the folder": ("assert sys.argv[1:] == ['x', os.environ['HARNESS_RUN_FOLDER']]", PASS, "exit code 0"),
    "which holds the evidence": ("open(sys.argv[-1] + '/events.jsonl')", PASS, "exit code 0"),
    "killed": ("os.kill(os.getpid(), 9)", FAIL, "exit code -9"),
    "for ever": ("import time; time.sleep(60)", INCONCLUSIVE, "was not over after 2 s"),
}


@pytest.mark.parametrize(("script", "verdict", "says"), SCRIPTS.values(), ids=SCRIPTS)
def test_a_command_is_run_once_and_judged_from_what_is_stored(tmp_path, log, script, verdict, says):
    check = Command((sys.executable, "-c", f"import os, sys; {script}", "x"), timeout_s=2.0)
    run_commands([check], tmp_path, log)
    before = (tmp_path / "events.jsonl").read_bytes()
    (result,) = judge_all([check], History.read(tmp_path))
    assert result.verdict is verdict and says in result.reason, result
    assert (tmp_path / "events.jsonl").read_bytes() == before


def test_a_command_that_is_not_there_is_no_verdict(tmp_path, log):
    run_commands([check := Command(("./nowhere",))], tmp_path, log)
    (result,) = judge_all([check], History.read(tmp_path))
    assert result.verdict is INCONCLUSIVE and "could not be started" in result.reason


def test_what_a_command_leaves_behind_is_ended_with_it(tmp_path, log):
    late = tmp_path / "late"
    run_commands([Command(("sh", "-c", f"(sleep 1; touch {late}) & exit 0"))], tmp_path, log)
    time.sleep(1.5)
    assert not late.exists()


def test_a_command_ends_with_the_harness_though_that_is_killed_and_the_stack_of_its_run_does_not(tmp_path):
    spawn("server", ["sleep", "60"], tmp_path)
    asks = f"""
from pathlib import Path
from harness.checks import Command
from harness.eventlog import Log
from harness.run.asked import run_commands
here = Path({str(tmp_path)!r})
run_commands([Command(("sh", "-c", "setsid sleep 60 & sleep 60"))], here, Log(here / "events.jsonl"))
"""
    harness = subprocess.Popen([sys.executable, "-c", asks])
    until = time.monotonic() + 20
    while len(processes_of(tmp_path, "command-1")) < 3 and time.monotonic() < until:
        time.sleep(0.05)
    assert len(processes_of(tmp_path, "command-1")) == 3
    harness.kill()
    harness.wait()
    while processes_of(tmp_path, "command-1") and time.monotonic() < until:
        time.sleep(0.05)
    assert processes_of(tmp_path, "command-1") == [] and len(processes_of(tmp_path, "server")) == 1
    end_all(tmp_path)
