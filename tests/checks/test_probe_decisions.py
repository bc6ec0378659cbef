from handmade import FAIL, INCONCLUSIVE, PASS, alive, expect, fault, history, phase, ready, restart, table, unready

from harness.checks import ProbeDecisions
from harness.history import ProbeAnswer

EVENTS = phase("x", 10, 60)
HANG = ProbeDecisions("x", restart="liveness", readiness="unready")
CRASH = ProbeDecisions("x", restart="exit", readiness="unready")
CALM = ProbeDecisions("x", restart="never", readiness="ready")
FLOOD = ProbeDecisions("x", restart="never", readiness="unready")
ANY = ProbeDecisions("x", restart="never")


def saw(*events, probes=()):
    return history(EVENTS, *events, probes=sorted([*ready(2), *alive(2, 60), *probes]))


def of(component, *probes):
    return sorted(p._replace(component=component) for some in probes for p in some)


SECOND = of("server-2", ready(2), alive(2, 60))
REPLICAS = history(
    EVENTS,
    restart(21, component="server-1"),
    probes=[*of("server-1", ready(2), alive(2, 60), unready(21), ready(30)), *SECOND],
)
OUT_AND_BACK = [*unready(22), *ready(30)]
CASES = [
    (
        "a hung server leaves traffic and is restarted",
        HANG,
        saw(restart(26, "liveness"), probes=OUT_AND_BACK),
        PASS,
        "1 restart (bound 1) by liveness, out of traffic after 12 s, and back",
    ),
    (
        "what happens is timed from the fault where there is one",
        HANG,
        saw(fault("x", 20, 40), restart(26, "liveness"), probes=OUT_AND_BACK),
        PASS,
        "out of traffic after 2 s, and back",
    ),
    (
        "a crashed server is out of traffic at once",
        CRASH,
        saw(restart(21), probes=ready(25)),
        PASS,
        "1 restart (bound 1) by exit",
    ),
    (
        "a flood takes it out of traffic only",
        FLOOD,
        saw(probes=OUT_AND_BACK),
        PASS,
        "0 restarts (bound 0), out of traffic",
    ),
    (
        "what other probes decide is no readiness",
        FLOOD,
        saw(probes=[*OUT_AND_BACK, ProbeAnswer(40, "startup", True, 200, 0.01, decision="started")]),
        PASS,
        "0 restarts",
    ),
    (
        "a restart decided before the phase is not its own",
        CALM,
        saw(restart(5), probes=[*unready(4), *ready(8)]),
        PASS,
        "never out of traffic",
    ),
    ("nothing happens when nothing is broken", CALM, saw(), PASS, "0 restarts (bound 0), never out of traffic"),
    ("readiness may do as it likes where nobody cares", ANY, saw(probes=OUT_AND_BACK), PASS, "0 restarts"),
    (
        "a restart nobody expected",
        CALM,
        saw(restart(26, "liveness"), probes=ready(30)),
        FAIL,
        "restarted 1 time by liveness",
    ),
    (
        "a restart that never came",
        HANG,
        saw(probes=OUT_AND_BACK),
        FAIL,
        "never restarted; 1 restart by liveness expected",
    ),
    (
        "a restart for another cause",
        HANG,
        saw(restart(26), probes=OUT_AND_BACK),
        FAIL,
        "restarted by exit instead of liveness",
    ),
    (
        "a restart loop",
        CRASH,
        saw(restart(21), restart(27), probes=ready(30)),
        FAIL,
        "restarted 2 times, bound 1",
    ),
    ("readiness hard-wired to 200", FLOOD, saw(), FAIL, "readiness never took it out of traffic in 50 s"),
    (
        "a hung server that stayed in traffic",
        HANG,
        saw(restart(26, "liveness"), probes=ready(30)),
        FAIL,
        "readiness never took it out",
    ),
    (
        "a flap nobody expected",
        CALM,
        saw(probes=OUT_AND_BACK),
        FAIL,
        "took it out of traffic 1 time, first after 12 s",
    ),
    ("a server that stays unready", FLOOD, saw(probes=unready(22)), FAIL, "still not ready at the end, 38 s after"),
    (
        "a server that is not back after its restart",
        CRASH,
        saw(restart(21)),
        FAIL,
        "still not ready at the end, 39 s after",
    ),
    (
        "no probe answer in the phase is no evidence",
        CALM,
        history(EVENTS, probes=ready(2)),
        INCONCLUSIVE,
        "no probe answer of server is",
    ),
    (
        "no readiness decision ever is no evidence",
        ANY,
        history(EVENTS, probes=alive(2, 60)),
        INCONCLUSIVE,
        "no readiness",
    ),
    (
        "each replica is judged by its own probes: one that crashed",
        ProbeDecisions("x", "server-1", "exit", "unready"),
        REPLICAS,
        PASS,
        "1 restart (bound 1) by exit, out of traffic after 11 s, and back",
    ),
    (
        "each replica is judged by its own probes: one beside it that is calm",
        ProbeDecisions("x", "server-2", "never", "ready"),
        REPLICAS,
        PASS,
        "0 restarts (bound 0), never out of traffic",
    ),
    (
        "a replica that is ready does not hide another that is not",
        ProbeDecisions("x", "server-1", "exit", "unready"),
        history(EVENTS, restart(21, component="server-1"), probes=[*of("server-1", ready(2), alive(2, 60)), *SECOND]),
        FAIL,
        "still not ready at the end, 39 s after it was restarted",
    ),
    (
        "a replica's decisions are no evidence of another's",
        ProbeDecisions("x", "server-3"),
        REPLICAS,
        INCONCLUSIVE,
        "no probe answer of server-3 is recorded in x",
    ),
    ("no phase is no evidence", CALM, history(probes=ready(2)), INCONCLUSIVE, "does not hold the phase"),
]


@table(CASES)
def test_probe_decisions(check, record, verdict, says):
    expect(check, record, verdict, says)


def test_the_subject_names_a_replica():
    subjects = [ProbeDecisions("x", component).subject for component in ("server", "server-2")]
    assert subjects == ["x: probes", "x: probes of server-2"]
