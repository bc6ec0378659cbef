"""A rollout over two real servers behind their supervisors: one after the other, stuck at a bad one, rolled back."""

import json
import os
import time
from dataclasses import replace

import pytest
from steered import SERVER, Steered, wait

from harness.errors import FaultError
from harness.faults.inject import end_all, inject
from harness.faults.rollout import Rollout
from harness.history import History
from harness.stack.process import started_ticks

BAD = "import os, sys\nif os.environ.get('BROKEN'): sys.exit('--max-batch: must be at least 1')\n"
NAMES = ("server-1", "server-2")


@pytest.fixture
def serving(stack):
    traffic = []
    steered = Steered(stack.run, NAMES, lambda name, on: traffic.append((name, on)))
    (stack.run / "server.py").write_text(BAD + SERVER)
    (stack.run / "owner.json").write_text(json.dumps({"pid": os.getpid(), "started": started_ticks(os.getpid())}))
    steered.service.start()
    steered.service.wait_ready(20)
    traffic.clear()
    addresses = {name: f"127.0.0.1:{port}" for name, port in steered.ports.items()}
    yield replace(stack, addresses=addresses), steered, traffic
    steered.service.stop(0.5)


def edges(stack):
    return [(e.detail["edge"], e.outcome) for e in History.read(stack.run).of("fault", "rollout")]


def evidence(stack):
    return next(e.detail["evidence"] for e in History.read(stack.run).of("fault") if e.detail["edge"] == "witness")


def added(steered):
    return [detail.get("added") for detail in steered.of("start")[2:]]


def test_each_is_restarted_when_the_one_before_is_ready_and_nothing_is_to_be_rolled_back(serving):
    stack, _, traffic = serving
    before = [stack.pid(name) for name in NAMES]
    inject(Rollout(), stack, "e", 60)
    assert traffic == [(name, on) for name in NAMES for on in (False, True)]
    assert all(stack.pid(name) != old for name, old in zip(NAMES, before, strict=True))
    assert edges(stack) == [("start", "ok"), ("witness", "ok")] and "server-1, server-2" in evidence(stack)
    assert end_all(stack, "heal") == ["rollout"] and len(traffic) == 4
    assert [e.detail["component"] for e in History.read(stack.run).of("stack", "rolled-out")] == [*NAMES]


def test_a_bad_release_stops_at_the_first_and_is_rolled_back_twice(serving):
    stack, steered, traffic = serving
    inject(Rollout(environment={"BROKEN": "1"}, ready_within_s=1.5), stack, "e", 60)
    assert traffic == [("server-1", False)] and edges(stack) == [("start", "ok"), ("witness", "ok")]
    assert "refuses connections; server-1 said last: --max-batch: must be at least 1" in evidence(stack)
    (entry,) = stack.ledger.open()
    assert [step.arguments for step in entry.undo] == [{"component": "server-1"}]
    assert end_all(stack, "heal") == ["rollout"] and traffic == [("server-1", False), ("server-1", True)]
    assert stack.ledger.undo([entry])[0][1] == "" and added(steered)[-1] is None


def test_a_release_of_one_replica_leaves_the_other_alone(serving):
    stack, steered, _ = serving
    other = stack.pid("server-1")
    inject(Rollout(environment={"NEW": "1"}, replicas=["server-2"]), stack, "e", 60)
    assert stack.pid("server-1") == other and added(steered) == [["NEW"]]
    end_all(stack, "heal")
    assert added(steered) == [["NEW"], None] and wait(lambda: steered.service.in_traffic)


def test_a_restart_that_nobody_made_is_not_witnessed(serving):
    stack, _, _ = serving
    fault = Rollout()
    facts = fault.target(stack)
    assert fault.witness(stack, {**facts, "at": time.time()}) is None
    with pytest.raises(FaultError, match=r"no replica is called server-3 \(known: server-1, server-2\)"):
        inject(Rollout(replicas=["server-3"]), stack, "e", 60)
