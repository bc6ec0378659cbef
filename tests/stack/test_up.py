"""A whole stack, small and real: two replicas that want a key, behind a front door; a dependency; Prometheus and
Alertmanager. What comes up, who may ask, what dies and comes back, and that nothing is left."""

import ast
import http.server
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import yaml
from steered import wait

from harness.errors import StackError, UsageError
from harness.eventlog import Log
from harness.faults.inject import end_all, inject
from harness.faults.kill import Kill
from harness.history import History
from harness.stack import prometheus, tools, volume
from harness.stack.process import processes_of
from harness.stack.spec import Probes, ServiceSpec
from harness.stack.stack import Stack
from harness.stack.up import PRIVATE, Blueprint, _scraped_too_slowly, heal, scraped, up

SERVER = """
import http.server, os, pathlib, socket, socketserver, sys
port, state, name, database = int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3], os.environ["DATABASE"]
scraped = int(sys.argv[4]) if len(sys.argv) > 4 else port  # where the metrics are
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status = 200
        key = (state / "key").read_text().strip()
        shown = self.headers["X-Key"] or self.headers["Authorization"] or ""
        if self.path != "/live" and shown.removeprefix("Bearer ") != key:
            status = 401
        elif self.path == "/ready":
            host, port = database.split(":")
            try:
                socket.create_connection((host, int(port)), 1).close()
            except OSError:
                status = 503
        if (self.path == "/metrics") != (self.server.server_port == scraped) and scraped != port:
            status = 404
        self.send_response(status); self.end_headers()
        self.wfile.write(b"up_since 1\\n" if self.path == "/metrics" else name.encode())
    def log_message(self, *a): pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    allow_reuse_address = True; daemon_threads = True
if scraped != port:
    import threading
    threading.Thread(target=Server(("127.0.0.1", scraped), Handler).serve_forever, daemon=True).start()
    (state / f"argv-{name}").write_text(repr([os.environ["WHOSE"], os.environ["BRACES"], sys.argv[5:]]))
Server(("127.0.0.1", port), Handler).serve_forever()
"""
DATABASE = "import socket,sys\ns=socket.create_server(('127.0.0.1',int(sys.argv[1])))\nwhile 1: s.accept()[0].close()"
ROUTES = {"route": {"receiver": "x"}, "receivers": [{"name": "x", "webhook_configs": [{"url": "https://example.org"}]}]}
FAILS = "sh -c 'echo secret; echo broken >&2; exit 4'"
ADDRESS = "{database.host}:{database.port}"
KEY = {"from_file": "{state}/key"}
PYTHON = sys.executable


def plan(folder, start=None, **service):
    (folder / "server.py").write_text(SERVER)
    (folder / "database.py").write_text(DATABASE)
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(ROUTES))
    readiness = {"path": "/ready", "failureThreshold": 2, "httpHeaders": [{"name": "X-Key", "valueFrom": KEY}]}
    spec = {
        "name": "guarded",
        "start": {
            "command": f"{PYTHON} server.py {{port}} {{state}} {{replica}}",
            "ready_within": "20s",
            "environment": {"DATABASE": ADDRESS},
            "prepare": [{"command": f"{PYTHON} -c 'import uuid; print(uuid.uuid4())'", "output": "{state}/key"}],
        }
        | (start or {}),
        "probes": {
            "startup": {
                "exec": {"command": ["sh", "-c", 'test -e server.py -a -n "$DATABASE" -a {port} -gt 0 -a -d {state}']}
            },
            "liveness": {"path": "/live"},
            "readiness": readiness,
        },
        "replicas": 2,
        "dependencies": {"database": {"start": {"command": f"{PYTHON} database.py {{port}}", "ready_within": "20s"}}},
        "requests": {"bearer": KEY},
        "metrics": {"bearer": KEY},
        "monitoring": {
            "job": "guarded",
            "rules": ["none.yaml"],
            "alertmanager": "alertmanager.yml",
            "scrape_interval": "30s",
            "evaluation_interval": "60s",
        },
        "slos": "none.yaml",
    }
    made = ServiceSpec.model_validate(spec | service, context={"folder": folder})
    # no pod specification may be as fast
    fast = {which: probe.model_copy(update={"periodSeconds": 0.2}) for which, probe in made.probes.by_name().items()}
    made = made.model_copy(update={"probes": Probes.model_construct(**fast)})
    return Blueprint(made, "groups: []\n", folder, 60)


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    return folder


