"""Services that run already: real processes and real containers, looked at, broken, and left as they were."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from containers import SHOP, podman  # noqa: F401
from steered import wait

from harness.errors import FaultError, StackError
from harness.faults.cpu_limit import CpuLimit
from harness.faults.inject import end_all, inject
from harness.faults.kill import Kill
from harness.faults.pause import Pause
from harness.faults.rollout import Rollout
from harness.faults.sham import Sham
from harness.faults.stop import Stop
from harness.stack import ledger
from harness.stack.attached import AttachedService, arguments
from harness.stack.process import free_ports
from harness.stack.ready import not_ready
from harness.stack.spec import ControlSpec, Instance, Probe, ReadyTest
from harness.stack.stack import Stack

PROBES = {
    "liveness": Probe(path="/live", periodSeconds=1, failureThreshold=1),
    "readiness": Probe(path="/ready", periodSeconds=1, failureThreshold=1),
}


def listens(port):
    return not not_ready(ReadyTest(http=f"http://127.0.0.1:{port}/ready"), {}, Path(), 1)


class Shop:
    """A shop that somebody runs: a process of its own, which `start` starts again."""

    def __init__(self, folder):
        self.port, self.pid_file = free_ports(1)[0], folder / "shop.pid"
        self.start()

    def start(self):
        argv = [sys.executable, str(SHOP), f"127.0.0.1:{self.port}", str(self.pid_file)]
        self.process = subprocess.Popen(argv, start_new_session=True)
        assert wait(lambda: self.pid_file.exists() and listens(self.port))

    def end(self):
        self.process.kill()
        self.process.wait()


class Watched:
    """A service that is attached to, and the stack that faults see."""

    def __init__(self, run, port, **control):
        self.run, self.events = run, []
        spec = ControlSpec(**control)
        instance = Instance(url=f"http://127.0.0.1:{port}", control=spec)
        about = (PROBES, run, self.emit, lambda name, on: None, run, 1.0)
        self.service = AttachedService({"server": instance}, *about)
        self.stack = Stack(
            run, "shop", f"http://127.0.0.1:{port}", "", "", 60.0, grace_s=1.0,
            addresses={"server": f"127.0.0.1:{port}"}, controls={"server": arguments(spec)},
            asked={"server": f"http://127.0.0.1:{port}/metrics"},
        )  # fmt: skip
        self.service.start()
        self.service.wait_ready(10)

    def emit(self, source, name, outcome="ok", took=None, **detail):
        self.events.append((name, detail))

    def of(self, name):
        return [detail for known, detail in self.events if known == name]

    @property
    def component(self):
        return self.service.replicas[0].component

    @property
    def is_in_traffic(self):
        return self.service.in_traffic


@pytest.fixture
def attach(tmp_path):
    there = []
    run = tmp_path / "run"
    run.mkdir()

    def attached(port, **control):
        there.append(Watched(run, port, **control))
        return there[-1]

    yield attached
    for one in there:
        end_all(one.stack, by="test")
        one.service.stop()


@pytest.fixture
def shop(tmp_path):
    it = Shop(tmp_path)
    yield it
    it.end()


def witnessed(run):
    lines = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return [
        line[5]["evidence"] for line in lines if line[1] == "fault" and line[5]["edge"] == "witness" and line[3] == "ok"
    ]


def test_what_is_only_observed_is_never_touched(shop, attach):
    it = attach(shop.port)
    entry = inject(Sham(), it.stack, "sham", 10)
    assert entry.undo == ()
    with pytest.raises(StackError, match="only observed"):
        inject(Kill(), it.stack, "kill", 10)
    os.kill(shop.process.pid, signal.SIGSTOP)
    try:
        assert wait(lambda: not it.is_in_traffic)
        assert wait(lambda: len(it.of("restart")) == 1)
        time.sleep(2.5)  # several failures of the liveness probe: the kubelet would have restarted it by now
        assert [one["carried_out"] for one in it.of("restart")] == [False]
    finally:
        os.kill(shop.process.pid, signal.SIGCONT)
    assert wait(lambda: it.is_in_traffic)
    it.service.stop()
    assert listens(shop.port)


def test_a_service_that_is_not_there_is_not_attached_to(tmp_path, attach):
    with pytest.raises(StackError, match=r"shop\.pid names no process that runs; start it"):
        attach(free_ports(1)[0], pid_file=str(tmp_path / "shop.pid"))


def test_a_process_is_known_by_its_file_through_all_that_take_its_place(shop, attach):
    it = attach(shop.port, pid_file=str(shop.pid_file), restarted_by="me")
    first = it.stack.pid("server")
    inject(Kill(), it.stack, "kill", 30)
    assert wait(lambda: not it.component.alive() and not it.is_in_traffic)
    shop.process.wait()
    shop.start()
    assert wait(lambda: it.component.generation == 2 and it.is_in_traffic)
    assert it.stack.pid("server") != first
    assert [one["cause"] for one in it.of("restart") if one["carried_out"]] == ["exit"]
    assert witnessed(it.run)


def test_a_process_is_paused_and_goes_on_also_when_the_harness_is_gone(shop, attach):
    it = attach(shop.port, pid_file=str(shop.pid_file))
    inject(Pause(), it.stack, "pause", 30)
    assert not listens(shop.port) and "accepted by nobody" in witnessed(it.run)[0]
    it.service.stop()
    undone, ended, failed = ledger.heal(it.run)
    assert ([entry.kind for entry in undone], ended, failed) == (["pause"], [], [])
    assert wait(lambda: listens(shop.port))


@pytest.mark.parametrize("content", ["1", "-5", "nobody", "0", pytest.param(str(os.getpid()), id="me")])
def test_a_file_that_names_no_process_that_may_be_touched(content, shop, attach, tmp_path):
    (tmp_path / "wrong.pid").write_text(content)
    with pytest.raises(StackError, match=r"wrong\.pid: "):
        attach(shop.port, pid_file=str(tmp_path / "wrong.pid"))


@pytest.fixture
def box(podman):  # noqa: F811
    """A shop in a container of its own."""
    port = free_ports(1)[0]
    name = f"shop-{port}"
    podman.shop(name, port)
    assert wait(lambda: listens(port))
    yield name, port
    podman.run("rm", "-f", "-t", "0", "--all")


def test_a_container_is_killed_and_started_again(podman, box, attach):  # noqa: F811
    name, port = box
    it = attach(port, container=name, engine=podman.url)
    inject(Kill(), it.stack, "kill", 30)
    assert podman.state(name) == "exited" and "refuses them now" in witnessed(it.run)[0]
    assert end_all(it.stack, by="heal") == ["kill"]
    assert wait(lambda: it.component.generation == 2 and it.is_in_traffic) and podman.state(name) == "running"
    assert [one["cause"] for one in it.of("restart") if one["carried_out"]] == ["exit"]


def test_a_container_is_asked_to_end_and_made_to(podman, box, attach):  # noqa: F811
    name, port = box
    it = attach(port, container=name, engine=podman.url)
    inject(Stop(), it.stack, "stop", 30)  # without an init it does not heed SIGTERM
    assert podman.state(name) == "exited" and it.component.is_stopping
    end_all(it.stack, by="heal")
    assert wait(lambda: it.is_in_traffic) and not it.component.is_stopping


def test_a_container_is_paused_and_limited_and_left_as_it_was(podman, box, attach):  # noqa: F811
    name, port = box
    it = attach(port, container=name, engine=podman.url)
    inject(Pause(), it.stack, "pause", 30)
    assert podman.state(name) == "paused" and "accepted by nobody" in witnessed(it.run)[0]
    end_all(it.stack, by="heal")
    assert podman.state(name) == "running"
    control = it.stack.control("server")
    before = control.limits(control.found())["limits"]
    inject(CpuLimit(0.05), it.stack, "limit", 30, 0.1)
    assert control.limits(control.found())["limits"] == {"quota_us": 5000, "period_us": 100000}
    it.service.stop()
    assert ledger.heal(it.run)[2] == []  # as the watchdog does it
    assert control.limits(control.found())["limits"] == before == {"quota_us": 0, "period_us": 100000}


def test_a_container_that_is_removed_renamed_or_made_anew(podman, box, attach):  # noqa: F811
    name, port = box
    it = attach(port, container=name, engine=podman.url)
    inject(Pause(), it.stack, "pause", 30)
    podman.run("rename", name, f"{name}-old")
    end_all(it.stack, by="heal")  # known by its id
    assert podman.state(f"{name}-old") == "running" and it.component.alive()
    with pytest.raises(StackError, match="there is none of that name"):
        inject(Kill(), it.stack, "kill", 30)
    podman.run("rename", f"{name}-old", name)
    inject(Kill(), it.stack, "kill", 30)
    podman.run("rm", "-f", name)
    with pytest.raises(FaultError, match="was removed, so it cannot be started; make it anew"):
        end_all(it.stack, by="heal")
    assert wait(lambda: not it.component.alive())
    podman.shop(name, port)
    assert end_all(it.stack, by="heal") == ["kill"]  # another has its name, and runs
    assert wait(lambda: it.component.generation == 2 and it.is_in_traffic)


def test_the_harness_restarts_a_container_as_the_kubelet_would(podman, box, attach):  # noqa: F811
    name, port = box
    it = attach(port, container=name, engine=podman.url, restarted_by="harness")
    podman.run("pause", name)
    assert wait(lambda: [one["cause"] for one in it.of("restart")] == ["liveness"])
    assert wait(lambda: it.component.generation == 2 and it.is_in_traffic) and podman.state(name) == "running"
    assert it.stack.ledger.open() == []


def test_a_container_is_restarted_as_for_a_release(podman, box, attach):  # noqa: F811
    name, port = box
    it = attach(port, container=name, engine=podman.url, restarted_by="harness")
    inject(Rollout(), it.stack, "rollout", 60)
    assert it.component.generation == 2 and podman.state(name) == "running" and it.is_in_traffic
    assert [one["cause"] for one in it.of("restart")] == ["request"] and witnessed(it.run)


def test_a_container_that_the_harness_has_ended_is_started_again_when_it_is_gone(podman, box, attach):  # noqa: F811
    name, port = box
    it = attach(port, container=name, engine=podman.url, restarted_by="harness")
    it.service._watch.stop()
    it.service.replicas[0].prober.stop()
    it.service.replicas[0].supervisor.stop()
    it.component.end(0)
    assert podman.state(name) == "exited"
    assert [entry.kind for entry in ledger.heal(it.run)[0]] == ["restart"] and podman.state(name) == "running"


def test_an_engine_that_is_not_there(tmp_path, shop, attach):
    with pytest.raises(StackError, match=r"no answer .*podman system service"):
        attach(shop.port, container="shop", engine=f"unix://{tmp_path}/none.sock")
    with pytest.raises(StackError, match="no engine of this machine"):
        arguments(ControlSpec(container="shop", engine="tcp://192.0.2.1:2375"))


def composed(podman, folder, name, port):  # noqa: F811
    """A shop as compose labels it; gives the name of its container."""
    labels = {"service": "shop", "container-number": "1", "project.working_dir": folder}
    labels["project.config_files"] = "compose.yaml"
    podman.shop(name, port, *(f"--label=com.docker.compose.{key}={value}" for key, value in labels.items()))
    return name


def test_a_service_of_a_compose_file_is_found_by_its_labels(podman, tmp_path, attach):  # noqa: F811
    ports = free_ports(2)
    file = tmp_path / "compose.yaml"
    file.write_text("services: {shop: {image: empty}}")
    of = {"compose": str(file), "service": "shop", "engine": podman.url}
    with pytest.raises(StackError, match=r"service shop of .*compose\.yaml; start it"):
        attach(ports[0], **of)
    try:
        composed(podman, "/elsewhere", "other-shop-1", ports[1])
        name = composed(podman, tmp_path, "mine-shop-1", ports[0])
        assert wait(lambda: listens(ports[0]))
        it = attach(ports[0], **of)
        inject(Kill(), it.stack, "kill", 30)
        assert (podman.state(name), podman.state("other-shop-1")) == ("exited", "running")
        end_all(it.stack, by="heal")
        assert wait(lambda: it.is_in_traffic) and podman.state(name) == "running"
        composed(podman, tmp_path, "again-shop-1", free_ports(1)[0])
        with pytest.raises(StackError, match="is several containers: again-shop-1, mine-shop-1; name one by"):
            it.stack.control("server").found()
    finally:
        podman.run("rm", "-f", "-t", "0", "--all")
