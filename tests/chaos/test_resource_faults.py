"""Faults of resources on a real process: the kernel shows each while it is on, and nothing of it afterwards."""

import json
import os
import resource
import signal
import socket
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harness.errors import FaultError
from harness.faults.cpu_limit import CpuLimit
from harness.faults.descriptor_limit import DescriptorLimit
from harness.faults.disk_full import DiskFull
from harness.faults.inject import end_all, inject
from harness.faults.memory_full import MemoryFull
from harness.faults.needs import missing
from harness.faults.processor_hog import ProcessorHog
from harness.faults.slow_disk import SlowDisk, _disk
from harness.history import History
from harness.stack import cgroup, volume, watchdog
from harness.stack.process import free_ports, identify, processes_of, send, spawn, state
from harness.stack.stack import Stack

PREFIX = cgroup.PREFIX

# Computes without end in a child and in itself, takes memory, and accepts connections.
SERVER = """
import os, socket, sys, threading
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
taken = bytearray(96 << 20)
if sys.argv[2] == "gaps":
    kept = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
    for n in kept[:10]:
        os.close(n)
if sys.argv[2] == "busy":
    if os.fork() == 0:
        while True: pass
    def compute():
        while True: pass
    threading.Thread(target=compute, daemon=True).start()
while True:
    try:
        server.accept()[0].close()
    except OSError:
        pass
"""


def needs(fault):
    return pytest.mark.skipif(
        bool(missing(fault.needs)), reason=f"the host lacks {[str(lack) for lack in missing(fault.needs)]}"
    )


@pytest.fixture
def serving(tmp_path):
    """Start a server; gives the stack that knows its address."""
    (tmp_path / "pids").mkdir()

    def start(how="idle"):
        port = free_ports(1)[0]
        child = spawn("server", [sys.executable, "-S", "-c", SERVER, str(port), how], tmp_path)
        (tmp_path / "pids" / "server").write_text(json.dumps(identify(child.pid)._asdict()))
        nowhere = "http://127.0.0.1:9"
        here = Stack(tmp_path, "s", nowhere, nowhere, nowhere, 60, addresses={"server": f"127.0.0.1:{port}"})
        here.write()
        until = time.monotonic() + 20
        while here.react("server", 1).kind != "accepted":
            assert time.monotonic() < until
        return here

    yield start
    if (tmp_path / "stack.json").exists():
        for entry in (here := Stack.read(tmp_path)).ledger.open():
            here.ledger.undo([entry])
    for pid in processes_of(tmp_path):
        send(pid, signal.SIGKILL)


def witness(stack):
    return [e for e in History.read(stack.run).of("fault") if e.detail["edge"] == "witness"][-1]


def groups():
    return {str(path) for path in cgroup.ROOT.rglob(f"{cgroup.PREFIX}*")}


def is_undone(stack, entry, group):
    """Undone twice: its group is gone and the server is where it was."""
    for _ in range(2):
        assert stack.ledger.undo([entry])[0][1] == ""
    assert not Path(group).exists() and group not in groups()
    assert PREFIX not in Path(f"/proc/{stack.pid('server').pid}/cgroup").read_text()


@needs(CpuLimit)
def test_a_component_and_its_children_share_little_processor_time(serving):
    stack = serving("busy")
    entry = inject(CpuLimit(cores=0.1), stack, "throttled", 60)
    assert witness(stack).outcome == "ok" and "periods of its control group" in witness(stack).detail["evidence"]
    for pid in stack.members("server", stack.pid("server")):
        assert str(cgroup.of(pid.pid, "cpu").folder) == entry.facts["group"]
    is_undone(stack, entry, entry.facts["group"])


@needs(CpuLimit)
def test_a_limit_that_an_idle_component_does_not_reach_is_not_seen(serving):
    stack = serving()
    entry = inject(CpuLimit(cores=0.5), stack, "throttled", 60, witness_within_s=0.3)
    assert witness(stack).outcome == "unknown"
    is_undone(stack, entry, entry.facts["group"])


