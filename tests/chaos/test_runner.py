"""Experiments through Chaos Toolkit's own library and command line, on a real process."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
import yaml

from harness.chaos import runner
from harness.chaos.actions import EXPERIMENT
from harness.history import ROW, History
from harness.stack.process import state
from harness.stack.stack import ENV


def experiment(method, **over):
    python = {"type": "python", "module": "harness.chaos.actions"}
    return {
        "title": "t",
        "description": "d",
        "method": [
            {"type": "action", "name": func, "provider": {**python, "func": func, "arguments": arguments}, **more}
            for func, arguments, more in method
        ],
        "rollbacks": [{"type": "action", "name": "heal", "provider": {**python, "func": "heal"}}],
        **over,
    }


def begin(stack, content, argv=None, **options):
    file, journal = stack.run / "experiment.yaml", stack.run / "journals" / "e.json"
    file.write_text(yaml.safe_dump(content))
    env = {**os.environ, ENV: str(stack.run), EXPERIMENT: "e"}
    return subprocess.Popen(argv(file, journal) if argv else runner.command(file, journal), env=env, **options), journal


def test_a_whole_experiment_leaves_its_journal_and_its_steps_as_events(stack):
    child, journal = begin(stack, experiment([("pause", {}, {"pauses": {"after": 0.2}})]))
    assert child.wait(60) == 0
    activities = json.loads(journal.read_text())
    assert (
        activities["status"] == "completed"
        and [r["status"] for r in activities["run"] + activities["rollbacks"]] == ["succeeded"] * 2
    )
    assert state(stack.pid("server")) != "T"
    steps = [(e.name, e.detail["edge"]) for e in History.read(stack.run).of("chaos")]
    assert steps == [("pause", "begin"), ("pause", "end"), ("heal", "begin"), ("heal", "end")]


def test_one_that_waits_begins_when_it_is_told_and_never_where_nobody_is_left_to_tell(stack):
    waits = partial(runner.command, waits=True)
    method = experiment([("pause", {}, {"pauses": {"after": 0.2}})])
    for told, code in ((b"go\n", 0), (b"", 1)):
        child, journal = begin(stack, method, waits, stdin=subprocess.PIPE)
        ready, until = journal.with_suffix(runner.READY), time.monotonic() + 60
        while not ready.exists() and time.monotonic() < until:
            time.sleep(0.02)
        ready.unlink()
        assert child.poll() is None and not journal.exists() and not stack.ledger.open()
        child.communicate(told, timeout=60)
        assert (child.returncode, journal.exists()) == (code, code == 0)
        journal.unlink(missing_ok=True)
    assert [e.detail["edge"] for e in History.read(stack.run).of("fault", "pause")][:1] == ["start"]


def in_background():
    """As a shell without job control starts what ends in &."""
    for signum in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(signum, signal.SIG_IGN)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGUSR1])
def test_interrupted_it_rolls_back(stack, signum):
    content = experiment([("pause", {}, {}), ("sham", {}, {"pauses": {"before": 60}})])
    child, _ = begin(stack, content, preexec_fn=in_background)
    until = time.monotonic() + 30
    while state(stack.pid("server")) != "T" and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.3)
    child.send_signal(signum)
    child.wait(30)
    assert state(stack.pid("server")) != "T" and stack.ledger.open() == []


def test_plain_chaos_run_works_too(stack):
    chaos = os.path.join(os.path.dirname(sys.executable), "chaos")
    child, journal = begin(
        stack,
        experiment([("kill", {}, {})]),
        lambda file, journal: [
            chaos,
            "--no-version-check",
            "--no-log-file",
            "run",
            "--journal-path",
            str(journal),
            str(file),
        ],
    )
    pid = stack.pid("server")
    assert child.wait(60) == 0
    assert state(pid) is None and json.loads(journal.read_text())["run"][0]["status"] == "succeeded"


GREEN = {
    "an action that raises": experiment([("pause", {"component": "sever"}, {})]),
    "an action in the background that raises": experiment([("pause", {"component": "sever"}, {"background": True})]),
    "a lease that has run out": experiment([("pause", {"lease_s": 0}, {})]),
}


@pytest.mark.parametrize("content", GREEN.values(), ids=GREEN)
def test_where_chaos_toolkit_completes_with_nothing_injected_the_journal_shows_it(stack, content):
    child, journal = begin(stack, content)
    assert child.wait(60) == 0
    activities = json.loads(journal.read_text())
    assert activities["status"] == "completed" and not activities["deviated"]
    assert [r["status"] for r in activities["run"]] == ["failed"] and "Error: " in str(activities["run"])
    assert not (stack.run / "ledger.jsonl").exists()
    assert [(e.outcome, e.detail["edge"]) for e in History.read(stack.run).of("chaos", "pause")][1] == ("fail", "end")


def test_rollbacks_are_played_whatever_the_file_asks_for(stack):
    child, _ = begin(stack, experiment([("pause", {}, {})], runtime={"rollbacks": {"strategy": "never"}}))
    child.wait(60)
    assert state(stack.pid("server")) != "T" and stack.ledger.open() == []


def test_sigterm_only_fails_the_activity_it_meets_and_the_journal_shows_it(stack):
    child, journal = begin(stack, experiment([("kill", {"again_for_s": 60}, {}), ("sham", {}, {})]))
    pid, until = stack.pid("server"), time.monotonic() + 30
    while state(pid) and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.3)
    child.send_signal(signal.SIGTERM)
    child.wait(30)
    activities = json.loads(journal.read_text())
    assert activities["status"] == "completed"
    assert [r["status"] for r in activities["run"]] == ["failed", "failed"]  # the second finds no process
    assert "start-failed" in [e.detail["edge"] for e in History.read(stack.run).of("fault", "kill")]
    assert stack.ledger.open() == []


def rows(stack, good, bad, ago_s=0.5):
    made = np.zeros(good + bad, ROW)
    made["done"] = time.time() - ago_s
    made["outcome"][good:] = 2
    made.tofile(stack.run / "requests-load.rows")


HYPOTHESIS = {
    "title": "served",
    "probes": [
        {
            "type": "probe",
            "name": "goodput",
            "tolerance": True,
            "provider": {
                "type": "python",
                "module": "harness.chaos.probes",
                "func": "goodput",
                "arguments": {"over_s": 60, "at_least": 0.99},
            },
        }
    ],
}


@pytest.mark.parametrize(
    ("good", "bad", "met", "ran"),
    [
        pytest.param(100, 0, True, 1, id="all answered: the method runs"),
        pytest.param(90, 10, False, 0, id="one in ten unanswered: nothing is broken"),
        pytest.param(19, 0, False, 0, id="nineteen requests are too few to say"),
        pytest.param(0, 0, False, 0, id="no load is no steady state"),
    ],
)
def test_the_steady_state_hypothesis_guards_the_method(stack, good, bad, met, ran):
    if good + bad:
        rows(stack, good, bad)
    child, journal = begin(stack, experiment([("sham", {}, {})], **{"steady-state-hypothesis": HYPOTHESIS}))
    child.wait(60)
    activities = json.loads(journal.read_text())
    assert bool((activities["steady_states"]["before"] or {}).get("steady_state_met")) is met
    assert len(activities["run"]) == ran
