"""Schedules are pure functions of their text."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.history import ROW
from harness.load.arrivals import KINDS, constant, parse, poisson, ramp, replay, sine, spike, step

rates = st.floats(0.001, 1e6, allow_nan=False)
spans_s = st.floats(0.001, 1e5)
seeds = st.none() | st.integers(0, 2**63)
varying = st.one_of(
    st.builds(ramp, rates, rates, spans_s, seeds),
    st.builds(step, st.lists(rates, min_size=1, max_size=5).map(tuple), spans_s, seeds),
    st.builds(spike, rates, rates, spans_s, spans_s, seeds),
    st.builds(sine, rates, rates, spans_s, seeds),
)
schedules = st.one_of(st.builds(constant, rates), st.builds(poisson, rates, st.integers(0, 2**63)), varying)


def first(n: int, schedule) -> list[float]:
    return list(itertools.islice(schedule.times(), n))


def until(end_s: float, schedule) -> list[float]:
    return list(itertools.takewhile(lambda at: at < end_s, schedule.times()))


@pytest.mark.parametrize(
    "text, schedule",
    [
        ("poisson:60/s:seed=7", poisson(60, seed=7)),
        ("poisson:0.5/s", poisson(0.5, seed=0)),
        ("constant:100/s", constant(100)),
        (" constant:12.25/s ", constant(12.25)),
        ("poisson:90/m:seed=1", poisson(1.5, seed=1)),
        ("ramp:10/s..100/s:over=1m", ramp(10, 100, 60)),
        ("ramp:0/s..100/s:over=500ms:seed=3", ramp(0, 100, 0.5, seed=3)),
        ("step:10/s,50/s,100/s:every=30s", step((10, 50, 100), 30)),
        ("spike:20/s..200/s:at=30s:for=10s", spike(20, 200, 30, 10)),
        ("sine:20/s..100/s:over=24h:seed=1", sine(20, 100, 86400, seed=1)),
    ],
)
def test_a_text_stands_for_a_schedule(text, schedule):
    assert parse(text) == schedule


@given(schedules)
def test_the_text_of_a_schedule_is_read_back_as_the_same(schedule):
    assert parse(str(schedule)) == schedule


ONE_OF = "arrivals: must be one of constant, poisson, ramp, replay, sine, spike, step, as in poisson:60/s:seed=7, got"


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("poisson:60 per s", "poisson: rate must be like 60/s, got '60 per s'"),
        ("poisson:60", "poisson: rate must be like 60/s, got '60'"),
        ("poisson", "poisson: rate must be like 60/s, got 'none'"),
        ("constant:-1/s", "constant: rate must be like 60/s, got '-1/s'"),
        ("constant:0/s", "constant: rate must be above 0/s, got 0.0"),
        ("uniform:60/s", f"{ONE_OF} 'uniform:60/s'"),
        ("", f"{ONE_OF} ''"),
        ("ramp:10/s:over=60s", "ramp: rate must be like 10/s..100/s, got '10/s'"),
        ("ramp:10/s..20/s", "ramp: over must be given, as in ramp:10/s..100/s:over=60s"),
        ("ramp:10/s..20/s:over=60", "ramp: over must be a time with its unit, like over=30s, got 'over=60'"),
        ("ramp:10/s..20/s:over=0s", "ramp: over must be above 0 s, got 0.0"),
        ("ramp:0/s..0/s:over=1s", "ramp: at least one rate must be above 0/s"),
        ("step:10/s;20/s:every=1s", "step: rate must be like 10/s,50/s, got '10/s;20/s'"),
        ("spike:1/s..2/s:at=1s", "spike: for must be given, as in spike:20/s..200/s:at=30s:for=10s"),
        ("sine:1/s..2/s:over=1s:at=2s", "sine: unknown setting 'at' (known: over, seed)"),
        ("replay", "replay: must name a file, as in replay:access.times:speed=2"),
        ("replay:/nowhere/x.times", "replay: /nowhere/x.times: no such file"),
        ("replay:/nowhere/x.bin", "replay: /nowhere/x.bin: no such file"),
        ("replay:x:speed=fast", "replay: speed must be like speed=2, got 'speed=fast'"),
        ("poisson:60/s:sed=7", "poisson: unknown setting 'sed' (known: seed)"),
        ("constant:60/s:seed=7", "constant: unknown setting 'seed' (known: none)"),
        ("poisson:60/s:seed=x", "poisson: seed must be like seed=7, got 'seed=x'"),
        ("poisson:60/s:seed=1:seed=2", "poisson: seed is given twice"),
    ],
)
def test_a_wrong_text_gives_an_error_with_what_was_expected(text, complaint):
    with pytest.raises(UsageError) as error:
        parse(text)
    assert str(error.value) == complaint


@pytest.mark.parametrize(
    "make", [lambda: poisson(0), lambda: constant(float("nan")), lambda: poisson(1, seed=-1), lambda: ramp(-1, 2, 3)]
)
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


@settings(max_examples=40)
@given(st.floats(0, 200), st.floats(1, 200), st.floats(0.5, 50))
def test_a_varying_rate_is_kept_at_every_moment(low, high, lasts_s):
    """Evenly spaced arrivals: at any time as many have come as the integral of the rate says, to one."""
    integrals = {
        ramp(low, high, lasts_s): lambda t: (
            low * t + (high - low) * t * t / (2 * lasts_s)
            if t < lasts_s
            else (low + high) / 2 * lasts_s + high * (t - lasts_s)
        ),
        step((low, high), lasts_s): lambda t: low * min(t, lasts_s) + high * max(0.0, t - lasts_s),
        spike(low, high, lasts_s, lasts_s): lambda t: low * t + (high - low) * min(max(0.0, t - lasts_s), lasts_s),
        sine(low, high, lasts_s): lambda t: (
            (low + high) / 2 * t - (high - low) / 2 * lasts_s / 2 / math.pi * math.sin(2 * math.pi * t / lasts_s)
        ),
    }
    for schedule, integral in integrals.items():
        for k, at in enumerate(until(min(3 * lasts_s, 2000 / high), schedule)):
            assert integral(at) == pytest.approx(k, abs=1e-3), schedule


@pytest.mark.parametrize(
    "text",
    [
        "ramp:0/s..200/s:over=20s:seed=5",
        "step:100/s,20/s,150/s:every=5s:seed=5",
        "spike:50/s..500/s:at=5s:for=5s:seed=5",
        "sine:20/s..200/s:over=10s:seed=5",
    ],
)
def test_with_a_seed_arrivals_are_independent_at_the_rate_of_each_second(text):
    even, independent = parse(text.removesuffix(":seed=5")), parse(text)
    for a in range(0, 20, 5):
        expected, came = (sum(a <= at < a + 5 for at in until(20, schedule)) for schedule in (even, independent))
        assert came == pytest.approx(expected, abs=5 * expected**0.5 + 1)
    gaps = np.diff([at for at in until(20, independent)])
    assert np.std(gaps) > 0.7 * np.mean(gaps), "evenly spaced arrivals would vary with the rate alone"


def test_there_are_no_arrivals_where_the_rate_is_0():
    assert until(100, spike(0, 10, 5, 2)) == pytest.approx([5 + k / 10 for k in range(20)])
    assert len(list(ramp(100, 0, 1).times())) == 50, "a schedule whose rate falls to nothing has an end"
    assert first(2, step((0, 1), 10)) == [10, 11]


def test_a_record_is_replayed_in_order_from_its_first_arrival_at_any_speed(tmp_path):
    (tmp_path / "a:b.times").write_text("# made by hand\n1700000012.5\n\n1700000010  # the first\n1700000011\n")
    assert first(9, parse(f"replay:{tmp_path}/a:b.times")) == [0, 1, 2.5]
    assert first(9, parse(f"replay:{tmp_path}/a:b.times:speed=2.5")) == [0, 0.4, 1]
    rows = np.zeros(4, ROW)
    rows["intended"], rows["turn"] = [1e9 + 3, 1e9, 1e9 + 1, 1e9 + 1.5], [0, 0, 0, 1]
    rows.tofile(tmp_path / "requests-load.rows")
    again = parse(f"replay:{tmp_path}/requests-load.rows:speed=2")
    assert first(9, again) == [0, 0.5, 1.5], "a request that followed a response will follow the new one"
    assert parse(str(again)) == again


@pytest.mark.parametrize(
    "content, complaint",
    [
        (b"", "holds no arrival"),
        (b"1\n2 3\n", ":2: must be a time in seconds, got '2 3'"),
        (b"nan\n", "holds a time that is none"),
        (b"\xff\xfe", "it is not text"),
    ],
)
def test_a_bad_record_is_an_error(tmp_path, content, complaint):
    (tmp_path / "times").write_bytes(content)
    with pytest.raises(UsageError) as error:
        replay(str(tmp_path / "times"))
    assert complaint in str(error.value)


def test_the_example_of_every_kind_can_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "access.times").write_text("1\n")
    assert {str(parse(kind.example)).split(":")[0] for kind in KINDS.values()} == set(KINDS)


def test_schedules_can_be_made_without_locust():
    code = "import sys, harness.load.arrivals; sys.exit('gevent' in sys.modules or 'locust' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
