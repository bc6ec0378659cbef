"""Each fault on a real process: it begins, it is witnessed, it is undone; and what happens when it does not take."""

import json
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harness.errors import FaultError, StackError
from harness.faults import FAULTS, needs
from harness.faults.inject import end_all, inject
from harness.faults.kill import Kill
from harness.faults.pause import Pause
from harness.faults.sham import Sham
from harness.faults.surge import Surge
from harness.history import History
from harness.stack.process import identify, spawn, state
from harness.stack.undo import Undo


def edges(stack):
    return [(e.name, e.detail["edge"], e.outcome) for e in History.read(stack.run).of("fault")]


def test_a_killed_process_is_witnessed_gone(stack):
    pid = stack.pid("server")
    inject(Kill(), stack, "crash", 60)
    assert state(pid) is None
    assert edges(stack) == [("kill", "start", "ok"), ("kill", "witness", "ok")]


def test_a_killed_dependency_is_started_again_by_its_rollback_and_a_replica_is_not(stack):
    stack = replace(stack, dependencies=("database",))
    for component, undo in (("database", [Undo("restart_component", {"component": "database"})]), ("server", [])):
        fault = Kill(component)
        (stack.run / "pids" / component).write_text((stack.run / "pids/server").read_text())
        assert fault.undo(fault.target(stack)) == undo


def test_what_takes_the_place_of_a_killed_process_is_killed_too_while_memory_is_short(stack):
    pids = []

    def restart():
        while len(pids) < 2:
            time.sleep(0.1)
            pid = identify(spawn("server", [sys.executable, "-c", "import time; time.sleep(60)"], stack.run).pid)
            (stack.run / "pids" / "server").write_text(json.dumps(pid._asdict()))
            pids.append(pid)

    kubelet = threading.Thread(target=restart)
    kubelet.start()
    inject(Kill(again_for_s=2), stack, "crash", 60)
    kubelet.join()
    assert [state(pid) for pid in pids] == [None, None]


def test_a_paused_process_is_witnessed_stopped_and_wakes_when_healed(stack):
    pid = stack.pid("server")
    inject(Pause(), stack, "hang", 60)
    assert state(pid) == "T" and len(stack.ledger.open()) == 1
    assert end_all(stack, "heal") == ["pause"]
    assert state(pid) != "T" and stack.ledger.open() == []
    assert edges(stack)[-1] == ("pause", "stop", "ok")


def test_a_sham_touches_nothing_and_needs_no_witness(stack):
    pid = stack.pid("server")
    inject(Sham(), stack, "sham", 60)
    assert end_all(stack, "heal") == ["sham"]
    assert state(pid) != "T"
    assert edges(stack) == [("sham", "start", "ok"), ("sham", "stop", "ok")]


@dataclass(frozen=True)
class Idle(Pause):
    """A pause that silently does nothing."""

    def start(self, stack, facts):
        pass


def test_a_fault_that_silently_does_nothing_has_no_witness(stack):
    inject(Idle(), stack, "hang", 60, witness_within_s=0.2)
    assert edges(stack)[-1] == ("pause", "witness", "unknown")


def test_the_undo_is_in_the_ledger_before_the_deed(stack):
    seen = []

    @dataclass(frozen=True)
    class Watching(Sham):
        def start(self, stack, facts):
            seen.extend(stack.ledger.open())

    inject(Watching(), stack, "x", 60)
    assert [u.verb for u in seen[0].undo] == ["continue"]


def test_a_fault_that_cannot_start_is_undone_and_raised(stack):
    @dataclass(frozen=True)
    class Failing(Pause):
        def start(self, stack, facts):
            super().start(stack, facts)
            raise OSError("no room")

    with pytest.raises(FaultError, match=r"pause could not be started: no room$"):
        inject(Failing(), stack, "x", 60)
    assert state(stack.pid("server")) != "T" and stack.ledger.open() == []


