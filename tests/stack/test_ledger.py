import signal
import sys
import time

import pytest

from harness.stack.ledger import Ledger, Undo, heal, undo
from harness.stack.process import end_all, identify, processes_of, send, spawn, state

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


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


def test_an_entry_is_open_until_it_is_undone(run):
    ledger = Ledger(run)
    pid = stopped(run)
    entry = ledger.add("pause", "hang", {}, {}, [Undo("continue", *pid)], 60)
    assert [e.id for e in ledger.open()] == [entry.id]
    assert undo(ledger, entry) is None
    assert state(pid) != "T"
    assert ledger.open() == []


def test_undoing_twice_is_harmless(run):
    ledger = Ledger(run)
    entry = ledger.add("pause", "hang", {}, {}, [Undo("continue", *stopped(run))], 60)
    assert undo(ledger, entry) is None
    assert undo(ledger, entry) is None


def test_an_undo_that_cannot_be_done_keeps_the_entry(run):
    ledger = Ledger(run)
    entry = ledger.add("odd", "x", {}, {}, [Undo("unheard-of", 1, 1)], 60)
    assert "does not know how to undo by 'unheard-of'" in undo(ledger, entry)
    assert [e.id for e in ledger.open()] == [entry.id]


def test_the_latest_fault_is_undone_first(run):
    ledger = Ledger(run)
    first, second = (ledger.add(kind, "x", {}, {}, [], 60) for kind in ("one", "two"))
    assert [e.id for e in ledger.open()] == [second.id, first.id]


def test_what_a_fault_started_can_be_added_to_its_entry(run):
    ledger = Ledger(run)
    entry = ledger.add("surge", "x", {}, {}, [], 60)
    pid = identify(spawn("generator", SLEEP, run).pid)
    ledger.amend(entry, {"pid": pid.pid}, [Undo("end", *pid)])
    assert undo(ledger, ledger.open()[0]) is None
    assert state(pid) is None


def test_a_line_cut_short_by_a_kill_announces_nothing(run):
    ledger = Ledger(run)
    ledger.add("one", "x", {}, {}, [], 60)
    with open(ledger.path, "a") as out:
        out.write('{"begin": {"id": "half')
    assert [e.kind for e in ledger.open()] == ["one"]


def test_heal_undoes_what_it_can_names_what_it_cannot_and_ends_every_process(run):
    ledger = Ledger(run)
    ledger.add("odd", "x", {}, {}, [Undo("unheard-of", 1, 1)], 60)
    ledger.add("pause", "hang", {}, {}, [Undo("continue", *stopped(run))], 60)
    healed, ended, failed = heal(run)
    assert [e.kind for e in healed] == ["pause"]
    assert len(ended) == 1 and processes_of(run) == []
    assert len(failed) == 1 and "odd" in failed[0]
