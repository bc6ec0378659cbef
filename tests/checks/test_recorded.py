import numpy as np
import pytest
from handmade import INCONCLUSIVE, PASS, expect, fault, history, phase, rows, table, up

from harness.checks import Recorded
from harness.eventlog import Event
from harness.history import Series

STEADY, UP = phase("steady", 0, 30), [up(0, 30)]
RECORDED = Recorded()
BOTH = Recorded(generators=("load", "surge"))


def used(*shares, process=()):
    """A second each, from -1 on, of which the processor was used for that share."""
    return [(float(i), 1.0, share, *process) for i, share in enumerate(shares)]


def account(generator="load", n=1800, start=-1.0, end=31.0, **other):
    done = {"planned": n, "sent": n, "unsent": 0, "rows": n, "locust_requests": n, "generator": generator}
    done |= {"stalls": [], "cpu": used(*32 * [0.3])}
    return [
        Event(start, "load", "started", detail={"generator": generator}),
        Event(end, "load", "finished", detail=done | other),
    ]


def refused():
    made = rows(1800, connect_failed=300)
    made["sent"][:300] = np.nan
    return made


def load(*events, made=None, series=UP, **others):
    made = rows(1800) if made is None else made
    return history(STEADY, *(events or (account(),)), rows={"load": made, **others}, series=series)


def numbered(seq):
    made = rows(1800)
    made["seq"] = seq
    return made


def hurried():
    """200 of the requests intended for the phase were sent only after it."""
    made = rows(1800)
    made["sent"][-10:] = made["intended"][-10:] + 0.02
    made["sent"][-200:] += 5
    return made


def visits():
    """Two thirds of the requests came by the schedule, the others followed an answer."""
    made = rows(1800)
    made["seq"] = np.r_[0:1200, 0:600]
    made["turn"][1200:] = 1
    return made


TWICE = numbered(np.r_[0, 0:1799])
TWO_FLOODS = np.concatenate([rows(50), rows(70)])
REPEATED = Event(5.0, "run", "repeated", "unknown", detail={"phase": "sham", "lag_p99_ms": 300.0})

OTHER_TARGET = Series({"__name__": "up", "job": "svc", "instance": "b"}, [0.0, 5.0, 30.0], [1.0, 1.0, 1.0])
EXITED = Event(12.0, "stack", "exited", "fail", detail={"component": "database", "code": 1})

