"""A fault hits the whole component and nothing else, and its witness sees what clients of that component see."""

import contextlib
import json
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harness.errors import FaultError, StackError
from harness.faults.inject import end_all as heal
from harness.faults.inject import inject
from harness.faults.kill import Kill
from harness.faults.pause import Pause
from harness.faults.sham import Sham
from harness.history import History
from harness.stack import watchdog
from harness.stack.process import free_ports, identify, send, spawn, state
from harness.stack.reach import react

SERVER = str(Path(__file__).with_name("several_processes.py"))
SHAPES = ["one", "workers", "session", "nameless", "daemon"]


@pytest.fixture
def component(stack):
    """Start a component in a shape; gives the stack that knows its address."""

    def start(shape, name="server", accepts=True, shell=False):
        port = free_ports(1)[0]
        argv = [sys.executable, SERVER, shape, str(port)]
        child = spawn(name, ["sh", "-c", f"{' '.join(argv)}; true"] if shell else argv, stack.run)
        (stack.run / "pids" / name).write_text(json.dumps(identify(child.pid)._asdict()))
        here = replace(stack, addresses={name: f"127.0.0.1:{port}"})
        until = time.monotonic() + 20
        while react(here.addresses[name], 1, http=True).kind != ("accepted" if accepts else "unaccepted"):
            assert time.monotonic() < until
            time.sleep(0.02)
        return here

    return start


def processes(stack):
    """The states of all that serve the port, found by their command line alone."""
    port, found = stack.addresses["server"].rpartition(":")[2], []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if port in (entry / "cmdline").read_text().replace("; true", "").split("\0")[-2].split(" "):
                found.append((entry / "stat").read_text().rpartition(")")[2].split()[0])
        except (OSError, IndexError):
            continue
    return [letter for letter in found if letter not in "ZX"]


def witness(stack):
    return [e for e in History.read(stack.run).of("fault") if e.detail["edge"] == "witness"][-1]


@pytest.mark.parametrize("shell", [False, True], ids=["", "below sh"])
@pytest.mark.parametrize("shape", SHAPES)
def test_all_processes_of_a_component_are_killed(component, shape, shell):
    stack = component(shape, shell=shell)
    assert len(processes(stack)) >= (1 if shape == "one" else 2)
    inject(Kill(), stack, "crash", 60)
    assert processes(stack) == [] and react(stack.addresses["server"], 1).kind == "refused"
    assert witness(stack).outcome == "ok" and "refuses" in witness(stack).detail["evidence"]


@pytest.mark.parametrize("shell", [False, True], ids=["", "below sh"])
@pytest.mark.parametrize("shape", SHAPES)
def test_all_processes_of_a_component_are_paused_and_resumed(component, shape, shell):
    stack = component(shape, shell=shell)
    before = len(processes(stack))
    entry = inject(Pause(), stack, "hang", 60)
    assert processes(stack) == ["T"] * before
    assert witness(stack).outcome == "ok" and "accepted by nobody" in witness(stack).detail["evidence"]
    for _ in range(2):
        assert stack.ledger.undo([entry])[0][1] == ""
        assert "T" not in processes(stack) and react(stack.addresses["server"], 5).kind == "accepted"


