"""The action `send`: the requests of a scenario to their end; and arguments that the plan refuses."""

import http.server
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from harness.chaos import actions
from harness.errors import UsageError
from harness.history import read_rows, rows_file
from harness.plan.experiments import read_experiment
from harness.stack.stack import ENV
from harness.telemetry import Telemetry

ROOT = Path(__file__).parents[2]


class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"class": "NORMAL", "probability": 0.1}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def serving(stack, monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    replace(stack, service_url=f"http://127.0.0.1:{server.server_port}").write()
    monkeypatch.setenv(ENV, str(stack.run))
    yield stack
    server.shutdown()


def test_it_returns_when_all_is_sent_and_keeps_rows_of_its_own(serving):
    actions.send(scenario=str(ROOT / "scenarios/steady.py"), arrivals="constant:40/s", for_s=0.5)
    rows = read_rows(rows_file(serving.run, "sent"))
    assert len(rows) == 20 and set(rows["status"]) == {200} and serving.ledger.open() == []
    with pytest.raises(UsageError, match="arrivals: must be one of"):
        actions.send(scenario=str(ROOT / "scenarios/steady.py"), arrivals="oddly:40/s", for_s=0.5)


CONTRACT = {
    "alerts": [], "probes": {"server": {"restart": "never"}},
    "clients": {"errors_at_most": "1%", "recovered_within": "5s"},
}  # fmt: skip
WELL = {"type": "probe", "name": "well", "tolerance": 0, "provider": {"type": "process", "path": "true"}}
GONE = ("file", {"path": "x", "becomes": "missing", "witness_query": "up"})
INSIDE = ("inside", {"fault": "loop_stalled", "witness_query": "up"})
CANARY = ("rollout", {"environment": {"PYTHONPATH": "experiments/inside"}})


@pytest.mark.parametrize(
    ("acts", "says"),
    [
        ([GONE], ""),
        ([("file", {**GONE[1], "becomes": "removed"})], "provider.arguments.becomes: input should be 'missing', "),
        ([("file", {**GONE[1], "becomes": "${becomes}"})], ""),
        ([INSIDE], "nothing in the service follows it; add"),
        ([CANARY, INSIDE], ""),
        ([INSIDE, CANARY], "nothing in the service follows it; add"),
    ],
)  # fmt: skip
def test_arguments_are_checked_when_the_plan_is_read(acts, says, tmp_path):
    python = {"type": "python", "module": "harness.chaos.actions"}
    method = [
        {"type": "action", "name": func, "provider": {**python, "func": func, "arguments": arguments}}
        for func, arguments in acts
    ]
    contract = [{"name": "harness", "expect": CONTRACT}]
    content = {
        "title": "t",
        "description": "d",
        "method": method,
        "extensions": contract,
        "configuration": {"becomes": "cut"},
        "steady-state-hypothesis": {"title": "well", "probes": [WELL]},
        "rollbacks": [{"type": "action", "name": "heal", "provider": {**python, "func": "heal"}}],
    }
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(content))
    problems = []
    service = SimpleNamespace(
        replica_names=("server",), dependencies={}, attached=False, controls={}, telemetry=Telemetry()
    )
    read_experiment(tmp_path / "e.yaml", [], problems, service)
    assert problems == [] if not says else any(says in problem for problem in problems), problems