@needs(CpuLimit)
def test_a_bystander_in_the_group_is_not_the_component(serving):
    @dataclass(frozen=True)
    class Wrong(CpuLimit):
        def start(self, stack, facts):
            other = spawn("other", [sys.executable, "-c", "while True: pass"], stack.run)
            here = replace(stack)
            object.__setattr__(here, "members", lambda *_: [identify(other.pid)])
            super().start(here, facts)

    stack = serving()
    entry = inject(Wrong(cores=0.1), stack, "throttled", 60, witness_within_s=0.5)
    assert witness(stack).outcome == "unknown"
    is_undone(stack, entry, entry.facts["group"])


@needs(CpuLimit)
def test_the_group_goes_when_whoever_made_it_is_gone(serving):
    stack = serving("busy")
    guard = watchdog.start(stack.run)
    if (child := os.fork()) == 0:
        inject(CpuLimit(cores=0.1), stack, "throttled", lease_s=0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    until = time.monotonic() + 20
    while stack.ledger.open() and time.monotonic() < until:
        time.sleep(0.05)
    watchdog.dismiss(guard)
    assert PREFIX not in Path(f"/proc/{stack.pid('server').pid}/cgroup").read_text()


@needs(MemoryFull)
def test_memory_is_nearly_used_up_and_nothing_is_killed(serving):
    stack = serving()
    entry = inject(MemoryFull(filled=0.9, limit_mib=64), stack, "pressure", 60)
    assert witness(stack).outcome == "ok" and "MiB of 64 MiB" in witness(stack).detail["evidence"]
    assert state(stack.pid("server")) and stack.react("server", 5).kind == "accepted"
    is_undone(stack, entry, entry.facts["group"])
    assert processes_of(stack.run, "filler") == []


@needs(MemoryFull)
def test_a_limit_of_memory_may_be_there_without_anything_that_fills_it(serving):
    stack = serving()
    entry = inject(MemoryFull(filled=0, limit_mib=3600), stack, "limit", 60)
    assert witness(stack).outcome == "ok" and "of 3600 MiB" in witness(stack).detail["evidence"]
    assert processes_of(stack.run, "filler") == []
    is_undone(stack, entry, entry.facts["group"])


@needs(MemoryFull)
def test_the_kernel_kills_the_component_for_want_of_memory(serving):
    stack = serving()
    pid = stack.pid("server")
    entry = inject(MemoryFull(filled=1.2, limit_mib=48), stack, "oom", 60)
    assert state(pid) is None
    assert witness(stack).outcome == "ok" and "for want of memory" in witness(stack).detail["evidence"]
    assert end_all(stack, "heal") == ["memory_full"] and not Path(entry.facts["group"]).exists()


@needs(MemoryFull)
@pytest.mark.parametrize("filled", [0.9, 1.2])
def test_memory_that_nobody_fills_is_not_seen(serving, filled, monkeypatch):
    monkeypatch.setattr("harness.faults.memory_full.FILLER", "import time; time.sleep(60)")
    monkeypatch.setattr("harness.faults.memory_full.FULL_WITHIN_S", 0.1)
    stack = serving()
    inject(MemoryFull(filled=filled, limit_mib=64), stack, "pressure", 60, witness_within_s=0.2)
    assert witness(stack).outcome == "unknown"
    end_all(stack, "heal")


def test_a_component_waits_while_others_compute_and_not_afterwards(serving):
    stack = serving("busy")
    one = sorted(os.sched_getaffinity(0))[0]
    for pid in stack.members("server", stack.pid("server")):
        os.sched_setaffinity(pid.pid, {one})
    inject(ProcessorHog(processes=8, for_s=20, niceness=0, cpus=[one]), stack, "hog", 60)
    assert witness(stack).outcome == "ok" and "waits for a processor in" in witness(stack).detail["evidence"]
    assert all(os.sched_getaffinity(pid) == {one} for pid, _ in stack.ledger.open()[0].facts["hogs"])
    assert end_all(stack, "heal") == ["processor_hog"]
    assert [e for n in range(1, 9) for e in processes_of(stack.run, f"hog-{n}")] == []


def test_what_an_idle_component_waits_for_is_nothing(serving):
    stack = serving()
    inject(ProcessorHog(processes=1, for_s=5, niceness=19), stack, "hog", 60, witness_within_s=0.1)
    assert witness(stack).outcome == "unknown"
    end_all(stack, "heal")


def test_hogs_end_by_themselves(serving):
    stack = serving()
    entry = inject(ProcessorHog(processes=2, for_s=0.5, niceness=19), stack, "hog", 60, witness_within_s=0.1)
    until = time.monotonic() + 20
    while any(processes_of(stack.run, f"hog-{n}") for n in (1, 2)):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert stack.ledger.undo([entry])[0][1] == ""


@pytest.mark.parametrize("how", ["idle", "gaps"])  # in the numbers of its descriptors, where others were closed
def test_without_descriptors_no_connection_is_accepted_and_then_again(serving, how):
    stack = serving(how)
    pid = stack.pid("server").pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    entry = inject(DescriptorLimit(), stack, "descriptors", 60)
    assert witness(stack).outcome == "ok" and "by nobody" in witness(stack).detail["evidence"]
    assert resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] < before[0]
    for _ in range(2):
        assert stack.ledger.undo([entry])[0][1] == ""
    assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == before
    assert stack.react("server", 10).kind == "accepted"


