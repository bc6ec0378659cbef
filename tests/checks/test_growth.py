import numpy as np
import pytest
from handmade import FAIL, INCONCLUSIVE, PASS, expect, fault, history, phase, rows, table

from harness.checks import Growth, GrowthOf, LeftBehind
from harness.checks.view import Contract, View
from harness.eventlog import Event
from harness.history import ProbeAnswer, Resources, Series

MEMORY, ASKED = GrowthOf("memory", 1000), GrowthOf("memory", 1000, asked=True)
DESCRIPTORS, CONNECTIONS, THREADS, SERIES = (
    GrowthOf(name, 0) for name in ("descriptors", "connections", "threads", "series")
)
LEVEL = 350_000_000
RATE, FOR_S = 120, 60


def sampled(start=0.0, end=FOR_S, name="server", pid=7, role="replica", seed=1, **growing):
    """A sample a second. growing: quantity=what it grows by with each request, or how it goes by them."""
    noise = np.random.default_rng(seed)
    found = []
    for at in np.arange(start, end + 0.5):
        asked = (at - start) * RATE
        more = {what: (by(asked) if callable(by) else by * asked) for what, by in {"memory": 0, **growing}.items()}
        found.append(
            Resources(
                float(at), name, role, pid, 100 + pid, 1, int(LEVEL + more["memory"] + noise.integers(0, 200_000)),
                int(40 + more.get("descriptors", 0) + more.get("connections", 0)),
                int(20 + more.get("connections", 0) + noise.integers(0, 3)), int(15 + more.get("threads", 0)),
                at * 0.4, int(1e6 + more.get("disk", 0)), 0.01, 0.5,
            )
        )  # fmt: skip
    return found


def run(resources, *events, **more):
    load = more.pop("load", rows(FOR_S * RATE, rate=RATE, took=0.01))
    return history(phase("steady", 0, FOR_S), *events, rows={"load": load}, resources=resources, **more)


def scraped(by=0.0):
    at = np.arange(0, FOR_S, 0.25)
    levels = (353 + np.floor(by * RATE * at)).tolist()
    return [Series({"__name__": "scrape_samples_scraped", "job": "svc", "instance": "a:1"}, at.tolist(), levels)]


def warming(asked):
    """As the bundled service: 4 MB by and by, then flat."""
    return 4e6 * (1 - np.exp(-asked / 1500))


def warming_long(asked):
    """100 MB of caches, of which a tenth is missing after 4,000 requests."""
    return 1e8 * (1 - np.exp(-asked / 1800))


def saw_tooth(asked):
    """A heap of 40 MB that is collected every 800 requests."""
    return 5e4 * (asked % 800)


def filling(asked):
    """A heap of 400 MB, collected at last just before the fault."""
    return 5e4 * (asked % 7500)


def two(first, second):
    return [*sampled(name="server-1", pid=1, **first), *sampled(name="server-2", pid=2, **second)]


def uneven(by):
    """Two replicas, of which the first gets all requests."""
    idle = [r._replace(cpu_s=0.0) for r in sampled(name="server-2", pid=2)]
    return [*sampled(name="server-1", pid=1, memory=by), *idle]


EXPERIMENT = (phase("overload", 60, 90), fault("overload", 65, 75, kind="surge"))
AFTER = LeftBehind("overload")


PLANNED = Event(40, "stack", "restart", detail={"component": "server", "cause": "request", "code": 0})
PROBED = [ProbeAnswer(1, "readiness", True, 200, 0.01, decision="ready")]


def warmed_up():
    """Series of a process, of another one for 20 s, and its label for each request."""
    at = np.arange(0, FOR_S, 0.25)
    levels = np.where(at < 40, 353, 353 + 40 * (at - 40)).tolist()
    return [Series({"__name__": "scrape_samples_scraped", "job": "svc", "instance": "a:1"}, at.tolist(), levels)]


def through(before, after, pid_after=7):
    """Steady until the fault, then another level."""
    return [*sampled(0, 65, **before), *sampled(66, 90, pid=pid_after, **after)]


def after(resources, at_once=0):
    """at_once: requests that are all under way for a while during the fault."""
    load = rows(90 * RATE, rate=RATE, took=0.01)
    load["done"][66 * RATE : 66 * RATE + at_once] = 69
    return run(resources, *EXPERIMENT, load=load)


def counted(values, kind="counter", since=66):
    """The fault makes a counter show so many values of a label, and it keeps them."""
    at = np.arange(0, 90, 0.25)
    [scrape] = scraped()
    levels = np.where(at < since, 353, 353 + values).tolist()
    errors = [
        Series({"__name__": "xid_errors_total", "instance": "a:1", "xid": str(i)}, [since + 1, 89], [0, 1])
        for i in range(values)
    ]
    series = [scrape._replace(at=at.tolist(), value=levels), *errors]
    load = rows(90 * RATE, rate=RATE, took=0.01)
    return run(through({}, {}), *EXPERIMENT, load=load, series=series, types={"xid_errors_total": kind})


def by(n):
    return lambda asked: n


