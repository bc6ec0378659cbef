"""What happens to a component's disk and files: seen from outside, undone, and unseen where nothing was done."""

import contextlib
import json
import os
import re
import sys
import time
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from harness.errors import FaultError, StackError
from harness.faults.disk_full import DiskFull
from harness.faults.file import File
from harness.faults.inject import end_all, inject
from harness.faults.read_only import ReadOnly
from harness.history import History
from harness.stack import ledger, volume
from harness.stack.process import identify, processes_of, spawn
from harness.stack.undo import VERBS, Undo

DISK = 32e6
WRITER = "import sys, time\nfile = open(sys.argv[1], 'ab', 0)\nwhile 1: time.sleep(60)"
needs_disk = pytest.mark.skipif(bool(volume.lacking()), reason=f"no disk can be made here: {volume.lacking()}")
needs_mount = pytest.mark.skipif(not volume.may_mount(), reason="nothing can be mounted here")


@pytest.fixture
def prometheus():
    """The address of a server that answers an instant query with a value if it says `shows`, and else with none."""

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self):
            found = [{"metric": {}, "value": [0, "1"]}] if "query=shows" in self.path else []
            body = json.dumps({"data": {"result": found}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def kept(stack, prometheus):
    """A stack whose server has a folder in {state}."""
    here = replace(stack, prometheus_url=prometheus)
    (here.state / "server").mkdir(parents=True)
    yield here
    volume.unmount_below(here.run)


@pytest.fixture
def on_disk(kept):
    """The same on a disk of its own, with a file open there."""
    folder = kept.state / "server"
    volume.make(folder, DISK)
    pid = identify(spawn("server", [sys.executable, "-c", WRITER, str(folder / "log")], kept.run).pid)
    (kept.run / "pids/server").write_text(json.dumps(pid._asdict()))
    assert wait((folder / "log").exists)
    return replace(kept, volumes={"server": str(folder)})


def wait(condition, within_s=20):
    until = time.monotonic() + within_s
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


def witness(stack):
    return [e for e in History.read(stack.run).of("fault") if e.detail["edge"] == "witness"][-1]


def is_full(folder):
    try:
        (folder / "more").write_bytes(b"\0" * (1 << 20))
    except OSError as error:
        return "No space left" in str(error)
    finally:
        with contextlib.suppress(OSError):
            (folder / "more").unlink()
    return False


@needs_disk
def test_a_disk_is_full_stays_full_when_something_is_removed_and_is_as_before_when_undone(on_disk):
    folder = Path(on_disk.volumes["server"])
    before = volume.free_bytes(folder)
    (folder / "old").write_bytes(os.urandom(4 << 20))
    inject(DiskFull(witness_query="shows"), on_disk, "full", 60)
    evidence = witness(on_disk).detail["evidence"]
    assert "No space left on device; server has 1 files open there; Prometheus: shows = 1" in evidence
    (folder / "old").unlink()
    assert wait(lambda: is_full(folder)), "it does not keep it full"
    assert end_all(on_disk, "heal") == ["disk_full"]
    assert wait(lambda: abs(volume.free_bytes(folder) - before) < 1e5) and not is_full(folder)
    assert {p.name for p in folder.iterdir()} == {"log"} and not processes_of(on_disk.run, "filler")


@needs_disk
def test_so_much_is_left_as_is_asked_and_a_disk_that_fills_does_so_evenly(on_disk):
    folder = Path(on_disk.volumes["server"])
    inject(DiskFull(left_bytes=10_000_000), on_disk, "full", 60)
    assert wait(lambda: 9.9e6 < volume.free_bytes(folder) < 10.2e6)
    end_all(on_disk, "heal")
    before = volume.free_bytes(folder)
    inject(DiskFull(over_s=600, left_bytes=1_000_000), on_disk, "filling", 60)
    assert witness(on_disk).outcome == "ok" and volume.free_bytes(folder) > before / 2


@needs_disk
@pytest.mark.parametrize("how", ["the filler dies", "nothing of it is open there", "the component does not say so"])
def test_a_disk_that_is_not_full_for_the_component_has_no_witness(on_disk, how):
    @dataclass(frozen=True)
    class Idle(DiskFull):
        def start(self, stack, facts):
            return facts if how == "the filler dies" else super().start(stack, facts)

    if how == "nothing of it is open there":
        elsewhere = identify(spawn("server", [sys.executable, "-c", "import time; time.sleep(60)"], on_disk.run).pid)
        (on_disk.run / "pids/server").write_text(json.dumps(elsewhere._asdict()))
        end_processes_but(on_disk, elsewhere)
    query = "nothing" if how == "the component does not say so" else ""
    inject(Idle(witness_query=query), on_disk, "full", 60, witness_within_s=0.5)
    assert witness(on_disk).outcome == "unknown"


def end_processes_but(stack, spared):
    for pid in processes_of(stack.run, "server"):
        if pid != spared:
            os.kill(pid.pid, 9)
    assert wait(lambda: processes_of(stack.run, "server") == [spared])


@needs_disk
def test_what_killed_processes_left_mounted_and_full_is_healed_with_its_run(on_disk):
    inject(DiskFull(), on_disk, "full", 60)
    assert [entry.kind for entry in ledger.heal(on_disk.run)[0]] == ["disk_full"]
    assert not [m for m in volume.mounts() if str(on_disk.run) in m.place]
    assert not (on_disk.run / "private").exists() and not processes_of(on_disk.run)


@needs_disk
def test_a_fault_of_a_disk_that_is_none_or_full_already_begins_nothing(on_disk):
    with pytest.raises(StackError, match=r"database has no disk of its own: give it one in service.yaml"):
        inject(DiskFull(component="database"), on_disk, "full", 60)
    with pytest.raises(FaultError, match="are free already, and 1,000 GB are to be left"):
        inject(DiskFull(left_bytes=10**12), on_disk, "full", 60)
    with pytest.raises(FaultError, match="must be 0 or more"):
        inject(DiskFull(left_bytes=-1), on_disk, "full", 60)
    assert on_disk.ledger.open() == []


@needs_mount
@pytest.mark.parametrize("own", [pytest.param(True, marks=needs_disk), False], ids=["a disk of its own", "the host's"])
def test_a_read_only_folder_takes_nothing_new_keeps_what_is_there_and_is_writable_again(request, own):
    stack = request.getfixturevalue("on_disk" if own else "kept")
    folder = stack.state / "server"
    (folder / "there").write_text("as before")
    inject(ReadOnly("shows"), stack, "read-only", 60)
    assert "a write from outside: Read-only file system; Prometheus: shows = 1" in witness(stack).detail["evidence"]
    assert (folder / "there").read_text() == "as before"
    for change in (lambda: (folder / "there").write_text("x"), (folder / "there").unlink, (folder / "new").touch):
        with pytest.raises(OSError, match="Read-only"):
            change()
    entry = stack.ledger.open()[0]
    for _ in range(2):
        assert stack.ledger.undo([entry])[0][1] == ""
    (folder / "there").write_text("x")
    assert len([m for m in volume.mounts() if m.place == str(folder)]) == own


@needs_mount
def test_a_read_only_folder_that_the_component_does_not_mind_has_no_witness(kept):
    inject(ReadOnly("nothing"), kept, "read-only", 60, witness_within_s=0.1)
    assert witness(kept).outcome == "unknown"
    assert end_all(kept, "heal") == ["read_only"]
    with pytest.raises(FaultError, match="database has no folder"):
        inject(ReadOnly("shows", component="database"), kept, "read-only", 60)


BYTES = bytes(range(200))


@pytest.mark.parametrize(
    ("becomes", "then"),
    [
        ("missing", lambda path: not path.exists()),
        ("blocked", lambda path: path.is_dir()),
        ("truncated", lambda path: path.read_bytes() == BYTES[:100]),
        ("changed", lambda path: path.read_bytes() == BYTES[:100] + bytes([100 ^ 0xFF]) + BYTES[101:]),
        ("empty", lambda path: path.read_bytes() == b""),
        ("garbled", lambda path: len(path.read_bytes()) == len(BYTES) and path.read_bytes() != BYTES),
        ("replaced", lambda path: path.read_bytes() == b"another"),
        ("edited", lambda path: path.read_bytes() == BYTES.replace(b"abc", b"xyz")),
    ],
)
def test_a_file_is_not_what_it_was_and_is_put_back_byte_for_byte(kept, becomes, then):
    path = kept.state / "server/model"
    (kept.state / "another").write_bytes(b"another")
    more = {"replaced": {"by": "{state}/another"}, "edited": {"command": "sed -i s/abc/xyz/ {state}/server/model"}}
    path.write_bytes(BYTES)
    path.chmod(0o640)
    inject(File("server/model", becomes, "shows", **more.get(becomes, {})), kept, "file", 60)
    assert then(path) and witness(kept).detail["evidence"] == "Prometheus: shows = 1"
    entry = kept.ledger.open()[0]
    for _ in range(2):
        assert kept.ledger.undo([entry])[0][1] == ""
        assert path.read_bytes() == BYTES and path.stat().st_mode & 0o777 == 0o640
    assert {p.name for p in path.parent.iterdir()} == {"model"}


def test_a_database_goes_with_its_journals_and_comes_back_in_place_of_a_new_one(kept):
    folder = kept.state / "server"
    names = ["records.db", "records.db-shm", "records.db-wal"]
    for name in names:
        (folder / name).write_text(f"old {name}")
    inject(File("server/records.db*", "missing", "shows"), kept, "gone", 60)
    assert not list(folder.glob("records*"))
    (folder / "records.db").write_text("new")
    end_all(kept, "heal")
    assert {p.name: p.read_text() for p in folder.iterdir()} == {name: f"old {name}" for name in names}


def test_a_log_that_is_cut_stays_so_because_an_older_copy_would_lose_more(kept):
    path = kept.state / "server/log"
    path.write_bytes(BYTES)
    inject(File("server/log", "cut", "shows"), kept, "cut", 60)
    assert path.read_bytes() == BYTES[:150]
    path.write_bytes(BYTES[:150] + b"more")
    assert end_all(kept, "heal") == ["file"] and path.read_bytes() == BYTES[:150] + b"more"


@pytest.mark.parametrize(
    ("path", "becomes", "more", "said"),
    [
        ("server/other", "missing", {}, r"no file {state}/server/other"),
        ("../../logs/server.log", "missing", {}, "path: must be below {state}"),
        ("/etc/passwd", "truncated", {}, "path: must be below {state}"),
        ("{state}/server/a", "truncated", {}, "path: must be below {state}, and without it"),
        ("", "missing", {}, "path: must be below {state}"),
        ("server/[ab]", "truncated", {}, "must be one file to be truncated; it names 2"),
        ("server/none", "truncated", {}, "must have 4 bytes or more"),
        ("server/none", "empty", {}, "is as it was: nothing was broken"),
        ("server/link", "missing", {}, r"no file {state}/server/link"),
        ("server/a", "missing", {"by": "x"}, "by: goes with becomes: replaced alone"),
        ("server/a", "replaced", {}, "by: is missing"),
        ("server/a", "replaced", {"by": "{state}/server/b"}, "is as it was: nothing was broken"),
        ("server/a", "replaced", {"by": "{state}/gone"}, "No such file"),
        ("server/a", "edited", {}, "command: is missing"),
        ("server/a", "edited", {"command": "sed '"}, "command: cannot be split into arguments"),
        ("server/a", "edited", {"command": "true"}, "is as it was: nothing was broken"),
        ("server/a", "edited", {"command": "false"}, "false exited with 1"),
        ("server/a", "edited", {"command": "no-such-program"}, "No such file"),
    ],
)
def test_a_file_that_may_not_be_touched_or_is_not_is_no_fault(kept, path, becomes, more, said):
    for name in ("a", "b"):
        (kept.state / "server" / name).write_text("as before")
    (kept.state / "server/link").symlink_to("a")
    (kept.state / "server/none").touch()
    with pytest.raises(FaultError, match=re.escape(said)):
        inject(File(path, becomes, "shows", **more), kept, "file", 60)
    assert kept.ledger.open() == []
    assert {(kept.state / "server" / name).read_text() for name in ("a", "b")} == {"as before"}


def test_a_service_that_does_not_notice_its_file_is_no_witness(kept):
    (kept.state / "server/a").write_text("as before")
    inject(File("server/a", "missing", "nothing"), kept, "file", 60, witness_within_s=0.1)
    assert witness(kept).outcome == "unknown" and end_all(kept, "heal") == ["file"]


def test_nothing_outside_the_run_is_moved_by_an_undo(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "outside").write_text("x")
    (run / "inside").write_text("y")
    for path, away in ((tmp_path / "outside", run / "inside"), (run / "inside", tmp_path / "outside")):
        with pytest.raises(ValueError, match="not inside the run"):
            Undo("move_back", {"path": str(path), "away": str(away)}).carry_out(run)
    assert "move_back" in VERBS


def test_a_copy_of_a_private_file_is_private(kept):
    (kept.state / "server/key").write_text("secret")
    inject(File("server/key", "truncated", "shows"), kept, "key", 60)
    assert (kept.run / "private/saved").is_dir() and not (kept.run / "saved").exists()
