"""A planned restart as it is recorded: which requests came, what readiness said, and how the process ended."""

import numpy as np
from handmade import FAIL, INCONCLUSIVE, PASS, broken, expect, history, phase, ready, rows, table, unready

from harness.checks import Stops
from harness.checks.stops import REFUSED
from harness.eventlog import Event
from harness.history import Outcome, ProbeAnswer

STOP = Stops("x", exits_within_s=5.0)
EVENTS = phase("x", 0, 60)


def stopped(at=20.0, took=3.0, killed=False, code=0, cause="exit", out=22.0, component="server", restarted=True):
    """The events of one stop: SIGTERM, out of traffic by readiness, the end, a new process."""
    about = {"id": "f1", "experiment": "x", "sham": False}
    left = at + took if out is None else out
    events = [
        Event(at, "fault", "stop", detail={**about, "edge": "start", "component": component}),
        Event(left, "probe", "traffic", detail={"process": component, "in_traffic": False}),
        Event(
            at + took,
            "stack",
            "stopped",
            "fail" if killed else "ok",
            took,
            detail={"component": component, "killed": killed, "grace_s": 30},
        ),
        Event(at + took + 0.2, "fault", "stop", "ok", detail={**about, "edge": "witness", "evidence": "refused"}),
    ]
    if restarted:
        detail = {"process": component, "cause": cause, "code": code}
        events.append(Event(at + took + 0.5, "probe", "restart", detail=detail))
    return events


def load(closed=22.5, back=27.0, **lost):
    """60 requests a second; nobody is there from `closed` until `back`. lost: rows that end another way, by name, at
    a moment."""
    made = broken(rows(3600), closed, back)
    made["sent"][made["outcome"] == Outcome.CONNECT_FAILED] = np.nan
    for what, at in lost.items():
        one = np.searchsorted(made["intended"], at)
        if what.startswith("status_"):
            made["outcome"][one], made["status"][one] = Outcome.REFUSED_BY_SERVICE, int(what.removeprefix("status_"))
        else:
            made["outcome"][one], made["status"][one] = Outcome[what.upper()], 0
    return {"load": made}


ORDERLY = load()


def saw(*events, load=None, probes=()):
    return history(EVENTS, *events, rows=load or ORDERLY, probes=sorted([*ready(2, 19, 28), *probes]))


