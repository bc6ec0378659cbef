"""The report on a search for capacity: the rate with its confidence, what was short, and every step."""

import io
import math

import pytest

from harness.report.capacity import write
from harness.verdict import Capacity, Step, Verdict

KEPT = Step(100, Verdict.PASS, "p95 40 ms of 900 requests, bound 500 ms", "unknown")
BROKEN = Step(105, Verdict.FAIL, "p95 0.6 s", "the service's queue: 41 of 900 requests were refused with 503")
LATE = Step(105, Verdict.INCONCLUSIVE, "sent late", "the generator: it sent late, p99 40 ms (bound 25 ms)")
FOUND = Capacity(100, 105, (KEPT, BROKEN, KEPT), Verdict.PASS, "every SLO is kept at 100/s, twice", 0.99)
NOT_FOUND = Capacity(100, math.nan, (KEPT, LATE), Verdict.INCONCLUSIVE, "105/s decided nothing", 0.99)


@pytest.mark.parametrize(
    ("found", "first", "bottleneck"),
    [
        (
            FOUND,
            "capacity under steady: 100/s at 99 % confidence; every SLO is kept at 100/s, twice",
            BROKEN.bottleneck,
        ),
        (NOT_FOUND, "capacity under steady: not found; 105/s decided nothing", LATE.bottleneck),
    ],
)
def test_the_answer_comes_first_and_says_how_sure_it_is_and_what_was_short(found, first, bottleneck):
    out = io.StringIO()
    write(found, "steady", out)
    lines = out.getvalue().splitlines()
    assert lines[:2] == [first, f"  short of: {bottleneck}"]
    assert sum("/s  " in line for line in lines) == len(found.steps)
