"""Each verb that undoes: done, done again, its target gone, what it refuses, and killed in between."""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.faults.needs import missing
from harness.stack import undo as module
from harness.stack.process import Pid, end_all, identify, send, spawn, state
from harness.stack.undo import VERBS, Undo, owned, saved

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); print(1); time.sleep(60)"]
GONE = {"pid": 4_000_000, "started": 1}


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    yield folder
    end_all(folder)


def do(run, verb, **arguments):
    Undo(verb, arguments).carry_out(run)


def killed_at(name, run, step):
    """Carry out a step in a process that is killed where it would call this function of `os`."""
    child = os.fork()
    if child == 0:
        setattr(os, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        step.carry_out(run)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("verb", "arguments", "says"),
    [
        ("unheard-of", {}, "no verb 'unheard-of'"),
        ("remove", {}, "missing a required argument"),
        ("continue", {"pid": 1, "started": 1}, "no process that a fault may touch"),
        ("end", {"pid": -1, "started": 1}, "no process that a fault may touch"),
        ("end", {"pid": os.getpid(), "started": 1}, "does not end itself"),
        ("remove", {"path": "logs/x"}, "not an absolute"),
        ("remove", {"path": "/"}, "not an absolute"),
        ("remove", {"path": "/tmp/../etc/x"}, "not an absolute"),
        ("remove", {"path": "/tmp/link/"}, "not an absolute"),
        ("remove", {"path": "/proc/self/cwd/x"}, "through a symbolic link"),
        ("remove", {"path": "/tmp", "tree": True}, "not inside the run's folder"),
        ("unmount", {"path": "mnt", "source": "x"}, "not an absolute"),
        (
            "restore_file",
            {"path": "/etc/x", "copy": "/etc/passwd", "sha256": "", "mode": 0, "owner": [0, 0]},
            "not inside the run's folder",
        ),
        ("restart_component", {"component": "../server"}, "no name of a component"),
        ("restart_component", {"component": ".server"}, "no name of a component"),
        ("delete_proxy_rule", {"url": "https://127.0.0.1:1/proxies/a"}, "not a plain http"),
        ("delete_proxy_rule", {"url": "http://192.0.2.1/proxies/a"}, "not a plain http"),
        ("delete_proxy_rule", {"url": "http://localhost.example/proxies/a"}, "not a plain http"),
        ("delete_proxy_rule", {"url": "http://127.0.0.1@192.0.2.1/proxies/a"}, "not a plain http"),
        ("delete_proxy_rule", {"url": "http://127.0.0.1:1/proxies"}, "not /proxies/NAME"),
        ("delete_proxy_rule", {"url": "http://127.0.0.1:1/proxies/a/toxics/.."}, "not /proxies/NAME"),
        ("delete_proxy_rule", {"url": "http://127.0.0.1:1/api/v1/x"}, "not /proxies/NAME"),
    ],
)
def test_what_no_undo_may_touch_is_refused(verb, arguments, says, run):
    with pytest.raises(ValueError, match=says):
        do(run, verb, **arguments)


def test_a_step_is_json_and_read_back():
    for verb in VERBS:
        step = Undo(verb, {"path": "/x", "owner": [0, 0]})
        assert Undo.read(json.loads(json.dumps(step.record()))) == step


# -- continue, end -----------------------------------------------------------------------------------------------


def test_continue_wakes_exactly_that_process_as_often_as_asked(run):
    pid = identify(spawn("child", SLEEP, run).pid)
    send(pid, signal.SIGSTOP)
    do(run, "continue", pid=pid.pid, started=pid.started + 1)
    time.sleep(0.1)
    assert state(pid) == "T"
    do(run, "continue", **pid._asdict())
    do(run, "continue", **pid._asdict())
    assert state(pid) != "T"
    do(run, "continue", **GONE)


@pytest.mark.parametrize("argv", [SLEEP, STUBBORN], ids=["heeds SIGTERM", "ignores SIGTERM"])
def test_end_ends_exactly_that_process(argv, run, monkeypatch):
    monkeypatch.setattr(module, "END_GRACE_S", 0.5)
    child = spawn("child", argv, run)
    pid = identify(child.pid)
    until = time.monotonic() + 10
    while argv is STUBBORN and not child.log.read_text() and time.monotonic() < until:
        time.sleep(0.02)
    do(run, "end", pid=pid.pid, started=pid.started + 1)
    assert state(pid) is not None
    do(run, "end", **pid._asdict())
    assert state(pid) is None
    do(run, "end", **pid._asdict())


