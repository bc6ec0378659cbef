"""Start-up against the budget of the probe that would end it."""

from handmade import FAIL, INCONCLUSIVE, PASS, expect, history, phase, restart, table

from harness.checks import Starts
from harness.checks.view import StartBudget, View
from harness.eventlog import Event
from harness.history import ProbeAnswer

EVENTS = phase("steady", 5, 60)
CHECK = Starts(budget_s=10.0)
LIVENESS = Starts(probe="liveness", budget_s=30.0)


def begun(at, component="server", **more):
    return Event(at, "stack", "start", detail={"component": component, "generation": 1, **more})


def asked(*ok_at, probe="startup", no=(), component="server"):
    good = [ProbeAnswer(at, probe, True, 200, 0.01, "", "started", component) for at in ok_at]
    return sorted([*good, *(ProbeAnswer(at, probe, False, 503, 0.01, component=component) for at in no)])


CASES = [
    (
        "well within",
        CHECK,
        history(EVENTS, begun(0), probes=asked(2, no=(0, 1))),
        PASS,
        "1 start, the longest 2 s: 20 % of what its startup probe, 10 s, allows (bound 80 %, 8 s)",
    ),
    (
        "the longest of several counts",
        CHECK,
        history(EVENTS, begun(0), restart(30), begun(31), probes=asked(2, 35)),
        PASS,
        "2 starts, the longest 4 s: 40 %",
    ),
    (
        "more than half is worth a remark",
        CHECK,
        history(EVENTS, begun(0), probes=asked(6)),
        PASS,
        "60 % of what its startup probe, 10 s, allows (bound 80 %, 8 s); a machine half as fast would kill it",
    ),
    (
        "little is left of the budget",
        CHECK,
        history(EVENTS, begun(0), probes=asked(9)),
        FAIL,
        "the longest 9 s: 90 % of what its startup probe, 10 s, allows",
    ),
    (
        "a restart takes longer than the first start",
        CHECK,
        history(EVENTS, begun(0), restart(30), begun(30), probes=asked(1, 38.5)),
        FAIL,
        "the longest 8.5 s",
    ),
    (
        "killed as it starts",
        CHECK,
        history(
            EVENTS,
            begun(0),
            restart(30),
            begun(30),
            restart(41, "startup"),
            begun(41),
            probes=asked(2, 45, no=(35, 40)),
        ),
        FAIL,
        "server was not started within the budget of its startup probe, 10 s: killed 1 time by its startup probe",
    ),
    (
        "killed by liveness, where no startup probe holds that back",
        LIVENESS,
        history(EVENTS, begun(0), restart(21, "liveness"), begun(21), probes=asked(no=(0, 10, 20), probe="liveness")),
        FAIL,
        "killed 1 time by its liveness probe",
    ),
    (
        "a process that hangs once it has started was started",
        LIVENESS,
        history(EVENTS, begun(0), restart(40, "liveness"), begun(41), probes=asked(2, 44, probe="liveness")),
        PASS,
        "2 starts, the longest 3 s",
    ),
    (
        "it never is",
        CHECK,
        history(EVENTS, begun(0), probes=asked(no=range(20))),
        FAIL,
        "it never was",
    ),
    (
        "the record ends while it starts",
        CHECK,
        history(EVENTS, begun(0), probes=asked(no=(0, 1))),
        INCONCLUSIVE,
        "no start to its end of server is recorded",
    ),
    (
        "one that an experiment has otherwise is not as production has it, and the one after it is",
        CHECK,
        history(EVENTS, begun(0), begun(30, added=["PYTHONPATH"]), begun(50), probes=asked(2, 39.5, 54)),
        PASS,
        "2 starts, the longest 4 s",
    ),
    (
        "nor is one that is killed as it starts",
        CHECK,
        history(
            EVENTS,
            begun(0),
            begun(30, added=["X"]),
            restart(41, "startup"),
            begun(41, added=["X"]),
            probes=asked(2, no=(35, 40, 45)),
        ),
        PASS,
        "1 start, the longest 2 s",
    ),
    ("of an older run", CHECK, history(EVENTS, probes=asked(2)), INCONCLUSIVE, "no start of server is recorded"),
    (
        "of another replica",
        CHECK,
        history(EVENTS, begun(0, "server-2"), probes=asked(2, component="server-2")),
        INCONCLUSIVE,
        "no start of server is recorded",
    ),
]


@table(CASES)
def test_starts(check, record, verdict, says):
    expect(check, record, verdict, says)


def test_each_replica_is_judged_by_the_probe_that_would_end_it_and_none_where_no_probe_does():
    assert Starts.from_plan(None, View()) == ()
    view = View(starting=StartBudget("liveness", 5, 10, 3), replicas=("server-1", "server-2"))
    found = Starts.from_plan({"uses_at_most": "50%"}, view)
    assert [(c.component, c.probe, c.budget_s, c.uses_at_most) for c in found] == [
        ("server-1", "liveness", 35, 0.5),
        ("server-2", "liveness", 35, 0.5),
    ]


def test_a_failure_shows_the_start_and_what_the_probe_got_meanwhile():
    record = history(EVENTS, begun(0), probes=asked(9, no=(0, 4)))
    result = expect(CHECK, record, FAIL, "90 %")
    assert [(one.kind, one.key, one.at, one.until) for one in result.evidence] == [
        ("event", "stack start", 0, 0),
        ("probe", "server startup", 0, 9),
    ]
