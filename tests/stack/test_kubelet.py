"""The kubelet: its state machine by tables, the whole of it against a real server whose answers we steer."""

import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.errors import ProcessDied, StackError
from harness.stack.kubelet import Kubelet, Probe, Streak, ask
from harness.stack.process import end_all, free_ports, spawn

T, F = True, False


@pytest.mark.parametrize(
    ("initial", "failures", "successes", "answers", "changes"),
    [
        pytest.param(True, 3, 1, [F, F, T, F, F], [], id="two failures are not three, and a success starts again"),
        pytest.param(True, 3, 1, [F, F, F], [(2, F)], id="the third failure in a row decides"),
        pytest.param(False, 2, 1, [T], [(0, T)], id="one success makes ready"),
        pytest.param(False, 2, 2, [T, F, T, T], [(3, T)], id="two successes in a row where two are asked"),
        pytest.param(False, 2, 1, [T, F, F, F, T], [(0, T), (2, F), (4, T)], id="out of traffic and back"),
        pytest.param(None, 30, 1, [F, F, T], [(2, T)], id="startup is undecided until it succeeds"),
        pytest.param(False, 1, 1, [F, F], [], id="not ready stays not ready without a change"),
    ],
)
def test_the_streak_decides_as_the_kubelet_does(initial, failures, successes, answers, changes):
    streak = Streak(Probe("/", failure_threshold=failures, success_threshold=successes), initial)
    assert [(i, streak.decision) for i, ok in enumerate(answers) if streak.feed(ok)] == changes


def answering(raw, hold_s=0.0, drip=False):
    """A server for one connection that answers with these bytes; gives its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = listener.accept()
        with connection, listener:
            connection.recv(4096)
            time.sleep(hold_s)
            try:
                for part in [bytes([b]) for b in raw] if drip else [raw]:
                    connection.sendall(part)
                    time.sleep(0.1 if drip else 0)
            except OSError:
                pass

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]


@pytest.mark.parametrize(
    ("raw", "ok", "status"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\nok", True, 200, id="200 is success"),
        pytest.param(b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", True, 302, id="a redirect is success"),
        pytest.param(b"HTTP/1.1 399 Odd\r\n\r\n", True, 399, id="399 is the last success"),
        pytest.param(b"HTTP/1.1 400 Bad\r\n\r\n", False, 400, id="400 is the first failure"),
        pytest.param(b"HTTP/1.1 503 No\r\n\r\nqueue full", False, 503, id="503 is failure"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", False, 0, id="what is not HTTP is failure"),
        pytest.param(b"", False, 0, id="a closed connection is failure"),
    ],
)
def test_an_answer_counts_by_its_status(raw, ok, status):
    answer = ask(answering(raw), "/", 2)
    assert (answer.ok, answer.status) == (ok, status)


def test_the_body_of_a_failure_is_the_reason():
    assert "queue full" in ask(answering(b"HTTP/1.1 503 No\r\n\r\nqueue full"), "/", 2).reason


def test_the_timeout_bounds_the_whole_exchange_even_of_a_dripping_server():
    answer = ask(answering(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 200, drip=True), "/", 0.5)
    assert not answer.ok and "no complete answer within 0.5 s" in answer.reason and answer.took < 2


def test_nothing_listening_is_a_failure_with_its_reason():
    answer = ask(free_ports(1)[0], "/", 1)
    assert not answer.ok and "refused" in answer.reason.lower()


SERVER = """
import http.server, pathlib, socketserver, sys, time
port, says = int(sys.argv[1]), pathlib.Path(sys.argv[2])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        answer = (says / self.path.strip("/")).read_text().strip()
        self.send_response(int(answer)); self.end_headers()
    def log_message(self, *a): pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    allow_reuse_address = True; daemon_threads = True