def test_killed_between_its_two_signals_end_begins_again(run, monkeypatch):
    child = spawn("child", STUBBORN, run)
    until = time.monotonic() + 10
    while not child.log.read_text() and time.monotonic() < until:
        time.sleep(0.02)
    pid = identify(child.pid)
    undoing = os.fork()
    if undoing == 0:
        Undo("end", pid._asdict()).carry_out(run)
        os._exit(1)
    time.sleep(0.3)  # it waits for the process to heed SIGTERM
    os.kill(undoing, signal.SIGKILL)
    os.waitpid(undoing, 0)
    assert state(pid) is not None
    monkeypatch.setattr(module, "END_GRACE_S", 0.1)
    do(run, "end", **pid._asdict())
    assert state(pid) is None


# -- remove ------------------------------------------------------------------------------------------------------


def test_remove_removes_a_file_or_an_empty_directory_anywhere(run, tmp_path):
    (tmp_path / "balloon").write_text("x")
    (tmp_path / "group").mkdir()
    (tmp_path / "link").symlink_to(run)
    for name in ("balloon", "group", "link", "balloon", "group", "link", "never/was", "run/x"):
        do(run, "remove", path=str(tmp_path / name))
    assert list(tmp_path.iterdir()) == [run]
    (tmp_path / "balloon").write_text("x")
    do(run, "remove", path=str(tmp_path / "balloon/inside"))  # its parent is a file now, so it is gone
    assert (tmp_path / "balloon").exists()


def test_remove_leaves_a_directory_that_holds_something(run):
    (run / "x" / "y").mkdir(parents=True)
    with pytest.raises(OSError, match="not empty"):
        do(run, "remove", path=str(run / "x"))
    assert (run / "x" / "y").exists()


def test_remove_a_tree_leaves_what_its_links_lead_to(run, tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (run / "x" / "y").mkdir(parents=True)
    (run / "x" / "y" / "link").symlink_to(tmp_path / "kept")
    do(run, "remove", path=str(run / "x"), tree=True)
    do(run, "remove", path=str(run / "x"), tree=True)
    assert not (run / "x").exists() and (tmp_path / "kept" / "file").exists()
    (run / "out").symlink_to(tmp_path / "kept")
    do(run, "remove", path=str(run / "out"), tree=True)
    assert (tmp_path / "kept" / "file").exists()
    for whole in (run, tmp_path):
        with pytest.raises(ValueError, match="not inside the run's folder"):
            do(run, "remove", path=str(whole), tree=True)


def test_killed_while_it_removes_a_tree_it_removes_the_rest(run):
    for i in range(3):
        (run / "x" / str(i)).mkdir(parents=True)
        (run / "x" / str(i) / "file").write_text("x")
    step = Undo("remove", {"path": str(run / "x"), "tree": True})
    killed_at("rmdir", run, step)
    assert len(list((run / "x").rglob("file"))) == 2
    step.carry_out(run)
    assert not (run / "x").exists()


# -- unmount -----------------------------------------------------------------------------------------------------


@pytest.fixture
def mounted(run):
    """Mounts an empty file system under a name of its own; what is left of them at the end is unmounted."""
    if lacking := missing(["mount"]):
        pytest.skip(f"not tried: {lacking[0]}")
    place = run / "mount point"
    place.mkdir()

    def mount(source):
        subprocess.run(["mount", "-t", "tmpfs", source, str(place)], check=True)
        return place

    yield mount
    while os.path.ismount(place):
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_unmount_unmounts_what_came_from_that_source_and_nothing_else(run, mounted):
    place = mounted("harness-1")
    do(run, "unmount", path=str(place), source="harness-2")
    assert os.path.ismount(place)
    do(run, "unmount", path=str(place), source="harness-1")
    assert not os.path.ismount(place)
    do(run, "unmount", path=str(place), source="harness-1")
    place.rmdir()
    do(run, "unmount", path=str(place), source="harness-1")


def test_unmount_frees_a_place_that_is_in_use(run, mounted):
    place = mounted("harness-1")
    with open(place / "held", "w"):
        do(run, "unmount", path=str(place), source="harness-1")
        assert not os.path.ismount(place)


def test_unmount_leaves_what_is_mounted_over_it_and_says_so(run, mounted):
    mounted("harness-1")
    place = mounted("other")
    with pytest.raises(OSError, match="other is mounted over harness-1"):
        do(run, "unmount", path=str(place), source="harness-1")


def test_a_tree_in_which_something_is_mounted_is_not_removed(run, mounted):
    place = mounted("harness-1")
    (place / "kept").write_text("x")
    with pytest.raises(OSError, match="mounted in it"):
        do(run, "remove", path=str(place), tree=True)
    assert (place / "kept").exists()


# -- restore_file ------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(run, tmp_path):
    """A file that a fault may spoil, and the undo that restores it."""
    file = tmp_path / "settings.yaml"
    file.write_text("good")
    file.chmod(0o640)
    return file, saved(run, file)


def good(file):
    return file.read_text() == "good" and file.stat().st_mode & 0o7777 == 0o640 and not file.is_symlink()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.write_text("bad"),
        lambda file: file.unlink(),
        lambda file: file.chmod(0o000),
        lambda file: (file.unlink(), file.symlink_to("/dev/full")),
        lambda file: None,
    ],
    ids=["changed", "removed", "its mode changed", "replaced by a link", "not touched"],
)
def test_restore_file_puts_back_content_and_mode(spoil, run, settings):
    file, step = settings
    spoil(file)
    step.carry_out(run)
    assert good(file)
    Path(step.arguments["copy"]).unlink()
    step.carry_out(run)  # restored already, so the copy is not needed any more
    assert good(file) and sorted(p.name for p in file.parent.iterdir()) == ["run", "settings.yaml"]


