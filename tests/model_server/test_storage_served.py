"""The real server while its disks are gone, hang, are moved away or read-only, and after: predictions go on."""

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from real_server import serving

from model_server.settings import WEIGHTS

# What root may write whatever its mode says, the server then may not.
NO_PRIVILEGES = """
import ctypes
version_3, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert ctypes.CDLL(None).capset(version_3, nothing) == 0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Of the weights and the state."""
    folder = tmp_path_factory.mktemp("disks")
    for path in (WEIGHTS, WEIGHTS.with_suffix(".json")):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture(scope="module")
def stored(folder, tmp_path_factory):
    """One server for all; each test leaves its disks well."""
    flags = ("--weights", str(folder / WEIGHTS.name), "--state-dir", str(folder / "state"), "--answer-within-s", "1")
    with serving(tmp_path_factory.mktemp("server"), *flags, defect=NO_PRIVILEGES) as client:
        yield client


@pytest.fixture
def client(stored):
    stored.until(lambda: failing(stored) == set())
    return stored


def failing(client) -> set[str]:
    return {name for name, good in client.get("/health/ready").json()["checks"].items() if not good}


def works(client, body: bytes, name: str) -> None:
    """Whatever its disks do: a prediction is made and a restart would heal nothing."""
    for i in range(3):
        answer = client.post("/predict", content=body, headers={"X-Request-ID": f"{name}-{i}"})
        assert answer.status_code == 200, answer.text
    assert client.get("/health/live").status_code == 200 and client.metric("service_ready") == 0


def kept(client, folder: Path, name: str) -> None:
    """What was done meanwhile is in the database and in a whole audit log."""
    with sqlite3.connect(folder / "state/records.db") as database:
        query = "SELECT count(*) FROM predictions WHERE request_id LIKE ?"
        client.until(lambda: database.execute(query, [f"{name}-%"]).fetchone() == (3,))
    database.close()
    log = folder / "state/audit.jsonl"
    client.until(lambda: log.read_text().count(f'"{name}-') == 3)
    command = [sys.executable, "-m", "model_server.audit", "verify", str(log)]
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    assert client.metric("database_records_lost_total") == 0


def logged(client, message: str, **context) -> list[dict]:
    lines = [line["context"] for line in client.log if line["message"] == message]
    return [told for told in lines if context.items() <= told.items()]


def errors(client, store: str, operation: str) -> float:
    return client.metric("storage_errors_total", store=store, operation=operation)


def test_weights_that_are_gone_and_come_back(client, folder, corpus):
    weights, before = folder / WEIGHTS.name, errors(client, "model", "read")
    weights.rename(folder / "away")
    client.until(lambda: failing(client) == {"storage_accessible"})
    works(client, corpus[0][0], "gone")
    assert errors(client, "model", "read") > before
    client.until(lambda: any(str(weights) in told["reason"] for told in logged(client, "Storage does not work")))
    (folder / "away").rename(weights)
    client.until(lambda: failing(client) == set())
    client.until(lambda: logged(client, "Storage works again"))
    kept(client, folder, "gone")


def test_weights_that_hang_are_counted_and_logged_though_who_reads_them_is_stuck(client, folder, corpus):
    weights, fifo, before = folder / WEIGHTS.name, folder / "fifo", errors(client, "model", "read")
    os.mkfifo(fifo)
    os.link(weights, folder / "good")
    os.link(fifo, folder / "way-out")
    fifo.replace(weights)
    client.until(lambda: failing(client) == {"storage_accessible"})
    works(client, corpus[0][0], "hanging")
    client.until(lambda: errors(client, "model", "read") >= before + 2)
    client.until(lambda: len(logged(client, "Storage hangs", store="model", operation="read")) == 1)
    (folder / "good").replace(weights)
    os.close(os.open(folder / "way-out", os.O_WRONLY))  # and who reads it goes on
    client.until(lambda: failing(client) == set())
    client.until(lambda: logged(client, "Storage hangs no more", store="model", operation="read"))
    kept(client, folder, "hanging")


