"""What the samples become: six scrapes of a quarter second, the fault before the fifth, stretched 60 times."""

import math
from itertools import pairwise

import pytest

from harness.errors import HarnessError
from harness.history import Series, Window
from harness.rules.stretch import Grid, lay_grid, stretch

START = 1.7e9
TARGET = {"job": "server", "instance": "i"}
GRID = Grid(start=START, slots=6, fault_slot=4, step_s=15, time_scale=60)
WINDOW = Window(START - 0.1, START + 1.35)
NO = None  # no sample at this scrape
BEFORE = "1699999850 "  # a minute and the repeated baseline's 90 s before the record


def recorded(name, *values, **labels):
    samples = [(START + 0.25 * k, float(v)) for k, v in enumerate(values) if v is not NO]
    return Series({"__name__": name, **TARGET, **labels}, [at for at, _ in samples], [v for _, v in samples])


UP = recorded("up", 1, 1, 1, 1, 1, 1)


def stretched(*series, baseline=0, types=None):
    lines = stretch(series, GRID, WINDOW, baseline, types or {})
    return lines[-1][1]


@pytest.mark.parametrize(
    "name, values, types, expected",
    [
        ("queue", (1, 2, 3, 4, 5, 6), {}, "1 2 3 4 5 6"),
        ("x_total", (1, 2, 3, 4, 5, 6), {}, "60 120 180 240 300 360"),
        ("x_total", (1, 2, 3, 4, 5, 6), {"x_total": "gauge"}, "1 2 3 4 5 6"),
        ("x", (1, 2, 3, 4, 5, 6), {"x": "counter"}, "60 120 180 240 300 360"),
        ("x_total", (1, 2, 3, 4, 5, 6), {"x": "counter"}, "60 120 180 240 300 360"),
        ("x_bucket", (1, 1, 1, 1, 1, 1), {"x": "histogram"}, "60 60 60 60 60 60"),
        ("x_sum", (0.5, 1, 1, 1, 1, 1), {"x": "summary"}, "30 60 60 60 60 60"),
        ("x", (0.5, 1, 1, 1, 1, 1), {"x": "summary"}, "0.5 1 1 1 1 1"),
        ("x_count", (1, 1, 1, 1, 1, 1), {"x_count": "gauge"}, "1 1 1 1 1 1"),
        ("x_total", (9, 10, 0, 1, 2, 2), {}, "540 600 0 60 120 120"),
        ("x_total", (1000, 1001, 5, 5, 5, 5), {}, "60000 60060 300 300 300 300"),
        (
            "queue",
            (1.2345678901234, math.nan, math.inf, -math.inf, 1e300, 1e-7),
            {},
            "1.2345678901234 NaN Inf -Inf 1e+300 1e-07",
        ),
        ("process_start_time_seconds", (START - 60,) * 5 + (START + 1,), {}, "1699996400 " * 5 + "1700000060"),
        ("lifetime_seconds", (1, 2, 3, 4, 5, 6), {}, "1 2 3 4 5 6"),
        ("uptime_seconds", (9, 9.25, 9.5, 0.25, 0.5, 0.75), {"uptime_seconds": "gauge"}, "540 555 570 15 30 45"),
    ],
    ids=[
        "a gauge stays as it is",
        "a counter by its name counts K times as much",
        "its declared type goes before its name",
        "a counter by its declared type",
        "a counter declared without its suffix",
        "a histogram's buckets are counters",
        "a summary's sum is a counter",
        "a summary's quantiles are not",
        "a gauge may be called count",
        "a reset stays a reset",
        "a reset that rebasing would hide stays one",
        "numbers keep all their digits",
        "a moment of the gate is stretched as the record is",
        "a duration is no moment",
        "the time since a start passes as production's clock does",
    ],
)
def test_values(name, values, types, expected):
    assert stretched(UP, recorded(name, *values), types=types) == expected


