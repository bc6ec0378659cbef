"""The ledger: what is open, what an undo that fails leaves open, and what a kill in the middle does to it."""

import json
import os
import signal
import sys
import time

import pytest

from harness.history import History
from harness.stack import ledger as module
from harness.stack.ledger import Ledger, heal, undo
from harness.stack.process import end_all, identify, processes_of, send, spawn, state
from harness.stack.undo import Undo

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
REFUSED = Undo("remove", {"path": "relative"})


@pytest.fixture
def run(tmp_path):
    yield tmp_path
    end_all(tmp_path)


def stopped(run):
    pid = identify(spawn("child", SLEEP, run).pid)
    send(pid, signal.SIGSTOP)
    until = time.monotonic() + 5
    while state(pid) != "T" and time.monotonic() < until:
        time.sleep(0.01)
    return pid


def wake(pid):
    return Undo("continue", pid._asdict())


def test_an_entry_is_open_until_it_is_undone(run):
    ledger = Ledger(run)
    pid = stopped(run)
    entry = ledger.add("pause", "hang", {}, {}, [wake(pid)], 60)
    assert ledger.open() == [entry]
    assert undo(run, [entry], by="heal") == [(entry, "")]
    assert state(pid) != "T"
    assert ledger.open() == []
    event = History.read(run).of("fault", "pause")[0]
    assert event.outcome == "ok" and event.detail | {"by": "heal", "edge": "stop", "id": entry.id} == event.detail


def test_undoing_twice_is_harmless(run):
    ledger = Ledger(run)
    entry = ledger.add("pause", "hang", {}, {}, [wake(stopped(run))], 60)
    assert ledger.undo([entry]) == ledger.undo([entry]) == [(entry, "")]


def test_an_undo_that_there_is_not_is_refused_before_the_fault_begins(run):
    for step, says in [
        (Undo("unheard-of", {}), "no verb 'unheard-of' to undo by .known: continue, end, remove"),
        (Undo("continue", {"pid": 7}), "continue: missing a required argument: 'started'"),
    ]:
        with pytest.raises(ValueError, match=says):
            Ledger(run).add("odd", "x", {}, {}, [step], 60)
    assert not Ledger(run).path.exists()


def test_an_entry_by_a_later_version_is_kept_with_the_reason(run):
    begin = {"id": "a", "kind": "odd", "experiment": "x", "params": {}, "facts": {}, "until": 0}
    Ledger(run).path.write_text(json.dumps({"begin": {**begin, "undo": [{"verb": "unheard-of", "what": 1}]}}) + "\n")
    (entry, problem), *_ = Ledger(run).undo(Ledger(run).open())
    assert "odd a could not be undone: unheard-of: there is no verb 'unheard-of'" in problem
    assert Ledger(run).open() == [entry]


def test_an_entry_as_d1a8ee5_wrote_it_is_undone(run):
    pid = stopped(run)
    steps = f'[{{"verb": "continue", "pid": {pid.pid}, "started": {pid.started}}}]'
    Ledger(run).path.write_text(
        '{"begin": {"id": "0a1b2c3d", "kind": "pause", "experiment": "server-hang", "params": {"process": "server"}, '
        f'"facts": {{"pid": {pid.pid}, "started": {pid.started}}}, "undo": {steps}, "until": 1796000000.5}}}}\n'
    )
    assert [e.id for e in heal(run)[0]] == ["0a1b2c3d"]


def test_of_several_steps_those_after_a_failed_one_are_done_too(run):
    ledger, pid = Ledger(run), stopped(run)
    entry = ledger.add("two", "x", {}, {}, [REFUSED, wake(pid)], 60)
    assert "'relative' is not an absolute" in ledger.undo([entry])[0][1]
    assert state(pid) != "T" and ledger.open() == [entry]


def test_one_that_fails_is_kept_and_recorded_and_the_others_are_undone(run):
    ledger, pid = Ledger(run), stopped(run)
    ledger.add("pause", "hang", {}, {}, [wake(pid)], 60)
    kept = ledger.add("disk", "full", {}, {}, [REFUSED], 60)
    undo(run, ledger.open(), by="run")
    assert state(pid) != "T" and ledger.open() == [kept]
    events = [(e.name, e.outcome, bool(e.detail["problem"])) for e in History.read(run).of("fault")]
    assert events == [("disk", "fail", True), ("pause", "ok", False)]


def test_killed_between_an_undo_and_its_record_it_is_undone_again(run):
    ledger, pid = Ledger(run), stopped(run)
    entry = ledger.add("pause", "hang", {}, {}, [wake(pid)], 60)
    child = os.fork()
    if child == 0:
        Ledger._append = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        ledger.undo([entry])
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert state(pid) != "T" and ledger.open() == [entry]
    assert ledger.undo(ledger.open()) == [(entry, "")] and ledger.open() == []


def test_the_latest_fault_is_undone_first(run):
    ledger = Ledger(run)
    first, second = (ledger.add(kind, "x", {}, {}, [], 60) for kind in ("one", "two"))
    assert [e.id for e in ledger.open()] == [second.id, first.id]


def test_what_a_fault_started_can_be_added_to_its_entry(run):
    ledger = Ledger(run)
    entry = ledger.add("surge", "x", {}, {}, [], 60)
    pid = identify(spawn("generator", SLEEP, run).pid)
    ledger.amend(entry, {"pid": pid.pid}, [Undo("end", pid._asdict())])
    assert ledger.undo(ledger.open())[0][1] == ""
    assert state(pid) is None


def test_a_line_cut_short_by_a_kill_announces_nothing_and_does_not_spoil_the_next(run):
    ledger = Ledger(run)
    ledger.add("one", "x", {}, {}, [], 60)
    with open(ledger.path, "a") as out:
        out.write('{"begin": {"id": "half')
    assert [e.kind for e in ledger.open()] == ["one"]
    ledger.add("two", "x", {}, {}, [], 60)
    assert [e.kind for e in ledger.open()] == ["two", "one"]


def test_a_line_for_which_the_disk_has_no_room_does_not_count(run, monkeypatch):
    write = os.write
    monkeypatch.setattr(module.os, "write", lambda fd, line: write(fd, line[:10]))
    with pytest.raises(OSError, match="no room"):
        Ledger(run).add("one", "x", {}, {}, [], 60)
    assert Ledger(run).open() == []


def test_heal_undoes_what_it_can_names_what_it_cannot_and_ends_every_process(run):
    ledger = Ledger(run)
    ledger.add("disk", "x", {}, {}, [REFUSED], 60)
    ledger.add("pause", "hang", {}, {}, [wake(stopped(run))], 60)
    healed, ended, failed = heal(run)
    assert [e.kind for e in healed] == ["pause"]
    assert len(ended) == 1 and processes_of(run) == []
    assert len(failed) == 1 and "disk" in failed[0]
