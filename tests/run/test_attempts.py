"""A phase waits for the generator, and is repeated where it was late, whatever the service did."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

from harness.eventlog import Log
from harness.history import ROW, History, Outcome
from harness.plan.gatefile import GeneratorBounds
from harness.run.phases import attempts
from harness.run.session import Session
from harness.run.view import View

BOUND_S = 0.05
LIVES = SimpleNamespace(check=lambda: None)


def session_of(run, patience_s=0.0, repeats=0):
    stack = SimpleNamespace(run=run, prometheus_url="http://127.0.0.1:9")  # nobody is there: alerts stay unknown
    plan = SimpleNamespace(gate=SimpleNamespace(generator=GeneratorBounds(patience=f"{patience_s}s", repeats=repeats)))
    view = View(stack, time.monotonic(), lambda progress: None)
    return Session(plan, stack, Log(run / "events.jsonl"), view, load=LIVES)


def sent(run, late_s, outcome=Outcome.OK, start=None):
    """Two hundred requests of the last two seconds, all as late."""
    made = np.zeros(200, ROW)
    made["intended"] = (time.time() - 2 if start is None else start) + np.arange(200) / 100
    made["sent"] = made["intended"] + late_s
    made["outcome"] = outcome
    with open(run / "requests-load.rows", "ab") as file:
        made.tofile(file)
    return float(made["intended"][0]), float(made["intended"][-1]) + 0.01


def carry_out(run, lates_s, repeats, outcome=Outcome.OK):
    """How often a phase was begun, in which the generator was so late each time, and what each time was called."""
    session, names = session_of(run, repeats=repeats), []
    log = session.log
    (run / "requests-load.rows").touch()
    start = time.time() - 1000
    for name in attempts(session, "crash", BOUND_S):
        begin, end = sent(run, lates_s[len(names)], outcome, start + 10 * len(names))
        for edge, at in (("begin", begin), ("end", end)):
            log.event("run", "phase", at=at, phase="crash", edge=edge)
        names.append(name)
    log.close()
    return names, [e.detail for e in History.read(run).of("run", "repeated")]


@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.TIMEOUT])
@pytest.mark.parametrize(
    ("lates_s", "times"),
    [
        pytest.param([0.001], 1, id="in time"),
        pytest.param([0.05], 1, id="just in time"),
        pytest.param([0.3, 0.001], 2, id="late once"),
        pytest.param([0.3, 0.3, 0.3, 0.3], 3, id="late however often: the last time counts"),
    ],
)
def test_a_phase_is_repeated_for_its_generator_alone(tmp_path, lates_s, times, outcome):
    names, repeated = carry_out(tmp_path, lates_s, repeats=2, outcome=outcome)
    assert len(names) == times and len(repeated) == times - 1
    assert names[0] == "" and all("300 ms late" in name for name in names[1:])
    assert all(one == {"phase": "crash", "lag_p99_ms": 300.0} for one in repeated)


def test_without_repeats_a_late_phase_counts(tmp_path):
    assert len(carry_out(tmp_path, [0.3], repeats=0)[0]) == 1


def test_patience_is_of_the_whole_run_and_ends(tmp_path):
    sent(tmp_path, 0.3)
    session = session_of(tmp_path, patience_s=0.4)
    began = time.monotonic()
    assert not session.wait_patiently("late", lambda: False)
    assert time.monotonic() - began >= 0.4
    asked = []
    assert not session.wait_patiently("later", lambda: bool(asked.append(1))) and len(asked) == 1


def test_a_generator_in_time_is_not_waited_for(tmp_path):
    sent(tmp_path, 0.001)
    began = time.monotonic()
    phase = attempts(session_of(tmp_path, patience_s=60), "crash", BOUND_S)
    assert next(phase) == "" and time.monotonic() - began < 30
