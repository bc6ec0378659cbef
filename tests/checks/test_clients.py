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
from harness.checks.clients import recovery
from harness.history import Window

EVENTS = (phase("x", 0, 60), fault("x", 20, 25))
HALF = Clients("x", errors_at_most=0.5, recovered_within_s=10)


def load(*stretches, n=3600, events=EVENTS, probes=(), **few):
    made = rows(n, **few)
    for stretch in stretches:
        made = broken(made, *stretch)
    return history(*events, probes=probes, rows={"load": made})


CASES = [
    (
        "errors only during the fault",
        HALF,
        load((20, 25)),
        PASS,
        "8.333 % of 3,600 requests failed (bound 50 %), served again 0 s",
    ),
    ("served again a little later", HALF, load((20, 30)), PASS, "served again 5 s after the effect (bound 10 s)"),
    ("a refusal is a failure", HALF, load(status_503=2000), FAIL, "55.556 % of 3,600 requests failed (bound 50 %)"),
    ("too many errors", HALF, load((20, 51)), FAIL, "51.667 % of 3,600 requests failed"),
    ("a late recovery", HALF, load((20, 37)), FAIL, "served again only 12 s after the effect, bound 10 s"),
    ("no recovery", Clients("x", 0.9, 10), load((20, 60)), FAIL, "served again not in 35 s, bound 10 s"),
    (
        "a service that never gets ready again",
        HALF,
        load((20, 25), events=(*EVENTS, restart(24)), probes=unready(21)),
        FAIL,
        "never became ready again",
    ),
    (
        "recovery counts from when the service is ready",
        HALF,
        load((20, 37), events=(*EVENTS, restart(24)), probes=ready(35)),
        PASS,
        "served again 2 s after the effect",
    ),
    (
        "a phase that ends before it had to be served",
        HALF,
        load((20, 33), n=1980, events=(phase("x", 0, 33), EVENTS[1])),
        INCONCLUSIVE,
        "8 s after the effect, where the phase ends",
    ),
    ("too few requests", HALF, load(n=6), INCONCLUSIVE, "6 requests are too few to judge 50 % errors by (7 needed)"),
    ("requests that were not sent", HALF, load(unsent=10), INCONCLUSIVE, "0.278 % of 3,600 requests could not be sent"),
    ("no fault", HALF, load(events=EVENTS[:1]), INCONCLUSIVE, "no fault is recorded"),
    ("no phase", HALF, load(events=EVENTS[1:]), INCONCLUSIVE, "does not hold the phase"),
]


@table(CASES)
def test_clients(check, record, verdict, says):
    expect(check, record, verdict, says)


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ([], 0),
        ([0.5], 0.5),
        ([0.5, 2.5], 2.5),
        ([4.5], 0),
        ([1.5, 4.4], 4.4),
        ([1.5, 4.4, 7.3], None),
        (np.arange(0, 9, 0.5).tolist(), None),
    ],
    ids=["all good", "one bad", "two bad", "a bad one later", "one after another", "too late for 3 s", "never 3 s"],
)
def test_recovery_is_the_first_three_seconds_that_are_good(bad, expected):
    at = np.arange(0, 10, 0.1)  # 30 requests in 3 s, so that a single bad one is too many
    good = ~np.isclose(at[:, None], bad).any(axis=1) if bad else np.ones(len(at), bool)
    assert recovery(at, good, 0.0, Window(0, 10)) == (expected if expected is None else pytest.approx(expected))


def test_an_empty_stretch_is_no_recovery():
    assert recovery(np.empty(0), np.empty(0, bool), 0.0, Window(0, 10)) is None
