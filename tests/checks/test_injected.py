import copy
import json
import subprocess
import sys

import pytest
from handmade import FAIL, INCONCLUSIVE, PASS, expect, fault, history, phase, table

from harness.checks import Injected
from harness.eventlog import Event

INJECTED = Injected("hang")
STARTS = Injected("hang", starts=True)
DONE = {"status": "succeeded", "activity": {"name": "pause the server"}}
MET = {"steady_state_met": True, "probes": [{"activity": {"name": "goodput"}, "tolerance_met": True, "output": True}]}
UNMET = {
    "steady_state_met": False,
    "probes": [{"activity": {"name": "goodput"}, "tolerance_met": False, "output": False}],
}
RAISED = {
    "exception": ["Traceback\n", "FaultError: no process called servr\n"],
    "activity": {"name": "pause the server"},
}
JOURNAL = {
    "status": "completed", "deviated": False, "steady_states": {"before": MET, "after": MET, "during": []},
    "run": [DONE], "rollbacks": [DONE], "experiment": {"method": [{}], "rollbacks": [{}]},
}  # fmt: skip
FAULT = fault("hang", 20, 30)
LEDGER = Event(40, "run", "ledger", detail={"experiment": "hang", "left": []})


def saw(*events, **other):
    journal = copy.deepcopy(JOURNAL) | other
    return history(*(events or (FAULT, LEDGER)), journals={"hang": journal})


def planned(edge, problem="", at=5):
    about = {"edge": edge, "added": ["A"] if edge == "begin" else [], "problem": problem}
    return before("planned-start", "fail" if problem else "ok", at, **about)


def states(**other):
    return {"steady_states": JOURNAL["steady_states"] | other}


def before(name, outcome="unknown", at=5, **about):
    return Event(at, "run", name, outcome, detail={"experiment": "hang", **about})


END = planned("end", at=50)
LEFT = Event(40, "run", "ledger", detail={"experiment": "hang", "left": ["pause of server"]})
REFUSED = {"experiment": "hang", "id": "f1", "edge": "start-failed", "problem": "it was gone"}
CASES = [
    (
        "all of it happened and nothing is left",
        INJECTED,
        saw(),
        PASS,
        "1 of 1 activities ran, 1 fault witnessed, 0 left",
    ),
    (
        "a sham needs no witness",
        INJECTED,
        saw(fault("hang", 20, 30, witness="", sham=True), LEDGER),
        PASS,
        "0 faults witnessed and 1 sham",
    ),
    ("a fault left behind fails", INJECTED, saw(FAULT, LEFT), FAIL, "1 fault left behind (bound 0): pause of server"),
    ("a fault left behind fails whatever else is missing", INJECTED, history(LEFT), FAIL, "1 fault left behind"),
    (
        "a hypothesis without a probe looked at nothing",
        INJECTED,
        saw(**states(before={"steady_state_met": True, "probes": []})),
        INCONCLUSIVE,
        "no probe, so nothing was looked at before",
    ),
    (
        "of a repeated experiment a witness of the first time is none of the last",
        INJECTED,
        saw(phase("hang", 10, 40), FAULT, phase("hang", 50, 90), LEDGER),
        INCONCLUSIVE,
        "no fault is recorded to have begun",
    ),
    (
        "of a repeated experiment an unwitnessed first time does not matter",
        INJECTED,
        saw(
            phase("hang", 10, 40),
            fault("hang", 20, 30, witness="unknown"),
            phase("hang", 50, 90),
            fault("hang", 60, 70, id="f2"),
            LEDGER,
        ),
        PASS,
        "1 fault witnessed",
    ),
    ("no journal", INJECTED, history(FAULT, LEDGER), INCONCLUSIVE, "left no journal"),
    ("an interrupted experiment", INJECTED, saw(status="interrupted"), INCONCLUSIVE, "status is 'interrupted'"),
    ("a deviated experiment", INJECTED, saw(deviated=True), INCONCLUSIVE, "the steady state deviated"),
    (
        "a baseline that was not met, for which Chaos Toolkit ends with 0",
        INJECTED,
        saw(run=[], **states(before=UNMET, after=None)),
        INCONCLUSIVE,
        "not met before the method: 'goodput' gave False; the steady state was not met after the method, it was not",
    ),
    (
        "an alert from before that was still there, for longer than settle",
        INJECTED,
        saw(before("baseline", alerts=["DiskFull", "Errors"]), FAULT, LEDGER),
        INCONCLUSIVE,
        "DiskFull and Errors still fired or pended when it began, for longer than `settle`",
    ),
    (
        "nobody could say what fired before",
        INJECTED,
        saw(before("baseline"), FAULT, LEDGER),
        INCONCLUSIVE,
        "it could not be seen whether alerts fired when it began",
    ),
    (
        "calm at its second time",
        INJECTED,
        saw(before("baseline", at=1), before("baseline", "ok"), FAULT, LEDGER),
        PASS,
        "1 fault witnessed",
    ),
    (
        "an Alertmanager that nobody replaced",
        INJECTED,
        saw(before("alertmanager"), FAULT, LEDGER),
        INCONCLUSIVE,
        "Alertmanager could not be replaced by a fresh one",
    ),
    (
        "the service was started for it, and as before after it",
        STARTS,
        saw(planned("begin"), FAULT, LEDGER, END),
        PASS,
        "1 fault witnessed",
    ),
    (
        "a service that was not started for it, and nobody knows why",
        STARTS,
        saw(),
        INCONCLUSIVE,
        "that the service was started as its contract says is not recorded",
    ),
    (
        "one that did not get ready",
        STARTS,
        saw(planned("begin", "server was not ready within 60 s"), FAULT, LEDGER, END),
        INCONCLUSIVE,
        "the service was not started as its contract says: server was not ready within 60 s",
    ),
    (
        "of a repeated experiment the last start counts",
        STARTS,
        saw(*(planned(edge, "late", at=1) for edge in ("begin", "end")), planned("begin"), FAULT, LEDGER, END),
        PASS,
        "1 fault witnessed",
    ),
    (
        "one that did not get ready as it was before",
        STARTS,
        saw(planned("begin"), FAULT, LEDGER, planned("end", "server was not ready within 60 s", at=50)),
        INCONCLUSIVE,
        "the service was not started again as before: server was not ready",
    ),
    (
        "a steady state that did not come back",
        INJECTED,
        saw(**states(after=UNMET)),
        INCONCLUSIVE,
        "not met after the method",
    ),
    ("a method cut short", INJECTED, saw(run=[]), INCONCLUSIVE, "0 of 1 activities of the method ran"),
    (
        "an action that raised, for which Chaos Toolkit ends with 0",
        INJECTED,
        saw(run=[RAISED | {"status": "failed"}]),
        INCONCLUSIVE,
        "'pause the server' of the method failed (FaultError: no process called servr)",
    ),
    ("an activity without a status", INJECTED, saw(run=[RAISED]), INCONCLUSIVE, "of the method was cut off"),
    (
        "a rollback that raised",
        INJECTED,
        saw(rollbacks=[RAISED | {"status": "failed"}]),
        INCONCLUSIVE,
        "of the rollbacks failed",
    ),
    ("a rollback that was not run", INJECTED, saw(rollbacks=[]), INCONCLUSIVE, "0 of 1 activities of the rollbacks"),
    ("no fault", INJECTED, saw(LEDGER), INCONCLUSIVE, "no fault is recorded to have begun"),
    (
        "a fault that could not be started",
        INJECTED,
        saw(FAULT, Event(20.1, "fault", "pause", "fail", detail=REFUSED), LEDGER),
        INCONCLUSIVE,
        "pause could not be started: it was gone",
    ),
    ("a fault of another experiment", INJECTED, saw(fault("x", 20, 30), LEDGER), INCONCLUSIVE, "no fault is recorded"),
    (
        "a fault without a witness",
        INJECTED,
        saw(fault("hang", 20, 30, witness=""), LEDGER),
        INCONCLUSIVE,
        "no witness saw pause take effect",
    ),
    (
        "a fault whose witness saw nothing",
        INJECTED,
        saw(fault("hang", 20, 30, witness="unknown"), LEDGER),
        INCONCLUSIVE,
        "no witness saw pause take effect: not seen",
    ),
    (
        "one fault of two without a witness",
        INJECTED,
        saw(FAULT, fault("hang", 22, 30, "kill", witness="", id="f2"), LEDGER),
        INCONCLUSIVE,
        "no witness saw kill take effect",
    ),
    (
        "a fault not undone",
        INJECTED,
        saw(fault("hang", 20, None), LEDGER),
        INCONCLUSIVE,
        "pause is not recorded as undone",
    ),
    (
        "a fault whose undo failed",
        INJECTED,
        saw(fault("hang", 20, 30, undone="fail"), LEDGER),
        INCONCLUSIVE,
        "pause is not recorded as undone: no such process",
    ),
    ("a ledger nobody read", INJECTED, saw(FAULT), INCONCLUSIVE, "the ledger was not read after it"),
]


