"""A planned restart of a real process: asked by SIGTERM, killed after its grace period, and witnessed by a client."""

import json
import sys
import threading
import time
from dataclasses import replace

import pytest

from harness.errors import FaultError
from harness.faults.inject import end_all, inject
from harness.faults.stop import Stop
from harness.history import History
from harness.stack.component import stop_notice
from harness.stack.process import free_ports, identify, send, spawn, state
from harness.stack.reach import react

SERVER = """
import signal, socket, sys, time
port, how = int(sys.argv[1]), sys.argv[2]
server = socket.create_server(("127.0.0.1", port))
def asked(*_):
    if how == "ends":
        server.close(); time.sleep(0.2); sys.exit(0)
signal.signal(signal.SIGTERM, asked)
while True:
    try: server.accept()[0].close()
    except InterruptedError: pass
"""


@pytest.fixture
def serving(stack, tmp_path):
    """Start a server that handles SIGTERM in a way; gives the stack that knows its address and its grace."""

    def start(how, grace_s=5.0):
        port = free_ports(1)[0]
        child = spawn("server", [sys.executable, "-c", SERVER, str(port), how], stack.run)
        (stack.run / "pids" / "server").write_text(json.dumps(identify(child.pid)._asdict()))
        here = replace(stack, addresses={"server": f"127.0.0.1:{port}"}, grace_s=grace_s)
        until = time.monotonic() + 20
        while react(here.addresses["server"], 1).kind != "accepted":
            assert time.monotonic() < until
            time.sleep(0.02)
        threading.Thread(target=child.popen.wait, daemon=True).start()  # its parent, as a supervisor is
        return here

    return start


def edges(stack):
    return [(e.detail["edge"], e.outcome) for e in History.read(stack.run).of("fault", "stop")]


def stopped(stack):
    (event,) = History.read(stack.run).of("stack", "stopped")
    return event


def test_it_is_asked_to_end_and_a_client_sees_that_it_did(serving):
    stack = serving("ends")
    pid = stack.pid("server")
    inject(Stop(), stack, "graceful", 60)
    assert state(pid) is None and edges(stack) == [("start", "ok"), ("witness", "ok")]
    assert "refuses them now" in History.read(stack.run).of("fault")[-1].detail["evidence"]
    end = stopped(stack)
    assert (end.outcome, end.detail) == ("ok", {"component": "server", "killed": False, "grace_s": 5.0})
    assert 0.2 <= end.took < 5


def test_what_does_not_heed_it_is_killed_after_the_grace_period(serving):
    stack = serving("stays", grace_s=0.5)
    pid = stack.pid("server")
    inject(Stop(), stack, "graceful", 60)
    assert state(pid) is None
    end = stopped(stack)
    assert end.outcome == "fail" and end.detail["killed"] and end.took >= 0.5


def test_while_it_is_stopped_a_notice_is_there_and_healing_takes_it_away_twice(serving):
    stack = serving("stays", grace_s=0.5)
    notice = stop_notice(stack.run, "server")
    seen = []
    watching = threading.Timer(0.2, lambda: seen.append(notice.exists()))
    watching.start()
    inject(Stop(), stack, "graceful", 60)
    watching.join()
    assert seen == [True]
    assert end_all(stack, "heal") == ["stop"] and not notice.exists()
    assert end_all(stack, "heal") == [] and stack.ledger.open() == []


def test_one_that_is_gone_cannot_be_stopped(serving):
    stack = serving("ends")
    fault = Stop()
    facts = fault.target(stack)
    send(stack.pid("server"), 9)
    until = time.monotonic() + 10
    while react(stack.addresses["server"], 1).kind != "refused":
        assert time.monotonic() < until
    with pytest.raises(FaultError, match="was gone before it could be stopped"):
        fault.start(stack, facts)
    assert not stop_notice(stack.run, "server").exists()


def test_a_dependency_is_started_again_by_its_rollback(serving):
    stack = serving("ends")
    here = replace(stack, dependencies=("server",))
    assert [u.verb for u in Stop().undo(Stop().target(here))] == ["remove", "restart_component"]
    assert [u.verb for u in Stop().undo(Stop().target(stack))] == ["remove"]