@pytest.mark.skipif(os.geteuid() != 0, reason="not tried: only root gives a file to another user")
def test_restore_file_puts_back_the_owner(run, settings):
    file, step = settings
    os.chown(file, 12345, 12345)
    step.carry_out(run)
    assert file.stat().st_uid == 0 and good(file)


def test_restore_file_does_not_put_back_a_copy_that_was_changed(run, settings):
    file, step = settings
    file.write_text("bad")
    Path(step.arguments["copy"]).write_text("worse")
    with pytest.raises(ValueError, match="is not the copy that was saved"):
        step.carry_out(run)
    Path(step.arguments["copy"]).unlink()
    with pytest.raises(FileNotFoundError):
        step.carry_out(run)
    assert file.read_text() == "bad"


@pytest.mark.parametrize("at", ["fsync", "replace"])
def test_killed_while_it_restores_a_file_that_is_the_old_one_until_it_is_whole(at, run, settings):
    file, step = settings
    file.write_text("bad")
    killed_at(at, run, step)
    assert file.read_text() == "bad"
    step.carry_out(run)
    assert good(file) and sorted(p.name for p in file.parent.iterdir()) == ["run", "settings.yaml"]


def test_a_link_is_not_saved(run, tmp_path):
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match="is a symbolic link"):
        saved(run, tmp_path / "link")


# -- restart_component -------------------------------------------------------------------------------------------


@pytest.fixture
def component(run):
    """A run that this process owns, with a database that last ran as process 7."""
    (run / "owner.json").write_text(json.dumps(identify(os.getpid())._asdict()))
    (run / "pids").mkdir()
    (run / "pids" / "database").write_text('{"pid": 7, "started": 70}')
    return run / "requests" / "restart-database"


def supervise(request, stop, restarts):
    while not stop.is_set():
        if request.exists():
            restarts.append(time.monotonic())
            request.unlink(missing_ok=True)
        time.sleep(0.02)


@pytest.fixture
def supervisor(component):
    stop, restarts = threading.Event(), []
    thread = threading.Thread(target=supervise, args=(component, stop, restarts))
    thread.start()
    yield restarts
    stop.set()
    thread.join()