CASES = [
    (
        "a target that is hardly scraped does not hide behind another",
        RECORDED,
        load(series=[*UP, OTHER_TARGET]),
        INCONCLUSIVE,
        "steady: no scrape of the service for 25 s",
    ),
    (
        "a dependency that ended without a fault",
        RECORDED,
        load(account(), EXITED),
        INCONCLUSIVE,
        "steady: the dependency database ended by itself, exit code 1",
    ),
    (
        "a dependency that a fault ended is meant to be down",
        RECORDED,
        load(account(), EXITED, Event(11.0, "fault", "kill", detail={"edge": "start", "component": "database"})),
        PASS,
        "1,800 requests planned",
    ),
    (
        "what follows an answer has the number of its visit",
        RECORDED,
        load(account(visits=1200), made=visits()),
        PASS,
        "1,800 requests planned, each with its row",
    ),
    (
        "a first request that is missing is not made good by a later one",
        RECORDED,
        load(account(visits=1201), made=visits()),
        INCONCLUSIVE,
        "load: 1 sequence number missing",
    ),
    (
        "a generator that needed all of its processor is not trusted",
        RECORDED,
        load(account(cpu=used(*32 * [0.94]))),
        INCONCLUSIVE,
        "steady: load used 94 % of a processor, bound 90 %",
    ),
    (
        "not even when it had rest enough before and after what is judged",
        RECORDED,
        load(account(start=-40.0, end=90.0, cpu=used(0.0, *30 * [0.95], *60 * [0.0]))),
        INCONCLUSIVE,
        "steady: load used 95 % of a processor, bound 90 %",
    ),
    (
        "a busy start is not what is judged",
        RECORDED,
        load(account(end=40.0, cpu=used(1.0, *40 * [0.2]))),
        PASS,
        "1,800 requests planned",
    ),
    (
        "several workers have a processor each",
        RECORDED,
        load(account(cpu=used(*32 * [0.8], process=[0]) + used(*32 * [0.7], process=[1]), workers=2, lost=[])),
        PASS,
        "1,800 requests planned",
    ),
    (
        "and a saturated one does not hide behind another",
        RECORDED,
        load(account(cpu=used(*32 * [0.95], process=[0]) + used(*32 * [0.1], process=[1]), workers=2, lost=[])),
        INCONCLUSIVE,
        "steady: the worst process of load used 95 % of a processor, bound 90 %",
    ),
    (
        "one of several that does not say what it used is not trusted",
        RECORDED,
        load(account(cpu=used(*32 * [0.2], process=[0]), workers=2, lost=[])),
        INCONCLUSIVE,
        "load: its account does not say what it used of its processor",
    ),
    (
        "stalls of several workers at once are not added up",
        RECORDED,
        load(
            account(
                stalls=[(10.0, 1.0, i) for i in (0, 1, 2, 3)],
                workers=4,
                lost=[],
                cpu=[span for i in range(4) for span in used(*32 * [0.2], process=[i])],
            )
        ),
        PASS,
        "1,800 requests planned",
    ),
    (
        "but those of one are",
        RECORDED,
        load(
            account(
                stalls=[(10.0, 1.0, 1), (20.0, 0.6, 1)],
                workers=2,
                lost=[],
                cpu=used(*32 * [0.2], process=[0]) + used(*32 * [0.2], process=[1]),
            )
        ),
        INCONCLUSIVE,
        "steady: the loop of the worst process of load stalled for 1.6 s of 30 s, bound 5 %",
    ),
    (
        "what was before the epoch is none of the schedule's",
        RECORDED,
        load(
            [
                Event(-9.0, "load", "started", detail={"generator": "load", "epoch": -1.0}),
                account(stalls=[(-1.5, 6.0), (0.0, 1.5)])[1],
            ]
        ),
        PASS,
        "1,800 requests planned",
    ),
    (
        "a generator whose loop stalled in a phase is not trusted",
        RECORDED,
        load(account(stalls=[(5.0, 1.0), (20.0, 0.6)])),
        INCONCLUSIVE,
        "steady: the loop of load stalled for 1.6 s of 30 s, bound 5 %",
    ),
    (
        "it may stand still a little",
        RECORDED,
        load(account(stalls=[(5.0, 1.0), (20.0, 0.4)])),
        PASS,
        "1,800 requests planned",
    ),
    (
        "nor one that stalled for too much of its whole time",
        RECORDED,
        load(account(stalls=[(0.5, 1.4), (31.0, 0.6)])),
        INCONCLUSIVE,
        "the loop of load stalled for 2 s of 32 s, bound 5 %",
    ),
    (
        "nor one that does not say",
        RECORDED,
        load(account(stalls=None)),
        INCONCLUSIVE,
        "load: its account does not say when its loop stalled",
    ),
    (
        "and outside of what is judged: a stall over the edge counts within it",
        RECORDED,
        load(account(stalls=[(0.5, 1.4)])),
        PASS,
        "1,800 requests planned",
    ),
    (
        "a repeated phase excuses no stall in what is judged",
        RECORDED,
        load(account(stalls=[(10.0, 1.6)]), [REPEATED]),
        INCONCLUSIVE,
        "steady: the loop of load stalled for 1.6 s",
    ),
    (
        "a generator that lost a worker is not trusted",
        RECORDED,
        load(account(workers=2, lost=["host_1"])),
        INCONCLUSIVE,
        "load: lost 1 worker of 2",
    ),
    (
        "a repeated phase is said to have been",
        RECORDED,
        load(account(), [REPEATED]),
        PASS,
        "; sham was repeated 1 time, the generator having been late",
    ),
    (
        "every request has its row and the load kept its schedule",
        RECORDED,
        load(),
        PASS,
        "1,800 requests planned, each with its row; dispatch lag p99 1 ms (bound 25 ms); scrapes at most 250 ms apart",
    ),
    (
        "a generator that ran twice is added up",
        BOTH,
        load(account(), account("surge", 50, end=10), account("surge", 70, start=12), surge=TWO_FLOODS),
        PASS,
        "1,920 requests planned",
    ),
    (
        "a service that refuses connections makes no bad generator",
        RECORDED,
        load(made=refused()),
        PASS,
        "1,800 requests planned, each with its row; dispatch lag p99 1 ms",
    ),
    (
        "an earlier load on the same stack does not count, however it ended",
        RECORDED,
        load(account(n=500, start=-60, end=-50), account(n=500, start=-40)[:1], account()),
        PASS,
        "1,800 requests planned",
    ),
    (
        "but one that was killed in a judged phase does",
        RECORDED,
        load(account(start=1)[:1], account(start=20)),
        INCONCLUSIVE,
        "load: started 2 times, finished 1",
    ),
    (
        "a flood may be too much for its own generator",
        BOTH,
        load(account(), account("surge", 50, sent=40, unsent=10), surge=rows(50, unsent=10)),
        PASS,
        "1,850 requests",
    ),
    ("a row is missing", RECORDED, load(made=rows(1799)), INCONCLUSIVE, "load: 1,799 rows on disk for 1,800 planned"),
    (
        "Locust counted another number",
        RECORDED,
        load(account(locust_requests=1700)),
        INCONCLUSIVE,
        "1,700 requests counted by",
    ),
    ("a row is there twice", RECORDED, load(made=TWICE), INCONCLUSIVE, "1 sequence number missing, others twice"),
    (
        "a generator that never finished",
        RECORDED,
        load(account()[:1]),
        INCONCLUSIVE,
        "load: started 1 time, finished 0",
    ),
    ("a generator that was never heard of", BOTH, load(), INCONCLUSIVE, "surge: started 0 times, finished 0"),
    (
        "a generator that left no rows",
        BOTH,
        load(account(), account("surge", 50)),
        INCONCLUSIVE,
        "surge: no rows on disk",
    ),
    (
        "one unsent request",
        RECORDED,
        load(made=rows(1800, unsent=1)),
        INCONCLUSIVE,
        "1 request of 1,800 could not be sent, bound 0",
    ),
    (
        "a generator that sent late under a fault, within that phase's bound",
        Recorded(lenient_phases=("steady",)),
        load(made=rows(1800, lag=0.04)),
        PASS,
        "1,800 requests planned",
    ),
    (
        "a generator that sent too late even for a fault",
        Recorded(lenient_phases=("steady",)),
        load(made=rows(1800, lag=0.2)),
        INCONCLUSIVE,
        "steady: load sent late, p99 200 ms, bound 100 ms",
    ),
    (
        "a generator that sent late",
        RECORDED,
        load(made=rows(1800, lag=0.04)),
        INCONCLUSIVE,
        "steady: load sent late, p99 40 ms, bound 25 ms",
    ),
    (
        "a generator that sent too few in a phase",
        Recorded(lag_p99_ms=10_000),
        load(made=hurried()),
        INCONCLUSIVE,
        "sent 1,600 for 1,800 planned, 11.111 % off, bound 1 %",
    ),
    ("a phase without load", RECORDED, load(made=rows(1800, start=40)), INCONCLUSIVE, "steady: no request of load"),
    (
        "a hole in the scrapes",
        RECORDED,
        load(series=[up(0, 30, without=(10, 12))]),
        INCONCLUSIVE,
        "steady: no scrape of the service for 2 s of the gate, bound 750 ms",
    ),
    ("no scrapes", RECORDED, load(series=[]), INCONCLUSIVE, "no scrape of the service for 30 s"),
    ("scrapes that end early", RECORDED, load(series=[up(0, 25)]), INCONCLUSIVE, "no scrape of the service for 5 s"),
    ("no phase", RECORDED, history(account(), rows={"load": rows(9)}, series=UP), INCONCLUSIVE, "the phase 'steady'"),
    ("nothing asked", Recorded(phases=()), load(), INCONCLUSIVE, "no phase or no generator is judged"),
]


