"""The service as components: probed and supervised against real servers whose responses we choose, alone and behind a
front door."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from steered import PROBES, SERVER, Files, Steered, wait

from harness.errors import ProcessDied, StackError
from harness.stack.component import stop_notice
from harness.stack.process import end_all, free_ports, processes_of, send, spawn
from harness.stack.service import Service
from harness.stack.spec import Exec, Probe, TcpSocket
from harness.stack.supervisor import Backoff


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


def test_while_it_is_being_stopped_only_readiness_is_asked_and_its_end_is_no_decision_of_liveness(steered):
    steered.service.start()
    steered.service.wait_ready(20)
    notice = stop_notice(steered.run, "server")
    notice.parent.mkdir(exist_ok=True)
    notice.touch()
    steered.respond("liveness", 500)
    steered.respond("readiness", 503)
    assert wait(lambda: not steered.service.in_traffic)
    asked = [len(steered.recorded(which)) for which in ("liveness", "readiness")]
    assert wait(lambda: len(steered.recorded("readiness")) >= asked[1] + 8)
    assert len(steered.recorded("liveness")) <= asked[0] + 1 and steered.restarts() == []
    for which in ("liveness", "readiness"):
        steered.respond(which, 200)
    steered.child().popen.terminate()
    assert wait(lambda: steered.restarts() == ["exit"]) and wait(lambda: steered.service.in_traffic)
    assert not notice.exists(), "what takes its place is asked again"
    starts = [(detail["component"], detail["generation"]) for detail in steered.of("start")]
    assert starts == [("server", 1), ("server", 2)]


def restarted(steered, times, how):
    """What the restarts waited, after that many deaths."""
    for i in range(times):
        was = steered.child().pid
        how()
        assert wait(lambda i=i: len(steered.restarts()) == i + 1)
        if i + 1 < times:
            assert wait(lambda was=was: steered.service.in_traffic and steered.child().pid != was)
    return [detail["backoff_s"] for detail in steered.of("restart")]


def test_what_is_killed_for_its_liveness_waits_only_from_the_end_of_the_one_before_it(steered):
    """The kubelet decides with what it knew before the kill: the first has nobody before it, the second finds no
    back-off, and only the third one's predecessor has ended less than 10 s ago."""
    steered.service.start()
    steered.service.wait_ready(20)

    def fail():
        steered.respond("liveness", 500)
        n = len(steered.restarts())
        assert wait(lambda: len(steered.restarts()) > n)
        steered.respond("liveness", 200)

    assert restarted(steered, 3, fail) == [0.0, 0.0, 10.0]


def test_a_crash_after_a_restart_for_liveness_finds_no_back_off(steered):
    steered.service.start()
    steered.service.wait_ready(20)
    steered.respond("liveness", 500)
    assert wait(lambda: steered.restarts() == ["liveness"])
    steered.respond("liveness", 200)
    assert wait(lambda: steered.service.in_traffic)
    os.kill(steered.child().pid, signal.SIGKILL)
    assert wait(lambda: steered.restarts() == ["liveness", "exit"])
    assert [detail["backoff_s"] for detail in steered.of("restart")] == [0.0, 0.0]


def test_an_experiment_begins_without_the_back_off_of_the_one_before(steered):
    steered.service.start()
    steered.service.wait_ready(20)
    for _ in range(2):
        was = steered.child().pid
        os.kill(was, signal.SIGKILL)
        assert wait(lambda was=was: steered.child().pid != was and steered.service.in_traffic)
        steered.service.forget_backoff()
    assert [detail["backoff_s"] for detail in steered.of("restart")] == [0.0, 0.0]


CRASHES = {  # when each container ended, and how long its restart then waits
    "from 10 s it doubles up to 5 min": ([1, 2, 20, 60, 130, 300, 700, 1100], [0, 10, 20, 40, 80, 160, 300, 300]),
    "a life of 10 min begins a new series": ([1, 2, 12 + 601, 615], [0, 10, 0, 10]),
    "one of less does not": ([1, 2, 12 + 599], [0, 10, 20]),
}


@pytest.mark.parametrize(("ends", "waits"), CRASHES.values(), ids=CRASHES)
def test_the_back_off_is_that_of_the_kubelet(ends, waits):
    """From the end of the container; what passed since until the restart is tried is part of it."""
    backoff, found = Backoff(), []
    for ended in ends:
        found.append(backoff.left_s(ended, ended))
        seen_s = min(1.0, found[-1])
        assert backoff.left_s(ended, ended + seen_s) == found[-1] - seen_s
        assert backoff.left_s(ended, ended + found[-1]) == 0
        backoff.grow(ended, ended + found[-1])
    assert found == waits


