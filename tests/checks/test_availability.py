import numpy as np
from handmade import FAIL, INCONCLUSIVE, PASS, expect, history, phase, rows, table, up

from harness.checks import Availability

STEADY, UP = phase("steady", 0, 100), [up(0, 100)]
UPTIME = Availability("steady", 0.999)


def load(n=6000, series=UP, **few):
    return history(STEADY, rows={"load": rows(n, **few)}, series=series)


CASES = [
    (
        "every request answered and every scrape up is uptime",
        UPTIME,
        load(),
        PASS,
        "100 % of 6,000 requests answered, target",
    ),
    ("an error of the service is an answer", UPTIME, load(status_500=60), PASS, "100 % of 6,000"),
    ("a client's error is an answer", UPTIME, load(status_400=60), PASS, "none of 401 scrapes found it down"),
    ("a gateway's 503 is none", UPTIME, load(status_503=7), FAIL, "7 were not"),
    ("a timeout is none", UPTIME, load(timeout=7), FAIL, "99.883 % of 6,000 requests answered, target 99.9 %"),
    (
        "too few requests claim nothing",
        UPTIME,
        load(1800),
        INCONCLUSIVE,
        "1,800 requests are too few to claim it (4,603",
    ),
    ("one unanswered in 6,000 claims nothing", UPTIME, load(timeout=1), INCONCLUSIVE, "needed at 99 % confidence"),
    (
        "a scrape that failed while clients were answered is no downtime",
        UPTIME,
        load(series=[up(0, 100, down=(50, 50.2))]),
        PASS,
        "none of 401 scrapes found it down, 1 failed while clients were answered",
    ),
    (
        "scrapes that failed while nobody was answered are downtime, however few requests fell into it",
        UPTIME,
        history(
            STEADY,
            rows={"load": np.concatenate([rows(5000), rows(600, start=90)])},
            series=[up(0, 100, down=(85, 88))],
        ),
        FAIL,
        "100 % of 5,600 requests answered, target 99.9 %; 12 of 401 scrapes found it down",
    ),
    ("no scrape is no evidence", UPTIME, load(series=[]), INCONCLUSIVE, "no scrape of the service"),
    ("another job's scrapes are no evidence", Availability("steady", job="else"), load(), INCONCLUSIVE, "no scrape"),
    ("no request is no evidence", UPTIME, history(STEADY, series=UP), INCONCLUSIVE, "no request of 'load'"),
    ("no phase is no evidence", UPTIME, history(series=UP), INCONCLUSIVE, "does not hold the phase"),
]


@table(CASES)
def test_availability(check, record, verdict, says):
    expect(check, record, verdict, says)