NO = unready(20.5, 21.5)
CASES = [
    (
        "an orderly end",
        STOP,
        saw(stopped(), probes=NO),
        PASS,
        "0 of 126 requests lost (bound 0), readiness said no 2.1 s before connections were refused, ended by itself "
        "with 0 after 3 s (bound 5 s); 270 found nobody there, which `clients` bounds",
    ),
    (
        "without a bound of the contract the grace period is one",
        Stops("x"),
        saw(stopped(took=20), probes=NO),
        PASS,
        "ended by itself with 0 after 20 s (bound 30 s)",
    ),
    (
        "a request that was under way is dropped",
        STOP,
        saw(stopped(), probes=NO, load=load(broken=19.95)),
        FAIL,
        "1 of 126 requests that came while it was in traffic were lost (bound 0): 1 broken",
    ),
    (
        "one that came while it said no and was in traffic still is dropped",
        STOP,
        saw(stopped(), probes=NO, load=load(timeout=21.2)),
        FAIL,
        "1 timeout",
    ),
    (
        "what was admitted is answered with an error",
        STOP,
        saw(stopped(), probes=NO, load=load(status_503=20.0, status_500=20.1)),
        FAIL,
        "2 of 126 requests that came while it was in traffic were lost (bound 0): 1 status 503, 1 status 500",
    ),
    (
        "a contract may allow some",
        Stops("x", lost_at_most=1),
        saw(stopped(), probes=NO, load=load(broken=20.0)),
        PASS,
        "1 of 126 requests lost (bound 1)",
    ),
    (
        "what is sent to it after it left traffic is for others to lose",
        STOP,
        saw(stopped(), probes=NO, load=load(broken=22.2)),
        PASS,
        "0 of 126 requests lost",
    ),
    (
        "the door closes at once",
        STOP,
        saw(stopped(out=None, took=0.2), load=load(closed=20.1)),
        FAIL,
        "connections were refused 200 ms after SIGTERM, before its readiness probe was ever answered no",
    ),
    (
        "a probe is refused before it was ever answered no",
        STOP,
        saw(stopped(), probes=[ProbeAnswer(21, "readiness", False, 0, 0.01, REFUSED)]),
        FAIL,
        "connections were refused 1 s after SIGTERM",
    ),
    (
        "a readiness probe that is slow says nothing",
        STOP,
        saw(stopped(), probes=[ProbeAnswer(20.2, "readiness", False, 0, 1, "no complete response within 1 s"), *NO]),
        PASS,
        "readiness said no 2.1 s before",
    ),
    (
        "a command that is a readiness probe says no by its exit code",
        STOP,
        saw(stopped(), probes=[ProbeAnswer(20.5, "readiness", False, 0, 0.1, "exit code 1: stopping", "unready")]),
        PASS,
        "readiness said no 2.1 s before",
    ),
    (
        "readiness need not say so where the contract says that",
        Stops("x", readiness_first=False),
        saw(stopped(out=None, took=0.2), load=load(closed=20.1)),
        PASS,
        "0 of 12 requests lost",
    ),
    (
        "it does not heed SIGTERM",
        Stops("x"),
        saw(stopped(took=30, killed=True, code=-9, out=21.5), probes=NO, load=load(closed=50, back=55)),
        FAIL,
        "it had not ended 30 s after SIGTERM and was killed (bound 30 s)",
    ),
    (
        "it drains for longer than it may",
        STOP,
        saw(stopped(took=7), probes=NO),
        FAIL,
        "it ended only 7 s after SIGTERM (bound 5 s)",
    ),
    (
        "it has no handler for SIGTERM",
        STOP,
        saw(stopped(code=-15), probes=NO),
        FAIL,
        "it ended by SIGTERM itself, which it does not handle, after 3 s (0 expected)",
    ),
    (
        "it raises SIGTERM again, as the contract says",
        Stops("x", exit_codes=(0, 143)),
        saw(stopped(code=-15), probes=NO),
        PASS,
        "ended by itself with -15",
    ),
    (
        "its shutdown breaks",
        STOP,
        saw(stopped(code=1), probes=NO),
        FAIL,
        "it ended with exit code 1, after 3 s (0 expected)",
    ),
    (
        "liveness ends it meanwhile",
        STOP,
        saw(stopped(cause="liveness"), probes=NO),
        FAIL,
        "it was restarted by liveness before it ended by itself",
    ),
    (
        "all that is wrong is said",
        STOP,
        saw(stopped(took=7, out=None), load=load(closed=20.2, broken=20.0)),
        FAIL,
        "were lost (bound 0): 1 broken; connections were refused 300 ms after SIGTERM, before its readiness probe was "
        "ever answered no; it ended only 7 s after SIGTERM (bound 5 s); 408 found nobody there",
    ),
    (
        "one of several replicas",
        Stops("x", "server-2", exits_within_s=5.0),
        saw(stopped(component="server-2"), probes=[p._replace(component="server-2") for p in [*ready(2), *NO]]),
        PASS,
        "0 of 126 requests lost",
    ),
    ("nothing was stopped", STOP, saw(), INCONCLUSIVE, "server was never stopped in x"),
    ("another was", STOP, saw(stopped(component="other")), INCONCLUSIVE, "server was never stopped in x"),
    (
        "it did not come back in the record",
        STOP,
        saw(stopped(restarted=False), probes=NO),
        INCONCLUSIVE,
        "does not say that it was started again",
    ),
    (
        "nobody asked for anything",
        STOP,
        saw(stopped(), probes=NO, load={"load": rows(60)}),
        INCONCLUSIVE,
        "no request came while server was being stopped",
    ),
    (
        "without any readiness probe",
        STOP,
        history(EVENTS, stopped(), rows=load()),
        INCONCLUSIVE,
        "no answer to the readiness probe of server is recorded before its stop",
    ),
]


@table(CASES)
def test_stops(check, record, verdict, says):
    expect(check, record, verdict, says)


def test_a_failure_shows_the_lost_rows_the_answers_of_readiness_and_how_it_ended():
    result = expect(STOP, saw(stopped(took=7), probes=NO, load=load(broken=20.0, timeout=21.0)), FAIL, "2 of 126")
    assert [(one.kind, one.key) for one in result.evidence] == [
        ("row", ""),
        ("row", ""),
        ("event", "stack stopped"),
        ("event", "probe restart"),
        *[("probe", "server readiness")] * 3,
    ]
    assert {round(one.at) for one in result.evidence if one.kind == "row"} == {20, 21}
    assert [one.at for one in result.evidence if one.kind == "probe"] == [19, 20.5, 21.5]
