"""Resources are what the kernel says of a process, whatever becomes of it meanwhile."""

import json
import os
import subprocess
import sys
import time

import pytest

from harness.errors import EvidenceError
from harness.history import History, Resources
from harness.recordfile import records
from harness.watch.resources import Sampler, on_disk, used

PROC = {
    "stat": "7 (a (b) c) S 1 7 7 0 -1 0 0 0 0 0 150 50 20 30 20 0 3 0 900 1000 200",
    "status": "Name:\ta\nRssAnon:\t  300 kB\nRssFile:\t 900 kB\nRssShmem:\t 20 kB\nVmSwap:\t 5 kB\nThreads:\t3\n",
}


def process(proc, pid=7, links=("socket:[1]", "/dev/null"), **files):
    folder = proc / str(pid)
    (folder / "fd").mkdir(parents=True)
    for name, text in (PROC | files).items():
        (folder / name).write_text(text)
    for i, link in enumerate(links):
        os.symlink(link, folder / "fd" / str(i))


def test_the_processes_of_a_component_are_added_up(tmp_path):
    process(tmp_path)
    process(tmp_path, 8, links=())
    found = used([7, 8, 9], tmp_path)
    assert (found.processes, found.descriptors, found.sockets, found.threads) == (2, 2, 1, 6)
    assert found.memory == 2 * 325 * 1024, "without the pages of files, with what was swapped out"
    assert found.cpu_s == 2 * 250 / os.sysconf("SC_CLK_TCK")


def test_what_the_kernel_does_not_say_is_not_known(tmp_path):
    process(tmp_path, status="Threads:\t1\n")
    process(tmp_path, 8)
    (tmp_path / "8/fd/0").unlink()
    (tmp_path / "8/fd/1").unlink()
    (tmp_path / "8/fd").rmdir()
    found = used([7, 8], tmp_path)
    assert (found.memory, found.descriptors, found.sockets, found.threads) == (None, None, None, 4)
    assert used([9], tmp_path) is None


GROWS = """
import os, socket, sys, threading
print("ready", flush=True)
sys.stdin.readline()
kept, sockets = bytearray(os.urandom(50_000_000)), [socket.socket() for _ in range(20)]
threads = [threading.Thread(target=threading.Event().wait, daemon=True) for _ in range(5)]
[thread.start() for thread in threads]
print("grown", flush=True)
sys.stdin.readline()
"""


def test_it_sees_what_a_real_process_takes():
    argv = [sys.executable, "-c", GROWS]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        before = used([child.pid])
        print(file=child.stdin, flush=True)
        assert child.stdout.readline() == "grown\n"
        after = used([child.pid])
        child.stdin.close()
    assert after.memory - before.memory >= 45_000_000
    assert (after.sockets - before.sockets, after.threads - before.threads) == (20, 5)
    assert after.descriptors - before.descriptors == 20 and after.cpu_s >= before.cpu_s


def test_the_bytes_on_the_disk(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b").write_bytes(b"x" * 100_000)
    (tmp_path / "to-itself").symlink_to(tmp_path)
    assert 100_000 <= on_disk(tmp_path) < 200_000
    assert on_disk(tmp_path / "none") == 0


def test_samples_are_written_until_it_is_stopped_and_read_back(tmp_path):
    one = Resources(1.0, "server", "replica", 7, 9, 1, None, 3, 1, 2, 0.5, 10, 0.1, 0.9)
    sampler = Sampler(tmp_path / "resources.jsonl", lambda: [one], every_s=0.01)
    sampler.start()
    time.sleep(0.1)
    sampler.stop()
    found = records(tmp_path / "resources.jsonl", Resources)
    assert len(found) >= 2 and set(found) == {one}
    (tmp_path / "events.jsonl").touch()
    assert History.read(tmp_path).resources == found


def test_what_breaks_it_is_known(tmp_path):
    def look():
        raise OSError("no /proc")

    sampler = Sampler(tmp_path / "resources.jsonl", look)
    sampler.start()
    sampler._thread.join(5)
    sampler.stop()
    assert str(sampler.failure) == "no /proc"


def test_a_process_that_has_ended_takes_nothing():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert used([gone.pid]) is None


@pytest.mark.parametrize("field", ["cpu_s", "threads"])
def test_a_damaged_sample_is_refused(tmp_path, field):
    path = tmp_path / "resources.jsonl"
    values = Resources(1.0, "server", "replica", 7, 9, 1, None, 3, 1, 2, 0.5, 10)._replace(**{field: "much"})
    path.write_text(json.dumps(values) + "\n")
    with pytest.raises(EvidenceError, match=f"resources.jsonl:1: is no Resources: its {field}"):
        records(path, Resources)
