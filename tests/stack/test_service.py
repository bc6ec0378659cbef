"""The service as components: probed and supervised against real servers whose responses we choose, alone and behind a
front door."""

import json
import os
import signal

import pytest
from steered import Steered, wait

from harness.errors import ProcessDied, StackError
from harness.stack.process import end_all, processes_of, send


@pytest.fixture
def steered(tmp_path):
    it = Steered(tmp_path)
    yield it
    it.service.stop(grace_s=0.5)
    end_all(tmp_path)


def test_only_the_startup_probe_runs_until_it_has_succeeded(steered):
    steered.respond("startup", 503)
    steered.service.start()
    assert wait(lambda: len(steered.recorded("startup")) >= 3)
    assert steered.recorded("liveness") == steered.recorded("readiness") == [] and not steered.service.in_traffic
    steered.respond("startup", 200)
    steered.service.wait_ready(20)
    asked = len(steered.recorded("startup"))
    assert wait(lambda: len(steered.recorded("liveness")) >= 3)
    assert len(steered.recorded("startup")) == asked


def test_readiness_takes_it_out_of_traffic_and_back_and_never_restarts(steered):
    steered.service.start()
    steered.service.wait_ready(20)
    steered.respond("readiness", 503)
    assert wait(lambda: not steered.service.in_traffic)
    steered.respond("readiness", 200)
    assert wait(lambda: steered.service.in_traffic)
    assert steered.restarts() == []


def test_failing_liveness_restarts_it_once_and_it_comes_back(steered):
    steered.service.start()
    steered.service.wait_ready(20)
    first = steered.child().pid
    steered.respond("liveness", 500)
    assert wait(lambda: steered.restarts() == ["liveness"])
    steered.respond("liveness", 200)
    assert wait(lambda: steered.service.in_traffic)
    assert steered.child().pid != first


def test_a_stopped_server_ignores_sigterm_and_is_killed_after_its_grace(steered):
    steered.service.start()
    steered.service.wait_ready(20)
    os.kill(steered.child().pid, signal.SIGSTOP)
    assert wait(lambda: steered.restarts() == ["liveness"])
    assert wait(lambda: steered.service.in_traffic)


def test_a_killed_server_is_restarted_at_once_and_the_second_time_after_a_back_off(steered):
    steered.service.start()
    steered.service.wait_ready(20)
    os.kill(steered.child().pid, signal.SIGKILL)
    assert wait(lambda: steered.restarts() == ["exit"])
    assert wait(lambda: steered.service.in_traffic)
    os.kill(steered.child().pid, signal.SIGKILL)
    assert wait(lambda: len(steered.restarts()) == 2)
    assert [detail["backoff_s"] for detail in steered.of("restart")] == [0.0, 10.0]


@pytest.fixture
def below_sh(tmp_path):
    """The same, each server the child of a shell."""
    it = Steered(tmp_path, below_sh=True)
    yield it
    it.service.stop(grace_s=0.5)
    assert processes_of(tmp_path) == []


def test_it_ends_with_its_main_process_and_what_that_left_does_not_keep_the_next_from_its_port(below_sh):
    below_sh.service.start()
    below_sh.service.wait_ready(20)
    first = processes_of(below_sh.run, "server")
    assert len(first) == 2
    os.kill(below_sh.child().pid, signal.SIGKILL)  # the server goes on for now
    assert wait(lambda: below_sh.restarts() == ["exit"] and below_sh.service.in_traffic)
    assert not set(first) & set(processes_of(below_sh.run, "server"))


def test_it_goes_on_while_its_main_process_does_and_a_decided_restart_ends_all_of_it(below_sh):
    below_sh.service.start()
    below_sh.service.wait_ready(20)
    first = processes_of(below_sh.run, "server")
    for pid in first:
        send(pid, signal.SIGSTOP)
    assert wait(lambda: below_sh.restarts() == ["liveness"] and below_sh.service.in_traffic)
    assert not set(first) & set(processes_of(below_sh.run, "server"))


def test_the_process_id_on_file_is_that_of_the_running_server(steered):
    steered.service.start()
    steered.service.wait_ready(20)
    on_file = json.loads((steered.run / "pids" / "server").read_text())
    assert on_file["pid"] == steered.child().pid


def test_a_server_that_dies_at_its_first_start_is_quoted(steered):
    (steered.run / "server.py").write_text("raise SystemExit('no model here')")
    steered.service.start()
    with pytest.raises(ProcessDied, match=r"(?s)server exited with 1.*no model here"):
        steered.service.wait_ready(20)


def test_a_server_that_never_gets_ready_is_an_error_with_its_last_response(steered):
    steered.respond("readiness", 503)
    steered.service.start()
    assert wait(lambda: steered.recorded("readiness"))
    with pytest.raises(StackError, match=r"not ready within 0.2 s .* readiness probe gets 503"):
        steered.service.wait_ready(0.2)


def test_a_requested_restart_is_no_decision_of_a_probe_and_the_request_goes_when_it_is_ready_again(steered):
    steered.service.start()
    steered.service.wait_ready(20)
    first, asked_before = steered.child().pid, len(steered.recorded("readiness"))
    steered.respond("readiness", 503)
    request = steered.request_restart("server")
    assert wait(lambda: steered.child().pid != first and len(steered.recorded("readiness")) > asked_before + 2)
    assert request.exists(), "it is not ready yet"
    steered.respond("readiness", 200)
    assert wait(lambda: not request.exists()) and steered.service.in_traffic
    assert steered.restarts() == ["request"] and "process" not in steered.of("restart")[0]


def test_a_request_does_not_wait_for_the_back_off(steered):
    steered.service.start()
    steered.service.wait_ready(20)
    for restarts in (1, 2):
        os.kill(steered.child().pid, signal.SIGKILL)
        assert wait(lambda restarts=restarts: len(steered.restarts()) == restarts)
        assert restarts == 2 or wait(lambda: steered.service.in_traffic)
    request = steered.request_restart("server")
    assert wait(lambda: not request.exists(), within_s=6) and steered.service.in_traffic
    assert steered.restarts() == ["exit", "exit", "request"]