CASES = [
    ("a level that stays", MEMORY, run(sampled()), PASS, "bound 1 kB): 350 MB over 3,480 requests"),
    ("a warm-up is no leak", MEMORY, run(sampled(memory=warming)), PASS, "resident memory grows by"),
    ("a warm-up that takes longer", MEMORY, run(sampled(memory=warming_long)), INCONCLUSIVE, "as of a warm-up that is"),
    ("nor is a saw-tooth", MEMORY, run(sampled(memory=saw_tooth)), PASS, "resident memory grows by"),
    ("a piece taken at once is none", MEMORY, run(sampled(memory=lambda n: 5e6 * (n > 5000))), PASS, "memory grows"),
    ("a warm-up hides no leak of 3 kB", MEMORY, run(sampled(memory=lambda n: warming(n) + 3e3 * n)), FAIL, "bound 1"),
    ("a leak of 10 kB", MEMORY, run(sampled(memory=1e4)), FAIL, "resident memory grows by 10 kB a request (99 % inter"),
    ("a leak of 100 kB", MEMORY, run(sampled(memory=1e5)), FAIL, "by 100 kB a request"),
    ("of two replicas the one that leaks is named", MEMORY, run(two({}, {"memory": 1e5})), FAIL, "memory of server-2"),
    (
        "of two the one that has all to do",
        MEMORY,
        run(uneven(9e2)),
        PASS,
        "memory of server-1 grows by 0.9 kB a request",
    ),
    ("and leaks", MEMORY, run(uneven(5e3)), FAIL, "memory of server-1 grows by 5 kB a request"),
    ("a higher bound", GrowthOf("memory", 2e5), run(sampled(memory=1e5)), PASS, "bound 200 kB"),
    ("what was asked for is to be seen", ASKED, run(sampled()), PASS, "bound 1 kB"),
    (
        "noise that would hide it",
        ASKED,
        run(sampled(memory=lambda n: np.random.default_rng(int(n)).integers(0, 10**8))),
        INCONCLUSIVE,
        "a request would not show in 3,480 of them",
    ),
    ("of a dependency nothing is asked", MEMORY, run(sampled(role="dependency")), INCONCLUSIVE, "not recorded"),
    ("a run of an older version", MEMORY, run([]), INCONCLUSIVE, "memory of the service: not recorded in steady"),
    (
        "samples of another user",
        MEMORY,
        run([r._replace(memory=None) for r in sampled()]),
        INCONCLUSIVE,
        "not recorded",
    ),
    ("too few samples", MEMORY, run(sampled(end=4)), INCONCLUSIVE, "samples over"),
    (
        "the sham after it counts, the fault does not",
        MEMORY,
        run(
            [*sampled(0, 80), *sampled(81, 99, memory=1e5)],
            *(phase("sham", 60, 80), fault("sham", 65, 70, sham=True)),
            *(phase("overload", 80, 100), fault("overload", 80.5, 90, id="f2")),
            load=rows(100 * RATE, rate=RATE, took=0.01),
        ),
        PASS,
        "over 4,680 requests",
    ),
    (
        "after a restart the level is new",
        MEMORY,
        run([*sampled(0, 20, memory=by(2e8)), *sampled(21, 60, pid=8)]),
        PASS,
        "grows by",
    ),
    ("descriptors that come and go", DESCRIPTORS, run(sampled()), PASS, "descriptors grow by 0 a request"),
    ("a descriptor each 50 requests", DESCRIPTORS, run(sampled(descriptors=0.02)), FAIL, "descriptors grow by 0.0"),
    ("a pool that grows once", DESCRIPTORS, run(sampled(descriptors=lambda n: 60 * (n > 5000))), PASS, "descriptors"),
    (
        "very many at once",
        DESCRIPTORS,
        run(sampled(descriptors=lambda n: 300 * (n > 5000))),
        FAIL,
        "bound on any rise 1",
    ),
    ("as many as the bound allows", GrowthOf("descriptors", 0.03), run(sampled(descriptors=0.02)), PASS, "bound 0.03"),
    ("connections that come and go", CONNECTIONS, run(sampled()), PASS, "connections grow by"),
    ("a connection each 50 requests", CONNECTIONS, run(sampled(connections=0.02)), FAIL, "connections grow by 0.0"),
    ("connections are no other descriptors", DESCRIPTORS, run(sampled(connections=0.02)), PASS, "by 0 a request"),
    ("a thread each 100 requests", THREADS, run(sampled(threads=0.01)), FAIL, "threads grow by 0.00"),
    ("threads that stay", THREADS, run(sampled()), PASS, "threads grow by 0 a request"),
    ("a label with the request's id", SERIES, run([], series=scraped(1)), FAIL, "series grow by 1 a"),
    ("series that stay", SERIES, run([], series=scraped()), PASS, "353 over"),
    (
        "after a planned restart nothing counts",
        SERIES,
        run([], PLANNED, series=warmed_up(), probes=PROBED),
        PASS,
        "353",
    ),
    ("without one it does", SERIES, run([], series=warmed_up(), probes=PROBED), FAIL, "series grow by"),
    ("without scrapes nobody knows", SERIES, run(sampled()), INCONCLUSIVE, "series of the service: not recorded"),
    ("the disk is a figure", GrowthOf("disk", None), run(sampled(disk=2e3)), PASS, "disk grows by 2 kB a request"),
    ("the disk over its bound", GrowthOf("disk", 1e3), run(sampled(disk=2e3)), FAIL, "bound 1 kB): 8.4 MB to 15.2 MB"),
    ("the same before and after", AFTER, after(through({}, {})), PASS, "memory 350 MB before and 350 MB after"),
    ("what a peak took may be kept", AFTER, after(through({}, {"memory": by(8e7)})), PASS, "430 MB after"),
    ("more than that may not", AFTER, after(through({}, {"memory": by(9e8)})), FAIL, "memory 350 MB before and 1.3 GB"),
    (
        "a heap that is fuller than before the fault",
        AFTER,
        after(through({"memory": filling}, {"memory": by(3e8)})),
        PASS,
        "650 MB after",
    ),
    ("connections that stay open", AFTER, after(through({}, {"connections": by(90)})), FAIL, "112 after (bound 34"),
    ("some more than before", AFTER, after(through({}, {"threads": by(9)})), PASS, "threads 15 before and 24 after"),
    (
        "pools grow with the requests at once",
        AFTER,
        after(through({}, {"connections": by(90)}), at_once=120),
        PASS,
        "connections 22 before and 112 after",
    ),
    (
        "threads that stay",
        AFTER,
        after(through({}, {"threads": by(40)})),
        FAIL,
        "threads 15 before and 55 after (bound",
    ),
    (
        "files do not grow with the requests at once",
        AFTER,
        after(through({}, {"descriptors": by(90)}), at_once=120),
        FAIL,
        " in server, which lived through it",
    ),
    ("an error counter keeps its codes", AFTER, counted(16), PASS, "series 353 before and 369 after"),
    ("a gauge does not", AFTER, counted(16, "gauge"), FAIL, "series 353 before and 369 after (bound 36"),
    ("nor a counter of any text", AFTER, counted(60), FAIL, "series 353 before and 413 after (bound 36"),
    ("a process that was replaced", AFTER, after(through({}, {"memory": by(9e8)}, 8)), PASS, "server: replaced"),
    ("no samples, no verdict", AFTER, after([]), INCONCLUSIVE, "no process of the service was recorded"),
]