@pytest.mark.parametrize(
    "up, values, expected",
    [
        ((1, 1, 0, 0, 1, 1), (1, 2, NO, NO, 5, 6), "1 2 stale stale 5 6"),
        ((1, 1, 1, 1, 1, 1), (1, 2, NO, NO, 5, 6), "1 2 stale stale 5 6"),
        ((1, 1, NO, NO, 1, 1), (1, 2, NO, NO, 5, 6), "1 2 _ _ 5 6"),
        ((0, 0, 0, 0, 1, 1), (NO, NO, NO, NO, 5, 6), "_ _ _ _ 5 6"),
        ((1, 1, 1, 1, 1, 1), (NO, NO, 3, 4, 5, 6), "3 3 3 4 5 6"),
    ],
    ids=[
        "the target was down: stale",
        "the target answered without the series: stale",
        "nobody scraped: a gap",
        "before its first sample it is not stale but not there",
        "one that appears in the baseline was there all along",
    ],
)
def test_absence(up, values, expected):
    assert stretched(recorded("up", *up), recorded("queue", *values)) == expected


def test_what_prometheus_says_itself_of_a_target_that_is_down_stays():
    up = recorded("up", 1, 1, 0, 0, 1, 1)
    assert stretched(up, recorded("scrape_duration_seconds", 1, 2, 3, 4, 5, 6)) == "1 2 3 4 5 6"
    assert stretched(up) == "1 1 0 0 1 1"


def test_another_target_being_down_does_not_matter():
    down = recorded("up", 0, 0, 0, 0, 0, 0)._replace(labels={"__name__": "up", "job": "other", "instance": "i"})
    assert stretched(down, UP, recorded("queue", 1, 2, 3, 4, 5, 6)) == "1 2 3 4 5 6"


@pytest.mark.parametrize(
    "name, values, expected",
    [
        ("queue", (1, 2, 3, 4, 9, 9), "3 4 1 2 3 4 | 1 2 3 4 9 9"),
        ("x_total", (5, 6, 7, 8, 20, 30), "420 480 540 600 660 720 | 780 840 900 960 1680 2280"),
        ("x_total", (5, 6, 7, 8, 0, 1), "420 480 540 600 660 720 | 780 840 900 960 0 60"),
        ("x_total", (5, 5, 5, 5, 5, 8), "300 300 300 300 300 300 | 300 300 300 300 300 480"),
        ("x_total", (NO, NO, NO, NO, 5, 8), "_ _ _ _ _ _ | _ _ _ _ 300 480"),
        ("process_start_time_seconds", (START - 1,) * 6, f"{BEFORE * 6}| {BEFORE * 6}".strip()),
    ],
    ids=[
        "a gauge repeats",
        "a counter goes on growing as it did, without a step at the seams",
        "a reset after the baseline goes to where it really went",
        "a counter at rest stays at rest",
        "one that appears with the fault has no past",
        "a server that ran before the record ran before the test",
    ],
)
def test_the_baseline_is_repeated_in_front(name, values, expected):
    values = stretched(UP, recorded(name, *values), baseline=6).split()
    assert " ".join([*values[:6], "|", *values[6:]]) == expected


def test_a_reset_within_the_baseline_is_not_repeated():
    values = stretched(UP, recorded("x_total", 7, 8, 1, 2, 3, 4), baseline=40).split()
    numbers = [float(v) for v in values]
    assert [b < a for a, b in pairwise(numbers)].count(True) == 1
    assert min(numbers) >= 0


def test_a_sparse_baseline_is_whole_where_windows_begin_and_within_the_lookback_elsewhere():
    ((_, values),) = stretch([recorded("x_total", 1, 2, 3, 4, 5, 6)], GRID, WINDOW, 1000, {}, dense_at_s={0, 7500})
    there = [k - 1000 for k, v in enumerate(values.split()) if v != "_"]
    whole = set(range(-502, -500 + 6 + 2)) | set(range(-2, 6))
    assert whole <= set(there)
    assert set(there) - whole == {k for k in range(-992, 0, 16)} - whole
    assert [float(values.split()[k + 1000]) for k in there] == [60.0 * (k + 1001) for k in there]


