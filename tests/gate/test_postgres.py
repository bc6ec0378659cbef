"""The bundled service on a real PostgreSQL, a dependency of its stack, which is killed, hangs, is locked, has no
connection left and no disk; each time the service notices, goes on answering, and is as before once it is undone."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from small_project import ROOT, leftovers

from harness.faults import FAULTS
from harness.faults.inject import end_all, inject
from harness.history import History
from harness.stack import prometheus, volume
from harness.stack.stack import Stack
from harness.stack.tools import apt_install

pytestmark = [pytest.mark.gate, pytest.mark.timeout(280, func_only=True)]

HERE = Path(__file__).parent
URL = "postgresql://postgres@{database.host}:{database.port}/postgres"
DOWN, UP = "database_up == 0", "database_up == 1"
CASES = {
    "killed": ("kill", {"component": "database"}, ""),
    "hangs": ("pause", {"component": "database"}, DOWN),
    "locked": ("database", {"url": URL, "becomes": "locked", "witness_query": DOWN}, DOWN),
    "out of connections": ("database", {"url": URL, "becomes": "out_of_connections", "witness_query": DOWN}, DOWN),
    "no disk": ("disk_full", {"component": "database"}, ""),
}


@pytest.fixture
def on_postgres(project):
    """The project's service with PostgreSQL for its records."""
    if not list(Path("/usr/lib/postgresql").glob("*/bin/postgres")):
        try:
            apt_install("postgresql")
        except Exception as error:
            pytest.skip(f"PostgreSQL is not here and could not be installed, so nothing of it was tried: {error}")
    pytest.importorskip("psycopg")
    shutil.copy(HERE / "postgres.sh", project.folder)
    service = yaml.safe_load((project.folder / "service/service.yaml").read_text())
    start = {"command": "sh postgres.sh {port} {state}/database", "disk": "400 MB", "ready_within": "60s"}
    service["dependencies"] = {"database": {"start": start}}
    service["start"]["command"] += f" --database {URL}"
    service["telemetry"]["database"]["url"] = URL
    (project.folder / "service/service.yaml").write_text(yaml.safe_dump(service, sort_keys=False))
    project.plan(checks=["slos"])
    return project


def wait(condition, within_s=40):
    until = time.monotonic() + within_s
    while not condition() and time.monotonic() < until:
        time.sleep(0.1)
    return condition()


def test_a_postgresql_that_fails_in_each_way_is_noticed_and_comes_back(on_postgres):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command, folder = [sys.executable, "-m", "harness.cli"], on_postgres.folder
    with open(folder / "up.log", "wb") as log:
        up = subprocess.Popen([*command, "up"], cwd=folder, env=env, stdout=log, stderr=log)
        said = (folder / "up.log").read_text
        assert wait(lambda: "up: " in said() or up.poll() is not None) and up.poll() is None, said()
        load = subprocess.Popen(
            [*command, "load", "scenarios/steady.py", "--for", "5m"], cwd=folder, env=env, stdout=log, stderr=log
        )
    try:
        stack = Stack.read((folder / "runs/up").resolve())

        def shows(query):
            return bool(prometheus.query(stack.prometheus_url, query))

        assert wait(lambda: shows("sum(ml_predictions_total) > 20")), said()
        for name, (kind, arguments, then) in CASES.items():
            if kind == "disk_full" and volume.lacking():
                continue
            assert wait(lambda: shows(UP)), name
            inject(FAULTS[kind](**arguments), stack, name, 100, witness_within_s=20)
            seen = History.read(stack.run).of("fault", kind)[-1]
            assert seen.outcome == "ok", (name, seen.detail)
            assert not then or wait(lambda then=then: shows(then)), name
            assert end_all(stack, "test") == [kind]
            assert wait(lambda: shows(UP)), name
        answered = "sum(rate(http_requests_total{status='200'}[5s])) > 1"
        assert wait(lambda: shows(answered)), "it goes on answering"
        assert not shows("database_records_lost_total > 0")
    finally:
        for process in (load, up):
            process.send_signal(signal.SIGINT)
            process.wait(60)
    assert not leftovers(folder) and not [m for m in volume.mounts() if str(folder) in m.place], said()
