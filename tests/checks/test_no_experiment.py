"""Of an experiment that was none nothing is judged: no fault, one without a witness or not undone, or cut off. What the
service made of a fault that was there stays its own."""

import copy

import pytest
from handmade import FAIL, INCONCLUSIVE, PASS, broken, fault, firing, history, phase, replay, rows, up
from test_injected import DONE, JOURNAL, LEDGER, RAISED, UNMET, states

from harness.checks import AlertFires, Answers, Clients, ErrorRatio, Injected, ProbeDecisions, Quiet, judge_all
from harness.checks.alert_coverage import statuses
from harness.eventlog import Event
from harness.history import Outcome, ProbeAnswer

BAD = [  # each fails on the record below
    AlertFires("hang", "ServiceDown", "critical", 60, 60),
    Clients("hang", errors_at_most=0.0),
    ProbeDecisions("hang", restart="liveness"),
    Quiet("hang"),
]
GOOD = [ErrorRatio("hang", 0.9), ProbeDecisions("hang"), Quiet("hang", frozenset({"Odd"}))]  # and each of these passes
BLIND = [AlertFires("hang", "Unknown", "high", 60, 60)]
ELSEWHERE = [ErrorRatio("steady", 0.5)]
ACTION = {"type": "action", "name": "kill it", "provider": {"type": "process", "path": "kill"}}
PROBE = {"type": "probe", "name": "is it there"}


def made(*events, journal=None, **other):
    """A record in which the service does badly in `hang`, and has no end of what is wrong with it."""
    kept = None if journal is False else {"hang": copy.deepcopy(JOURNAL) | (journal or {})}
    return history(
        phase("steady", 0, 10), phase("hang", 10, 100), *events,
        journals=kept or {},
        rows={"load": broken(rows(6000), 20, 30)},
        series=[up(0, 100), firing("Watchdog", (0, 100)), firing("Odd", (50, 60))],
        probes=[ProbeAnswer(11, "readiness", True, 200, 0.01, decision="ready"), *alive(12, 99)],
        replays={"hang": {"ServiceDown": replay(ended_s=5000, fault_end_s=600)}},
        **other,
    )  # fmt: skip


def alive(start, end):
    return [ProbeAnswer(float(t), "liveness", True, 200, 0.01) for t in range(start, end)]