Server(("127.0.0.1", port), Handler).serve_forever()
"""


class Steered:
    """A kubelet over a real server whose three answers are files."""

    def __init__(self, run: Path):
        self.run, self.events = run, []
        for probe in ("startup", "liveness", "readiness"):
            self.says(probe, 200)
        (run / "server.py").write_text(SERVER)
        port = free_ports(1)[0]
        self.kubelet = Kubelet(
            "server",
            port,
            {
                "startup": Probe("/startup", period_s=0.1, timeout_s=1, failure_threshold=100),
                "liveness": Probe("/liveness", period_s=0.1, timeout_s=1, failure_threshold=3, grace_s=0.3),
                "readiness": Probe("/readiness", period_s=0.1, timeout_s=1, failure_threshold=2),
            },
            lambda: spawn("server", [sys.executable, str(run / "server.py"), str(port), str(run)], run),
            run,
            lambda source, name, outcome="ok", took=None, **detail: self.events.append((name, detail)),
        )

    def says(self, probe, status):
        scratch = self.run / f".{probe}"
        scratch.write_text(str(status))
        os.replace(scratch, self.run / probe)

    def restarts(self):
        return [detail["cause"] for name, detail in self.events if name == "restart"]

    def answers(self, probe):
        lines = (self.run / "probes.jsonl").read_text().splitlines()
        return [one for one in map(json.loads, lines) if one[1] == probe]


def wait(condition, within_s=20):
    until = time.monotonic() + within_s
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


@pytest.fixture
def steered(tmp_path):
    it = Steered(tmp_path)
    yield it
    it.kubelet.stop(grace_s=0.5)
    end_all(tmp_path)


def test_only_the_startup_probe_runs_until_it_has_succeeded(steered):
    steered.says("startup", 503)
    steered.kubelet.start()
    assert wait(lambda: len(steered.answers("startup")) >= 3)
    assert steered.answers("liveness") == steered.answers("readiness") == [] and not steered.kubelet.in_traffic
    steered.says("startup", 200)
    steered.kubelet.wait_ready(20)
    asked = len(steered.answers("startup"))
    assert wait(lambda: len(steered.answers("liveness")) >= 3)
    assert len(steered.answers("startup")) == asked


def test_readiness_takes_it_out_of_traffic_and_back_and_never_restarts(steered):
    steered.kubelet.start()
    steered.kubelet.wait_ready(20)
    steered.says("readiness", 503)
    assert wait(lambda: not steered.kubelet.in_traffic)
    steered.says("readiness", 200)
    assert wait(lambda: steered.kubelet.in_traffic)
    assert steered.restarts() == []


def test_failing_liveness_restarts_it_once_and_it_comes_back(steered):
    steered.kubelet.start()
    steered.kubelet.wait_ready(20)
    first = steered.kubelet.child.pid
    steered.says("liveness", 500)
    assert wait(lambda: steered.restarts() == ["liveness"])
    steered.says("liveness", 200)
    assert wait(lambda: steered.kubelet.in_traffic)
    assert steered.kubelet.child.pid != first


def test_a_stopped_server_ignores_sigterm_and_is_killed_after_its_grace(steered):
    steered.kubelet.start()
    steered.kubelet.wait_ready(20)
    os.kill(steered.kubelet.child.pid, signal.SIGSTOP)
    assert wait(lambda: steered.restarts() == ["liveness"])
    assert wait(lambda: steered.kubelet.in_traffic)


def test_a_killed_server_is_restarted_at_once_and_the_second_time_after_a_back_off(steered):
    steered.kubelet.start()
    steered.kubelet.wait_ready(20)
    os.kill(steered.kubelet.child.pid, signal.SIGKILL)
    assert wait(lambda: steered.restarts() == ["exit"])
    assert wait(lambda: steered.kubelet.in_traffic)
    os.kill(steered.kubelet.child.pid, signal.SIGKILL)
    assert wait(lambda: len(steered.restarts()) == 2)
    backoffs = [detail["backoff_s"] for name, detail in steered.events if name == "restart"]
    assert backoffs == [0.0, 10.0]


def test_the_process_id_on_file_is_that_of_the_running_server(steered):
    steered.kubelet.start()
    steered.kubelet.wait_ready(20)
    on_file = json.loads((steered.run / "pids" / "server").read_text())
    assert on_file["pid"] == steered.kubelet.child.pid


def test_a_server_that_dies_at_its_first_start_is_quoted(steered):
    (steered.run / "server.py").write_text("raise SystemExit('no model here')")
    steered.kubelet.start()
    with pytest.raises(ProcessDied, match=r"(?s)server exited with 1.*no model here"):
        steered.kubelet.wait_ready(20)


def test_a_server_that_never_gets_ready_is_said_to_be_so_with_its_last_answer(steered):
    steered.says("readiness", 503)
    steered.kubelet.start()
    assert wait(lambda: steered.answers("readiness"))
    with pytest.raises(StackError, match=r"not ready within 0.2 s .* readiness probe says 503"):
        steered.kubelet.wait_ready(0.2)
