"""What was used up is named by the figures that say so, and unknown where none does."""

import numpy as np
import pytest
from handmade import INCONCLUSIVE, PASS, history, rows

from harness.checks.bottleneck import bottleneck
from harness.eventlog import Event
from harness.history import Series
from harness.verdict import Result

GOOD = Result("recorded", "the record", PASS, "", measured=1.0, bound=25.0, unit="ms")
LATE = Result("recorded", "the record", INCONCLUSIVE, "", measured=40.0, bound=25.0, unit="ms")


def load(cores=0.3, busy=0.2, idle=60, stolen=0, others=0, recorded=GOOD, **few):
    """Ten seconds of 60 requests each, on four processors of which so many per cent were idle."""
    ticks = {"all": 4000, "stolen": 40 * stolen, "idle": 40 * idle, "busy": 1000 + 40 * others, "own": 1000}
    edges = [
        Event(at, "run", "phase", detail={"phase": "load", "edge": edge, "cpu": cpu})
        for at, edge, cpu in ((0, "begin", dict.fromkeys(ticks, 0)), (10, "end", ticks))
    ]
    finished = Event(11, "load", "finished", detail={"generator": "load", "cpu": [(10, 10, 10 * busy)], "stalls": []})
    at = np.arange(0, 10.1, 0.25)
    series = [Series({"__name__": "process_cpu_seconds_total"}, at, cores * at)] if cores is not None else []
    record = history(edges, finished, rows={"load": rows(600, **few)}, series=series)
    return bottleneck(record, "load", recorded, cores=4)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        pytest.param(
            load(),
            "unknown: the service used 0.30 of 4 processors, 60 % of all were idle, other processes used 0 %, "
            "the host took 0 % of them away, 0 of 600 requests were refused with 503, the generator used 0.20 of a "
            "processor",
            id="nothing was",
        ),
        pytest.param(
            load(cores=3.5, idle=3),
            "the service's processor: the service used 3.50 of 4 processors, 3 % of all were idle",
            id="all processors",
        ),
        pytest.param(
            load(cores=1.0),
            "the service's processor: the service used 1.00 of 4 processors, 60 % of all were idle",
            id="one of them, by a service that cannot use more",
        ),
        pytest.param(
            load(status_503=40), "the service's queue: 40 of 600 requests were refused with 503", id="its queue"
        ),
        pytest.param(
            load(cores=2.9, idle=2, status_503=40),
            "the service's processor: the service used 2.90 of 4 processors, 2 % of all were idle; "
            "the service's queue: 40 of 600 requests were refused with 503",
            id="its queue, for want of processors",
        ),
        pytest.param(load(others=30, idle=20), "neighbours: other processes used 30 %", id="others'"),
        pytest.param(load(stolen=12), "the host: the host took 12 % of them away", id="the host's"),
        pytest.param(load(busy=0.95), "the generator: the generator used 0.95 of a processor", id="the generator's"),
        pytest.param(
            load(recorded=LATE, unsent=3),
            "the generator: 3 requests of 600 could not be sent; the generator: it sent late, p99 40 ms (bound 25 ms)",
            id="the generator was late",
        ),
        pytest.param(load(cores=None, stolen=0), "unknown: 60 % of all were idle", id="a service that says nothing"),
    ],
)
def test_what_was_short_is_named(found, says):
    assert found.startswith(says), found


def test_a_phase_that_is_not_there_tells_nothing():
    assert bottleneck(history(), "load", GOOD, cores=4) == "unknown: nothing is recorded"