FAULT, LOST = fault("hang", 20, 30), Event(20.1, "fault", "pause", "fail", detail={"id": "f1", "edge": "start-failed"})
DIED = {"experiment": "hang", "problem": "chaos-hang was killed by SIGKILL after 3.1 s; last lines of x:\n    no"}
LEFT = Event(40, "run", "ledger", detail={"experiment": "hang", "left": ["pause f1"]})
LEASE = Event(25, "fault", "pause", "ok", detail={"id": "f1", "experiment": "hang", "edge": "lease"})
TROUBLES = {
    "no fault begun": ([LEDGER], {}, "no fault is recorded to have begun"),
    "a fault that could not start": ([FAULT, LOST, LEDGER], {}, "pause could not be started"),
    "a bystander hit": ([fault("hang", 20, 30, witness="unknown"), LEDGER], {}, "no witness saw pause take effect"),
    "one of two faults not begun": (
        [FAULT, LEDGER],
        {"run": [DONE, RAISED | {"status": "failed"}], "experiment": {"method": [{}, {}], "rollbacks": [{}]}},
        "'pause the server' of the method failed (FaultError",
    ),
    "a baseline that was not met": (
        [LEDGER],
        {"run": [], "status": "failed", **states(before=UNMET, after=None)},
        "the journal's status is 'failed'",
    ),
    "the child killed": (
        [FAULT, LEDGER, Event(30, "run", "no-journal", detail=DIED)],
        False,
        "left no journal: chaos-hang was killed by SIGKILL after 3.1 s)",
    ),
    "the child interrupted": ([FAULT, LEDGER], {"status": "interrupted"}, "status is 'interrupted'"),
    "a method that was not over": (
        [FAULT, LEDGER, Event(50, "run", "experiment-overran", detail={"experiment": "hang", "after_s": 300})],
        {},
        "it was stopped, being not over after 5 min",
    ),
    "a fault not undone": ([fault("hang", 20, None), LEDGER], {}, "pause is not recorded as undone"),
    "a fault undone too early": ([fault("hang", 20, None), LEASE, LEDGER], {}, "by the watchdog when its lease was"),
    "a fault left behind": ([fault("hang", 20, None), LEFT], {}, "pause is not recorded as undone"),
    "an action of somebody else": (
        [LEDGER],
        {"experiment": {"method": [ACTION], "rollbacks": [{}]}},
        "'kill it' of the method is no action of the harness, and has no witness",
    ),
    "a fault that another experiment left on": (
        [fault("before", 5, None, "kill", id="f0"), FAULT, LEDGER],
        {},
        "kill of before was still on in it",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("events", "journal", "says"), TROUBLES.values(), ids=TROUBLES)
def test_every_result_of_an_experiment_that_was_none_is_inconclusive(events, journal, says):
    checks = [*BAD, *GOOD, *BLIND, *ELSEWHERE, Injected("hang")]
    *results, elsewhere, injected = judge_all(checks, made(*events, journal=journal))
    assert {r.verdict for r in results} == {INCONCLUSIVE}
    for result in results:
        assert result.reason.startswith("the experiment was none (") and says in result.reason
        assert not result.status and not result.timings and "`injected`" in result.remedy
    assert "never fired" in results[0].reason and "not attributable" in results[0].reason
    assert "proves nothing" in results[len(BAD)].reason
    assert elsewhere.verdict is PASS
    assert injected.verdict is (FAIL if says in TROUBLES["a fault left behind"] and LEFT in events else INCONCLUSIVE)
    found = statuses(results, made(*events, journal=journal), [("ServiceDown", "critical"), ("Odd", "high")])
    assert [one["status"] for one in found.values()] == ["INCONCLUSIVE", "UNEXERCISED"]


SERVICE = {
    "all well": {},
    "a steady state that did not come back": states(after=UNMET) | {"deviated": True},
    "one that could not even be looked at": states(after=UNMET) | {"deviated": True, "status": "failed"},
    "a probe of the method that found nobody": {
        "run": [DONE, {"status": "failed", "activity": PROBE}],
        "experiment": {"method": [{}, {}], "rollbacks": [{}]},
    },
    "a rollback that failed although all is undone": {"rollbacks": [RAISED | {"status": "failed"}]},
}


@pytest.mark.parametrize("journal", SERVICE.values(), ids=SERVICE)
def test_what_the_service_did_under_a_fault_that_was_there_is_its_own(journal):
    results = judge_all([*BAD, *GOOD, Injected("hang")], made(FAULT, LEDGER, journal=journal))
    assert [r.verdict for r in results] == [FAIL] * len(BAD) + [PASS] * len(GOOD) + [INCONCLUSIVE if journal else PASS]


def test_a_sham_has_no_fault_on_purpose():
    sham = fault("hang", 20, 30, "sham", witness="", sham=True)
    results = judge_all([*BAD, *GOOD, Injected("hang")], made(sham, LEDGER))
    assert [r.verdict for r in results] == [FAIL] * len(BAD) + [PASS] * (len(GOOD) + 1)


def test_an_answer_that_must_not_be_given_is_one_whether_anything_was_broken_or_not():
    record = made(LEDGER)
    record.rows["load"]["outcome"][3000] = Outcome.UNEXPECTED_STATUS
    assert judge_all([Answers("hang"), Injected("hang")], record)[0].verdict is FAIL


@pytest.mark.parametrize(
    ("rollbacks", "says"),
    [
        ([DONE], "1 fault left behind (bound 0): pause f1; 'pause the server' of the rollbacks succeeded and undid"),
        ([RAISED | {"status": "failed"}], "pause f1; 'pause the server' of the rollbacks failed (FaultError"),
        ([], "pause f1; no rollback ran"),
    ],
)
def test_a_rollback_that_did_nothing_is_named(rollbacks, says):
    result = judge_all([Injected("hang")], made(fault("hang", 20, None), LEFT, journal={"rollbacks": rollbacks}))[0]
    assert result.verdict is FAIL and says in result.reason and "harness heal" in result.remedy