@pytest.mark.parametrize("shape", ["deferred", "full"])
def test_a_pause_shows_however_its_address_takes_connections(component, shape):
    stack = component(shape)
    inject(Pause(), stack, "hang", 60)
    with contextlib.ExitStack() as waiting:
        for _ in range(3 if shape == "full" else 0):
            waiting.enter_context(client := socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", int(stack.addresses["server"].rpartition(":")[2])))
        assert react(stack.addresses["server"], 0.5).kind == "unaccepted"
    assert witness(stack).outcome == "ok"


def test_a_dependency_that_never_speaks_is_seen_to_hang(component):
    stack = replace(component("workers"), dependencies=("server",))
    inject(Pause(), stack, "hang", 60)
    assert witness(stack).outcome == "ok"


def test_a_paused_component_is_resumed_whole_when_the_harness_is_gone(component):
    stack = component("workers", shell=True)
    inject(Pause(), stack, "hang", lease_s=0.1)
    guard = watchdog.start(stack.run)  # which undoes what has outlived its lease
    until = time.monotonic() + 20
    while "T" in processes(stack) and time.monotonic() < until:
        time.sleep(0.02)
    assert "T" not in processes(stack) and len(processes(stack)) >= 3
    watchdog.dismiss(guard)


def test_another_component_is_left_alone(component):
    stack = component("workers")
    other = component("workers", name="server-2")
    inject(Kill(), stack, "crash", 60)
    assert react(other.addresses["server-2"], 5).kind == "accepted"


def test_a_sham_finds_a_replica_where_none_is_named(component):
    stack = component("one", name="server-2")
    inject(Sham(), replace(stack, dependencies=("database",)), "sham", 60)
    assert stack.ledger.open()[0].facts["pid"] == stack.pid("server-2").pid
    with pytest.raises(StackError, match="'sever'"):
        inject(Sham("sever"), stack, "sham", 60)


FAULTS = [Kill, Pause]


def bystander(fault):
    """The same fault, done to a wrong process."""

    @dataclass(frozen=True)
    class Wrong(fault):
        def target(self, stack):
            other = identify(spawn("bystander", [sys.executable, "-c", "import time; time.sleep(60)"], stack.run).pid)
            return {**super().target(stack), **other._asdict()}

        def start(self, stack, facts):
            os.kill(facts["pid"], signal.SIGKILL if fault is Kill else signal.SIGSTOP)

    return Wrong()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bystander_is_not_the_component(component, fault):
    stack = component("workers")
    inject(bystander(fault), stack, "x", 60, witness_within_s=1)
    assert witness(stack).outcome == "unknown" and "not seen within 1 s" in witness(stack).detail["evidence"]
    heal(stack, "test")


@pytest.mark.parametrize("fault", FAULTS)
def test_its_main_process_alone_is_not_the_component(component, fault):
    @dataclass(frozen=True)
    class Main(fault):
        def start(self, stack, facts):
            send(stack.pid("server"), signal.SIGKILL if fault is Kill else signal.SIGSTOP)

    stack = component("workers", shell=True)
    inject(Main(), stack, "x", 60, witness_within_s=1)
    assert witness(stack).outcome == "unknown"


def test_a_slow_component_is_not_a_paused_one(component):
    @dataclass(frozen=True)
    class Idle(Pause):
        def start(self, stack, facts):
            pass

    stack = component("slow")
    inject(Idle(), stack, "x", 60, witness_within_s=1)
    assert witness(stack).outcome == "unknown"
    inject(Pause(), stack, "x", 60)
    assert witness(stack).outcome == "ok"


def test_where_nothing_was_accepted_before_a_pause_cannot_be_seen_and_a_kill_can(component, monkeypatch):
    monkeypatch.setattr("harness.faults.pause.LOOK_S", 0.3)
    stack = component("deaf", accepts=False)
    inject(Pause(), stack, "x", 60, witness_within_s=0.1)
    assert witness(stack).outcome == "unknown" and "before the fault either" in witness(stack).detail["evidence"]
    inject(Kill(), stack, "x", 60)
    assert witness(stack).outcome == "ok"


def test_where_nothing_listened_before_a_kill_shows_in_what_takes_its_place_alone(component):
    stack = replace(component("one"), addresses={"server": f"127.0.0.1:{free_ports(1)[0]}"})
    inject(Kill(), stack, "x", 60, witness_within_s=0.1)
    assert witness(stack).outcome == "unknown" and "before the fault, too" in witness(stack).detail["evidence"]
    stack = replace(component("one"), addresses=stack.addresses)
    fault, facts = Kill(), Kill().target(stack)
    fault.start(stack, facts)
    component("one")  # as its supervisor does it
    assert "started anew" in fault.witness(stack, facts)


def test_a_component_that_was_gone_is_no_target(component):
    stack = component("one")
    facts = [fault().target(stack) for fault in FAULTS]
    Kill().start(stack, facts[0])
    for fault, known in zip(FAULTS, facts, strict=True):
        with pytest.raises(FaultError, match="was gone before"):
            fault().start(stack, known)


def test_what_is_paused_while_it_has_no_known_address_shows_in_its_mark(stack):
    inject(Pause(), stack, "x", 60)
    assert "marked as server is stopped (1)" in witness(stack).detail["evidence"]
    assert state(stack.pid("server")) == "T"
    inject(Kill(), stack, "x", 60)
    assert "nothing is marked as server" in witness(stack).detail["evidence"]
