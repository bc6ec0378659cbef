"""The prober: its state machine by tables, its requests against real sockets, and what it does without a supervisor."""

import socket
import threading
import time

import pytest
from steered import PROBES, Files, wait

from harness.stack.component import Component
from harness.stack.prober import Prober, Streak, ask
from harness.stack.process import end_all, free_ports
from harness.stack.spec import Probe

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
    streak = Streak(Probe(path="/", failureThreshold=failures, successThreshold=successes), initial)
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
    answer = ask(answering(raw), Probe(path="/"), 2)
    assert (answer.ok, answer.status) == (ok, status)


def test_the_body_of_a_failure_is_the_reason():
    assert "queue full" in ask(answering(b"HTTP/1.1 503 No\r\n\r\nqueue full"), Probe(path="/"), 2).reason


def test_the_timeout_bounds_the_whole_exchange_even_of_a_dripping_server():
    answer = ask(answering(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 200, drip=True), Probe(path="/"), 0.5)
    assert not answer.ok and "no complete response within 0.5 s" in answer.reason and answer.took < 2


def test_nothing_listening_is_a_failure_with_its_reason():
    answer = ask(free_ports(1)[0], Probe(path="/"), 1)
    assert not answer.ok and "refused" in answer.reason.lower()


@pytest.fixture
def unsupervised(tmp_path):
    """A prober over a real server, and nobody who carries its decisions out."""
    files, port = Files(tmp_path), free_ports(1)[0]
    component = Component("server", tmp_path, lambda: files.spawn("server", port))
    prober = Prober(component, port, PROBES, tmp_path, files.emit)
    component.start()
    prober.start()
    yield files, component
    prober.stop()
    component.end(0.5)
    end_all(tmp_path)


def decided(files):
    return [(detail["probe"], detail["decision"]) for detail in files.of("decision")]


def test_without_a_supervisor_decisions_are_recorded_and_nothing_is_done(unsupervised):
    files, component = unsupervised
    pid = component.child.pid
    assert wait(lambda: decided(files) == [("readiness", "ready")])
    files.respond("readiness", 503)
    assert wait(lambda: len(decided(files)) == 2)
    files.respond("liveness", 500)
    assert wait(lambda: len(decided(files)) == 4), "it goes on asking, and decides again"
    assert decided(files)[1:] == [("readiness", "unready")] + 2 * [("liveness", "restart")]
    assert component.alive() and (component.child.pid, component.generation) == (pid, 1)
    assert {name for name, _ in files.events} == {"decision"}, "no restart and no traffic is claimed"
    results = [one[2] for one in files.recorded("liveness") if one[6] == "restart"]
    assert results == [False, False] and files.recorded("liveness")[0][7] == "server"


def test_without_a_supervisor_the_end_of_the_process_is_the_decision_unready(unsupervised):
    files, component = unsupervised
    assert wait(lambda: decided(files) == [("readiness", "ready")])
    component.child.popen.kill()
    assert wait(lambda: decided(files)[1:] == [("readiness", "unready")])
    assert not component.alive() and component.generation == 1
