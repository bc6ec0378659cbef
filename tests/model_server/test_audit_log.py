"""The writer of the audit log on real files: what it goes on with, what it refuses, what it says it lost."""

import fcntl
import json
import os
import shutil
import threading
import time

import pytest
import structlog

from model_server.audit.chain import Chain, Head, parse
from model_server.audit.log import AuditLog, Broken, find_end
from model_server.audit.verify import Report, head_path, verify_files
from model_server.storage.stores import Stores
from model_server.telemetry.metrics import Metrics

KEY = b"k" * 32
ENDED: list[AuditLog] = []


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
        if log not in ENDED:
            log.close(30)


@pytest.fixture
def path(tmp_path, opened):
    """A log of three records between those of a start and a stop, closed."""
    log = opened()
    for i in range(3):
        log.record("prediction", "ok", request_id=f"r{i}")
    closed(log)
    return tmp_path / "audit.jsonl"


def closed(log: AuditLog) -> None:
    ENDED.append(log)
    assert log.close(30)


def records(path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().splitlines() if line.endswith(b"}")]


def events(path) -> list[str]:
    """Of the service those of its start and stop."""
    return [record["action"] or record["event_type"] for record in records(path)]


def whole(*paths) -> Report:
    report = verify_files(paths, KEY)
    assert not report.broken + report.unclear
    return report


def until(said) -> None:
    end = time.monotonic() + 60
    while not said():
        assert time.monotonic() < end
        time.sleep(0.01)


def settled(log: AuditLog) -> None:
    """What was recorded so far is in the file, and in the head beside it."""
    until(lambda: not log._outbox)
    until(lambda: Chain(KEY).read_head(head_path(log._path).read_bytes()).seq == log._head.seq)


def failures(log: AuditLog) -> float:
    return log.metrics.registry.get_sample_value("audit_write_failures_total")


def test_it_goes_on_where_it_ended(path, opened):
    log = opened()
    log.record("prediction", "ok")
    closed(log)
    report = whole(path)
    assert events(path) == ["start", *["prediction"] * 3, "stop", "start", "prediction", "stop"]
    assert report.records == 8 and not report.notes + report.interrupted


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(lambda p: p.write_bytes(b"".join(p.read_bytes().splitlines(True)[:-1])), "cut", id="cut"),
        pytest.param(lambda p: os.truncate(p, p.stat().st_size - 20), "cut", id="cut in the middle of a line"),
        pytest.param(lambda p: p.unlink(), "cut", id="removed"),
        pytest.param(lambda p: p.write_bytes(b""), "cut", id="emptied"),
        pytest.param(lambda p: p.write_bytes(p.read_bytes().replace(b"r2", b"rX")), "changed", id="changed"),
        pytest.param(lambda p: p.write_bytes(p.read_bytes() + b"more\n"), "not a record", id="added to"),
        pytest.param(lambda p: p.write_bytes(p.read_bytes() + b"more"), "not a record", id="added to, no newline"),
        pytest.param(lambda p: head_path(p).unlink(), "head", id="without its head"),
        pytest.param(lambda p: head_path(p).write_bytes(b"{"), "head", id="with a broken head"),
        pytest.param(lambda p: (head_path(p).unlink(), p.write_bytes(b"x")), "not a record", id="nothing left"),
    ],
)
def test_what_no_crash_explains_is_gone_on_after_and_stays_a_finding(path, opened, damage, said):
    damage(path)
    log = opened()
    log.record("prediction", "ok", request_id="after")
    settled(log)
    [broken] = [record for record in records(path) if record["event_type"] == "audit_broken"]
    assert said in broken["why"] and (broken["result"], failures(log)) == ("failed", 1) and log.writable
    closed(log)
    found = verify_files([path], KEY).broken
    assert found and "service found at its start" in " ".join(each.why for each in found)
    again = opened()  # and the next start finds nothing new
    again.record("feedback", "ok")
    closed(again)
    assert failures(again) == 0 and events(path)[-4:] == ["stop", "start", "feedback", "stop"]
    assert verify_files([path], KEY).broken == found


