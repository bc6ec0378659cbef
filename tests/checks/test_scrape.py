"""Scrapes against production's timeout: slow, cut off, failing, wrong or large."""

from dataclasses import replace

import numpy as np
from handmade import FAIL, INCONCLUSIVE, PASS, SCRAPE_S, expect, fault, history, phase, restart, rows, table

from harness.checks import Scrape
from harness.checks.view import View
from harness.eventlog import Event
from harness.history import History, Series

SCRAPE = Scrape(timeout_s=10, phases=("steady", "hit"))
END = 40.0


def run(
    took: float = 0.004, slow: int = 0, slow_s: float = 0.25, failed: int = 0, ok_while_slow: bool = False,
    samples: int = 300, size: int = 20_000, at: float = 5.0, events: tuple = (),
) -> History:  # fmt: skip
    """slow: so many scrapes from `at` on took slow_s, and failed unless ok_while_slow; failed: so many failed soon."""
    moments = np.arange(0, END, SCRAPE_S)
    place = np.searchsorted(moments, at)
    seconds, up = np.full(len(moments), took), np.ones(len(moments))
    seconds[place : place + slow], up[place : place + slow] = slow_s, float(ok_while_slow)
    up[place + slow : place + slow + failed] = 0
    values = {
        "up": up,
        "scrape_duration_seconds": seconds,
        "scrape_samples_scraped": np.full(len(moments), samples),
        "scrape_body_size_bytes": np.full(len(moments), size),
    }
    about = {"job": "svc", "instance": "a"}
    series = [Series({"__name__": k, **about}, moments.tolist(), v.tolist()) for k, v in values.items()]
    told = [phase("steady", 0, 20), phase("hit", 20, END), *events]
    return history(*told, series=series, rows={"load": rows(1200)})


def own(phase: str = "steady", at: float = 20.1, **found) -> Event:
    """The scrape with production's timeout."""
    about = {"phase": phase, "target": "127.0.0.1:80", "took_s": 0.01, "last_error": "", "problem": ""}
    return Event(at, "run", "scrape", detail=about | found)


CRASH = [e._replace(detail={**e.detail, "component": "server"}) for e in fault("hit", 25, 30, "kill")]
DOWN = (CRASH, restart(26))
DROPPED = Event(9, "prometheus", "dropped", "fail", detail={"why": "out-of-order samples", "samples": 3})
LIMITED = replace(SCRAPE, samples_at_most=200), replace(SCRAPE, bytes_at_most=1000)

CASES = [
    ("fast", SCRAPE, run(), PASS, "the slowest of 160 scrapes took 4 ms, bound 5 s (50 % of production's timeout 10 s"),
    ("its size is said", SCRAPE, run(), PASS, "at most 300 samples and 20,000 bytes"),
    ("no scrape", SCRAPE, history(phase("steady", 0, 9)), INCONCLUSIVE, "no scrape of the service is recorded"),
    ("none succeeds", SCRAPE, run(slow=160, at=0), INCONCLUSIVE, "none of 160 scrapes of the service succeeded"),
    ("none succeeds, and production's would not either", SCRAPE,
     run(slow=160, at=0, events=(own(took_s=10.0, timed_out=True, problem="no answer"),)), FAIL,
     "a scrape of 127.0.0.1:80 took longer than production's timeout, 10 s"),
    ("none succeeds, and production's would", SCRAPE, run(slow=160, at=0, events=(own(took_s=0.4),)), INCONCLUSIVE,
     "none of 160 scrapes of the service succeeded; 81 of 81 scrapes took as long as the gate's timeout, 250 ms"),
    ("slower than half of production's timeout", SCRAPE, run(events=(own(took_s=6.0),)), FAIL, "took 6 s, bound 5 s"),
    ("and one that the gate saw", replace(SCRAPE, timeout_s=0.2), run(slow=1, slow_s=0.15, ok_while_slow=True), FAIL,
     "a scrape took 150 ms, bound 100 ms: 50 % of production's timeout 200 ms"),
    ("longer than production waits", SCRAPE, run(events=(own(took_s=10.0, timed_out=True, problem="no answer"),)), FAIL,
     "took longer than production's timeout, 10 s"),
    ("only the gate cuts it off", SCRAPE, run(slow=12, events=(own(took_s=0.4),)), INCONCLUSIVE,
     "12 of 81 scrapes took as long as the gate's timeout, 250 ms, so `up` was 0 although the service was not down; "
     "one without hurry took 400 ms, production's timeout is 10 s"),
    ("one of them is an accident", SCRAPE, run(slow=1), PASS, "the slowest"),
    ("a hang under a fault is none of the scrape's", SCRAPE, run(slow=30, at=25, events=DOWN), PASS, "the slowest"),
    ("it fails while clients are served", SCRAPE,
     run(failed=5, events=(own(last_error="server returned HTTP status 500"),)), FAIL,
     "steady: 5 of 81 scrapes failed while clients were served (server returned HTTP status 500)"),
    ("it fails while nobody is", SCRAPE, run(failed=20, at=25, events=DOWN), PASS, "the slowest"),
    ("what it exposes is twice there", SCRAPE, run(events=(own(problem='a_total{x="1"} is there twice'),)), FAIL,
     '127.0.0.1:80: a_total{x="1"} is there twice'),
    ("after a crash it may be gone", SCRAPE, run(events=(*DOWN, own("hit", 40.1, problem="no answer"))), PASS, "the s"),
    ("prometheus drops samples", SCRAPE, run(events=(DROPPED,)), FAIL, "Prometheus dropped 3 samples: out-of-order"),
    ("too many samples", LIMITED[0], run(), FAIL, "a scrape held 300 samples, bound 200"),
    ("too many bytes", LIMITED[1], run(), FAIL, "a scrape held 20,000 bytes, bound 1,000"),
]  # fmt: skip


@table(CASES)
def test_what_it_says(check, record, verdict, says):
    expect(check, record, verdict, says)


def test_production_says_how_long_it_waits():
    (check,) = Scrape.from_plan({"takes_at_most": "20%"}, View(scrape_timeout_s=4.0, phases=("steady",)))
    assert (check.timeout_s, check.takes_at_most, check.phases) == (4.0, 0.2, ("steady",))