@table(CASES)
def test_growth(check, record, verdict, says):
    expect(check, record, verdict, says)


def test_a_varying_load_brings_connections_and_threads_with_it():
    """A ramp: the more requests are under way, the more connections there are."""
    load = rows(60 * RATE, took=2.0)
    load["intended"] = np.sqrt(np.arange(len(load)) / len(load)) * FOR_S
    load["sent"], load["done"] = load["intended"], load["intended"] + 2.0
    grown = sampled(connections=lambda n: 4 * n / RATE)  # with the rate, 4/s more each second
    expect(CONNECTIONS, run(grown, load=load), PASS, "connections grow by")


@pytest.mark.parametrize("kb", [0, 0.8])
def test_good_services_are_not_red(kb):
    """Steps of an allocator of 256 kB at random, with as much as 0.8 kB a request on the average: none of 300."""
    noise = np.random.default_rng(5)
    for _ in range(300):
        steps = np.cumsum(noise.poisson(kb * 1000 * RATE / 262_144, FOR_S + 1)) * 262_144 if kb else np.zeros(FOR_S + 1)
        levels = LEVEL + steps + noise.integers(0, 3e5, FOR_S + 1)
        record = run([r._replace(memory=int(x)) for r, x in zip(sampled(), levels, strict=True)])
        assert MEMORY.judge(record).verdict is PASS


def test_a_leak_is_found_with_the_power_that_is_said():
    """3 kB a request beside 0.5 kB of such steps: at least 95 of 100 runs are red."""
    noise, red = np.random.default_rng(6), 0
    for _ in range(100):
        steps = np.cumsum(noise.poisson(500 * RATE / 262_144, FOR_S + 1)) * 262_144 + np.arange(FOR_S + 1) * 3000 * RATE
        record = run([r._replace(memory=int(LEVEL + x)) for r, x in zip(sampled(), steps, strict=True)])
        red += MEMORY.judge(record).verdict is FAIL
    assert red >= 95


def test_an_entry_stands_for_a_check_of_each_quantity_and_one_of_each_experiment():
    contract = Contract(
        alerts=[], probes={"server": {"restart": "never"}}, clients={"errors_at_most": 0, "recovered_within": "1s"}
    )
    view = View(contracts=(("overload", contract),))
    made = Growth.from_plan({"memory": "2 kB", "descriptors": 0.01}, view)
    assert made[:2] == (GrowthOf("memory", 2000, True), GrowthOf("descriptors", 0.01, True))
    assert made[2:6] == (CONNECTIONS, THREADS, SERIES, GrowthOf("disk", None))
    assert made[-1] == LeftBehind("overload", 2000)
    assert len(Growth.from_plan(None, View())) == 6