@pytest.mark.parametrize("event", ["audit_truncated", "audit_removed"])
def test_what_was_found_while_it_ran_is_no_reason_not_to_start_again(path, opened, event):
    log = opened()
    settled(log)
    os.truncate(path, path.stat().st_size - 20) if event == "audit_truncated" else path.unlink()
    log.record("prediction", "ok", request_id="after")
    until(lambda: path.exists() and event in events(path))
    closed(log)
    found = verify_files([path], KEY).broken
    again = opened()
    assert failures(again) == 0
    closed(again)
    assert found and verify_files([path], KEY).broken == found


def test_a_forged_record_of_a_new_begin_is_not_believed(path, opened):
    forged = b'{"seq": 900, "event_type":"audit_rotated","after_mac":"%s", "mac": "%s"}\n' % (b"0" * 64, b"1" * 64)
    path.write_bytes(path.read_bytes() + forged)
    closed(opened())
    assert [json.loads(line)["seq"] for line in path.read_bytes().splitlines()] == [1, 2, 3, 4, 5, 900, 6, 7, 8]
    assert b'"audit_broken"' in path.read_bytes()


def test_another_key_is_refused(path, opened):
    with pytest.raises(Broken, match="another key"):
        opened(b"x" * 32)


def test_killed_before_the_newline_the_record_counts_and_a_forged_one_does_not(path, opened):
    last = parse(path.read_bytes().splitlines()[-1])
    line, _ = Chain(KEY).line(Head(last.seq, last.mac), {"event_type": "prediction", "action": ""})
    forged = path.with_name("forged.jsonl")
    forged.write_bytes(path.read_bytes() + line[:-1].replace(b"pre", b"PRE"))
    shutil.copy(head_path(path), head_path(forged))
    assert find_end(forged, KEY).why == "its last line is not ours"
    path.write_bytes(path.read_bytes() + line[:-1])
    assert verify_files([path], KEY).unclear
    log = opened()
    log.record("feedback", "ok")
    closed(log)
    report = whole(path)
    assert events(path)[5:] == ["prediction", "audit_interrupted", "start", "feedback", "stop"]
    assert len(report.interrupted) == 1 and not report.notes


@pytest.mark.parametrize("size", [1, 7, 60, -3], ids=["a brace", "its start", "a part", "nearly all"])
def test_killed_anywhere_in_a_line_it_goes_on(path, opened, size):
    before = path.read_bytes()
    line = before.splitlines(True)[-1].replace(b'"seq": 5', b'"seq": 6')
    path.write_bytes(before + line[:size])
    log = opened()
    log.record("prediction", "ok")
    closed(log)
    assert whole(path).notes[0].line == 6
    assert events(path)[5:] == ["audit_recovered", "start", "prediction", "stop"]
    closed(opened())  # and again


def test_a_long_log_is_gone_on_with_from_its_end(path, opened, monkeypatch):
    monkeypatch.setattr("model_server.audit.log.TAIL_BYTES", 1000)  # some records and a part
    closed(opened())
    assert "audit_interrupted" not in events(path)
    with pytest.raises(Broken, match="another key"):
        opened(b"x" * 32)
    path.write_bytes(path.read_bytes().replace(b'"stop"', b'"halt"'))
    assert "changed" in find_end(path, KEY).why


def test_after_an_end_that_was_not_in_order_the_next_start_says_so(path, opened, tmp_path):
    log = opened()
    log.record("prediction", "ok", request_id="last")
    settled(log)
    assert len(whole(path).interrupted) == 1  # of a service that runs nobody knows how it will end
    killed = tmp_path / "killed"
    killed.mkdir()
    for file in (path, head_path(path)):
        shutil.copy(file, killed)
    with structlog.testing.capture_logs() as lines:
        after = AuditLog(killed / path.name, KEY, Metrics(), Stores(Metrics()))
    closed(after)
    [last] = [record for record in records(path) if record["request_id"] == "last"]
    [said] = [record for record in records(killed / path.name) if record["event_type"] == "audit_interrupted"]
    assert (said["last_record_at"], said["loss_window_s"], said["result"]) == (last["timestamp"], 0.1, "failed")
    assert [line["last_record_at"] for line in lines if "not end in order" in line["event"]] == [last["timestamp"]]
    [found] = whole(killed / path.name).interrupted
    assert "before this start" in found.why and last["timestamp"] in found.why


