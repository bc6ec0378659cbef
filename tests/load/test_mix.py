"""Weights are kept in every stretch, whatever else is chosen by the same number."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.load.mix import Mix

weights = st.dictionaries(st.sampled_from("abcdef"), st.floats(0.05, 20), min_size=1)


@given(weights, st.integers(0, 10**7), st.sampled_from([1, 2, 3, 16, 60]))
def test_every_stretch_holds_each_kind_by_its_weight_also_among_every_nth(given_weights, start, n):
    mix = Mix(given_weights)
    seen = Counter(mix(start + n * k) for k in range(1000))
    for kind, weight in given_weights.items():
        assert seen[kind] / 1000 == pytest.approx(weight / sum(given_weights.values()), abs=0.03)


@pytest.mark.parametrize("wrong", [{}, {"a": 0}, {"a": -1, "b": 2}, {"a": float("nan")}])
def test_weights_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UsageError, match="weights: each must be above 0"):
        Mix(wrong)