def test_a_state_folder_that_is_moved_away_and_back(client, folder, corpus):
    state, before = folder / "state", errors(client, "state", "write")
    state.rename(folder / "elsewhere")
    works_without = {"storage_accessible", "database_connected"}
    client.until(lambda: failing(client) == works_without)
    works(client, corpus[0][0], "moved")
    client.until(lambda: errors(client, "audit", "write") and errors(client, "state", "write") >= before + 2)
    assert client.metric("audit_write_failures_total") >= 1 and not state.exists()
    client.until(lambda: len(logged(client, "Audit log cannot be written")) == 1)  # not at every try
    (folder / "elsewhere").rename(state)
    client.until(lambda: failing(client) == set())
    kept(client, folder, "moved")


def test_a_state_folder_that_is_read_only_for_a_while(client, folder, corpus):
    state, before = folder / "state", errors(client, "state", "write")
    state.chmod(0o500)
    client.until(lambda: failing(client) == {"storage_accessible"})
    works(client, corpus[0][0], "read-only")
    client.until(lambda: errors(client, "state", "write") > before)
    state.chmod(0o700)
    client.until(lambda: failing(client) == set())
    kept(client, folder, "read-only")


def test_a_database_that_is_removed_is_missed_made_anew_and_its_records_are_lost(serve, tmp_path, corpus):
    """On-call hears of it by RecordsLost: what was in the file cannot be written again."""
    file = tmp_path / "state/records.db"

    def stored() -> list[str]:
        with contextlib.closing(sqlite3.connect(file)) as database:
            return [name for (name,) in database.execute("SELECT request_id FROM predictions ORDER BY at")]

    with serve("--state-dir", str(file.parent), "--answer-within-s", "1") as client:
        for i in range(3):
            client.post("/predict", content=corpus[0][0], headers={"X-Request-ID": f"before-{i}"})
        client.until(lambda: len(stored()) == 3)
        assert client.metric("database_records_lost_total") == 0
        for path in file.parent.glob("records.db*"):
            path.unlink()
        client.until(lambda: client.metric("database_records_lost_total") == 4)  # the model's row, too; nobody asked
        assert errors(client, "database", "read") + errors(client, "database", "write") >= 1
        client.until(lambda: logged(client, "Database file was removed or replaced; records are lost", count=4))
        client.post("/predict", content=corpus[0][0], headers={"X-Request-ID": "after"})
        client.until(lambda: stored() == ["after"])
        with contextlib.closing(sqlite3.connect(file)) as database:
            assert database.execute("SELECT version FROM models").fetchall() == [("1.0.0",)]
        client.until(lambda: failing(client) == set())


@pytest.fixture
def small_disk(tmp_path):
    """A disk of four megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, timeout=60).returncode:
        pytest.skip("only root may mount a disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True, timeout=60)


def test_a_disk_that_is_full_until_there_is_room_again(serve, small_disk, corpus):
    with serve("--state-dir", str(small_disk / "state"), "--answer-within-s", "1") as client:
        client.until(lambda: failing(client) == set())
        filler = os.open(small_disk / "filler", os.O_WRONLY | os.O_CREAT)
        with contextlib.suppress(OSError):
            while True:
                os.write(filler, b"x" * 100)
        os.close(filler)

        def both_failing() -> bool:
            """What is asked meanwhile uses up what room there is in a page."""
            assert client.post("/predict", content=corpus[0][0]).status_code == 200
            return failing(client) == {"storage_accessible", "database_connected"}

        client.until(both_failing)
        works(client, corpus[0][0], "full")
        assert client.metric("audit_write_failures_total") >= 1 and client.metric("database_records_queued") >= 3
        (small_disk / "filler").unlink()
        client.until(lambda: failing(client) == set())
        kept(client, small_disk, "full")