@table(CASES)
def test_injected(check, record, verdict, says):
    expect(check, record, verdict, says)


def test_everything_missing_is_named_at_once():
    reason = expect(INJECTED, history(), INCONCLUSIVE, "no journal").reason
    assert "no fault" in reason and "ledger" in reason


PROBE = {"type": "probe", "name": "goodput", "tolerance": True}
ACTION = {"type": "action", "name": "break it"}
YES = {"provider": {"type": "python", "module": "fnmatch", "func": "fnmatch", "arguments": {"name": "a", "pat": "a"}}}
NO = {"provider": {"type": "python", "module": "fnmatch", "func": "fnmatch", "arguments": {"name": "a", "pat": "b"}}}
RAISE = {"provider": {"type": "python", "module": "json", "func": "loads", "arguments": {"s": "no JSON"}}}


@pytest.mark.parametrize(
    ("steady", "action", "verdict", "says"),
    [
        (YES, YES, PASS, "1 fault witnessed"),
        (YES, RAISE, INCONCLUSIVE, "(chaoslib.exceptions.ActivityFailed: json.decoder.JSONDecodeError"),
        (NO, YES, INCONCLUSIVE, "not met before the method: 'goodput' gave False"),
        (RAISE, YES, INCONCLUSIVE, "'failed'"),
    ],
    ids=[
        "all went well",
        "the action raised",
        "the steady state was not met",
        "the steady state could not be looked at",
    ],
)
def test_a_journal_of_the_real_chaos_toolkit_is_read(steady, action, verdict, says, tmp_path):
    experiment = {
        "title": "t", "description": "d", "method": [ACTION | action], "rollbacks": [ACTION | YES],
        "steady-state-hypothesis": {"title": "s", "probes": [PROBE | steady]},
    }  # fmt: skip
    code = (
        "import json, sys; from chaoslib.experiment import run_experiment\n"
        "settings = {'runtime': {'rollbacks': {'strategy': 'always'}}}\n"
        "print(json.dumps(run_experiment(json.loads(sys.argv[1]), settings), default=str))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, json.dumps(experiment)], capture_output=True, text=True, cwd=tmp_path
    )
    journal = json.loads(ran.stdout.splitlines()[-1])
    expect(INJECTED, history(FAULT, LEDGER, journals={"hang": journal}), verdict, says)