def test_a_fault_that_can_neither_start_nor_be_undone_says_both(stack):
    @dataclass(frozen=True)
    class Failing(Sham):
        def undo(self, facts):
            return [Undo("remove", {"path": "relative"})]

        def start(self, stack, facts):
            raise OSError("no room")

    with pytest.raises(FaultError, match=r"sham could not be started: no room; sham .* could not be undone: remove: "):
        inject(Failing(), stack, "x", 60)
    assert len(stack.ledger.open()) == 1


def test_a_witness_that_fails_has_seen_nothing_and_the_fault_is_still_undone(stack):
    @dataclass(frozen=True)
    class Blind(Pause):
        def witness(self, stack, facts):
            raise StackError("Prometheus did not answer")

    inject(Blind(), stack, "x", 60, witness_within_s=0.1)
    event = History.read(stack.run).of("fault")[-1]
    assert event.outcome == "unknown"
    assert event.detail["evidence"] == "not seen within 0.1 s: StackError: Prometheus did not answer"
    assert end_all(stack, "heal") == ["pause"]


def test_what_a_check_may_use_is_recorded_when_a_fault_begins(stack):
    inject(Pause(), stack, "hang", 60)
    detail = History.read(stack.run).of("fault")[0].detail
    assert detail["component"] == "server" and detail["ends_with_process"] is True and detail["generator"] is None
    assert detail["params"] == {"component": "server"}
    assert (Surge.component, Surge.generator) == (None, "surge")


@pytest.mark.parametrize("lease_s", [0, -1, float("nan"), float("inf")])
def test_a_lease_that_never_runs_out_or_has_is_none(lease_s, stack):
    with pytest.raises(FaultError, match="a lease of"):
        inject(Sham(), stack, "x", lease_s)


def test_what_a_fault_needs_and_the_host_lacks_is_named_before_anything_is_touched(stack, monkeypatch):
    @dataclass(frozen=True)
    class Demanding(Pause):
        needs = ("root", "gpu")

    root = needs.Need("root", lambda: needs.Found(True, "this process runs as root"), "sudo")
    gpu = needs.Need("a GPU", lambda: needs.Found(False, "there is no /dev/nvidiactl"), "buy one")
    known = {"root": root, "gpu": gpu}
    monkeypatch.setattr(needs, "NEEDS", known)
    with pytest.raises(FaultError, match=r"which lacks gpu \(there is no /dev/nvidiactl\); buy one$"):
        inject(Demanding(), stack, "x", 60)
    assert stack.ledger.open() == [] and not (stack.run / "events.jsonl").exists()
    known["gpu"] = root
    inject(Demanding(), stack, "x", 60)


def test_the_needs_of_every_fault_are_known_and_can_be_asked_for():
    assert {need for fault in FAULTS.values() for need in fault.needs} <= needs.NEEDS.keys()
    for need in needs.NEEDS.values():
        found = need.look()
        assert found.there in (True, False) and found.said and need.about and need.remedy


def test_an_unknown_process_is_named_with_the_known_ones(stack):
    with pytest.raises(StackError, match=r"unknown process 'sever' \(known: server\)"):
        inject(Kill("sever"), stack, "x", 60)
    assert stack.ledger.open() == []


def test_a_surge_without_its_scenario_begins_nothing(stack):
    with pytest.raises(FaultError, match=r"no scenario nowhere\.py"):
        inject(Surge("nowhere.py", "constant:1/s", 1, "vector(1)"), stack, "x", 60)


def test_every_file_of_a_fault_is_in_the_table():
    folder = Path(needs.__file__).parent
    assert {p.stem for p in folder.glob("*.py")} - {"__init__", "fault", "inject", "needs"} == set(FAULTS)
    assert {name: (fault.kind, fault.__module__) for name, fault in FAULTS.items()} == {
        name: (name, f"harness.faults.{name}") for name in FAULTS
    }
