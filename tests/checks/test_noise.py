"""What is noise from run to run and what is not: the prediction interval, and change points."""

import math
from dataclasses import replace

import numpy as np
import pytest

from harness.checks.changes import changes
from harness.checks.noise import band

ALPHA = 0.01


def test_one_more_of_the_same_exceeds_the_bound_as_often_as_it_says():
    draw = np.random.default_rng(1)
    for n in (5, 12):
        values = draw.normal(3, 0.5, (2000, n + 1))
        beyond = [row[-1] > band(row[:-1], 0.0).bound(ALPHA) for row in values]
        assert np.mean(beyond) < 2 * ALPHA


def test_and_so_it_is_at_another_pace_of_the_machine():
    draw, beyond = np.random.default_rng(2), []
    for _ in range(1500):
        z = draw.normal(0, 0.1, 11)
        x = 1 + 0.5 * z + draw.normal(0, 0.01, 11)
        beyond.append(x[-1] > band(x[:-1], 0.0, np.exp(z[:-1]), math.exp(z[-1])).bound(ALPHA))
    assert np.mean(beyond) < 2 * ALPHA


def test_the_pace_takes_most_of_the_noise_away_and_a_pace_never_seen_widens_it():
    draw = np.random.default_rng(3)
    z = draw.normal(0, 0.1, 12)
    x = 1 + 0.5 * z + draw.normal(0, 0.01, 12)
    plain, paced = band(x, 0.0), band(x, 0.0, np.exp(z), 1.0)
    assert paced.spread < plain.spread / 3 and paced.df == plain.df - 1
    never = band(x, 0.0, np.exp(z), 2.0)
    assert never.spread > 1.5 * paced.spread and never.expected > 1 + 0.5 * z.max() + math.log(2) - z.max() - 0.02
    assert band(x, 0.0, [1.0] * 12, 1.0) == plain, "without any difference in pace there is nothing to go by"
    assert band(x, 0.0, np.exp(z), math.nan) == plain == band(x, 0.0, [0.0] * 12, 1.0)


def test_what_is_always_the_same_has_some_noise_all_the_same_and_few_or_strange_values_tell_nothing():
    assert band([1.0] * 6, 0.005).bound(ALPHA) > 1.01
    assert band([1.0, 1.0], 0.005) is None and band([1.0, 2.0, math.inf], 0.005) is None


def test_one_run_in_which_something_went_wrong_hides_nothing():
    draw = np.random.default_rng(5)
    x = draw.normal(0, 0.02, 10)
    with_one = np.append(x, 3.0)
    z = np.exp(draw.normal(0, 0.1, 11))
    for pace, without in (((), ()), ((z, 1.0), (z[:10], 1.0))):
        found = band(with_one, 0.005, *pace)
        assert found.left_out == (3.0,)
        assert replace(found, left_out=(), near=0.0) == replace(band(x, 0.005, *without), near=0.0)
    assert band(np.append(x, [3.0, 3.1, 2.9]), 0.005).expected > 0.5, "three of thirteen are how it is"


def test_the_shift_that_can_be_seen_is_seen_as_often_as_it_says():
    draw, seen = np.random.default_rng(4), []
    for _ in range(1500):
        values = draw.normal(0, 1, 11)
        lies = band(values[:-1], 0.0)
        seen.append(values[-1] + lies.detectable(ALPHA) > lies.bound(ALPHA))
    assert np.mean(seen) == pytest.approx(0.95, abs=0.03)
    more = [band(draw.normal(0, 1, 10), 0.0).detectable_with(runs, ALPHA) for runs in (10, 20, 40)]
    assert band([1.0, 2.0, 4.0], 0.0).detectable_with(3, ALPHA) == pytest.approx(
        band([1.0, 2.0, 4.0], 0.0).detectable(ALPHA)
    )
    assert len(more) == 3


def test_a_change_of_level_is_found_where_it_is_and_noise_is_none():
    draw = np.random.default_rng(6)
    level = np.concatenate([np.full(15, 4.0), np.full(12, 4.6), np.full(14, 4.1)]) * np.exp(draw.normal(0, 0.02, 41))
    assert changes(level) == [15, 27]
    found = [len(changes(np.exp(draw.standard_t(3, 30)))) for _ in range(200)]
    assert np.mean(np.array(found) > 0) <= 0.03
    assert changes([1.0] * 30) == [] == changes([1, 2, 3])
