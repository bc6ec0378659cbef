"""Actions of somebody else's: a fault once the contract names what shows them from outside."""

import http.server
import json
import os
import signal
import subprocess
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import yaml

from harness.chaos import runner
from harness.chaos.actions import EXPERIMENT
from harness.checks.injected import Injected
from harness.history import History
from harness.plan.experiments import read_experiment
from harness.stack import ledger
from harness.stack.stack import ENV
from harness.telemetry import Telemetry
from harness.witness import Witness


def action(name, **provider):
    return {"type": "action", "name": name, "provider": provider}


def process(name, command):
    program, _, arguments = command.partition(" ")
    return action(name, type="process", path=program, arguments=arguments)


PYTHON = {"type": "python", "module": "os", "func": "mkdir", "arguments": {"path": "${HARNESS_RUN_DIR}/down"}}
BREAKS, MENDS = process("take it down", "touch {run}/down"), process("bring it back", "rm -f {run}/down")
HEAL = action("heal", type="python", module="harness.chaos.actions", func="heal")
FAILS = action("fails", **{**PYTHON, "func": "rmdir", "arguments": {"path": "{run}/no"}})
FILE = {"command": "test -e {run}/down"}


def experiment(run, method, rollbacks, **witness):
    content = {
        "title": "t", "description": "d", "method": method, "rollbacks": rollbacks,
        "configuration": {"HARNESS_RUN_DIR": {"type": "env", "key": "HARNESS_RUN_DIR"}},
        "extensions": [{"name": "harness", "expect": {"witness": {"within": "0.5s", **witness}}}],
    }  # fmt: skip
    return json.loads(json.dumps(content).replace("{run}", str(run)))


def begin(stack, content):
    file = stack.run / "foreign.yaml"
    file.write_text(yaml.safe_dump(content))
    env = {**os.environ, ENV: str(stack.run), EXPERIMENT: "foreign"}
    return subprocess.Popen(runner.command(file, stack.run / "journals" / "foreign.json"), env=env)


def edges(stack):
    return [(e.detail["edge"], e.outcome) for e in History.read(stack.run).of("fault")]


def said(stack, edge):
    (event,) = [e for e in History.read(stack.run).of("fault") if e.detail["edge"] == edge]
    return event.detail.get("evidence") or event.detail.get("problem")