@table(CASES)
def test_recorded(check, record, verdict, says):
    expect(check, record, verdict, says)


def test_every_reason_is_given_at_once():
    reason = expect(
        RECORDED, load(account(), made=rows(1700, lag=0.04), series=[]), INCONCLUSIVE, "rows on disk"
    ).reason
    assert "sent late" in reason and "no scrape" in reason


# A fault of this phase is on from 10 s to 12 s, and its contract says that it may keep Prometheus blind for 5 s.
GAPS = {
    "while it is on": (
        (9.9, 12.1),
        True,
        PASS,
        "Prometheus was blind in steady for 2.5 s, as its fault may (bound 5 s)",
    ),
    "until well after it": ((9.9, 14.5), True, PASS, "Prometheus was blind in steady for 4.8 s, as its"),
    "for too long": ((9.9, 15.5), True, INCONCLUSIVE, "no scrape of the service for 5.8 s of the gate, bound 5 s"),
    "long before it": ((4, 6), True, INCONCLUSIVE, "no scrape of the service for 2 s of the gate, bound 750 ms"),
    "from long before it on": (
        (8, 12),
        True,
        INCONCLUSIVE,
        "no scrape of the service for 4 s of the gate, bound 750 ms",
    ),
    "after it": ((13, 15), True, INCONCLUSIVE, "no scrape of the service for 2 s of the gate, bound 750 ms"),
    "and no fault was on": ((9.9, 12.1), False, INCONCLUSIVE, "for 2.5 s of the gate, bound 750 ms"),
    "none": ((0, 0), True, PASS, "scrapes at most 250 ms apart"),
}


@pytest.mark.parametrize(("gap", "real", "verdict", "says"), GAPS.values(), ids=GAPS)
def test_a_fault_excuses_a_gap_that_it_made(gap, real, verdict, says):
    events = fault("steady", 10, 12, sham=not real)
    record = load(account(), *events, series=[up(0, 30, without=gap)])
    expect(Recorded(may_miss=(("steady", 5.0),)), record, verdict, says)
    if verdict is PASS and gap != (0, 0):
        expect(Recorded(), record, INCONCLUSIVE, "bound 750 ms")  # without a word of it in the contract
