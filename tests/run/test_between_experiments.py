"""Before an experiment: what still fires is waited for and named, and its Alertmanager is a fresh one."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.errors import StackError
from harness.eventlog import Log
from harness.history import History
from harness.plan.experiments import Experiment
from harness.run import phases
from harness.run.gate import apart
from harness.run.session import Session
from harness.run.view import View
from harness.stack import planned
from harness.stack.alertmanager import Failure
from harness.stack.stack import Stack

EXPERIMENT = {"experiment": "hang"}


def session_of(run, live=None, may_fire=()):
    nowhere = "http://127.0.0.1:9"
    stack = Stack(run, "svc", nowhere, nowhere, nowhere, 60)
    generator = SimpleNamespace(patience=0)
    gate = SimpleNamespace(generator=generator, settle=0.1, load=SimpleNamespace(may_fire=may_fire), time_scale=60)
    service = SimpleNamespace(ready_within=0.0)
    plan = SimpleNamespace(gate=gate, always_firing=frozenset({"Watchdog"}), service=service)
    view = View(stack, time.monotonic(), lambda progress: None)
    return Session(plan, stack, Log(run / "events.jsonl"), view, live)


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
    phases.renew_alertmanager(session, "stage", ["hang"])
    thread.join()
    assert told(tmp_path, "alertmanager") == ("ok", EXPERIMENT)


def test_one_that_nobody_replaces_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(phases, "RENEWED_WITHIN_S", 0.05)
    session = session_of(tmp_path)
    phases.renew_alertmanager(session, "stage", ["hang"])
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


def test_what_a_planned_start_raises_is_waited_for_and_what_the_experiment_allows_is_not(tmp_path, monkeypatch):
    firing = {"Burning": "pending"}
    monkeypatch.setattr(phases.alerts, "active", lambda url: dict(firing))
    monkeypatch.setattr(phases.alerts, "routed", lambda url: set())
    session = session_of(tmp_path)
    session.settles_at = time.monotonic() + 60
    threading.Timer(0.5, firing.clear).start()  # long after `settle`
    phases.await_calm(session, "stage", [], [], **EXPERIMENT)
    assert told(tmp_path, "baseline") == ("ok", {"alerts": []} | EXPERIMENT)
    firing["Burning"] = "firing"
    began = time.monotonic()
    phases.await_calm(session, "stage", [], ["Burning"], **EXPERIMENT)
    assert time.monotonic() - began < 30 and History.read(tmp_path).of("run", "baseline")[-1].outcome == "ok"


class Service:
    """A stack of our own that notes how its service is started, and may not get it ready."""

    def __init__(self, problem=""):
        self.added, self.problem = [], problem

    def check(self):
        pass

    def restart(self, added):
        self.added.append(dict(added))
        if self.problem:
            raise StackError(self.problem)


def experiment(name="hang", **environment):
    return Experiment(name, Path(f"{name}.yaml"), None, environment)


def starts(run):
    told = [(e.outcome, e.detail) for e in History.read(run).of("run", "planned-start")]
    return [(d["experiment"], o, d["edge"], d["added"], d["problem"]) for o, d in told]


def test_an_experiment_that_asks_for_nothing_restarts_nothing(tmp_path):
    live = Service()
    phases.start_for(session_of(tmp_path, live), experiment(), "stage")
    assert live.added == [] and not (tmp_path / "events.jsonl").read_text()


def test_the_service_is_started_once_for_those_that_want_it_alike_and_as_before_for_the_next(tmp_path):
    live = Service()
    session = session_of(tmp_path, live)
    for one in (experiment("one", A="b"), experiment("two", A="b"), experiment("other", C="d"), experiment("plain")):
        phases.start_for(session, one, "stage")
    assert live.added == [{"A": "b"}, {"C": "d"}, {}] and session.settles_at > time.monotonic()
    assert starts(tmp_path) == [
        ("one", "ok", "begin", ["A"], ""),
        ("two", "ok", "begin", ["A"], ""),
        ("other", "ok", "begin", ["C"], ""),
        ("other", "ok", "end", [], ""),
    ]
    phases.start_as_before(session, "stage")
    assert len(live.added) == 3


def test_a_service_that_does_not_get_ready_is_said_and_nobody_shares_that_start(tmp_path):
    live = Service("server was not ready")
    session = session_of(tmp_path, live)
    phases.start_for(session, experiment("one", A="b"), "stage")
    live.problem = ""
    phases.start_for(session, experiment("two", A="b"), "stage")
    phases.start_as_before(session, "stage")
    assert [(name, outcome) for name, outcome, *_ in starts(tmp_path)] == [
        ("one", "fail"),
        ("two", "ok"),
        ("two", "ok"),
    ]
    assert live.added == [{"A": "b"}, {"A": "b"}, {}]


PREPARED = {
    "made": (['{python} -c \'open("made", "w")\'', "cp made {scratch}/found"], ""),
    "a program that is not there": (["no-such-program x"], "prepare: no-such-program x: prepare could not be started"),
    "one that fails": (["sh -c 'echo it broke; exit 4'", "touch {scratch}/found"], "exited with 4; last lines of"),
    "one that does not end": (["sleep 60"], "prepare: sleep 60: no end within 0.3 s"),
}


@pytest.mark.parametrize(("commands", "problem"), PREPARED.values(), ids=PREPARED)
def test_what_an_experiment_needs_is_made_before_the_service_is_started(tmp_path, monkeypatch, commands, problem):
    monkeypatch.setattr(planned, "PREPARED_WITHIN_S", 10.0 if "sleep 60" not in commands else 0.3)
    run, live = tmp_path / "a run", Service()  # a path with a space in it is one argument
    run.mkdir()
    session = session_of(run, live)
    session.plan.workdir = tmp_path
    made = run.resolve() / "private/scratch/hang/found"
    phases.start_for(session, replace(experiment("hang", LIBRARIES="{scratch}"), prepare=tuple(commands)), "stage")
    assert made.exists() == (not problem)
    [(_, outcome, edge, _, said)] = starts(run)
    assert (outcome, edge) == ("fail" if problem else "ok", "begin") and problem in said
    assert live.added == ([] if problem else [{"LIBRARIES": str(made.parent)}])


def test_whoever_holds_the_stack_is_asked_to_start_the_service(tmp_path):
    service, over = Service(), threading.Event()
    holder = planned.Holder(tmp_path, service.restart)

    def hold():
        while not over.wait(0.02):
            holder.heed()

    thread = threading.Thread(target=hold)
    thread.start()
    session = session_of(tmp_path)
    phases.start_for(session, experiment(A="b"), "stage")
    assert service.added == [{"A": "b"}]
    service.problem = "server was not ready"
    phases.start_as_before(session, "stage")
    over.set()
    thread.join()
    said = [("hang", "ok", "begin", ["A"], ""), ("hang", "fail", "end", [], "server was not ready")]
    assert starts(tmp_path) == said
    assert planned.asked(tmp_path) is None


def test_one_that_nobody_starts_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(phases, "HEEDED_WITHIN_S", 0.05)
    session = session_of(tmp_path)
    session.stack = replace(session.stack, grace_s=0.0)
    phases.start_for(session, experiment(A="b"), "stage")
    phases.start_as_before(session, "stage")
    said = "whoever holds the stack did not start it anew within 0.05 s"
    assert starts(tmp_path) == [("hang", "fail", "begin", ["A"], said), ("hang", "fail", "end", [], said)]
    assert planned.asked(tmp_path) is None, "nobody does it later, in the middle of an experiment"


CALM = {  # how long it has been calm, and what fires now -> how much of the baseline is recorded already
    "for longer than a baseline": (60.0, {}, phases.BASELINE_S),
    "not for so long": (1.0, {}, 1.0),
    "not any more": (60.0, {"Disk": "pending"}, 0.0),
    "nobody knows": (None, {}, 0.0),
}


@pytest.mark.parametrize(("for_s", "active", "recorded_s"), CALM.values(), ids=CALM)
def test_the_calm_after_an_experiment_is_the_baseline_of_the_next(tmp_path, monkeypatch, for_s, active, recorded_s):
    monkeypatch.setattr(phases.alerts, "active", lambda url: active)
    monkeypatch.setattr(phases.alerts, "routed", lambda url: set())
    session = session_of(tmp_path, may_fire=())
    session.calm_since = None if for_s is None else time.time() - for_s
    phases.await_calm(session, "stage", **EXPERIMENT)
    assert phases._calm_s(session) == pytest.approx(recorded_s, abs=0.5)


def test_what_was_called_up_for_an_experiment_ends_where_its_turn_does_not_come(tmp_path):
    session = session_of(tmp_path)
    session.stack.run.joinpath("journals").mkdir()
    (tmp_path / "one.yaml").write_text("{title: t, description: d, method: []}")
    one = Experiment("one", tmp_path / "one.yaml", None)
    session.plan.workdir = tmp_path
    children = phases.call_up(session, [one])
    assert phases.call_up(session, [one]) is children, "once"
    phases.dismiss(session)
    assert not children["one"].alive() and not session.waiting and not (tmp_path / "journals/one.json").exists()


def test_the_calm_before_a_planned_start_is_no_baseline_of_what_follows(tmp_path):
    session = session_of(tmp_path, Service())
    session.calm_since = time.time() - 60
    phases.start_for(session, experiment(A="b"), "stage")
    assert phases._calm_s(session) == 0.0


def test_a_sham_takes_place_beside_the_steady_load_and_nothing_else_does():
    def named(name, **about):
        return Experiment(name, Path(f"{name}.yaml"), None, **about)

    sham, again, crash = named("sham", breaks_nothing=True), named("again", breaks_nothing=True), named("crash")
    started = named("inside", breaks_nothing=True, environment={"A": "b"})
    assert apart([started, sham, crash, again]) == ([sham], [started, crash, again])
    assert apart([crash]) == ([], [crash])
