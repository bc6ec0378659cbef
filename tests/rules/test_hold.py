"""Faults that are held: what is repeated, what grows, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from recording import END, FAULT, PROMTOOL, SCALE, SCRAPE_S, T0, at, series, since_fault, up

from harness.errors import HarnessError
from harness.history import Window
from harness.rules.hold import Hold, Repeat, holds
from harness.rules.replay import replay_held

GONE = 120  # scrapes: the fault lasted twenty recorded seconds, 20 min of production
HOLD = Hold(8, (Repeat(2, 5, 4), Repeat(6, 8, 2)), (2, 5))


def held(*recorded, rule: str, workdir: Path, held_s=6 * 3600.0, rest_s=3600.0, gone=GONE, interval="15s", growing=()):
    rules = workdir / "rules.yaml"
    rules.write_text(f"groups:\n- name: g\n  interval: {interval}\n  rules:\n  - {{alert: A, {rule}}}\n")
    return replay_held(
        recorded, [rules], held_s=held_s, rest_s=rest_s, gone=at(gone), over=at(gone), growing=growing, only=["A"],
        workdir=workdir, promtool=PROMTOOL, time_scale=SCALE, scrape_s=SCRAPE_S, production_scrape_s=15.0,
        evaluation_s=15.0, window=Window(T0, at(END - 1) + 0.05), fault=Window(at(FAULT), at(gone)), job="server",
    )["A"]  # fmt: skip


def test_the_plateaus_are_repeated_where_they_end():
    assert HOLD.source.tolist() == [0, 1, 2, 3, 4, 2, 3, 4, 2, 5, 6, 7, 6, 7] and HOLD.length == 14


def test_a_counter_goes_on_at_the_rate_of_the_plateau():
    present = np.ones(8, bool)
    values = np.array([0.0, 0, 1, 3, 6, 6, 6, 6])
    assert HOLD.counter(present, values).tolist() == [0, 0, 1, 3, 6, 7, 9, 12, 13, 13, 13, 13, 13, 13]


def test_a_reset_in_the_plateau_comes_again_as_one_and_never_as_a_burst():
    present = np.ones(8, bool)
    values = np.array([1000.0, 1001, 1002, 0, 1, 2, 3, 4])
    assert HOLD.counter(present, values).tolist() == [1000, 1001, 1002, 0, 1, 2, 0, 1, 2, 3, 4, 5, 6, 7]


def test_a_counter_with_a_gap_counts_what_it_grew_over_it():
    present = np.array([1, 1, 1, 0, 1, 1, 1, 1], bool)
    values = np.array([0.0, 1, 2, np.nan, 4, 5, 6, 7])
    counted = HOLD.counter(present, values)[present[HOLD.source]]
    assert counted.tolist() == [0, 1, 2, 4, 5, 7, 8, 9, 10, 11, 12, 13]


def test_a_moment_that_is_set_again_and_again_stays_as_far_from_the_clock():
    values = np.array([100.0, 100, 100, 103, 103, 103, 103, 103])
    assert HOLD.moment(np.ones(8, bool), values, 1.0).tolist() == [100, 100, 100, 103, 103, 103, 106, *[106] * 7]


@pytest.mark.parametrize("until, fires", [(GONE, 15 * 60 + 255), (END, 15 * 60 + 255)])
def test_a_rule_over_six_hours_fires_on_a_held_fault_and_resolves_after_it(tmp_path, until, fires):
    """A tenth of all requests fails: 0.6 % of six hours' after 6 % of these, which is before `for` is over."""
    served = series("http_requests_total", lambda k: 100 * k - 10 * since_fault(k, until), status="200")
    failed = series("http_requests_total", lambda k: 10 * since_fault(k, until), status="503")
    ratio = "sum(rate(http_requests_total{{status='503'}}[{0}])) / sum(rate(http_requests_total[{0}])) > 0.006"
    rule = f'expr: "{ratio.format("6h")} and {ratio.format("30m")}", for: 15m'
    found = held(up(), served, failed, rule=rule, workdir=tmp_path)
    assert found.problem == ""
    assert found.fault_end_s == pytest.approx(6 * 3600, abs=15)
    assert 2100 < found.firing_s < 2400
    assert found.held == "as it was in its last 10 min"
    if until == GONE:
        assert 1500 < found.last_firing_s - found.fault_end_s < 1800


def test_a_thinned_record_says_what_the_whole_one_does(tmp_path, monkeypatch):
    """With resets, scrapes that failed, and windows that are no multiple of the evaluation's interval."""
    failed = series("errors_total", lambda k: None if k % 31 == 5 else 3 * (since_fault(k, GONE) % 17), status="503")
    rule = "expr: 'rate(errors_total[7h10m]) > 2 and rate(errors_total[1h]) > 2', for: 30m"
    found, written = [], []
    for thinned_from in (8, 1000):
        monkeypatch.setattr("harness.rules.stretch.FEWEST_TO_THIN", thinned_from)
        found.append(held(up(), failed, rule=rule, workdir=tmp_path, interval="5m", rest_s=7200))
        written.append((tmp_path / "half-1" / "reach-86400.test.yaml").read_text().count(" _"))
    assert found[0] == found[1] and found[0].problem == ""
    assert found[0].firing_s > 3600 and found[0].last_firing_s > 6 * 3600
    assert written[0] > written[1] + 500


def test_an_effect_that_fades_is_not_steady(tmp_path):
    failed = series("errors_total", lambda k: 100 * since_fault(k, 90))
    found = held(up(), failed, rule="expr: 'rate(errors_total[1h]) > 50', for: 1h", workdir=tmp_path)
    assert "not steady: held by the first half of its plateau the alert fires after 1 h" in found.problem


def test_a_gauge_grows_where_that_is_said_and_repeats_elsewhere(tmp_path):
    free = series("free_bytes", lambda k: 1e6 - 1e3 * since_fault(k, GONE))
    rule = "expr: 'predict_linear(free_bytes[1h], 4 * 3600) < 0', for: 30m"
    assert held(up(), free, rule=rule, workdir=tmp_path).firing_s is None
    found = held(up(), free, rule=rule, workdir=tmp_path, growing=("free_bytes",))
    assert found.held == "as it was in its last 10 min, with free_bytes going on as it grew there"
    assert 1800 < found.firing_s < 5 * 3600
    text = (tmp_path / "half-1" / "reach-21600.test.yaml").read_text()
    values = next(line for line in text.splitlines() if " 0 0 0 " in line)
    assert " -" not in values, "nothing is fuller than full"


def test_a_gauge_that_does_not_grow_steadily_is_refused(tmp_path):
    free = series("free_bytes", lambda k: 1e6 - 7e3 * (k * k % 11))
    with pytest.raises(HarnessError, match="free_bytes is to go on growing, and in the record it does not"):
        held(up(), free, rule="expr: free_bytes < 0", workdir=tmp_path, growing=("free_bytes",))


def test_a_fault_too_short_to_show_a_steady_effect_is_refused():
    with pytest.raises(HarnessError, match="the fault lasted 12 scrapes, and nothing shorter than 16"):
        holds(100, (40, 52), 60, 1000, 0, frozenset())


def test_a_server_that_is_down_stays_so_and_its_series_are_stale(tmp_path):
    ready = series("ready", lambda k: 0)
    rule = "expr: 'up == 0 unless ready', for: 3h"
    found = held(up(range(FAULT, GONE)), ready, rule=rule, workdir=tmp_path)
    assert found.firing_s == 3 * 3600 and found.last_firing_s == 6 * 3600 - 15
