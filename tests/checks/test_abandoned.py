"""Clients that went away as they were meant to are nobody's failure, and no evidence either."""

import time

import pytest
from handmade import FAIL, INCONCLUSIVE, PASS, history, phase, rows, up

from harness.checks import Availability, ErrorRatio, Latency
from harness.checks.judging import judged
from harness.watch.requests import goodput_over

CHECKS = [Latency("steady", 95, 500), ErrorRatio("steady", 0.01), Availability("steady", 0.99)]


def load(n=2000, **few):
    return history(phase("steady", 0, 100), rows={"load": rows(n, **few)}, series=[up(0, 100)])


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.kind)
@pytest.mark.parametrize(
    ("record", "verdict"),
    [
        pytest.param(load(abandoned=1000), PASS, id="half went away, the others were served"),
        pytest.param(load(abandoned=1000, timeout=200), FAIL, id="of those who stayed one in five was not"),
        pytest.param(load(abandoned=1990), INCONCLUSIVE, id="too few stayed to say"),
        pytest.param(load(abandoned=2000), INCONCLUSIVE, id="nobody stayed"),
    ],
)
def test_only_those_who_stayed_are_judged(check, record, verdict):
    result = judged(check, record)
    assert result.verdict is verdict, result


def test_goodput_is_of_those_who_stayed(tmp_path):
    made = rows(100, start=time.time() - 2, abandoned=50, timeout=10)
    made.tofile(tmp_path / "rows")
    assert goodput_over(tmp_path / "rows", 30) == (40, 50)
