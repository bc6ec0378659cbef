"""Percentiles of each second and step are those of the very requests in it, however the rows lie in files."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.history import ROW, Outcome, rows_in
from harness.report.timeline import PERCENTILES, timeline

requests = st.lists(
    st.tuples(
        st.floats(0, 5, exclude_max=True),  # intended
        st.sampled_from([0, 2, 700]),  # step
        st.floats(0, 3),  # lag
        st.floats(0, 60),  # answer
        st.sampled_from([Outcome.OK, Outcome.OK, Outcome.TIMEOUT, Outcome.UNSENT]),
    ),
    min_size=1,
    max_size=80,
)


def rows_of(given_requests) -> np.ndarray:
    rows = np.zeros(len(given_requests), ROW)
    for row, (intended, step, lag_s, took_s, outcome) in zip(rows, given_requests, strict=True):
        row["intended"], row["step"], row["outcome"] = 1.8e9 + intended, step, outcome
        row["sent"] = np.nan if outcome is Outcome.UNSENT else row["intended"] + lag_s
        row["done"] = row["intended"] + lag_s + took_s
    return rows


@settings(deadline=None)
@given(requests, st.integers(1, 90))
def test_each_figure_is_the_nearest_rank_of_its_second_and_step(given_requests, at_once):
    rows = rows_of(given_requests)
    moments = timeline(rows[i : i + at_once] for i in range(0, len(rows), at_once))
    assert moments["requests"].sum() == len(rows)
    assert [tuple(m) for m in moments[["second", "step"]]] == sorted(
        {(int(r["intended"]), int(r["step"])) for r in rows}
    )
    for moment in moments:
        mine = rows[(rows["intended"].astype(int) == moment["second"]) & (rows["step"] == moment["step"])]
        good = mine[mine["outcome"] == Outcome.OK]
        assert (moment["requests"], moment["good"]) == (len(mine), len(good))
        for name, since in (("corrected_ms", "intended"), ("uncorrected_ms", "sent")):
            if len(good):
                exact = np.percentile(good["done"] - good[since], [*PERCENTILES, 100], method="inverted_cdf") * 1000
                assert moment[name] == pytest.approx(exact, abs=0.001)
            else:
                assert np.all(np.isnan(moment[name]))


def test_no_rows_are_no_moments():
    assert len(timeline([])) == len(timeline([np.empty(0, ROW)])) == 0


def test_files_are_read_some_rows_at_a_time_and_a_row_cut_short_is_left_out(tmp_path):
    rows = rows_of([(k / 10, 0, 0.0, 0.01, Outcome.OK) for k in range(25)])
    rows[:15].tofile(tmp_path / "a")
    (tmp_path / "b").write_bytes(rows[15:].tobytes() + b"cut")
    chunks = list(rows_in([tmp_path / "a", tmp_path / "b"], at_once=10))
    assert [len(chunk) for chunk in chunks] == [10, 5, 10]
    assert np.concatenate(chunks).tobytes() == rows.tobytes()
