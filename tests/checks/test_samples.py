from math import comb

import pytest
from handmade import FAIL, INCONCLUSIVE, PASS
from hypothesis import given
from hypothesis import strategies as st

from harness import stats
from harness.checks import samples

MLPERF = {  # requests needed at 99 % confidence, by how many were over the bound
    0.05: {0: 90, 1: 130, 2: 165, 5: 259, 10: 398, 20: 656},
    0.01: {0: 459, 1: 662, 2: 838, 5: 1307, 10: 2010, 20: 3304},
    0.001: {0: 4603, 1: 6636, 2: 8403, 5: 13105, 10: 20140, 20: 33097},
}


@pytest.mark.parametrize(("share", "bad", "n"), [(s, t, n) for s, row in MLPERF.items() for t, n in row.items()])
def test_the_requests_needed_are_those_of_mlperf(share, bad, n):
    assert stats.needed(share, bad) == n
    assert samples.judge(bad, n, share) is PASS
    assert samples.judge(bad, n - 1, share) is INCONCLUSIVE


@given(st.integers(0, 60), st.integers(1, 60), st.floats(0.001, 0.999))
def test_the_chance_is_the_binomial_sum(bad, n, share):
    bad = min(bad, n)
    exact = sum(comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(bad + 1))
    assert stats.at_most(bad, n, share) == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize(
    ("bad", "n", "verdict"), [(0, 0, INCONCLUSIVE), (5, 100, INCONCLUSIVE), (6, 100, FAIL), (1, 1, FAIL), (0, 90, PASS)]
)
def test_more_bad_ones_than_the_share_fail_and_too_few_requests_decide_nothing(bad, n, verdict):
    assert samples.judge(bad, n, 0.05) is verdict


def test_no_number_of_requests_proves_that_nothing_ever_goes_wrong():
    assert stats.needed(0.0) is None
    assert samples.judge(0, 1_000_000, 0.0) is INCONCLUSIVE
    assert samples.judge(1, 1_000_000, 0.0) is FAIL


def test_the_shortage_says_how_many_requests_and_how_long_they_take():
    why, remedy = samples.shortage(0, 60, 0.001, over_s=1)
    assert "60 requests are too few" in why and "4,603 needed" in why and "1 min 17 s at 60/s" in why
    assert "4,603" in remedy


def test_bad_ones_are_expected_to_go_on_coming_at_the_rate_seen():
    enough = stats.needed_at(4, 100, 0.05)
    assert enough > stats.needed(0.05, 4)
    assert samples.judge(round(0.04 * enough), enough, 0.05) is PASS
    assert stats.needed_at(5, 100, 0.05) is None
    assert "too close to 5 %" in samples.shortage(5, 100, 0.05, 1)[0]


@pytest.mark.parametrize(
    ("bad", "n", "low", "high"), [(0, 100, 0.0, 0.05160), (100, 100, 0.94840, 1.0), (5, 100, 0.01090, 0.13513)]
)
def test_the_interval_of_a_share_is_clopper_pearsons(bad, n, low, high):
    assert stats.interval(bad, n) == pytest.approx((low, high), abs=1e-4)
