"""Schedules are pure, and their text says all there is to them."""

import itertools
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.load.arrivals import constant, parse, poisson

rates = st.floats(0.001, 1e6, allow_nan=False)
schedules = st.one_of(st.builds(constant, rates), st.builds(poisson, rates, st.integers(0, 2**63)))


def first(n: int, schedule) -> list[float]:
    return list(itertools.islice(schedule.times(), n))


@pytest.mark.parametrize(
    "text, schedule",
    [
        ("poisson:60/s:seed=7", poisson(60, seed=7)),
        ("poisson:0.5/s", poisson(0.5, seed=0)),
        ("constant:100/s", constant(100)),
        (" constant:12.25/s ", constant(12.25)),
    ],
)
def test_a_text_stands_for_a_schedule(text, schedule):
    assert parse(text) == schedule


@given(schedules)
def test_the_text_of_a_schedule_is_read_back_as_the_same(schedule):
    assert parse(str(schedule)) == schedule


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("poisson:60 per s", "poisson: rate must be like 60/s, got '60 per s'"),
        ("poisson:60", "poisson: rate must be like 60/s, got '60'"),
        ("poisson", "poisson: rate must be like 60/s, got 'none'"),
        ("constant:-1/s", "constant: rate must be like 60/s, got '-1/s'"),
        ("constant:0/s", "constant: rate must be above 0/s, got 0.0"),
        ("uniform:60/s", "arrivals: must be one of constant, poisson, as in poisson:60/s:seed=7, got 'uniform:60/s'"),
        ("", "arrivals: must be one of constant, poisson, as in poisson:60/s:seed=7, got ''"),
        ("poisson:60/s:sed=7", "poisson: unknown setting 'sed' (known: seed)"),
        ("constant:60/s:seed=7", "constant: unknown setting 'seed' (known: none)"),
        ("poisson:60/s:seed=x", "poisson: seed must be like seed=7, got 'seed=x'"),
        ("poisson:60/s:seed=1:seed=2", "poisson: seed is given twice"),
    ],
)
def test_a_wrong_text_is_told_what_was_expected(text, complaint):
    with pytest.raises(UsageError) as error:
        parse(text)
    assert str(error.value) == complaint


@pytest.mark.parametrize("make", [lambda: poisson(0), lambda: constant(float("nan")), lambda: poisson(1, seed=-1)])
def test_a_schedule_that_makes_no_sense_cannot_be_made(make):
    with pytest.raises(UsageError):
        make()


@given(schedules)
def test_times_are_the_same_each_time_and_never_go_back(schedule):
    times = first(200, schedule)
    assert times == first(200, schedule)
    assert times == sorted(times) and times[0] >= 0


@settings(max_examples=25)
@given(st.floats(0.1, 1e4), st.integers(0, 10_000))
def test_the_mean_rate_is_the_rate_asked_for(rate_per_s, seed):
    n = 4000
    assert first(n, constant(rate_per_s))[-1] == pytest.approx((n - 1) / rate_per_s)
    # the n-th Poisson arrival has mean n / rate and a spread of sqrt(n) / rate; six of them are one in 500 million
    assert first(n, poisson(rate_per_s, seed))[-1] * rate_per_s == pytest.approx(n, abs=6 * n**0.5)


def test_poisson_gaps_vary_as_much_as_they_should_and_seeds_differ():
    times = first(20_000, poisson(1, seed=1))
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert sum(gap > 3 for gap in gaps) / len(gaps) == pytest.approx(2.718281828**-3, rel=0.15)
    assert times != first(20_000, poisson(1, seed=2))


def test_a_seed_gives_the_schedule_it_gave_when_runs_were_recorded_with_it():
    assert first(3, poisson(60, seed=7)) == pytest.approx([0.00652191407, 0.00924722169, 0.02678881532], abs=1e-10)


def test_schedules_can_be_made_without_locust():
    code = "import sys, harness.load.arrivals; sys.exit('gevent' in sys.modules or 'locust' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
