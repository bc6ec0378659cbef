"""The audit log of the real server: complete, over kills and restarts, and never in the way of a request."""

import json
import resource
import subprocess
import sys

import pytest
from real_server import serving

FIELDS = {
    "seq", "timestamp", "event_type", "principal", "resource", "action", "result", "remote_address", "user_agent",
    "request_id", "mac",
}  # fmt: skip


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    return tmp_path_factory.mktemp("audited")


@pytest.fixture(scope="module")
def audited(tmp_path_factory, state):
    """One server for the tests before the last, which ends it."""
    with serving(tmp_path_factory.mktemp("server"), "--state-dir", str(state), "--database", "off") as client:
        yield client


def log(state) -> list[dict]:
    lines = (state / "audit.jsonl").read_bytes().splitlines()
    return [json.loads(line) for line in lines if line.endswith(b"}")]


def verified(state, *flags: str, files=("audit.jsonl",)) -> tuple[int, str]:
    files = [str(state / file) for file in files]
    done = subprocess.run(
        [sys.executable, "-m", "model_server.audit", "verify", *files, *flags],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout


def written(client, state, request_id: str) -> dict:
    return client.until(lambda: next((r for r in log(state) if r["request_id"] == request_id), None))


def test_every_use_and_every_refusal_is_a_record(audited, state, corpus):
    client, image = audited, corpus[0][0]
    agent = {"User-Agent": "viewer/1.0 é".encode(), "X-Request-ID": b"seen-1"}
    client.post("/predict", content=image, headers=agent)
    record = written(client, state, "seen-1")
    assert record.keys() >= FIELDS and record["timestamp"].endswith("Z")
    assert (record["event_type"], record["result"], record["action"]) == ("prediction", "ok", "POST")
    assert (record["resource"], record["principal"]) == ("/predict", "anonymous")
    assert record["remote_address"] == "127.0.0.1" and record["user_agent"].startswith("viewer/1.0")
    client.post("/predict", content=b"\x89PNG nonsense", headers={"X-Request-ID": "bad-1"})
    assert written(client, state, "bad-1")["reason"] in ("not_an_image", "broken_image")
    client.post("/feedback", json={"request_id": "seen-1", "label": "NORMAL"}, headers={"X-Request-ID": "fed-1"})
    assert written(client, state, "fed-1")["event_type"] == "feedback"
    client.get("/%2e%2e/%2e%2e/etc/passwd", headers={"X-Request-ID": "trick-1"})
    assert written(client, state, "trick-1")["resource"].endswith("/etc/passwd")
    client.get("/predict", headers={"X-Request-ID": "method-1"})
    assert written(client, state, "method-1")["reason"] == "wrong_method"
    hostile = {"User-Agent": 'x", "result": "ok", "mac": "0"}' + "y" * 5000, "X-Request-ID": "hostile-1"}
    client.post("/predict", content=image, headers=hostile)
    assert len(written(client, state, "hostile-1")["user_agent"]) == 300
    assert client.metric("audit_events_total", event_type="prediction", result="ok") == 2
    assert client.metric("audit_events_total", event_type="prediction", result="refused") == 1
    assert client.metric("audit_events_total", event_type="request", result="refused") == 2
    assert client.metric("invalid_input_total", reason="no_such_path") == 1
    assert client.metric("audit_write_failures_total") == 0
    assert client.metric("storage_operation_seconds_count", store="audit", operation="write") >= 1
    assert client.metric("storage_bytes_total", store="audit", operation="write") > 1000
    known = client.until(lambda: (n := client.metric("audit_log_records")) == len(log(state)) and n)
    client.until(lambda: verified(state, "--at-least", str(int(known)))[0] == 0)
    key = (state / "audit.key").read_text().strip()
    seen = (state / "audit.jsonl").read_text() + client.log_path.read_text()
    assert key not in seen and (state / "audit.key").stat().st_mode & 0o077 == 0


def test_a_second_server_does_not_write_the_same_log(audited, state, serve):
    with serve("--state-dir", str(state), wait=False) as second:
        assert second.process.wait(60) == 1
        assert "another process writes the audit log" in second.log[-1]["context"]["reason"]


def test_a_full_disk_stops_no_request_is_counted_and_leaves_a_whole_log(audited, state, corpus):
    client = audited
    client.post("/predict", content=corpus[0][0], headers={"X-Request-ID": "fits-1"})
    written(client, state, "fits-1")
    size = (state / "audit.jsonl").stat().st_size
    hard = resource.prlimit(client.process.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(client.process.pid, resource.RLIMIT_FSIZE, (size + 100, hard))  # in the middle of a line
    for i in range(5):
        headers = {"X-Request-ID": f"full-{i}"}
        assert client.post("/predict", content=corpus[0][0], headers=headers).status_code == 200
    client.until(lambda: client.metric("audit_write_failures_total") >= 1)
    ready = client.until(lambda: (a := client.get("/health/ready")).status_code == 503 and a)
    assert ready.json()["checks"]["storage_accessible"] is False and client.get("/health/live").status_code == 200
    assert client.metric("storage_errors_total", store="audit", operation="write") >= 1
    resource.prlimit(client.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    written(client, state, "full-4")
    client.until(lambda: client.get("/health/ready").status_code == 200)
    client.until(lambda: verified(state)[0] == 0)


def test_renamed_while_it_runs_it_goes_on_in_a_new_file_and_all_its_pieces_are_whole(audited, state, corpus):
    client, files = audited, ("audit.jsonl.1", "audit.jsonl")
    client.post("/predict", content=corpus[0][0], headers={"X-Request-ID": "before-1"})
    written(client, state, "before-1")
    failed = client.metric("audit_write_failures_total")
    (state / files[1]).rename(state / files[0])
    client.post("/predict", content=corpus[0][0], headers={"X-Request-ID": "after-1"})
    client.until(lambda: (state / files[1]).exists())
    written(client, state, "after-1")
    assert log(state)[0]["event_type"] == "audit_rotated"
    client.until(lambda: verified(state, files=files)[0] == 0)
    known = str(int(client.metric("audit_log_records")))
    assert verified(state, "--at-least", known, files=files)[0] == 0 and verified(state)[0] == 0
    assert "which is in a piece that is not given" in verified(state)[1]
    assert verified(state, files=files[:1])[0] == 1 and verified(state, files=files[::-1])[0] == 0
    assert client.metric("audit_write_failures_total") == failed
    assert client.get("/health/ready").status_code == 200


HANGING = """
import os, pathlib, time
write = os.write
def held(file, data):
    while b', "mac": "' in data and pathlib.Path({flag!r}).exists():
        time.sleep(0.01)
    return write(file, data)
os.write = held
"""


def test_a_log_that_hangs_holds_up_no_request_and_no_probe_and_readiness_says_so(serve, tmp_path, corpus):
    state, flag = tmp_path / "state", tmp_path / "hangs"
    flags = ("--state-dir", str(state), "--database", "off", "--answer-within-s", "1")
    with serve(*flags, defect=HANGING.format(flag=str(flag))) as client:
        flag.touch()
        for i in range(20):
            headers = {"X-Request-ID": f"hanging-{i}"}
            assert client.post("/predict", content=corpus[0][0], headers=headers).status_code == 200
        ready = client.until(lambda: (a := client.get("/health/ready")).status_code == 503 and a)
        assert ready.json()["checks"]["storage_accessible"] is False and client.get("/health/live").status_code == 200
        assert client.metric("storage_unwritten_seconds", store="audit") > 1
        client.until(lambda: client.metric("storage_errors_total", store="audit", operation="write") >= 1)
        flag.unlink()
        client.until(lambda: client.get("/health/ready").status_code == 200)
        written(client, state, "hanging-19")
        assert client.metric("audit_write_failures_total") == 0
        client.until(lambda: client.metric("storage_unwritten_seconds", store="audit") == 0)
        client.until(lambda: verified(state)[0] == 0)


@pytest.mark.parametrize("way", ["renamed", "removed"])
def test_what_was_begun_on_a_full_disk_is_ended_where_it_can_be(serve, tmp_path, corpus, way):
    state = tmp_path / "state"
    path, old = state / "audit.jsonl", state / "audit.jsonl.1"
    with serve("--state-dir", str(state), "--database", "off") as client:

        def predict(name: str) -> None:
            answer = client.post("/predict", content=corpus[0][0], headers={"X-Request-ID": name})
            assert answer.status_code == 200

        for i in range(10):
            predict(f"fits-{i}")
        written(client, state, "fits-9")
        client.until(lambda: verified(state)[0] == 0)
        before, size = path.read_bytes(), path.stat().st_size
        hard = resource.prlimit(client.process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(client.process.pid, resource.RLIMIT_FSIZE, (size + 100, hard))  # in the middle of a line
        predict("begun")
        client.until(lambda: path.stat().st_size == size + 100)
        path.rename(old) if way == "renamed" else path.unlink()
        predict("later")
        if way == "renamed":  # what was begun there has to be ended there
            resource.prlimit(client.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        client.until(path.exists)
        written(client, state, "later")
        resource.prlimit(client.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        client.until(lambda: client.get("/health/ready").status_code == 200)
        if way == "removed":
            assert verified(state)[0] == 1
            old.write_bytes(before)  # what was whole in it
        client.until(lambda: verified(state, files=(old.name, path.name))[0] == 0)
        assert log(state)[0]["event_type"] == {"renamed": "audit_rotated", "removed": "audit_removed"}[way]
        assert (b'"begun"' in path.read_bytes()) == (way == "removed")


@pytest.mark.parametrize(
    ("environ", "flags", "said"),
    [
        ({"MODEL_SERVER_AUDIT_KEY": "short"}, (), "at least 32 characters"),
        ({}, ("--audit-key-file", "/nowhere/key"), "/nowhere/key: No such file"),
    ],
)
def test_a_bad_key_is_a_clear_end(serve, monkeypatch, environ, flags, said):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with serve(*flags, wait=False) as client:
        assert client.process.wait(60) == 1 and said in client.log[-1]["context"]["reason"]


def test_killed_in_the_middle_of_a_line_it_goes_on_and_says_so(audited, state, serve):
    audited.process.kill()
    audited.process.wait()
    code, said = verified(state)
    assert code == 0 and "no `stop` at the end" in said and "in the last 0.1 s before the end may be missing" in said
    last = next(record for record in reversed(log(state)) if not record["event_type"].startswith("audit_"))
    with (state / "audit.jsonl").open("ab") as file:
        file.write(b'{"seq": %d, "timestamp": "2026-' % (log(state)[-1]["seq"] + 1))
    code, said = verified(state)
    assert code == 3 and "part of a record" in said
    with serve("--state-dir", str(state), "--database", "off") as client:
        client.until(lambda: verified(state)[0] == 0)
        assert "a killed writer left part of a record" in verified(state)[1]
        assert any(line["message"] == "Audit log ended in part of a record" for line in client.log)
        recovered, interrupted, start = log(state)[-3:]
        assert (recovered["event_type"], start["action"]) == ("audit_recovered", "start")
        assert (interrupted["event_type"], interrupted["last_record_at"]) == ("audit_interrupted", last["timestamp"])
        assert "no `stop` before this start" in verified(state)[1]
        client.process.terminate()
        assert client.process.wait(30) == 0
    assert verified(state)[0] == 0 and log(state)[-1]["action"] == "stop"


def test_cut_in_the_middle_of_a_line_it_starts_again_and_again_and_the_break_stays_known(serve, tmp_path, corpus):
    """As a disk does that lost its end, or somebody who has something to hide."""
    state = tmp_path / "state"
    path, flags = state / "audit.jsonl", ("--state-dir", str(state), "--database", "off")

    def used(client, name: str) -> None:
        client.post("/predict", content=corpus[0][0], headers={"X-Request-ID": name})
        written(client, state, name)
        client.process.terminate()
        assert client.process.wait(30) == 0

    with serve(*flags) as client:
        for i in range(3):
            client.post("/predict", content=corpus[0][0], headers={"X-Request-ID": f"before-{i}"})
        used(client, "before-3")
    known = log(state)[-1]["seq"]
    with path.open("rb+") as file:
        file.truncate(path.stat().st_size - 700)
    with serve(*flags) as client:
        assert client.get("/health/ready").status_code == 200
        assert client.metric("audit_log_broken") == client.metric("audit_write_failures_total") == 1
        assert any(x["message"] == "Audit log was broken" and x["level"] == "ERROR" for x in client.log)
        used(client, "after")
    [broken] = [record for record in log(state) if record["event_type"] == "audit_broken"]
    assert broken["seq"] == known + 1 and "the log lacks it" in broken["why"]
    code, said = verified(state)
    assert code == 1 and "a line was cut" in said and "the service found at its start" in said
    with serve(*flags) as client:
        assert client.metric("audit_log_broken") == 0  # it was told
        used(client, "again")
    assert verified(state)[0] == 1 and log(state)[-1]["action"] == "stop"
