"""Rows of a service's database, and databases that cannot be read."""

import sqlite3

import pytest

from harness import signals
from harness.telemetry import Records
from harness.watch import records
from harness.watch.found import found

SCHEMA = "CREATE TABLE predictions (request_id TEXT, predicted INT, probability REAL, at TEXT)"


def form(**more):
    return Records(
        url="sqlite:///x", **{"table": "predictions", "label": "predicted", "probability": "probability", **more}
    )


@pytest.fixture
def database(tmp_path):
    with sqlite3.connect(tmp_path / "x.db") as made:
        made.execute("PRAGMA journal_mode=WAL")
        made.execute(SCHEMA)
        made.execute("INSERT INTO predictions VALUES ('4bf9', 1, 0.75, '2026-11-28 18:44:36.046694'), (NULL, 0, 0, '')")
    yield made
    made.close()


def read(tmp_path, name="x.db", **more):
    return records.read([f"sqlite:///{tmp_path}/{name}"], form(**more), ("NORMAL", "PNEUMONIA"))


def test_a_row_says_what_its_columns_hold_also_while_the_service_has_it_open(tmp_path, database):
    signal = read(tmp_path, time="at")
    (row,) = signal.rows
    assert (row["request_id"], row["label"], row["probability"]) == (b"4bf9", 1, 0.75)
    assert row["at"] == pytest.approx(1795891476.046694) and signal.about["lacking"]["request_id"] == 1
    signals.write(tmp_path, "record", signal)
    (line,) = found(tmp_path, "record", "4bf9")
    assert line == f"sqlite:///{tmp_path}/x.db 4bf9 label 1 probability 0.75 2026-11-28T18:44:36.046+00:00"


def test_a_locked_one(tmp_path, database, monkeypatch):
    monkeypatch.setattr(records, "WAITS_S", 0.05)
    database.execute("PRAGMA journal_mode=DELETE")
    database.execute("BEGIN EXCLUSIVE")
    assert read(tmp_path).about["problem"].endswith("x.db: database is locked")


@pytest.mark.parametrize(
    ("name", "more", "why"),
    [
        ("gone.db", {}, "there was no such file"),
        (".", {}, "it is no file"),
        ("text.db", {}, "file is not a database"),
        ("x.db", {"table": "answers"}, "it has no table answers; it has predictions"),
        (
            "x.db",
            {"label": "klass"},
            "table predictions has no column klass; it has request_id, predicted, probability, at",
        ),
    ],
)
def test_one_that_cannot_be_read(tmp_path, database, name, more, why):
    (tmp_path / "text.db").write_text("no database at all, but a text" * 50)
    signal = read(tmp_path, name, **more)
    assert len(signal.rows) == 0 and signal.about["problem"].endswith(why)


def test_no_password_is_kept():
    assert records.shown("postgresql://me:secret@db:5432/x") == "postgresql://me:...@db:5432/x"
