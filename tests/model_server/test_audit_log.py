"""The writer of the audit log on real files: what it goes on with, what it refuses, what it says it lost."""

import json
import time

import pytest
import structlog

from model_server.audit.chain import Chain, Head, parse
from model_server.audit.log import AuditLog, Broken
from model_server.audit.verify import head_path, verify_file
from model_server.storage.stores import Stores
from model_server.telemetry.metrics import Metrics

KEY = b"k" * 32


@pytest.fixture
def opened(tmp_path):
    """Opens the log, as each start does."""
    logs = []

    def opened(key: bytes = KEY, **more) -> AuditLog:
        metrics = Metrics()
        logs.append(AuditLog(tmp_path / "audit.jsonl", key, metrics, Stores(metrics), **more))
        logs[-1].metrics = metrics
        return logs[-1]

    yield opened
    for log in logs:
        if log._thread.is_alive():
            log.close(30)


@pytest.fixture
def path(tmp_path, opened):
    """A log of three records, closed."""
    log = opened()
    for i in range(3):
        log.record("prediction", "ok", request_id=f"r{i}")
    closed(log)
    return tmp_path / "audit.jsonl"


def closed(log: AuditLog) -> None:
    log.close(30)
    assert not log._thread.is_alive()


def events(path) -> list[str]:
    return [json.loads(line)["event_type"] for line in path.read_bytes().splitlines() if line.endswith(b"}")]


def until(said) -> None:
    end = time.monotonic() + 60
    while not said():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_it_goes_on_where_it_ended(path, opened):
    log = opened()
    log.record("prediction", "ok")
    closed(log)
    report = verify_file(path, KEY)
    assert report.records == 4 and not report.broken + report.unclear + report.notes


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(lambda p: p.write_bytes(b"".join(p.read_bytes().splitlines(True)[:-1])), "cut", id="cut"),
        pytest.param(lambda p: p.unlink(), "cut", id="removed"),
        pytest.param(lambda p: p.write_bytes(p.read_bytes().replace(b"r2", b"rX")), "changed", id="changed"),
        pytest.param(lambda p: p.write_bytes(p.read_bytes() + b"more\n"), "not a record", id="added to"),
        pytest.param(lambda p: p.with_name("audit.jsonl.head").unlink(), "head", id="without its head"),
        pytest.param(lambda p: p.with_name("audit.jsonl.head").write_bytes(b"{"), "head", id="with a broken head"),
    ],
)
def test_what_is_not_whole_is_not_gone_on_with(path, opened, damage, said):
    damage(path)
    with pytest.raises(Broken, match=said):
        opened()


def test_another_key_is_refused(path, opened):
    with pytest.raises(Broken, match="another key"):
        opened(b"x" * 32)


def test_killed_before_the_newline_the_record_counts_and_a_forged_one_does_not(path, opened):
    last = parse(path.read_bytes().splitlines()[-1])
    line, _ = Chain(KEY).line(Head(last.seq, last.mac), {"event_type": "prediction"})
    whole = path.read_bytes()
    path.write_bytes(whole + line[:-1].replace(b"pre", b"PRE"))
    with pytest.raises(Broken, match="not ours"):
        opened()
    path.write_bytes(whole + line[:-1])
    assert verify_file(path, KEY).unclear
    log = opened()
    log.record("feedback", "ok")
    closed(log)
    report = verify_file(path, KEY)
    assert report.records == 5 and not report.broken + report.unclear + report.notes


@pytest.mark.parametrize("size", [1, 7, 60, -3], ids=["a brace", "its start", "a part", "nearly all"])
def test_killed_anywhere_in_a_line_it_goes_on(path, opened, size):
    whole = path.read_bytes()
    line = whole.splitlines(True)[-1].replace(b'"seq": 3', b'"seq": 4')
    path.write_bytes(whole + line[:size])
    log = opened()
    log.record("prediction", "ok")
    closed(log)
    report = verify_file(path, KEY)
    assert not report.broken + report.unclear and report.notes[0][0] == 4
    assert events(path)[-2:] == ["audit_recovered", "prediction"]
    closed(opened())  # and again


def test_a_long_log_is_gone_on_with_from_its_end(path, opened, monkeypatch):
    monkeypatch.setattr("model_server.audit.log.TAIL_BYTES", 700)  # two records and a part
    closed(opened())
    path.write_bytes(path.read_bytes().replace(b"r2", b"rX"))
    with pytest.raises(Broken, match="changed"):
        opened()


def test_removed_under_it_it_goes_on_and_the_gap_is_found(path, opened):
    log = opened()
    path.unlink()
    log.record("prediction", "ok", request_id="after")
    until(lambda: path.exists() and "prediction" in events(path))
    assert events(path) == ["audit_reopened", "prediction"]
    assert "record 4 stands where 1 belongs" in verify_file(path, KEY).broken[0][1]
    assert b"audit_write_failures_total 1.0" in log.metrics.expose()[0]


def failures(log: AuditLog) -> float:
    return log.metrics.registry.get_sample_value("audit_write_failures_total")


def test_it_is_not_writable_until_its_head_is_written_too(path, opened):
    log = opened()
    head = head_path(path)
    in_the_way = head.with_name(head.name + ".new")
    in_the_way.mkdir()
    log.record("prediction", "ok")
    until(lambda: len(events(path)) == 4 and not log.writable)
    before = failures(log)
    until(lambda: failures(log) > before)
    assert not log.writable  # though nothing waits to be written
    in_the_way.rmdir()
    until(lambda: log.writable)
    assert Chain(KEY).read_head(head.read_bytes()).seq == 4


def test_a_folder_that_is_away_is_waited_for_and_no_other_log_is_begun(path, opened):
    log, folder = opened(), path.parent
    away = folder.rename(folder.with_name(folder.name + "-away"))
    with structlog.testing.capture_logs() as lines:
        log.record("prediction", "ok")
        until(lambda: failures(log) >= 2)
        assert [line["event"] for line in lines] == ["Audit log cannot be written"] and not folder.exists()
    away.rename(folder)
    until(lambda: len(events(path)) == 4 and log.writable)
    assert not verify_file(path, KEY).broken


def test_beyond_its_bound_records_are_lost_counted_and_told_in_the_log(path, opened, monkeypatch):
    monkeypatch.setattr("model_server.audit.log.LOOK_IN_S", 3600)
    log = opened(limit=5)
    time.sleep(0)
    until(lambda: not log._outbox)
    for _ in range(8):
        log.record("prediction", "ok")
    assert b"audit_write_failures_total 3.0" in log.metrics.expose()[0]
    closed(log)
    lost = [json.loads(line) for line in path.read_bytes().splitlines() if b"audit_lost" in line]
    assert [record["records"] for record in lost] == [3] and not verify_file(path, KEY).broken


def test_recording_never_waits_for_a_disk_that_does_not_answer(path, opened, monkeypatch):
    log = opened(limit=1000)
    monkeypatch.setattr("os.fdatasync", lambda file: time.sleep(2))
    began = time.monotonic()
    for _ in range(500):
        log.record("prediction", "ok")
    assert time.monotonic() - began < 2