def test_spare_descriptors_are_not_missed(serving):
    stack = serving()
    inject(DescriptorLimit(spare=16), stack, "descriptors", 60, witness_within_s=0.1)
    assert witness(stack).outcome == "unknown"
    with socket.create_connection(("127.0.0.1", int(stack.addresses["server"].rpartition(":")[2]))):
        end_all(stack, "heal")


@needs(SlowDisk)
def test_what_is_synced_gets_to_the_disk_slowly(serving):
    stack = serving()
    try:
        _disk(stack.run)
    except FaultError as none:
        pytest.skip(str(none))
    entry = inject(SlowDisk(kib_per_s=256), stack, "slow disk", 60)
    assert witness(stack).outcome == "ok" and "KiB took" in witness(stack).detail["evidence"]
    is_undone(stack, entry, entry.facts["group"])
    assert not Path(entry.facts["scratch"]).exists()


WRITER = """
import os, sys, time
out = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o600)
while True:
    os.write(out, bytes(64 << 10))
    os.fsync(out)
    print(time.monotonic(), flush=True)
"""


@needs(SlowDisk)
@needs(DiskFull)
def test_its_own_disk_is_slow_and_what_waits_for_it_does_not_when_it_is_over(tmp_path):
    (tmp_path / "pids").mkdir()
    volume.make(tmp_path / "own", 64 << 20)
    child = spawn("server", [sys.executable, "-S", "-c", WRITER, str(tmp_path / "own/file")], tmp_path)
    try:
        (tmp_path / "pids" / "server").write_text(json.dumps(identify(child.pid)._asdict()))
        nowhere, own = "http://127.0.0.1:9", {"server": str(tmp_path / "own")}
        stack = Stack(tmp_path, "s", nowhere, nowhere, nowhere, 60, volumes=own)
        stack.write()
        entry = inject(SlowDisk(kib_per_s=4), stack, "slow disk", 60)  # 64 KiB in 16 s
        assert witness(stack).outcome == "ok" and Path(entry.facts["scratch"]).parent == tmp_path / "own"
        before, since = child.log.read_text(), time.monotonic()
        is_undone(stack, entry, entry.facts["group"])
        while child.log.read_text() == before:
            assert time.monotonic() - since < 8, "it waits as if the disk were slow"
            time.sleep(0.05)
    finally:
        child.end(0.1, first=signal.SIGKILL)
        volume.unmount_below(tmp_path)


