"""Runs made by chance: a good one is hardly ever called worse than its baseline, and a slower one nearly always is."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
from baseline_power import rates


def test_of_good_pairs_at_most_one_figure_in_a_hundred_is_called_worse_and_a_tenth_slower_is_found():
    """`python tests/bench/baseline_power.py` does the same at length."""
    figures, any_worse, _ = rates(pairs=200, runs=20)
    assert figures <= 0.01 and any_worse <= 0.05
    assert rates(pairs=200, runs=5)[0] <= 0.01
    assert rates(pairs=200, runs=20, slower=1.1)[2] >= 0.95
