import numpy as np
import pytest
from handmade import FAIL, INCONCLUSIVE, PASS, expect, history, phase, rows, table

from harness.checks import Latency
from harness.history import SLOW_CLIENT
from harness.stats import nearest_rank

STEADY = phase("steady", 0, 30)
P95 = Latency("steady", 95, 500)


def load(n=1800, **few):
    return history(STEADY, rows={"load": rows(n, **few)})


def beside(odd, n=1800, **few):
    """The same, the first `odd` of them (which are the slow ones) sent by clients with odd manners."""
    made = rows(n, **few)
    made["step"][:odd] |= SLOW_CLIENT
    return history(STEADY, rows={"load": made})


CASES = [
    ("enough fast requests prove the bound", P95, load(), PASS, "p95 100 ms of 1,800 requests, bound 500 ms"),
    ("a few slow ones among many still prove it", P95, load(slow=40), PASS, "p95 100 ms"),
    ("ninety requests are just enough", P95, load(90), PASS, "of 90 requests"),
    (
        "sixty-four requests claim nothing",
        P95,
        load(64),
        INCONCLUSIVE,
        "64 requests are too few to claim it (90 needed",
    ),
    ("almost too many slow ones claim nothing", P95, load(slow=85), INCONCLUSIVE, "needed at 99 % confidence"),
    ("just as many slow ones as allowed can never be proven", P95, load(slow=90), INCONCLUSIVE, "too close to 5 %"),
    (
        "a percentile over the bound fails",
        P95,
        load(slow=91),
        FAIL,
        "p95 900 ms of 1,800 requests, bound 500 ms; 91 were",
    ),
    ("a latency of just the bound is not under it", Latency("steady", 95, 100), load(took=0.1), FAIL, "bound 100 ms"),
    ("timeouts are slower than any bound", P95, load(timeout=91), FAIL, "p95 no complete answer"),
    ("failed connections are slower than any bound", P95, load(connect_failed=91), FAIL, "no complete answer"),
    ("torn answers and garbage are no answers", P95, load(broken=50, garbage=41), FAIL, "no complete answer"),
    ("one unsent request in 1,800 is left out", P95, load(unsent=1), PASS, "of 1,799 requests"),
    (
        "two unsent requests in 1,800 are too many",
        P95,
        load(unsent=2),
        INCONCLUSIVE,
        "0.111 % of 1,800 requests could not",
    ),
    (
        "what it was from the sending stands beside it",
        P95,
        load(lag=0.04),
        PASS,
        "p95 100 ms of 1,800 requests, bound 500 ms; from the sending 60 ms",
    ),
    (
        "slow clients are slow by themselves",
        P95,
        beside(600, slow=600),
        PASS,
        "of 1,200 requests, bound 500 ms; from the sending 99 ms; 600 requests of slow clients left out",
    ),
    (
        "what they do to others is the service's",
        P95,
        beside(300, slow=400),
        FAIL,
        "of 1,500 requests, bound 500 ms; 100 were slower",
    ),
    ("only slow clients prove nothing", P95, beside(1800), INCONCLUSIVE, "all 1,800 requests were sent or read slowly"),
    ("too few ordinary ones claim nothing", P95, beside(1720), INCONCLUSIVE, "80 requests are too few"),
    (
        "no phase is no evidence",
        P95,
        history(rows={"load": rows(90)}),
        INCONCLUSIVE,
        "does not hold the phase 'steady'",
    ),
    ("no request is no evidence", P95, history(STEADY), INCONCLUSIVE, "no request of 'load'"),
    (
        "another generator's requests count for nothing",
        Latency("steady", 95, 500, "other"),
        load(),
        INCONCLUSIVE,
        "'other'",
    ),
]


@table(CASES)
def test_latency(check, record, verdict, says):
    expect(check, record, verdict, says)


@pytest.mark.parametrize(("percentile", "value"), [(50, 10), (95, 19), (99, 20), (100, 20), (1, 1), (5, 1), (5.1, 2)])
def test_a_percentile_is_a_value_that_was_seen(percentile, value):
    assert nearest_rank(np.arange(20, 0, -1), percentile) == value