def test_labels_are_quoted():
    series = recorded("queue", 1, 1, 1, 1, 1, 1, path='a"b\\c\nd é')
    ((name, _),) = stretch([series], GRID, WINDOW, 0, {})
    assert name == 'queue{instance="i", job="server", path="a\\"b\\\\c\\nd é"}'


@pytest.mark.parametrize("phase_s", [0.0, 0.01, 0.12, 0.24])
def test_neither_jitter_nor_a_late_scrape_moves_a_sample_out_of_its_slot(phase_s):
    late_ms = [0, 4, -4, 3, -2, 170, -4, 0, 1, -1, 4, 0]
    scrapes = [START + phase_s + 0.25 * k + ms / 1000 for k, ms in enumerate(late_ms)]
    up = Series({"__name__": "up", **TARGET}, scrapes, [1.0] * 12)
    seen = Series({"__name__": "queue", **TARGET}, scrapes, [float(k) for k in range(12)])
    window = Window(scrapes[0] - 0.1, scrapes[-1] + 0.1)
    grid = lay_grid([up], window, START + 1.5, job="server", time_scale=60, scrape_s=0.25, step_s=15)
    values = stretch([up, seen], grid, window, 0, {})[-1][1].split()
    assert [v for v in values if v != "_"] == [str(k) for k in range(12)]
    assert "_" not in values[1:-1]
    assert abs((grid.start - START - phase_s) / 0.25 - round((grid.start - START - phase_s) / 0.25)) < 0.02


LIVE = Series({"__name__": "ALERTS", "alertname": "Watchdog"}, [START + 0.25 * k for k in range(16)], [1.0] * 16)
KILLED = Series(LIVE.labels, LIVE.at[:6] + LIVE.at[9:], LIVE.value[:13])  # at the same time; it is back after 0.75 s


@pytest.mark.parametrize(
    ("alerts", "then", "missing"),
    [
        pytest.param([LIVE], "_ _" + 6 * " stale" + " 9", 8, id="dropped"),
        pytest.param([KILLED], 8 * "_ " + "9", 8, id="not scraped by a Prometheus that was away"),
        pytest.param([], 8 * "_ " + "9", 8, id="nobody knows which"),
        pytest.param([LIVE], 7 * "_ " + "9 9", 7, id="late"),
    ],
)
def test_the_series_of_a_target_that_is_none_any_more_are_stale(alerts, then, missing):
    there = [1, 1, 1, 1, 1, 1, *missing * [NO], *(9 - missing) * [1]]
    every = [recorded("up", *there), recorded("scrape_samples_scraped", *(9 if one else NO for one in there))]
    every.append(recorded("queue", *(9 if one else NO for one in there)))
    window = Window(START - 0.1, START + 3.6)
    grid = lay_grid([*every, *alerts], window, START + 1.0, job="server", time_scale=60, scrape_s=0.25, step_s=15)
    up, *others = (values for _, values in stretch(every, grid, window, 0, {}))
    assert up == ("1 1 1 1 1 1 " + then).replace("9", "1")
    assert others == 2 * ["9 9 9 9 9 9 " + then]


@pytest.mark.parametrize(("fault_at", "slot"), [(1.0, 4), (1.02, 4), (1.1, 5)])
def test_a_scrape_that_was_under_way_when_the_fault_began_is_none_of_the_baseline(fault_at, slot):
    grid = lay_grid([UP], WINDOW, START + fault_at, job="server", time_scale=60, scrape_s=0.25, step_s=15)
    assert grid.fault_slot == slot


@pytest.mark.parametrize(
    "fault_at, job, why",
    [
        (1.0, "other", 'no samples of up{job="other"}'),
        (0.6, "server", "3 scrapes recorded before the fault; 4 are needed"),
        (2.0, "server", "ends before the fault"),
    ],
)
def test_too_little_of_a_record_is_an_error(fault_at, job, why):
    with pytest.raises(HarnessError, match=why):
        lay_grid([UP], WINDOW, START + fault_at, job=job, time_scale=60, scrape_s=0.25, step_s=15)