def test_restart_component_returns_when_its_supervisor_has_restarted_it(run, component, supervisor):
    do(run, "restart_component", component="database")
    do(run, "restart_component", component="database", pid=7, started=70)
    assert len(supervisor) == 2 and not component.exists()


def test_a_process_that_was_replaced_since_is_not_restarted_again(run, supervisor):
    do(run, "restart_component", component="database", pid=6, started=60)
    assert supervisor == []


def test_nobody_owns_the_run_so_nobody_is_asked(run, component):
    (run / "owner.json").write_text(json.dumps(Pid(**GONE)._asdict()))
    do(run, "restart_component", component="database")
    (run / "owner.json").write_text('{"pid"')
    do(run, "restart_component", component="database")
    (run / "owner.json").unlink()
    do(run, "restart_component", component="database")
    assert not owned(run) and not component.exists()


def test_the_owner_that_ends_meanwhile_is_not_waited_for(run, component, monkeypatch):
    owner = subprocess.Popen(SLEEP)
    (run / "owner.json").write_text(json.dumps(identify(owner.pid)._asdict()))
    killer = threading.Timer(0.3, lambda: (owner.kill(), owner.wait()))
    killer.start()
    do(run, "restart_component", component="database")
    killer.join()
    assert not component.exists()


def test_an_unknown_component_is_refused_and_a_silent_supervisor_is_named(run, component, monkeypatch):
    monkeypatch.setattr(module, "RESTARTED_WITHIN_S", 0.2)
    with pytest.raises(ValueError, match="no component is called 'databse'"):
        do(run, "restart_component", component="databse")
    with pytest.raises(TimeoutError, match=r"supervisor of database did not restart it within 0\.2 s"):
        do(run, "restart_component", component="database")
    assert not component.exists()


def test_killed_while_it_waits_the_request_stands_and_is_made_again(run, component, monkeypatch):
    child = os.fork()
    if child == 0:
        do(run, "restart_component", component="database")
        os._exit(1)
    until = time.monotonic() + 5
    while not component.exists() and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert component.exists()
    restarts, stop = [], threading.Event()
    thread = threading.Thread(target=supervise, args=(component, stop, restarts))
    thread.start()
    do(run, "restart_component", component="database")
    stop.set()
    thread.join()
    assert not component.exists() and restarts


# -- delete_proxy_rule -------------------------------------------------------------------------------------------


class Proxy(http.server.BaseHTTPRequestHandler):
    def do_DELETE(self):
        rules = self.server.rules
        status = 307 if "elsewhere" in self.path else 500 if "broken" in self.path else 404
        if self.path in rules:
            rules.remove(self.path)
            status = 204
        self.send_response(status)
        self.send_header("Location", "/proxies/kept")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def proxy(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:1")  # loopback is never behind a proxy
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.rules = ["/proxies/database/toxics/slow", "/proxies/kept"]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_delete_proxy_rule_deletes_that_rule_as_often_as_asked(run, proxy):
    url = f"http://127.0.0.1:{proxy.server_port}/proxies/database/toxics/slow"
    do(run, "delete_proxy_rule", url=url)
    do(run, "delete_proxy_rule", url=url)
    assert proxy.rules == ["/proxies/kept"]


@pytest.mark.parametrize(("name", "status"), [("broken", 500), ("elsewhere", 307)])
def test_a_proxy_that_does_not_delete_is_an_error_and_no_redirect_is_followed(name, status, run, proxy):
    with pytest.raises(OSError, match=f"status {status}"):
        do(run, "delete_proxy_rule", url=f"http://127.0.0.1:{proxy.server_port}/proxies/{name}")
    assert "/proxies/kept" in proxy.rules


def test_a_proxy_that_has_ended_has_no_rules_and_one_that_hangs_is_an_error(run, proxy, monkeypatch):
    monkeypatch.setattr(module, "PROXY_TIMEOUT_S", 0.2)
    monkeypatch.setattr(Proxy, "do_DELETE", lambda self: time.sleep(0.6))
    url = f"http://127.0.0.1:{proxy.server_port}/proxies/database"
    with pytest.raises(OSError, match="timed out"):
        do(run, "delete_proxy_rule", url=url)
    proxy.shutdown()
    proxy.server_close()
    do(run, "delete_proxy_rule", url=url)