@pytest.mark.parametrize(("of_probe", "of_pod", "lasts_s"), [(None, 0.3, 0.3), (0.6, 30.0, 0.6)])
def test_the_grace_is_the_probes_own_or_else_that_of_the_pod(tmp_path, of_probe, of_pod, lasts_s):
    """A server that ignores SIGTERM is killed when it is over."""
    probes = {which: probe.model_copy() for which, probe in PROBES.items()}
    probes["liveness"] = probes["liveness"].model_copy(update={"terminationGracePeriodSeconds": of_probe})
    files, port = Files(tmp_path), free_ports(1)[0]
    (tmp_path / "server.py").write_text("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVER)
    service = Service(
        {"server": port}, probes, lambda n, added: files.spawn(n, port), tmp_path, files.emit, grace_s=of_pod
    )
    try:
        service.start()
        service.wait_ready(20)
        first = service.replicas[0].component.child
        files.respond("liveness", 500)
        assert wait(lambda: any(one[6] == "restart" for one in files.recorded("liveness")))
        decided = time.monotonic()
        assert wait(lambda: first.popen.poll() is not None, within_s=10)
        assert first.popen.returncode == -signal.SIGKILL and lasts_s - 0.2 < time.monotonic() - decided < lasts_s + 4
    finally:
        service.stop(grace_s=0.1)
        end_all(tmp_path)


def test_probes_run_commands_and_connect(tmp_path):
    """A service without HTTP: started and ready when files say so, alive while its port accepts."""
    files, port = Files(tmp_path), free_ports(1)[0]
    fast = {"periodSeconds": 0.1, "failureThreshold": 2}
    probes = {
        "startup": Probe.model_construct(exec=Exec(command=["cat", str(tmp_path / "started")]), periodSeconds=0.1),
        "liveness": Probe.model_construct(tcpSocket=TcpSocket(), terminationGracePeriodSeconds=0.3, **fast),
        "readiness": Probe.model_construct(exec=Exec(command=["test", "-e", str(tmp_path / "serving")]), **fast),
    }

    def execute(replica):
        return lambda name, command: spawn(name, command, tmp_path)

    service = Service(
        {"server": port}, probes, lambda n, added: files.spawn(n, port), tmp_path, files.emit, execute=execute
    )  # fmt: skip
    try:
        probes["startup"] = probes["startup"].model_copy(update={"failureThreshold": 1000})
        service.start()
        assert wait(lambda: files.recorded("startup"))
        assert "No such file" in files.recorded("startup")[-1][5]
        for file in ("started", "serving"):
            (tmp_path / file).touch()
        service.wait_ready(20)
        (tmp_path / "serving").unlink()
        assert wait(lambda: not service.in_traffic)
        assert "exit code 1" in files.recorded("readiness")[-1][5] and files.of("restart") == []
    finally:
        service.stop(grace_s=0.5)
        end_all(tmp_path)


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


def environment(child):
    return dict(
        entry.split("=", 1) for entry in Path(f"/proc/{child.pid}/environ").read_text().split("\0") if "=" in entry
    )


def test_a_planned_restart_adds_to_the_environment_until_the_next_one_and_leaves_no_back_off(steered):
    steered.service.start()
    steered.service.wait_ready(20)
    first = steered.child().pid
    steered.service.restart({"MADE_FOR": "this"}, 20)
    assert steered.service.in_traffic and steered.child().pid != first
    assert environment(steered.child())["MADE_FOR"] == "this"
    os.kill(steered.child().pid, signal.SIGKILL)
    assert wait(lambda: steered.restarts() == ["request", "exit"]) and wait(lambda: steered.service.in_traffic)
    assert steered.of("restart")[1]["backoff_s"] == 0.0, "it is the first crash"
    assert environment(steered.child())["MADE_FOR"] == "this", "until it is asked back"
    steered.service.restart({}, 20)
    assert "MADE_FOR" not in environment(steered.child())
    assert steered.restarts() == ["request", "exit", "request"]
    assert [detail.get("added") for detail in steered.of("start")] == [None, ["MADE_FOR"], ["MADE_FOR"], None]


def test_one_that_does_not_get_ready_is_an_error_and_the_next_planned_restart_does_not_wait_for_it(steered):
    steered.service.start()
    steered.service.wait_ready(20)
    (steered.run / "server.py").write_text("raise SystemExit(3)")  # so it ends, again and again
    service = steered.service
    service._grace_s = 0.0
    with pytest.raises(StackError, match=r"server was not ready within 0\.3 s of its start"):
        service.restart({"MADE_FOR": "this"}, 0.3)
    assert wait(lambda: "exit" in steered.restarts())
    (steered.run / "server.py").write_text(SERVER)
    service.restart({}, 20)
    assert service.in_traffic and "MADE_FOR" not in environment(steered.child())


SLOW_TO_END = """
import os, pathlib, signal, sys, threading, time
def end():
    while not pathlib.Path(sys.argv[2], "may-end").exists():
        time.sleep(0.02)
    os._exit(0)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=end).start())
"""


def test_while_it_is_asked_to_end_as_planned_no_liveness_probe_is_asked(steered):
    (steered.run / "server.py").write_text(SLOW_TO_END + SERVER)
    steered.service.start()
    steered.service.wait_ready(20)
    planned = threading.Thread(target=steered.service.restart, args=({}, 20))
    planned.start()
    assert wait(lambda: stop_notice(steered.run, "server").exists())
    steered.respond("liveness", 500)
    asked = len(steered.recorded("readiness"))
    assert wait(lambda: len(steered.recorded("readiness")) >= asked + 8)
    steered.respond("liveness", 200)
    (steered.run / "may-end").touch()
    planned.join()
    assert steered.service.in_traffic and steered.restarts() == ["request"]
    assert steered.of("restart")[0]["code"] == 0 and not any(one[6] for one in steered.recorded("liveness"))
