"""JSON lines become rows: which belong to requests, what they say, and what could not be read."""

import json
import math

import numpy as np
import pytest

from harness import signals
from harness.telemetry import Lines
from harness.watch import lines
from harness.watch.found import found

FORM = Lines(
    only={"msg": "done", "kind": ["a", "b"]}, time="time", trace_id="trace.id", label="said.class",
    probability="said.p", status="http.status",
)  # fmt: skip
LINE = {
    "msg": "done", "kind": "b", "request_id": "4bf9", "time": "2026-11-28T18:44:36.046694Z",
    "trace": {"id": "0" * 31 + "7"},
    "said": {"class": "PNEUMONIA", "p": 0.25}, "http.status": 200,
}  # fmt: skip


def read(tmp_path, *written, form=FORM, classes=("NORMAL", "PNEUMONIA")):
    content = b"".join(w if isinstance(w, bytes) else json.dumps(w).encode() + b"\n" for w in written)
    (tmp_path / "x.log").write_bytes(content)
    return lines.read(tmp_path, ["x.log"], form, classes)


def test_a_line_says_what_its_names_lead_to(tmp_path):
    (row,) = read(tmp_path, LINE).rows
    assert (row["request_id"], row["part"], row["status"], row["label"]) == (b"4bf9", 0, 200, 1)
    assert (row["probability"], row["trace"].tolist(), row["place"]) == (0.25, [0, 7], 0)
    assert row["at"] == pytest.approx(1795891476.046694) and math.isnan(row["confidence"])


def test_other_lines_are_counted_and_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "LONGEST", 1000)
    huge = {**LINE, "more": "x" * 5000}
    signal = read(
        tmp_path, b"Traceback:\n", b"\xff\xfe\0\n", b"[1]\n", b"\n", huge, {"msg": "start"}, LINE,
        {**LINE, "kind": "c"}, {**LINE, "request_id": None}, LINE, b'{"msg": "do',
    )  # fmt: skip
    assert [row["request_id"] for row in signal.rows] == [b"4bf9"] * 2
    assert signal.about["counts"] == {"no JSON": 4, "empty": 1, "too long": 1, "JSON": 5}
    assert signal.about["lacking"]["request_id"] == 1
    assert signal.about["values"] == {"msg": ["start"], "kind": ["c"]}
    assert "said.class" in signal.about["names"]
    signals.write(tmp_path, "log", signal)
    assert [json.loads(line) for line in found(tmp_path, "log", "4bf9")] == [LINE, LINE]
    assert signals.read(tmp_path)["log"].rows.tolist()[0][:3] == signal.rows.tolist()[0][:3]


def test_a_file_that_is_not_there_is_the_problem_of_the_signal(tmp_path):
    signal = lines.read(tmp_path, ["gone.log"], FORM, ())
    assert (len(signal.rows), signal.about["problem"]) == (0, "gone.log: there was no such file")


@pytest.mark.parametrize(
    ("given", "at"),
    [
        ("2026-11-28T19:44:36+01:00", 1795891476.0),
        ("2026-11-28 18:44:36.5", 1795891476.5),
        (1795891476.25, 1795891476.25),
        (1795891476250, 1795891476.25),
        (1795891476250000000, 1795891476.25),
        ("yesterday", math.nan),
        (10**400, math.nan),
        ([], math.nan),
        (math.inf, math.inf),
    ],
)
def test_times(given, at):
    assert lines.moments([given]) == pytest.approx([at], nan_ok=True)


def test_ids():
    ids, parts = lines.identities(["4bf9:0", "4bf9:12", "a:b", "x" * 40, 7])
    assert ids.tolist() == [b"4bf9", b"4bf9", b"a:b", b"x" * 31 + b"~", b"7"] and parts.tolist() == [1, 13, 0, 0, 0]


def test_what_is_no_trace_class_status_or_share_says_nothing():
    assert lines.traces(["00" * 16, "zz" * 16, 5, None, "0" * 31 + "1"]).tolist() == [[0, 0]] * 4 + [[0, 1]]
    assert lines.labels(["normal", "Pneumonia", 1, 5, "?", None, True], ("NORMAL", "PNEUMONIA")) == [
        0,
        1,
        1,
        -2,
        -2,
        -1,
        -2,
    ]
    assert lines.statuses(["200", 503, "x", 5000, None]) == [200, 503, 0, 0, 0]
    assert np.isnan(lines.shares(["x", None, True])).all() and lines.shares(["0.5", 1]) == [0.5, 1.0]
