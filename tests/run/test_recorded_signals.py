"""What the service records is kept while it is up and stored when it is down, whatever is wrong with it."""

import json
import sqlite3
import time

import numpy as np
import pytest

from harness.checks import Logged, judge_all
from harness.history import ROW, History
from harness.run import recorded
from harness.signals import read
from harness.stack.spec import ServiceSpec
from harness.telemetry import Telemetry
from harness.verdict import Verdict

IDS = [f"{i:032x}" for i in range(40)]
SECTION = {
    "classes": ["NORMAL", "PNEUMONIA"],
    "logs": {"only": {"msg": "done"}, "label": "class"},
    "audit": {"file": "{state}/{replica}/audit.jsonl", "verify": "sh -c 'wc -l < {file}; exit 3'"},
    "database": {"url": "sqlite:///{state}/{replica}/x.db", "table": "predictions"},
    "traces": {"environment": {"X": "{otlp}"}},
}


@pytest.fixture
def service(tmp_path):
    base = {
        "name": "x", "start": {"command": "x {port}"}, "replicas": 2, "probes": {"readiness": {"path": "/"}},
        "monitoring": {"job": "x", "rules": ["x"], "alertmanager": "x"}, "slos": "x", "telemetry": SECTION,
    }  # fmt: skip
    return ServiceSpec.model_validate(base)


@pytest.fixture
def run(tmp_path):
    run = tmp_path / "run"
    (run / "logs").mkdir(parents=True)
    for replica in ("server-1", "server-2"):
        (run / "private" / "state" / replica).mkdir(parents=True)
    return run


def log(run, replica, *ids, **more):
    with open(run / "logs" / f"{replica}.log", "a") as file:
        file.write("starting\n")
        for request_id in ids:
            file.write(json.dumps({"msg": "done", "request_id": request_id, "class": "NORMAL", **more}) + "\n")


def audit(run, replica, *ids):
    with open(run / "private" / "state" / replica / "audit.jsonl", "a") as file:
        file.writelines(json.dumps({"request_id": one}) + "\n" for one in ids)


def database(run, replica, *ids):
    with sqlite3.connect(run / "private" / "state" / replica / "x.db") as made:
        made.execute("CREATE TABLE predictions (request_id TEXT)")
        made.executemany("INSERT INTO predictions VALUES (?)", [(one,) for one in ids])


def test_the_signals_of_all_replicas_are_stored_and_outlive_their_state(service, run):
    told = []
    with recorded.kept(service, run, lambda *event, **about: told.append((*event, about))):
        for replica, ids in (("server-1", IDS[:25]), ("server-2", IDS[25:])):
            log(run, replica, *ids)
            audit(run, replica, *ids)
            database(run, replica, *ids)
        state, copy = run / "private" / "state" / "server-2", run / "signals" / "audit-server-2.jsonl"
        give_up = time.monotonic() + 30
        while not copy.exists() or copy.read_text().count("\n") < 15:
            assert time.monotonic() < give_up
            time.sleep(0.02)
        (state / "audit.jsonl").rename(state / "audit.jsonl.1")
        audit(run, "server-2", "late")
    recorded.store(service, run)
    found = read(run)
    assert sorted(found) == ["audit", "log", "record", "span"]
    for kind, more in (("log", []), ("audit", [b"late"]), ("record", [])):
        assert sorted(found[kind].rows["request_id"]) == sorted([one.encode() for one in IDS] + more), kind
        assert sorted({*found[kind].rows["file"].tolist()}) == [0, 1]
    verified = found["audit"].about["verified"]
    assert verified[0] == {"replica": "server-1", "code": 3, "said": "25"} and len(verified) == 2
    assert "nothing was stored" in found["span"].about["problem"]
    assert [(e[:3], e[3]["signal"]) for e in told] == [(("watch", "rotated", "ok"), "audit")]


def test_what_is_not_there_and_what_breaks_a_watcher_is_said_by_the_check(service, run, monkeypatch):
    with recorded.kept(service, run, lambda *_, **__: None):
        pass
    monkeypatch.setattr(recorded.lines, "read", lambda *_: 1 / 0)
    recorded.store(service, run)
    found = read(run)
    assert found["log"].about["problem"] == "ZeroDivisionError: division by zero"
    assert found["record"].about["problem"].count("there was no such file") == 2
    rows = np.zeros(1, ROW)
    rows["status"], rows["predicted"] = 200, 1
    (result,) = judge_all([Logged(1.0, 0.0, ())], History(rows={"load": rows}, signals=found))
    assert (result.verdict, "ZeroDivisionError" in result.reason) == (Verdict.INCONCLUSIVE, True)


def test_a_run_that_breaks_leaves_its_database_alone(service, run, monkeypatch):
    monkeypatch.setattr(recorded.records, "read", lambda *_: pytest.fail("read"))
    with pytest.raises(KeyboardInterrupt), recorded.kept(service, run, lambda *_, **__: None):
        raise KeyboardInterrupt


def test_a_service_that_says_nothing_of_itself_is_judged_by_nothing(service, run):
    bare = service.model_copy(update={"telemetry": Telemetry()})
    with recorded.kept(bare, run, lambda *_, **__: None):
        pass
    recorded.store(bare, run)
    assert read(run) == {} and not (run / "signals").exists()
