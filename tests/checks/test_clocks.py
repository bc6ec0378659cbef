"""Clocks that go alike, and each that does not."""

from dataclasses import replace

import numpy as np
from handmade import INCONCLUSIVE, PASS, SCRAPE_S, expect, history, phase, rows, table, up

from harness.checks import Clocks
from harness.eventlog import Event
from harness.history import History, Series

CLOCKS = Clocks()
EDGES = (0.0, 40.0, 41.0, 80.0)


def run(
    wall: float = 1.0, jump_s: float = 0.0, asleep_s: float = 0.0, prometheus: float = 1.0, generator: float = 1.0,
    anchor_s: float = 0.0, spacing_s: float = SCRAPE_S, latest_s: float = 0.1,
) -> History:  # fmt: skip
    """Two phases. Each clock by its rate; jump_s: what the wall clock is set by between the two."""
    events = [phase("steady", 0, 40), phase("hit", 41, 80)]
    for i, at in enumerate(EDGES):
        later = at if i < 2 else at + jump_s
        read = {
            "phase": "steady" if i < 2 else "hit",
            "wall": later * wall,
            "monotonic": at,
            "boot": at + (asleep_s if i > 1 else 0),
            "within_s": 1e-6,
            "prometheus_ahead_s": (prometheus - 1) * at,
            "asked_for_s": 0.004,
            "sent_before_s": latest_s - (generator - 1) * at,
        }
        events.append(Event(at, "run", "clocks", detail=read))
    clocks = [1.0 + anchor_s, 1.0, 1.0]
    events.append(Event(1.0, "load", "started", detail={"generator": "load", "clocks": clocks}))
    at = np.arange(0, 80, spacing_s)
    series = [Series({"__name__": "up", "job": "svc"}, at.tolist(), [1.0] * len(at))]
    return history(*events, series=series, rows={"load": rows(1200)})


def slow_load() -> History:
    """One request in ten seconds: the latest is often long ago."""
    return replace(run(generator=0.97), rows={"load": rows(8, rate=0.1)})


CASES = [
    ("all alike", CLOCKS, run(), PASS, "in 1 min 20 s the wall clock went 0 s off the monotonic one, bound 1 %"),
    ("nobody read them", CLOCKS, history(phase("steady", 0, 9), series=[up(0, 9)]), INCONCLUSIVE, "read 0 times"),
    ("the wall clock is 1 % fast", CLOCKS, run(wall=1.01), INCONCLUSIVE, "went 400 ms ahead of the monotonic one"),
    ("the wall clock is 1 % slow", CLOCKS, run(wall=0.99), INCONCLUSIVE, "400 ms behind the monotonic one within 40 s"),
    ("it is being adjusted", CLOCKS, run(wall=1.0005), PASS, "off the monotonic one"),
    ("it is set", CLOCKS, run(jump_s=-2), INCONCLUSIVE, "the wall clock went 2 s behind the monotonic one within 1 s"),
    ("the machine sleeps", CLOCKS, run(asleep_s=30), INCONCLUSIVE, "the machine was suspended for 30 s in hit"),
    ("prometheus is 1 % fast", CLOCKS, run(prometheus=1.01), INCONCLUSIVE, "Prometheus' clock was 800 ms ahead"),
    ("the generator is 1 % fast", CLOCKS, run(generator=1.01), INCONCLUSIVE, "was sent 700 ms in the future"),
    ("the generator is 1 % slow", CLOCKS, run(generator=0.95), INCONCLUSIVE, "later and later, by 2"),
    (
        "the generator has another time",
        CLOCKS,
        run(anchor_s=3),
        INCONCLUSIVE,
        "the generator load was 3 s ahead",
    ),
    ("a slow load", CLOCKS, slow_load(), PASS, "off the monotonic one"),
    ("scrapes too far apart", CLOCKS, run(spacing_s=0.255), INCONCLUSIVE, "255 ms apart by Prometheus' clock, 2 % off"),
]


@table(CASES)
def test_what_it_says(check, record, verdict, says):
    expect(check, record, verdict, says)