@pytest.mark.parametrize("created", [False, True], ids=["renamed", "renamed, and an empty file made"])
def test_renamed_under_it_it_goes_on_in_a_new_file(path, opened, created):
    log, old = opened(), path.with_name("audit.jsonl.1")
    settled(log)
    path.rename(old)
    if created:
        path.touch()
    log.record("prediction", "ok")
    until(lambda: path.exists() and "prediction" in events(path))
    assert events(path) == ["audit_rotated", "prediction"] and events(old)[-1] == "start"
    settled(log)
    assert whole(old, path).records == 8 and failures(log) == 0 and log.writable
    assert whole(path).notes[0].why == "goes on after record 6, which is in a piece that is not given"
    closed(log)
    closed(opened())
    assert not whole(old, path).notes + whole(old, path).interrupted


def test_renamed_again_and_again_while_much_is_written_nothing_is_lost(path, opened):
    log, pieces = opened(), []
    for turn in range(5):
        for i in range(700):  # more than is written together
            log.record("prediction", "ok", request_id=f"turn-{turn}-{i}")
        if path.exists():
            pieces.append(path.rename(path.with_name(f"audit.jsonl.{turn}")))
    closed(log)
    report = whole(*pieces, path)
    said = [record["request_id"] for piece in (*pieces, path) for record in records(piece)]
    assert [name for name in said if name.startswith("turn")] == [f"turn-{t}-{i}" for t in range(5) for i in range(700)]
    assert not report.notes + report.interrupted and failures(log) == 0


def test_renamed_while_nobody_writes_it_it_goes_on(path, opened):
    old = path.rename(path.with_name("audit.jsonl-20300101"))
    path.with_name("audit.jsonl.0").write_bytes(b"no piece of the log\n")
    closed(opened())
    assert events(path) == ["audit_rotated", "start", "stop"]
    assert not whole(old, path).notes + whole(old, path).interrupted


def test_killed_and_then_renamed_it_goes_on_and_accounts_for_what_was_left(path, opened):
    left = b'{"seq": 6, "timest'
    path.write_bytes(b"".join(path.read_bytes().splitlines(True)) + left)
    old = path.rename(path.with_name("audit.jsonl.1"))
    closed(opened())
    assert events(path) == ["audit_rotated", "start", "stop"] and records(path)[0]["torn_bytes"] == len(left)
    assert whole(old, path).notes[0].line == 6


def test_of_several_earlier_files_the_last_piece_is_found(path, opened):
    log, old = opened(), path.with_name("audit.jsonl.1")
    settled(log)
    path.rename(path.with_name("audit.jsonl.2"))
    closed(log)
    path.rename(old)
    os.utime(old, (0, 0))  # whatever the clocks of those who moved it said
    closed(opened())
    assert not whole(path.with_name("audit.jsonl.2"), old, path).notes


def test_truncated_under_it_it_says_so_and_a_copy_shows_whether_anything_is_lost(path, opened):
    log, copy = opened(), path.with_name("audit.jsonl.1")
    settled(log)
    shutil.copy(path, copy)
    os.truncate(path, 0)
    with structlog.testing.capture_logs() as lines:
        log.record("prediction", "ok")
        until(lambda: "prediction" in events(path))
    assert events(path) == ["audit_truncated", "prediction"] and failures(log) == 1 and log.writable
    assert any("truncated" in line["event"] and line["log_level"] == "error" for line in lines)
    settled(log)
    assert "removed or truncated" in verify_files([path], KEY).broken[0].why
    assert "is given whole" in whole(copy, path).notes[0].why
    copy.write_bytes(b"".join(copy.read_bytes().splitlines(True)[:-1]))
    assert verify_files([copy, path], KEY).broken


def test_truncated_in_the_middle_of_a_line_what_follows_can_be_read(path, opened):
    log = opened()
    settled(log)
    os.truncate(path, path.stat().st_size - 20)
    log.record("prediction", "ok")
    until(lambda: "prediction" in events(path)[4:])
    assert events(path)[-2:] == ["audit_truncated", "prediction"]
    closed(log)
    assert verify_files([path], KEY).broken


def test_removed_under_it_it_goes_on_and_the_gap_is_found(path, opened):
    log, copy = opened(), path.with_name("copy")
    settled(log)
    shutil.copy(path, copy)
    path.unlink()
    log.record("prediction", "ok", request_id="after")
    until(lambda: path.exists() and "prediction" in events(path))
    assert events(path) == ["audit_removed", "prediction"]
    settled(log)
    assert "removed or truncated" in verify_files([path], KEY).broken[0].why and not whole(copy, path).broken
    assert b"audit_write_failures_total 1.0" in log.metrics.expose()[0]


