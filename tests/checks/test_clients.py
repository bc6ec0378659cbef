import numpy as np
import pytest
from handmade import (
    FAIL,
    INCONCLUSIVE,
    PASS,
    broken,
    expect,
    fault,
    history,
    phase,
    ready,
    restart,
    rows,
    table,
    unready,
)

from harness.checks import Clients
from harness.checks.check import NoEvidence
from harness.checks.clients import outage
from harness.history import Outcome

EVENTS = (phase("x", 0, 60), fault("x", 20, 25))
HALF = Clients("x", errors_at_most=0.5, recovered_within_s=15)


def load(*stretches, n=3600, events=EVENTS, probes=(), rate=60, without=(0, 0), **few):
    made = rows(n, rate=rate, **few)
    for stretch in stretches:
        made = broken(made, *stretch)
    made = made[(made["intended"] < without[0]) | (made["intended"] >= without[1])]
    return history(*events, probes=probes, rows={"load": made})


def restarted(ready_s):
    """The server is killed at 20 and in traffic again after so long; clients are served from then on."""
    return load((20, 20 + ready_s), events=(*EVENTS, restart(20.6)), probes=ready(20 + ready_s))


CASES = [
    (
        "errors only during the fault",
        HALF,
        load((20, 25)),
        PASS,
        "8.333 % of 3,600 requests failed (bound 50 %), served again 5 s after the fault (bound 15 s)",
    ),
    ("served again a little later", HALF, load((20, 30)), PASS, "served again 10 s after the fault (bound 15 s)"),
    ("a restart", HALF, restarted(4), PASS, "served again 4 s after the fault"),
    ("a restart that takes 20 s longer", HALF, restarted(24), FAIL, "but only served again 24 s after the fault"),
    (
        "a fault that no client notices",
        HALF,
        load(),
        PASS,
        "0 % of 3,600 requests failed (bound 50 %), without an outage (bound 15 s)",
    ),
    ("a stray error is no outage", HALF, load((20, 20.05)), PASS, "without an outage"),
    (
        "a replica that hangs until it is healed while others serve",
        HALF,
        load((20, 23), events=(EVENTS[0], fault("x", 20, 45))),
        PASS,
        "served again 3 s after the fault",
    ),
    ("an outage that begins late", HALF, load((32, 40)), FAIL, "but only served again 20 s after the fault"),
    ("a second outage", HALF, load((20, 22), (30, 38)), FAIL, "but only served again 18 s after the fault"),
    ("3 s of every 4 served are not yet", HALF, load((20, 21), (23.5, 24.5), (27, 28)), PASS, "again 8 s after"),
    ("a refusal is a failure", HALF, load(status_503=2000), FAIL, "55.556 % of 3,600 requests failed (bound 50 %)"),
    ("too many errors", HALF, load((20, 51)), FAIL, "51.667 % of 3,600 requests failed"),
    ("a late recovery", HALF, load((20, 37)), FAIL, "but only served again 17 s after the fault (bound 15 s)"),
    (
        "no recovery",
        Clients("x", 0.9, 10),
        load((22, 60)),
        FAIL,
        "failing from 2 s after the fault on and not yet served again 40 s after it, where the phase ends (bound 10 s)",
    ),
    ("a stray error at the very end", HALF, load((20, 22), (59.98, 60)), PASS, "served again 2 s after the fault"),
    ("out again at the end", HALF, load((20, 22), (58, 60)), FAIL, "failing from 38 s after the fault on"),
    (
        "a service that never gets ready again",
        HALF,
        load((20, 25), events=(*EVENTS, restart(24)), probes=unready(21)),
        FAIL,
        "never became ready again",
    ),
    (
        "ready is not served",
        HALF,
        load((20, 37), events=(*EVENTS, restart(21)), probes=ready(22)),
        FAIL,
        "but only served again 17 s after the fault",
    ),
    (
        "a phase that ends before it had to be served",
        HALF,
        load((20, 33), n=1980, events=(phase("x", 0, 33), EVENTS[1])),
        INCONCLUSIVE,
        "not yet served again 13 s after it, where the phase ends",
    ),
    (
        "a pause of the load in which it was served again",
        HALF,
        load((20, 25), without=(25, 40)),
        INCONCLUSIVE,
        "served again 20 s after the fault (bound 15 s), but nothing was sent for 15 s before",
    ),
    ("a pause that changes nothing", HALF, load((20, 25), without=(25, 32)), PASS, "served again 12 s after the fault"),
    ("a pause over the fault", HALF, load(without=(19, 26)), INCONCLUSIVE, "no request was sent for 5 s of the fault"),
    (
        "one request a second shows no end of an outage",
        HALF,
        load((20, 25), n=60, rate=1),
        INCONCLUSIVE,
        "in the 3 s served again fewer than 5 requests were sent",
    ),
    ("nor that there was none", HALF, load(n=60, rate=1), INCONCLUSIVE, "40 requests in 40 s are too few to show"),
    ("but that it goes on", HALF, load((35, 60), n=60, rate=1), FAIL, "failing from 15 s after the fault on"),
    ("two a second do", HALF, load((20, 25), n=120, rate=2), PASS, "served again 5 s after the fault"),
    (
        "a page in place of a prediction",
        HALF,
        load((20, 25, Outcome.UNSERVED)),
        PASS,
        "300 of 3,600 answers hold no readable class",
    ),
    ("too few requests", HALF, load(n=6), INCONCLUSIVE, "6 requests are too few to judge 50 % errors by (7 needed)"),
    ("requests that were not sent", HALF, load(unsent=10), INCONCLUSIVE, "0.278 % of 3,600 requests could not be sent"),
    ("answers that were not read", HALF, load(not_read=10), INCONCLUSIVE, "10 of 3,600 responses could not be read"),
    ("no fault", HALF, load(events=EVENTS[:1]), INCONCLUSIVE, "no fault is recorded"),
    ("no phase", HALF, load(events=EVENTS[1:]), INCONCLUSIVE, "does not hold the phase"),
]


@table(CASES)
def test_clients(check, record, verdict, says):
    expect(check, record, verdict, says)


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ([], None),
        ([0.5], None),
        ([0.5, 0.6, 0.7], 0.8),
        ([0.5, 0.6, 2.5], 2.6),
        ([4.5, 4.6, 4.7], 4.8),
        ([0.5, 0.6, 0.7, 4.2, 4.3, 4.4], 4.5),
        ([0.5, 0.6, 0.7, 7.1], 0.8),
        ([4.5, 4.6, 7.1], "never"),
        (np.arange(0, 10, 0.5).tolist(), "never"),
    ],
    ids=["all good", "a stray", "three", "three in 3 s", "late", "twice", "a stray after it", "no 3 s left", "never"],
)
def test_an_outage_ends_with_the_first_three_seconds_that_are_good(bad, expected):
    at = np.arange(0, 10, 0.1)  # 30 requests in 3 s: three are more than 1 % beyond chance, one is too many to end it
    good = ~np.isclose(at[:, None], bad).any(axis=1) if bad else np.ones(len(at), bool)
    found = outage(at, good, 0.0, 5.0, 10.0)
    if expected is None:
        assert found is None
    else:
        assert found.ended == (None if expected == "never" else pytest.approx(expected))
        assert found.failed == pytest.approx(max(b for b in bad if b < (found.ended or 10)))


def test_no_request_shows_no_outage_and_no_end_of_one():
    with pytest.raises(NoEvidence, match="no request was sent for 5 s of the fault"):
        outage(np.empty(0), np.empty(0, bool), 0.0, 5.0, 10.0)
