"""Rows and the account are on disk as they happen, in the format every reader expects."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.history import ROW, ROW_1, Outcome, read_rows, rows_in
from harness.load.clock import now
from harness.load.recorder import Files, Lags, Recorder, Spans

ROW_FIELDS = {
    "seq": 7, "step": 3, "status": 503, "outcome": Outcome.REFUSED_BY_SERVICE, "expected": 1, "predicted": -1,
    "turn": 2, "bytes_out": 9000, "bytes_in": 150, "intended": 1.25, "sent": 1.5, "first_byte": 1.75, "done": 2.0,
    "request_id": b"0123456789abcdef" * 2, "probability": 0.25, "picture": 2**64 - 1,
}  # fmt: skip
UNSENT = {"outcome": Outcome.UNSENT, "sent": math.nan, "first_byte": math.nan, "request_id": b""}


def recorder(files: Files) -> Recorder:
    """One that writes to files and counts nothing else."""
    nothing = SimpleNamespace(add=lambda kind, length: None, report=lambda rows: {})
    return Recorder(lambda rows, report: files.rows(rows), nothing)


def add(to: Recorder, **changed) -> None:
    to.row(*(ROW_FIELDS | changed).values(), kind=0, length=5)


def test_every_field_of_a_row_comes_back_as_it_was_given(tmp_path):
    one = recorder(Files(tmp_path / "rows", None, "load"))
    add(one)
    one.flush()
    (row,) = read_rows(tmp_path / "rows")
    assert {name: row[name] for name in ROW.names} == ROW_FIELDS


def test_rows_of_the_first_version_are_read_without_what_they_do_not_have(tmp_path):
    one = recorder(Files(tmp_path / "requests-load.rows", None, "load"))
    add(one)
    one.flush()
    (now,) = read_rows(tmp_path / "requests-load.rows")
    older = np.array([tuple(now)[: len(ROW_1.names)]], ROW_1)
    older.tofile(tmp_path / "requests-load.bin")
    for (row,) in (read_rows(tmp_path / "requests-load.bin"), *rows_in([tmp_path / "requests-load.bin"])):
        assert {name: row[name] for name in ROW_1.names} == {name: now[name] for name in ROW_1.names}
        assert math.isnan(row["probability"]) and row["picture"] == 0


def test_rows_can_be_read_while_the_run_goes_on(tmp_path):
    one = recorder(Files(tmp_path / "rows", None, "load"))
    for seq in range(3):
        add(one, seq=seq)
        one.flush()
        assert list(read_rows(tmp_path / "rows")["seq"]) == list(range(seq + 1))


def test_a_row_cut_short_by_a_kill_does_not_shift_those_of_the_next_run(tmp_path):
    (tmp_path / "rows").write_bytes(b"x" * (ROW.itemsize + 5))
    one = recorder(Files(tmp_path / "rows", None, "load"))
    add(one)
    one.flush()
    assert list(read_rows(tmp_path / "rows")["seq"][1:]) == [7]


def test_an_endless_response_still_fits_a_row(tmp_path):
    one = recorder(Files(tmp_path / "rows", None, "load"))
    add(one, bytes_in=5_000_000_000)
    one.flush()
    assert read_rows(tmp_path / "rows")["bytes_in"] == 2**32 - 1


def test_the_account_says_what_was_sent_and_how_late(tmp_path):
    files = Files(tmp_path / "rows", tmp_path / "events", "surge")
    one = recorder(files)
    one.begin(now())
    add(one)
    add(one, **UNSENT)
    one.lags_s.extend([0.001] * 99 + [0.25])
    one.flush()
    files.event("finished", **one.account(planned=2))
    files.close()
    (line,) = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert line[1:4] == ["load", "finished", "ok"]
    counts = {"generator": "surge", "planned": 2, "sent": 1, "unsent": 1, "rows": 2, "stalls": []}
    assert {name: line[5][name] for name in counts} == counts
    assert line[5]["lag_p99_ms"] == pytest.approx(1.0, abs=0.11) and line[5]["lag_max_ms"] == 250
    assert line[5]["duration_s"] >= 0 and line[5]["cpu_s"] >= 0


def test_what_happens_before_the_epoch_is_not_in_the_account():
    one, epoch = recorder(Files(None, None, "load")), now() + 100
    one.begin(epoch)
    one.tick(epoch - 90, 5.0)
    one.tick(epoch + 0.5, 2.0)
    one.tick(epoch + 3.0, 1.0)
    assert one.account()["stalls"] == [(round(epoch + 0.5, 3), 0.5), (round(epoch + 3, 3), 1.0)]


def test_the_account_says_what_was_used_of_the_processor_and_when(monkeypatch):
    used_s, epoch, at = 0.0, 1000.0, 1000.0
    monkeypatch.setattr("time.process_time", lambda: used_s)
    monkeypatch.setattr("harness.load.recorder.now", lambda: at)
    one = recorder(Files(None, None, "load"))
    one.begin(epoch)
    for tenth in range(1, 41):
        used_s += 0.09 if 10 < tenth <= 30 else 0.01
        at = epoch + tenth / 10
        one.tick(at)
    account = one.account()
    assert [(round(end - epoch, 2), for_s, cpu_s) for end, for_s, cpu_s in account["cpu"]] == [
        (1.0, 1.0, 0.1), (2.0, 1.0, 0.9), (3.0, 1.0, 0.9), (4.0, 1.0, 0.1),
    ]  # fmt: skip
    assert (account["cpu_s"], account["duration_s"]) == (2.0, 4.0)


@given(st.lists(st.floats(0.01, 5), min_size=1, max_size=5000))
def test_an_account_of_any_length_keeps_its_sums_in_bounded_memory(lengths):
    spans, at = Spans(), 0.0
    for for_s in lengths:
        at += for_s
        spans.add(at, for_s, for_s / 2)
    assert len(spans.kept) < Spans.MOST and spans.kept[-1][0] == at
    ends, for_s, spent = zip(*spans.kept, strict=True)
    assert sum(for_s) == pytest.approx(at) and sum(spent) == pytest.approx(at / 2)
    begins = [end - length for end, length in zip(ends, for_s, strict=True)]
    assert begins == pytest.approx([0, *ends[:-1]], abs=1e-6), "nothing between them is left out"


def test_a_run_that_sent_nothing_claims_no_lag(tmp_path):
    one = recorder(Files(None, None, "load"))
    one.flush()
    assert one.account()["lag_p99_ms"] is None and one.account()["lag_max_ms"] is None


def test_a_full_disk_is_an_error_and_not_silence_and_loses_no_row(tmp_path):
    files = Files(Path("/dev/full"), tmp_path / "events", "load")
    one = recorder(files)
    add(one)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            one.flush()
        assert len(files._left) == ROW.itemsize


@given(st.lists(st.floats(0, 12), min_size=1, max_size=300), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_lag_quantiles_are_exact_to_a_tenth_of_a_millisecond_up_to_ten_seconds(lags_s, q):
    lags = Lags()
    lags.add(lags_s[:100])
    lags.add(lags_s[100:])
    exact = 1000 * float(np.quantile(lags_s, q, method="inverted_cdf"))
    assert lags.quantile_ms(q) == pytest.approx(exact if exact < 10_000 else 1000 * max(lags_s), abs=0.1001)