def test_it_is_not_writable_until_its_head_is_written_too(path, opened):
    log = opened()
    settled(log)
    head = head_path(path)
    in_the_way = head.with_name(head.name + ".new")
    in_the_way.mkdir()
    log.record("prediction", "ok")
    until(lambda: len(events(path)) == 7 and not log.writable)
    before = failures(log)
    until(lambda: failures(log) > before)
    assert not log.writable  # though nothing waits to be written
    in_the_way.rmdir()
    until(lambda: log.writable)
    assert Chain(KEY).read_head(head.read_bytes()).seq == 7


def test_a_folder_that_is_away_is_waited_for_and_no_other_log_is_begun(path, opened):
    log, folder = opened(), path.parent
    settled(log)
    away = folder.rename(folder.with_name(folder.name + "-away"))
    with structlog.testing.capture_logs() as lines:
        log.record("prediction", "ok")
        until(lambda: failures(log) >= 2)
        assert [line["event"] for line in lines] == ["Audit log cannot be written"] and not folder.exists()
    assert log.unwritten_s > 0
    away.rename(folder)
    until(lambda: len(events(path)) == 7 and log.writable)
    settled(log)
    assert not whole(path).notes and log.unwritten_s == 0


@pytest.mark.parametrize("what", ["a folder", "a file of another writer", "a link to nowhere"])
def test_what_comes_in_its_place_and_cannot_be_written_is_counted_and_waited_for(path, opened, what):
    log, old = opened(), path.with_name("audit.jsonl.1")
    settled(log)
    other = path.with_name("other")
    if what == "a folder":
        other.mkdir()
    elif what == "a link to nowhere":
        other.symlink_to(path.with_name("away") / "audit.jsonl")
    holder = os.open(other, os.O_WRONLY | os.O_CREAT) if what == "a file of another writer" else None
    if holder is not None:
        fcntl.flock(holder, fcntl.LOCK_EX)
    path.rename(old)
    other.rename(path)
    log.record("prediction", "ok", request_id="waits")
    until(lambda: failures(log) >= 2)
    assert not log.writable
    path.rmdir() if path.is_dir() else path.unlink()
    if holder is not None:
        os.close(holder)
    until(lambda: log.writable and path.exists() and "prediction" in events(path))
    closed(log)
    assert not whole(old, path).notes and records(path)[1]["request_id"] == "waits"


def test_beyond_its_bound_records_are_lost_counted_and_told_in_the_log(path, opened, monkeypatch):
    log, began, go_on, write = opened(limit=5), threading.Event(), threading.Event(), os.write
    settled(log)
    monkeypatch.setattr("os.write", lambda file, data: (began.set(), go_on.wait(60), write(file, data))[-1])
    log.record("prediction", "ok")
    assert began.wait(60)  # it has been taken from the queue
    for _ in range(8):
        log.record("prediction", "ok")
    assert b"audit_write_failures_total 3.0" in log.metrics.expose()[0]
    until(lambda: log.unwritten_s > 0.1)
    assert log.metrics.registry.get_sample_value("storage_unwritten_seconds", {"store": "audit"}) > 0.1
    go_on.set()
    closed(log)
    lost = [record for record in records(path) if record["event_type"] == "audit_lost"]
    assert [record["records"] for record in lost] == [3] and not whole(path).interrupted
    assert events(path)[-1] == "stop"


def test_recording_never_waits_for_a_disk_that_does_not_answer(path, opened, monkeypatch):
    log = opened(limit=1000)
    monkeypatch.setattr("os.fdatasync", lambda file: time.sleep(2))
    began = time.monotonic()
    for _ in range(500):
        log.record("prediction", "ok")
    assert time.monotonic() - began < 2


def test_what_was_written_survives_a_kill_though_the_disk_does_not_answer(path, opened, monkeypatch):
    answers = threading.Event()
    monkeypatch.setattr("os.fdatasync", lambda file: answers.wait(60))
    log = opened()
    for i in range(3):
        log.record("prediction", "ok")
        until(lambda i=i: events(path)[5:] == ["start", *["prediction"] * (i + 1)])
    assert Chain(KEY).read_head(head_path(path).read_bytes()).seq == 5  # no more than what the disk has said it has
    answers.set()
    settled(log)