def test_memory_is_no_disk():
    shm = Path("/dev/shm")
    if not shm.is_dir():
        pytest.skip("there is no /dev/shm")
    with pytest.raises(FaultError, match="lies on no disk of this host"):
        _disk(shm)


@pytest.mark.parametrize(
    ("fault", "arguments", "says"),
    [
        (CpuLimit, {"cores": 0}, "cores: must be"),
        (ProcessorHog, {"processes": 0, "for_s": 1}, "processes: must be from 1"),
        (ProcessorHog, {"processes": 1, "for_s": 0}, "for_s: must be"),
        (ProcessorHog, {"processes": 1, "for_s": 1, "niceness": -1}, "niceness: must be"),
        (MemoryFull, {"filled": 1.0}, "filled: must be"),
        (MemoryFull, {"filled": 0.05}, "filled: must be"),
        (MemoryFull, {"limit_mib": 1}, "limit_mib: must be"),
        (DescriptorLimit, {"spare": -1}, "spare: must be"),
        (SlowDisk, {"kib_per_s": 0}, "kib_per_s: must be"),
    ],
)
def test_arguments_that_no_fault_can_take_are_refused(fault, arguments, says):
    [(argument, why)] = fault(**arguments).mistakes()
    assert f"{argument}: {why}".startswith(says)


# -- control groups of both versions, as folders ------------------------------------------------------------------


def group(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"cgroup.procs": "", **files}.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


@pytest.fixture
def host(tmp_path):
    (tmp_path / "proc/7").mkdir(parents=True)
    return tmp_path


def test_a_group_of_version_1_is_found_and_ours_lies_below_it(host):
    (host / "proc/7/cgroup").write_text("4:memory:/pod/a\n1:cpu,cpuacct:/\n0::/\n")
    there = group(host / "memory/pod/a")
    found = cgroup.of(7, "memory", host, host / "proc")
    assert found == (1, there) and cgroup.ours(found, "x").folder == there / "harness-x"
    group(host / "cpu")
    assert cgroup.of(7, "cpu", host, host / "proc") == (1, host / "cpu")
    assert cgroup.of(7, "blkio", host, host / "proc") is None


def test_a_path_that_is_told_from_outside_means_what_is_mounted_here(host):
    (host / "proc/7/cgroup").write_text("4:memory:/docker/4711\n")
    there = group(host / "memory")
    assert cgroup.of(7, "memory", host, host / "proc").folder == there


def test_a_group_of_version_2_is_found_and_ours_lies_beside_it(host):
    (host / "proc/7/cgroup").write_text("0::/slice/a\n")
    group(host, cgroup__controllers="cpu memory")
    there = group(host / "slice/a", cgroup__controllers="cpu memory", cgroup__type="domain")
    found = cgroup.of(7, "cpu", host, host / "proc")
    assert found == (2, there) and cgroup.ours(found, "x").folder == host / "slice/harness-x"
    assert cgroup.of(7, "io", host, host / "proc") is None


def test_the_root_of_version_2_has_ours_below_it(host):
    (host / "proc/7/cgroup").write_text("0::/\n")
    group(host, cgroup__controllers="cpu", cgroup__subtree_control="")
    found = cgroup.of(7, "cpu", host, host / "proc")
    assert cgroup.ours(found, "x").folder == host / "harness-x"
    (host / "harness-x").parent.joinpath("cgroup.subtree_control").write_text("")
    cgroup.make(cgroup.Group(2, host / "harness-x"), "cpu", {"?cpu.none": "1"})
    assert (host / "cgroup.subtree_control").read_text() == "+cpu"


def test_what_a_group_counts_is_read_by_its_key(host):
    (host / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    (host / "memory.max").write_text("max\n")
    of = cgroup.Group(2, host)
    assert of.number("memory.oom_control", "memory.events", "oom_kill") == 2
    assert of.number("x", "memory.max") == 0 and of.number("x", "none") == 0
