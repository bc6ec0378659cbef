"""Dependencies: real processes, started, killed, restarted on request; and ones that are there already."""

import os
import signal
import socket
import sys

import pytest
from steered import wait

from harness.errors import ProcessDied, StackError
from harness.stack.component import Component
from harness.stack.dependency import Dependency
from harness.stack.process import end_all, free_ports, spawn
from harness.stack.ready import not_ready
from harness.stack.spec import DependencySpec, ReadyTest

DATABASE = """
import socket, sys, time, pathlib
time.sleep(float(pathlib.Path(sys.argv[2]).read_text()))
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    server.accept()[0].close()
"""


class Database:
    """A dependency that listens a while after its start."""

    def __init__(self, folder, delay_s=0.2, within="10s"):
        self.folder, self.events, port = folder, [], free_ports(1)[0]
        self.delay(delay_s)
        (folder / "database.py").write_text(DATABASE)
        argv = [sys.executable, str(folder / "database.py"), str(port), str(folder / "delay")]
        spec = DependencySpec(start={"command": "database {port}", "ready_within": within})
        self.component = Component("database", folder, lambda added: spawn("database", argv, folder))
        self.dependency = Dependency("database", spec, self.component, {"port": port}, folder, self.emit)

    def delay(self, seconds):
        (self.folder / "delay").write_text(str(seconds))

    def emit(self, source, name, outcome="ok", took=None, **detail):
        self.events.append((source, name, outcome, detail))

    def request(self):
        request = self.component.restart_request
        request.parent.mkdir(exist_ok=True)
        request.touch()
        return request

    def listens(self):
        return not not_ready(ReadyTest(tcp="127.0.0.1:{port}"), self.dependency._values, self.folder)


@pytest.fixture
def database(tmp_path):
    it = Database(tmp_path)
    yield it
    it.dependency.stop()
    end_all(tmp_path)


def test_it_is_ready_when_started_and_one_that_dies_is_recorded_and_stays_dead_until_a_restart_is_asked_for(database):
    database.dependency.start()
    assert database.listens()
    first = database.component.child.pid
    os.kill(first, signal.SIGKILL)
    assert wait(lambda: database.events)
    assert database.events == [("stack", "exited", "fail", {"component": "database", "code": -9})]
    assert not wait(lambda: database.component.alive() or len(database.events) > 1, within_s=1.2)
    request = database.request()
    assert wait(lambda: not request.exists())
    assert database.listens() and database.component.child.pid != first
    assert database.events[1:] == [("stack", "restart", "ok", {"component": "database", "cause": "request"})]
    assert (database.folder / "pids/database").exists() and database.dependency.failure is None
    database.dependency.stop()
    assert not database.component.alive()


def test_a_running_one_is_restarted_too(database):
    database.dependency.start()
    first = database.component.child.pid
    request = database.request()
    assert wait(lambda: not request.exists())
    assert database.listens() and database.component.child.pid != first
    assert [name for _, name, _, _ in database.events] == ["restart"], "that it was ended is no death by itself"


def test_a_restart_that_fails_keeps_its_request_and_is_tried_again_when_asked_again(tmp_path):
    database = Database(tmp_path, within="1s")
    try:
        database.dependency.start()
        database.delay(30)
        request = database.request()
        assert wait(lambda: [outcome for _, _, outcome, _ in database.events] == ["ok", "fail"])
        assert "not ready within 1 s" in database.events[-1][3]["problem"]
        assert request.exists() and not wait(lambda: len(database.events) > 2, within_s=0.5)
        database.delay(0)
        os.utime(request, (1, 1))
        assert wait(lambda: not request.exists()) and database.listens()
    finally:
        database.dependency.stop()
        end_all(tmp_path)


def test_one_that_does_not_get_ready_or_dies_at_its_start_says_so(tmp_path):
    database = Database(tmp_path, delay_s=30, within="500ms")
    with pytest.raises(StackError, match=r"database was not ready within 0\.5 s: 127\.0\.0\.1:\d+: .*refused.*its log"):
        database.dependency.start()
    database.dependency.stop()
    database = Database(tmp_path)
    database.delay("no number")
    with pytest.raises(ProcessDied, match=r"(?s)database exited with 1.*no number"):
        database.dependency.start()
    end_all(tmp_path)


def test_one_that_is_there_already_is_tested_and_left_alone(tmp_path):
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    attached = Dependency("database", DependencySpec(address=address), None, {}, tmp_path, print)
    attached.start()
    attached.stop()
    assert not (tmp_path / "pids").exists()
    socket.create_connection(listener.getsockname(), 5).close()


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("true", ""),
        ("sh -c 'echo not yet; exit 3'", "sh exited with 3: not yet"),
        ("nosuch {port}", "nosuch: No such file or directory"),
        ("sleep 9", "sleep: no end within 0.3 s"),
    ],
)
def test_a_command_tests_readiness_by_its_exit_code(tmp_path, command, problem):
    assert not_ready(ReadyTest(command=command), {"port": 1}, tmp_path, within_s=0.3) == problem


def test_a_url_tests_readiness_by_its_status(tmp_path):
    port = free_ports(1)[0]
    (tmp_path / "here").write_text("x")
    server = spawn("http", [sys.executable, "-m", "http.server", str(port), "-b", "127.0.0.1"], tmp_path, cwd=tmp_path)
    values = {"port": port}
    try:
        assert "http://127.0.0.1" in not_ready(ReadyTest(http="http://127.0.0.1:1/here"), values, tmp_path)
        assert wait(lambda: not not_ready(ReadyTest(http="http://127.0.0.1:{port}/here"), values, tmp_path))
        assert "status 404" in not_ready(ReadyTest(http="http://127.0.0.1:{port}/gone"), values, tmp_path)
    finally:
        server.end()
