"""What processors did for us, on hand-made tables of processes and on this machine."""

import os
import subprocess
import sys
import time

from harness.watch.processors import ticks

SPIN = "import time; end = time.process_time() + 0.5\nwhile time.process_time() < end: pass"


def machine(folder, *processes, stat="cpu  100 20 30 800 5 4 3 50 0 0\n"):
    """A /proc of processes: (pid, who started it, ticks, ticks of those it waited for)."""
    (folder / "stat").write_text(stat)
    for pid, by, spent, waited in processes:
        (folder / str(pid)).mkdir()
        fields = ["S", by, *[0] * 9, spent, 1, waited, 2]
        (folder / str(pid) / "stat").write_text(f"{pid} (a (strange) name) {' '.join(map(str, fields))} 20 0\n")
    (folder / "self").mkdir()
    return folder


def test_what_a_process_started_is_its_own_and_so_is_what_has_ended(tmp_path):
    proc = machine(tmp_path, (10, 1, 100, 7), (11, 10, 20, 0), (12, 11, 3, 0), (20, 1, 500, 0))
    assert ticks({10}, proc) == {"all": 1012, "stolen": 50, "idle": 805, "busy": 150, "own": 130 + 3 * 3}
    assert ticks({10, 12, 20}, proc)["own"] == 630 + 4 * 3  # each once
    assert ticks({99}, proc)["own"] == 0


def test_a_process_that_ends_meanwhile_is_passed_over(tmp_path):
    proc = machine(tmp_path, (10, 1, 100, 0))
    (proc / "11").mkdir()
    assert ticks({10}, proc)["own"] == 103


def test_a_kernel_that_does_not_say_is_nothing(tmp_path):
    assert ticks({1}, tmp_path) == {}
    assert ticks({1}, machine(tmp_path, stat="cpu  1 2 3 4\n")) == {}


def test_on_this_machine_a_child_is_ours_while_it_runs_and_after():
    def own(roots):
        return ticks(roots)["own"] / os.sysconf("SC_CLK_TCK")

    before, stranger = own({os.getpid()}), own({2**30})
    child = subprocess.Popen([sys.executable, "-c", SPIN + "\nimport sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    end = time.monotonic() + 60
    while own({os.getpid()}) - before < 0.5:
        assert time.monotonic() < end
        time.sleep(0.02)
    child.communicate()
    assert own({os.getpid()}) - before >= 0.5 and stranger == 0


def test_on_this_machine_a_stranger_is_not_ours_and_is_counted():
    """A process that nobody here started: setsid forks, so that it belongs to init."""

    def others():
        now = ticks({os.getpid()})
        return (now["busy"] - now["own"]) / os.sysconf("SC_CLK_TCK")

    before, end = others(), time.monotonic() + 60
    subprocess.run(["setsid", "--fork", sys.executable, "-c", SPIN], check=True)
    while others() - before < 0.4:
        assert time.monotonic() < end
        time.sleep(0.02)
