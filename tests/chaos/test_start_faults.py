"""Faults of a component's starts, with its real supervisor: a slow one, one that crashes, one after another."""

import sys
import time
from dataclasses import dataclass
from functools import partial

import pytest

from harness.errors import FaultError
from harness.eventlog import append
from harness.faults.crash_at_start import CrashAtStart
from harness.faults.inject import end_all, inject
from harness.faults.kill import Kill
from harness.faults.slow_start import SlowStart
from harness.history import History
from harness.stack.by_process import Processes
from harness.stack.component import Component
from harness.stack.process import end_all as end_processes
from harness.stack.process import free_ports, spawn, state
from harness.stack.stack import Stack
from harness.stack.supervisor import Supervisor

SERVER = """
import os, socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
if os.fork() == 0 and os.fork() == 0:
    import time; time.sleep(60)
import json  # what it cannot read without a descriptor
while True:
    server.accept()[0].close()
"""


@pytest.fixture
def supervised(tmp_path):
    """A stack of one server whose supervisor starts it again. What asks for a restart is answered as by its prober."""
    (tmp_path / "pids").mkdir()
    port = free_ports(1)[0]
    argv = [sys.executable, "-S", "-c", SERVER, str(port)]
    component = Component("server", tmp_path, lambda added: spawn("server", argv, tmp_path))
    supervisor = Supervisor(component, partial(append, tmp_path))
    nowhere = "http://127.0.0.1:9"
    stack = Stack(tmp_path, "s", nowhere, nowhere, nowhere, 60, addresses={"server": f"127.0.0.1:{port}"})
    stack.write()
    supervisor.start()
    wait(lambda: stack.react("server", 1).kind == "accepted")
    yield stack, supervisor
    supervisor.stop()
    end_processes(tmp_path)


def wait(condition, within_s=30):
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def witness(stack):
    return [e for e in History.read(stack.run).of("fault") if e.detail["edge"] == "witness"][-1]


def test_a_start_stands_still_until_it_is_undone(supervised):
    stack, _ = supervised
    before = stack.pid("server")
    entry = inject(SlowStart(), stack, "slow", 60)
    new = stack.pid("server")
    assert state(before) is None and state(new) == "T" and new != before
    assert witness(stack).outcome == "ok" and "takes no processor time" in witness(stack).detail["evidence"]
    for _ in range(2):
        assert stack.ledger.undo([entry])[0][1] == ""
    wait(lambda: stack.react("server", 1).kind == "accepted")
    assert stack.pid("server") == new


def test_a_start_that_goes_on_is_not_slow(supervised):
    @dataclass(frozen=True)
    class Idle(SlowStart):
        def start(self, stack, facts):
            stack.kill("server", stack.pid("server"))

    stack, _ = supervised
    inject(Idle(), stack, "slow", 60, witness_within_s=3)
    assert witness(stack).outcome == "unknown"
    end_all(stack, "heal")


def test_what_takes_its_place_ends_by_itself_and_the_next_one_lives(supervised):
    stack, supervisor = supervised
    inject(CrashAtStart(), stack, "crash", 60)
    assert witness(stack).outcome == "ok" and "end with exit code" in witness(stack).detail["evidence"]
    supervisor.forget_backoff()
    stack.ask_restart("server")  # else it waits for 10 s
    wait(lambda: stack.react("server", 1).kind == "accepted")
    assert end_all(stack, "heal") == ["crash_at_start"]


def test_a_kill_alone_is_no_crash_at_start(supervised):
    @dataclass(frozen=True)
    class Idle(CrashAtStart):
        def start(self, stack, facts):
            stack.kill("server", stack.pid("server"))

    stack, _ = supervised
    inject(Idle(), stack, "crash", 60, witness_within_s=2)
    assert witness(stack).outcome == "unknown"


def test_a_component_is_killed_one_time_after_another_without_a_back_off(supervised, monkeypatch):
    stack, supervisor = supervised
    took = []
    kill = Processes.kill

    def killed(self, found):
        took.append(found["pid"])
        return kill(self, found)

    monkeypatch.setattr(Processes, "kill", killed)

    @dataclass(frozen=True)
    class AsReady(Kill):
        def _next(self, stack, before):
            wait(lambda: stack.react("server", 1).kind == "accepted" and stack.pid("server").pid != before["pid"])
            supervisor.carry_out("readiness", "ready", None)  # as its prober does
            return super()._next(stack, before)

    inject(AsReady(times=3, lives_s=0.1, at_once=True), stack, "loop", 60)
    assert len(set(took)) == 3
    restarts = History.read(stack.run).of("stack", "restart")
    assert len(restarts) >= 2 and not History.read(stack.run).of("probe", "restart")
    assert witness(stack).outcome == "ok"


def test_one_child_of_a_component_is_killed_and_nothing_else(supervised):
    stack, _ = supervised
    main = stack.pid("server")
    wait(lambda: len(stack.members("server", main)) >= 2)
    before = set(stack.members("server", main))
    inject(Kill(child=True), stack, "worker", 60)
    assert state(main) and len(before - set(stack.members("server", main))) == 1
    assert "is gone" in witness(stack).detail["evidence"] and witness(stack).outcome == "ok"


def test_a_component_of_one_process_has_no_child(stack):
    with pytest.raises(FaultError, match="has no process but its main one"):
        inject(Kill(child=True), stack, "worker", 60)


def test_no_supervisor_starts_a_dependency_again(supervised):
    stack = Stack(**{**vars(supervised[0]), "dependencies": ("server",)})
    for fault in (SlowStart(), CrashAtStart()):
        with pytest.raises(FaultError, match="nobody starts server again"):
            inject(fault, stack, "x", 60)


@pytest.mark.parametrize(
    ("fault", "arguments", "says"),
    [
        (CrashAtStart, {"times": 0}, "times: must be"),
        (Kill, {"times": 0}, "times: must be"),
        (Kill, {"lives_s": -1}, "lives_s: must be 0 or more; got -1"),
        (Kill, {"child": True, "times": 2}, "child: is killed once"),
    ],
)
def test_arguments_that_no_fault_can_take_are_refused(fault, arguments, says):
    [(argument, why)] = fault(**arguments).mistakes()
    assert f"{argument}: {why}".startswith(says)
