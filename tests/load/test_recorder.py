"""Rows and the account are on disk as they happen, in the form every reader expects."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.history import ROW, Outcome, read_rows
from harness.load.recorder import Lags, Recorder

FULL = {
    "intended": 1.25, "sent": 1.5, "first_byte": 1.75, "done": 2.0, "request_id": "0123456789abcdef" * 2,
    "step": 3, "status": 503, "expected": 1, "predicted": -1, "bytes_out": 9000, "bytes_in": 150,
}  # fmt: skip
NEVER = {"intended": 1.0, "sent": math.nan, "first_byte": math.nan, "done": 1.0, "request_id": ""}


def test_every_field_of_a_row_comes_back_as_it_was_given(tmp_path):
    recorder = Recorder(tmp_path / "rows", None, "load")
    recorder.row(7, Outcome.REFUSED_BY_SERVICE, **FULL)
    recorder.flush()
    (row,) = read_rows(tmp_path / "rows")
    expected = FULL | {"seq": 7, "outcome": Outcome.REFUSED_BY_SERVICE, "reserved": 0}
    expected["request_id"] = expected["request_id"].encode()
    assert {name: row[name] for name in ROW.names} == expected


def test_rows_can_be_read_while_the_run_goes_on(tmp_path):
    recorder = Recorder(tmp_path / "rows", None, "load")
    for seq in range(3):
        recorder.row(seq, Outcome.OK, **FULL)
        recorder.flush()
        assert list(read_rows(tmp_path / "rows")["seq"]) == list(range(seq + 1))


def test_a_row_cut_short_by_a_kill_does_not_shift_those_of_the_next_run(tmp_path):
    (tmp_path / "rows").write_bytes(b"x" * (ROW.itemsize + 5))
    recorder = Recorder(tmp_path / "rows", None, "load")
    recorder.row(7, Outcome.OK, **FULL)
    recorder.flush()
    assert list(read_rows(tmp_path / "rows")["seq"][1:]) == [7]


def test_an_endless_answer_still_fits_a_row(tmp_path):
    recorder = Recorder(tmp_path / "rows", None, "load")
    recorder.row(0, Outcome.TIMEOUT, **FULL | {"bytes_in": 5_000_000_000})
    recorder.flush()
    assert read_rows(tmp_path / "rows")["bytes_in"] == 2**32 - 1


def test_the_account_says_what_was_planned_sent_and_how_late(tmp_path):
    recorder = Recorder(tmp_path / "rows", tmp_path / "events", "surge")
    recorder.started(scenario="surge.py", arrivals="constant:2/s")
    recorder.row(0, Outcome.OK, **FULL)
    recorder.row(1, Outcome.UNSENT, **NEVER)
    for lag_s in [0.001] * 99 + [0.25]:
        recorder.lags.add(lag_s)
    recorder.finished(planned=2, locust_requests=2)
    recorder.close()
    lines = [json.loads(line) for line in Path(tmp_path / "events").read_text().splitlines()]
    assert [line[1:4] for line in lines] == [["load", "started", "ok"], ["load", "finished", "ok"]]
    started, finished = (line[5] for line in lines)
    assert started["generator"] == "surge" and started["arrivals"] == "constant:2/s" and started["pid"] > 0
    counts = {"planned": 2, "sent": 1, "unsent": 1, "rows": 2, "locust_requests": 2, "stalls": 0}
    assert {name: finished[name] for name in counts} == counts
    assert finished["lag_p99_ms"] == pytest.approx(1.0, abs=0.11) and finished["lag_max_ms"] == 250
    assert finished["duration_s"] >= 0 and finished["cpu_s"] >= 0


def test_a_run_that_sent_nothing_claims_no_lag(tmp_path):
    recorder = Recorder(None, tmp_path / "events", "load")
    recorder.finished(planned=0, locust_requests=0)
    account = json.loads((tmp_path / "events").read_text())[5]
    assert account["lag_p99_ms"] is None and account["lag_max_ms"] is None


def test_a_full_disk_is_an_error_and_not_silence(tmp_path):
    recorder = Recorder(Path("/dev/full"), tmp_path / "events", "load")
    recorder.row(0, Outcome.OK, **FULL)
    with pytest.raises(OSError, match="No space left"):
        recorder.flush()
    with pytest.raises(OSError, match="No space left"):
        recorder.finished(planned=1, locust_requests=1)
    assert "finished" in (tmp_path / "events").read_text(), "the account is still written"


@given(st.lists(st.floats(0, 12), min_size=1, max_size=300), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_lag_quantiles_are_exact_to_a_tenth_of_a_millisecond_up_to_ten_seconds(lags_s, q):
    lags = Lags()
    for lag_s in lags_s:
        lags.add(lag_s)
    exact = 1000 * float(np.quantile(lags_s, q, method="inverted_cdf"))
    assert lags.quantile_ms(q) == pytest.approx(exact if exact < 10_000 else 1000 * max(lags_s), abs=0.1001)
