"""The components of a run are looked at by their processes, and one that has none is not there."""

import contextlib
import json
import os
import subprocess
import time

import pytest

from harness.eventlog import Log, events_of
from harness.history import Resources
from harness.recordfile import records
from harness.run.resources import Look, sampled
from harness.stack.process import started_ticks
from harness.stack.stack import Stack


@pytest.fixture
def stack(tmp_path):
    """A run with a server of two processes and a database of one."""
    children = {
        "server": subprocess.Popen(["sh", "-c", "sleep 60 & wait"], process_group=0),
        "database": subprocess.Popen(["sleep", "60"], process_group=0),
    }
    (tmp_path / "pids").mkdir()
    for name, child in children.items():
        facts = {"pid": child.pid, "started": started_ticks(child.pid), "mark": f"{name}/1"}
        (tmp_path / "pids" / name).write_text(json.dumps(facts))
    (tmp_path / "pids/server.new").touch()
    (tmp_path / "private/state/server").mkdir(parents=True)
    (tmp_path / "private/state/server/audit.jsonl").write_bytes(b"x" * 50_000)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/server.log").write_bytes(b"x" * 50_000)
    yield Stack(tmp_path, "svc", "", "", "", 60.0, dependencies=("database",)), children
    for child in children.values():
        with contextlib.suppress(ProcessLookupError):  # of which a test may have killed all
            os.killpg(child.pid, 9)
        child.wait()


def test_each_component_is_looked_at_with_all_its_processes_and_files(stack):
    here, children = stack
    look = Look(here)
    until = time.monotonic() + 5
    while (found := {r.component: r for r in look()})["server"].processes < 2:
        assert time.monotonic() < until
    server, database = found["server"], found["database"]
    assert (server.role, database.role) == ("replica", "dependency")
    assert (server.pid, server.threads, database.processes) == (children["server"].pid, 2, 1)
    assert server.memory > 0 and server.descriptors >= 3 and 100_000 <= server.disk < 300_000
    time.sleep(0.05)
    (again, _) = sorted(look(), key=lambda r: r.role, reverse=True)
    assert again.others is not None and 0 <= again.idle <= 1


def test_a_component_without_a_process_is_not_there(stack):
    here, children = stack
    os.killpg(children["server"].pid, 9)
    children["server"].wait()
    assert [r.component for r in Look(here)()] == ["database"]


def test_what_is_sampled_lies_in_the_runs_folder_and_that_it_broke_is_an_event(stack):
    here, _ = stack
    log = Log(here.run / "events.jsonl")
    with sampled(here, log):
        time.sleep(0.2)
    assert {r.component for r in records(here.run / "resources.jsonl", Resources)} == {"server", "database"}
    (here.run / "pids").rename(here.run / "elsewhere")
    with sampled(here, log):
        time.sleep(0.2)
    (here.run / "elsewhere").rename(here.run / "pids")
    (broke,) = events_of(here.run)
    assert (broke.name, broke.outcome) == ("resources", "fail") and "FileNotFoundError" in broke.detail["problem"]
