"""Before an experiment: what still fires is waited for and named, and its Alertmanager is a fresh one."""

import threading
import time
from types import SimpleNamespace

import pytest

from harness.eventlog import Log
from harness.history import History
from harness.run import phases
from harness.run.session import Session
from harness.run.view import View
from harness.stack.alertmanager import Failure
from harness.stack.stack import Stack

EXPERIMENT = {"experiment": "hang"}


def session_of(run, live=None, may_fire=()):
    nowhere = "http://127.0.0.1:9"
    stack = Stack(run, "svc", nowhere, nowhere, nowhere, 60)
    generator = SimpleNamespace(patience=0)
    gate = SimpleNamespace(generator=generator, settle=0.1, load=SimpleNamespace(may_fire=may_fire))
    view = View(stack, time.monotonic(), lambda progress: None)
    return Session(
        SimpleNamespace(gate=gate, always_firing=frozenset({"Watchdog"})), stack, Log(run / "events.jsonl"), view, live
    )


def told(run, name):
    [event] = History.read(run).of("run", name)
    return event.outcome, event.detail


FIRING = {
    "nothing": ({"Watchdog": "firing"}, {"Watchdog"}, "ok", []),
    "what the load may raise": ({"Busy": "firing"}, set(), "ok", []),
    "one that pends": ({"Disk": "pending"}, set(), "unknown", ["Disk"]),
    "one that Alertmanager still holds": ({}, {"Disk"}, "unknown", ["Disk"]),
    "one that is about to be proven, whatever the load may raise": ({"Wanted": "firing"}, set(), "unknown", ["Wanted"]),
}


@pytest.mark.parametrize(("active", "routed", "outcome", "named"), FIRING.values(), ids=FIRING)
def test_what_still_fires_after_settle_is_named(tmp_path, monkeypatch, active, routed, outcome, named):
    monkeypatch.setattr(phases.alerts, "active", lambda url: active)
    monkeypatch.setattr(phases.alerts, "routed", lambda url: routed)
    phases.await_calm(session_of(tmp_path, may_fire=("Busy", "Wanted")), "stage", ["Wanted"], **EXPERIMENT)
    assert told(tmp_path, "baseline") == (outcome, {"alerts": named} | EXPERIMENT)


def test_a_prometheus_that_does_not_say_is_no_calm(tmp_path):
    phases.await_calm(session_of(tmp_path), "stage", **EXPERIMENT)
    assert told(tmp_path, "baseline") == ("unknown", {"alerts": []} | EXPERIMENT)


def test_whoever_holds_the_stack_is_asked_for_a_fresh_alertmanager(tmp_path):
    session = session_of(tmp_path)

    def holder():
        while not session.stack.renewal.exists():
            time.sleep(0.01)
        session.stack.renewal.unlink()

    thread = threading.Thread(target=holder)
    thread.start()
    phases.renew_alertmanager(session, "stage", "hang")
    thread.join()
    assert told(tmp_path, "alertmanager") == ("ok", EXPERIMENT)


def test_one_that_nobody_replaces_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(phases, "RENEWED_WITHIN_S", 0.05)
    session = session_of(tmp_path)
    phases.renew_alertmanager(session, "stage", "hang")
    assert told(tmp_path, "alertmanager") == ("unknown", EXPERIMENT)
    assert not session.stack.renewal.exists(), "nobody does it later, in the middle of an experiment"


def test_what_was_not_notified_is_told_by_the_name_that_notifications_have(tmp_path, monkeypatch):
    session = session_of(tmp_path)
    log = session.log
    log.event("stack", "integrations", names=[["team", "webhook[1]", "msteams"]])
    log.event("run", "phase", at=100.0, phase="hang", edge="begin")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/alertmanager.log").write_text("log")
    gave_up = [Failure(101.0, "team", "webhook[1]", "no such template"), Failure(102.0, "other", "slack[0]", "refused")]
    monkeypatch.setattr(phases, "failures", lambda text, since: [one for one in gave_up if one.at >= since == 100.0])
    phases._log_failures(session, "hang")
    found = [(e.at, e.detail["receiver"], e.detail["integration"]) for e in History.read(tmp_path).of("alertmanager")]
    assert found == [(101.0, "team", "msteams"), (102.0, "other", "slack[0]")]
