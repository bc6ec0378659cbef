"""A closed load hides stalls: by how much at most is in the result, and a bound that it may hide is not proven."""

import math

import numpy as np
import pytest
from handmade import INCONCLUSIVE, PASS, expect, history, phase, rows

from harness.checks import Latency
from harness.eventlog import Event
from harness.omission import ClosedLoad, closed_load

STEADY = phase("steady", 0, 30)
ABOUT = {"generator": "load", "model": "closed", "arrivals": "closed:users=6"}


def load(think_s, n=1800, arrivals="closed:users=6", **few):
    """Of six users: each asks ten times a second where it thinks nothing."""
    account = {"generator": "load", "users": 6, "think_s": think_s}
    events = [Event(-1, "load", "started", detail={**ABOUT, "arrivals": arrivals})]
    events += [Event(31, "load", "finished", detail=account)]
    return history(STEADY, events, rows={"load": rows(n, **few)})


SAYS = "; closed model, 6 users at most at once: "
CASES = {
    "no stall, nothing hidden": (load(0.0), PASS, "from the sending 99 ms" + SAYS + "at most 100 ms had no user"),
    "few stalls, short beside the users' own pace": (load(5.0, slow=40), PASS, SAYS + "at most 100 ms had"),
    "few stalls, but each held many back": (load(0.0, slow=40), INCONCLUSIVE, SAYS + "at most 900 ms had no user"),
    "one request a user": (load(None), INCONCLUSIVE, SAYS + "nobody knows how much more had no user waited"),
    "a shape": (load(0.0, arrivals="closed:shape=Waves"), PASS, "closed model, shape Waves, 6 users at most at once"),
}


@pytest.mark.parametrize(("made", "verdict", "says"), CASES.values(), ids=CASES)
def test_what_a_closed_load_may_hide(made, verdict, says):
    result = expect(Latency("steady", 95, 500), made, verdict, says)
    assert verdict is PASS or "harness load --open RATE" in result.remedy


def test_the_bound_holds_for_the_same_stall_under_open_arrivals():
    """A user every 10 ms who meets one stall of 2 s: waiting, it sees one slow request of 300; not waiting, 200."""
    every_s, stall_s, n = 0.01, 2.0, 300
    closed = np.array([0.001] * (n - 1) + [stall_s])
    at = np.arange(n + 200) * every_s
    stalled_at = at[150]
    opened = np.where((at >= stalled_at) & (at < stalled_at + stall_s), stalled_at + stall_s - at, 0.001)
    load = ClosedLoad("closed:users=1", 1, every_s - 0.001)
    for p in (50, 60, 70, 90, 99):
        assert load.at_most(closed, closed, p) >= np.percentile(opened, p, method="inverted_cdf"), p
    assert load.at_most(closed, closed, 50) == 0.001
    assert load.at_most(closed, closed, 70) == stall_s


def test_no_time_between_requests_is_no_bound():
    assert math.isinf(ClosedLoad("closed:users=1", 1, 0.0).at_most(np.zeros(3), np.ones(3), 50))
    assert math.isinf(ClosedLoad("closed:users=1", 1, 1.0).at_most(np.empty(0), np.empty(0), 50))


def test_an_open_load_is_none():
    assert closed_load(history(STEADY, rows={"load": rows(10)})) is None
    made = history(STEADY, [Event(-1, "load", "started", detail={**ABOUT, "model": "open"})])
    assert closed_load(made) is None
