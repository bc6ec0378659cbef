"""The watchdog against real processes: what it heals when the harness dies, what it leaves alone else."""

import os
import signal
import sys
import time

import pytest

from harness.history import History
from harness.stack import watchdog
from harness.stack.ledger import Ledger
from harness.stack.process import end_all, identify, processes_of, send, spawn, state
from harness.stack.undo import Undo

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def run(tmp_path):
    yield tmp_path
    end_all(tmp_path)


def wait(condition, within_s=20):
    until = time.monotonic() + within_s
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


def test_when_the_harness_is_gone_it_undoes_faults_ends_processes_and_removes_secrets(run):
    guard = watchdog.start(run)
    (run / "private").mkdir()
    (run / "private/key").write_text("secret")
    pid = identify(spawn("server", SLEEP, run).pid)
    Ledger(run).add("pause", "hang", {}, {}, [Undo("continue", pid._asdict())], 60)
    send(pid, signal.SIGSTOP)
    guard.popen.stdin.close()  # as the kernel does it to a killed harness
    guard.popen.stdin = None
    assert wait(lambda: not guard.alive())
    assert processes_of(run) == [] and Ledger(run).open() == [] and not (run / "private").exists()
    healed = History.read(run).of("run", "healed")
    assert healed[0].outcome == "ok" and healed[0].detail["faults"] == ["pause"]


def test_signals_that_end_a_session_do_not_end_it(run):
    guard = watchdog.start(run)
    time.sleep(0.5)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(guard.pid, signum)
    time.sleep(0.3)
    assert guard.alive()
    watchdog.dismiss(guard)


def test_dismissed_it_goes_and_touches_nothing(run):
    guard = watchdog.start(run)
    child = spawn("server", SLEEP, run)
    watchdog.dismiss(guard)
    assert guard.popen.returncode == 0
    assert child.alive()


def test_a_fault_that_outlives_its_lease_is_undone_while_the_harness_lives(run):
    guard = watchdog.start(run)
    pid = identify(spawn("server", SLEEP, run).pid)
    Ledger(run).add("pause", "hang", {}, {}, [Undo("continue", pid._asdict())], lease_s=0.2)
    send(pid, signal.SIGSTOP)
    assert wait(lambda: Ledger(run).open() == [])
    assert wait(lambda: state(pid) != "T")
    assert guard.alive()
    watchdog.dismiss(guard)


def test_a_fault_that_cannot_be_undone_after_its_lease_does_not_keep_the_others_on(run):
    guard = watchdog.start(run)
    pid = identify(spawn("server", SLEEP, run).pid)
    ledger = Ledger(run)
    ledger.add("pause", "hang", {}, {}, [Undo("continue", pid._asdict())], lease_s=0.2)
    ledger.add("disk", "full", {}, {}, [Undo("remove", {"path": "relative"})], lease_s=0.2)
    send(pid, signal.SIGSTOP)
    assert wait(lambda: [e.kind for e in ledger.open()] == ["disk"])
    assert wait(lambda: state(pid) != "T")
    time.sleep(1)
    events = [(e.name, e.outcome) for e in History.read(run).of("fault") if e.detail["edge"] == "lease"]
    assert sorted(events) == [("disk", "fail"), ("pause", "ok")]  # it is tried again after seconds, not at every look
    watchdog.dismiss(guard)