def test_a_port_for_metrics_that_is_taken_is_no_service_of_ours(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        fixed = plan(tmp_path, replicas=1, metrics={"port": port})
        with pytest.raises(UsageError, match=f"port {port}, where service.yaml has the metrics"):
            fixed.ports()
    assert scraped(fixed.service, fixed.ports(), "server") == port
    free = plan(tmp_path, {"command": "x {port} {metrics_port}"})
    ports = free.ports()
    theirs = [scraped(free.service, ports, name) for name in ("server-1", "server-2")]
    assert len({*theirs, ports["server-1"], ports["server-2"]}) == 4


def test_a_stack_of_replicas_and_a_database_comes_up_guarded_and_leaves_nothing(tmp_path, run, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # loopback is never behind one
    theirs = tmp_path / "theirs" / "python"  # the service's own, which comes before that of the harness
    theirs.parent.mkdir()
    theirs.write_text(f'#!/bin/sh\nWHOSE=theirs exec {PYTHON} "$@"\n')
    theirs.chmod(0o755)
    monkeypatch.setenv("PATH", f"{theirs.parent}{os.pathsep}{os.environ['PATH']}")
    braces = """'{"a": 1}' '${port}' '{}' '{name}' {python}"""
    started = {
        "command": f"python server.py {{port}} {{state}} {{replica}} {{metrics_port}} {braces}",
        "environment": {"DATABASE": ADDRESS, "BRACES": "${X:-} {a} {replica}"},
        "disk": "16 MB",
    }
    with up(plan(tmp_path, started), tools.find(), run, Log(run / "events.jsonl").event, lambda line: None) as live:
        here = Stack.read(run)
        key = (run / PRIVATE / "state/key").read_text().strip()

        def asked(**headers):
            response = httpx.get(here.service_url, headers=headers, trust_env=False)
            return response.text if response.status_code == 200 else response.status_code

        disks = {name: folder for name, folder in here.volumes.items() if os.path.ismount(folder)}
        own = {f"server-{n}": str(here.state / f"server-{n}") for n in (1, 2)}
        assert disks == here.volumes == ({} if volume.lacking() else own)

        assert asked() == 401
        headers = json.loads(Path(here.access["headers_file"]).read_text())
        assert {asked(**headers) for _ in range(4)} == {"server-1", "server-2"}
        assert (run / PRIVATE).stat().st_mode & 0o777 == 0o700
        ours = (run / PRIVATE / "state/argv-server-1").read_text()
        assert ast.literal_eval(ours) == [
            "theirs", "${X:-} {a} server-1", ['{"a": 1}', "${port}", "{}", "{name}", PYTHON],
        ]  # fmt: skip
        by_replica = prometheus.query(here.prometheus_url, 'up{job="guarded"}')
        assert [one["value"][1] for one in by_replica] == ["1", "1"]
        assert len({one["metric"]["instance"] for one in by_replica}) == 2

        before, fresh = live.notifier.child.pid, f"{here.alertmanager_url}/api/v2/alerts"
        httpx.post(fresh, json=[{"labels": {"alertname": "Old"}}], trust_env=False).raise_for_status()
        here.renewal.parent.mkdir(exist_ok=True)
        here.renewal.touch()
        live.check()  # as whoever holds the stack does now and then
        assert not here.renewal.exists() and live.notifier.child.pid != before
        assert httpx.get(fresh, trust_env=False).json() == []
        live.check()

        fault = inject(Kill("database"), here, "outage", 60)
        assert wait(lambda: not live.service.in_traffic)
        with pytest.raises(httpx.HTTPError):
            asked(**headers)
        live.check()  # that a dependency ends is no end of the stack
        assert end_all(here, by="test") == ["kill"] and here.ledger.open() == []  # its rollback asks for a restart
        assert here.pid("database").pid != fault.facts["pid"] and not list((run / "requests").iterdir())
        assert wait(lambda: live.service.in_traffic)
        assert wait(lambda: {asked(**headers) for _ in range(4)} == {"server-1", "server-2"})
        os.kill(here.pid("server-1").pid, signal.SIGKILL)
        assert wait(lambda: History.read(run).of("probe", "restart"))
        live.check()
    assert processes_of(run) == [] and not (run / PRIVATE).exists()
    assert not [m for m in volume.mounts() if str(run) in m.place]
    events = [(e.name, e.outcome) for e in History.read(run).of("stack") if e.name not in ("integrations", "remark")]
    assert [e for e in events if e[0] != "start"] == [
        ("ready", "ok"), ("restart", "ok"), ("exited", "fail"), ("restart", "ok"),
    ], "Alertmanager renewed; the database killed, and started again"  # fmt: skip
    assert events.count(("start", "ok")) == 3, "both servers, and one of them again"
    for path in run.rglob("*"):
        assert not path.is_file() or key.encode() not in path.read_bytes(), path
    assert [e.detail["process"] for e in History.read(run).of("probe", "restart")] == ["server-1"]


@pytest.mark.parametrize(
    ("prepare", "problem"),
    [
        ([{"command": FAILS, "output": "{state}/key"}], "(?s)prepare: sh .*exited with 4.*broken"),
        ([{"command": "sleep 60", "within": "300ms"}], r"prepare: sleep 60: no end within 0\.3 s"),
        ([], "private/state/key: no secret can be read: No such file"),
    ],
)
def test_what_cannot_be_prepared_is_an_error_without_the_output_and_leaves_nothing(prepare, problem, tmp_path, run):
    with (
        pytest.raises(StackError, match=problem) as error,
        up(plan(tmp_path, {"prepare": prepare}, dependencies={}), tools.find(), run, print, lambda line: None),
    ):
        pass
    assert "    secret" not in str(error.value)
    assert processes_of(run) == [] and not (run / PRIVATE).exists() and not (run / "owner.json").exists()


def test_what_a_killed_run_kept_to_itself_goes_when_it_is_healed(run):
    (run / PRIVATE / "state").mkdir(parents=True)
    assert heal(run.parent) == [] and not (run / PRIVATE).exists()


LATE = 'Get "http://127.0.0.1:1/metrics": context deadline exceeded'
REFUSED = 'Get "http://127.0.0.1:1/metrics": dial tcp 127.0.0.1:1: connect: connection refused'


@pytest.mark.parametrize(
    ("targets", "slow"),
    [
        pytest.param([("svc", "down", LATE)], True, id="it answers too late"),
        pytest.param([("svc", "down", LATE), ("svc", "up", "")], True, id="one of two does"),
        pytest.param(
            [("svc", "down", LATE), ("svc", "down", REFUSED)], False, id="one answers too late, one not at all"
        ),
        pytest.param([("svc", "down", REFUSED)], False, id="it does not answer"),
        pytest.param([("svc", "unknown", "")], False, id="it was never asked"),
        pytest.param([("other", "down", LATE), ("svc", "down", REFUSED)], False, id="another job is late"),
        pytest.param([], False, id="no target"),
    ],
)
def test_only_a_service_whose_scrapes_are_all_late_is_gone_on_with(targets, slow):
    found = [{"labels": {"job": job}, "health": health, "lastError": error} for job, health, error in targets]
    body = json.dumps({"data": {"activeTargets": found}}).encode()

    class Prometheus(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Prometheus)
    live = SimpleNamespace(stack=SimpleNamespace(prometheus_url=f"http://127.0.0.1:{server.server_port}"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert _scraped_too_slowly(live, "svc") is slow
    finally:
        server.shutdown()
        server.server_close()
    assert not _scraped_too_slowly(live, "svc"), "Prometheus is gone"