class Service(http.server.BaseHTTPRequestHandler):
    """Down while the file is there."""

    def do_GET(self):
        self.send_response(503 if (self.server.run / "down").exists() else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def serving(stack):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.run = stack.run
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = replace(stack, service_url=f"http://127.0.0.1:{server.server_port}")
    here.write()
    yield here
    server.shutdown()


@pytest.mark.parametrize(
    ("action", "witness", "evidence"),
    [
        (BREAKS, FILE, "exited with 0"),
        (action("take it down", **PYTHON), {"http": "/ready"}, "is answered with 503"),
        (BREAKS, {"http": "/ready", "status": 503}, "is answered with 503"),
    ],
    ids=["a process, a command", "a function, a path of the service", "a process, a status"],
)
def test_it_is_a_fault_that_its_witness_sees_and_its_rollback_ends(action, witness, evidence, serving):
    mends = [process("bring it back", "rm -rf {run}/down")]
    assert begin(serving, experiment(serving.run, [action], [HEAL, *mends], **witness)).wait(60) == 0
    assert edges(serving) == [("start", "ok"), ("witness", "ok"), ("stop", "ok")]
    assert evidence in said(serving, "witness") and serving.ledger.open() == []
    starts = History.read(serving.run).of("fault")
    assert starts[0].name == "action 'take it down'" and starts[0].detail["experiment"] == "foreign"


def test_it_may_be_over_by_itself_while_it_is_still_acting(stack):
    brief = process("a moment", "sh")
    brief["provider"]["arguments"] = ["-c", "touch {run}/down; sleep 0.6; rm {run}/down"]
    assert begin(stack, experiment(stack.run, [brief], [], **FILE)).wait(60) == 0
    assert edges(stack) == [("start", "ok"), ("witness", "ok"), ("stop", "ok")]


@pytest.mark.parametrize(
    ("method", "witness", "edge", "outcome", "says"),
    [
        ([process("nothing", "true")], FILE, "witness", "unknown", "not seen within 0.5 s of the action"),
        ([BREAKS], {"command": "true"}, "witness", "unknown", "it held before the action, too: true exited with 0"),
        ([BREAKS], {"command": "no-such-program"}, "witness", "unknown", "could not be asked before the action"),
        ([FAILS], FILE, "start-failed", "fail", "No such file"),
    ],
    ids=["an action that did nothing", "a witness that always holds", "one that cannot look", "one that failed"],
)
def test_what_shows_nothing_is_no_fault(method, witness, edge, outcome, says, stack):
    begin(stack, experiment(stack.run, method, [MENDS], **witness)).wait(60)
    assert (edge, outcome) in edges(stack) and says in said(stack, edge)
    assert stack.ledger.open() == []
    result = Injected("foreign").judge(History.read(stack.run))
    assert result.verdict.name == "INCONCLUSIVE" and "'" in result.reason


def test_what_its_rollbacks_leave_stays_in_the_ledger_and_is_rolled_back_again(stack):
    assert begin(stack, experiment(stack.run, [BREAKS], [HEAL], **FILE)).wait(60) == 0
    assert edges(stack) == [("start", "ok"), ("witness", "ok"), ("stop", "fail")]
    assert "still holds" in said(stack, "stop")
    (entry,) = stack.ledger.open()
    (stack.run / "foreign.yaml").write_text(yaml.safe_dump(experiment(stack.run, [BREAKS], [MENDS], **FILE)))
    for _ in range(2):
        assert [problem for _, problem in ledger.undo(stack.run, [entry], by="run")] == [""]
        assert not (stack.run / "down").exists() and stack.ledger.open() == []


def test_a_rollback_that_fails_keeps_it_in_the_ledger(stack):
    begin(stack, experiment(stack.run, [BREAKS], [HEAL], **FILE)).wait(60)
    (stack.run / "foreign.yaml").write_text(yaml.safe_dump(experiment(stack.run, [BREAKS], [FAILS], **FILE)))
    ((_, problem),) = ledger.undo(stack.run, stack.ledger.open(), by="run")
    assert "rollback of" in problem and stack.ledger.open()


def test_when_chaos_toolkit_is_killed_whoever_heals_plays_the_rollbacks(stack):
    waits = {**BREAKS, "pauses": {"after": 60}}
    child = begin(stack, experiment(stack.run, [waits], [MENDS], **FILE))
    until = time.monotonic() + 30
    while ("witness", "ok") not in edges(stack) and time.monotonic() < until:
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert (stack.run / "down").exists()
    healed, _, failed = ledger.heal(stack.run)
    assert [entry.kind for entry in healed] == ["action"] and failed == []
    assert not (stack.run / "down").exists() and stack.ledger.open() == []


CONTRACT = {
    "alerts": [], "probes": {"server": {"restart": "never"}},
    "clients": {"errors_at_most": "1%", "recovered_within": "5s"},
}  # fmt: skip
WELL = {"type": "probe", "name": "well", "tolerance": 0, "provider": {"type": "process", "path": "true"}}
OWN = action("kill", type="python", module="harness.chaos.actions", func="kill")


@pytest.mark.parametrize(
    ("method", "witness", "says"),
    [
        ([BREAKS], {}, "must have one of query (PromQL), http (a URL or a path) and command"),
        ([BREAKS], {"query": "up", "http": "/"}, "must have one of query"),
        ([BREAKS], {"query": "up", "status": 503}, "status belongs to http"),
        ([BREAKS], {"http": "ready"}, "must be a URL, or a path of the service that begins with /"),
        ([BREAKS], {"query": "up == "}, "witness.query: is no PromQL"),
        ([BREAKS], {"command": "'"}, "cannot be split into arguments"),
        ([BREAKS], {"query": "up", "action": "tak it down"}, "no such action of somebody else's is in the method; did"),
        ([OWN], {"query": "up"}, "the method has no action but the harness' own, which have witnesses; drop it"),
        ([BREAKS], {"query": "up == 0", "component": "servr"}, "no component is called servr; did you mean server"),
        ([BREAKS], {"query": "up == 0", "component": "server"}, ""),
        ([OWN, BREAKS], {"query": "up == 0", "action": "take it down"}, ""),
    ],
)
def test_a_wrong_witness_is_an_error_of_the_plan(method, witness, says, tmp_path):
    content = experiment(tmp_path, method, [{**OWN, "provider": {**OWN["provider"], "func": "heal"}}])
    content["steady-state-hypothesis"] = {"title": "well", "probes": [WELL]}
    content["extensions"][0]["expect"] = {**CONTRACT, "witness": witness}
    (tmp_path / "foreign.yaml").write_text(yaml.safe_dump(content))
    problems = []
    service = SimpleNamespace(
        replica_names=("server",), dependencies={}, attached=False, controls={}, telemetry=Telemetry()
    )
    found = read_experiment(tmp_path / "foreign.yaml", [], problems, service)
    assert (found is not None and problems == []) if not says else any(says in problem for problem in problems), (
        problems
    )
    assert all("foreign.yaml:" in problem for problem in problems)


def test_what_cannot_be_written_down_is_not_begun(stack):
    (stack.run / "ledger.jsonl").mkdir()
    begin(stack, experiment(stack.run, [BREAKS], [], **FILE)).wait(60)
    assert not (stack.run / "down").exists()


def test_a_witness_reads_durations_as_contracts_write_them():
    assert Witness.model_validate({"query": "up", "within": "2m"}).within == 120


def test_what_the_plan_gives_it_is_in_its_environment_and_that_of_its_rollbacks(stack):
    given = {"TOLD": "${SERVICE_URL}/x ${SERVICE_URL}", "PLAIN": "y"}
    tells = [process(f"tell {n}", f"""sh -c 'echo "$TOLD $PLAIN" > {stack.run}/told{n}'""") for n in (1, 2)]
    content = experiment(stack.run, tells[:1], tells[1:], command="true")
    content["extensions"][0]["environment"] = given
    begin(stack, content).wait(60)
    runs = {"SERVICE_URL": "", "PROMETHEUS_URL": ""}
    url = os.environ.get("SERVICE_URL", runs["SERVICE_URL"])
    assert (stack.run / "told1").read_text() == (stack.run / "told2").read_text() == f"{url}/x {url} y\n"
