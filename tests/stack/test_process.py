import os
import signal
import subprocess
import sys
import time

import pytest

from harness.errors import ProcessDied, StackError
from harness.stack.process import Pid, end_all, free_ports, identify, processes_of, send, spawn, state, tail

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def run(tmp_path):
    yield tmp_path
    end_all(tmp_path)


def test_every_process_of_a_run_is_found_by_its_mark_even_a_grandchild(run):
    spawn(
        "parent",
        [
            sys.executable,
            "-c",
            "import subprocess,sys; subprocess.run([sys.executable,'-c','import time;time.sleep(60)'])",
        ],
        run,
    )
    until = time.monotonic() + 10
    while len(processes_of(run)) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    assert len(processes_of(run)) == 2
    assert len(end_all(run)) == 2
    assert processes_of(run) == []


def test_a_child_that_has_lost_the_mark_is_ended_with_its_parent(run):
    spawn("parent", ["sh", "-c", f"env -i setsid sleep 60 & echo $! > {run}/child; sleep 60"], run)
    until = time.monotonic() + 10
    while not (run / "child").exists() or not (run / "child").read_text().endswith("\n"):
        assert time.monotonic() < until
        time.sleep(0.02)
    time.sleep(0.1)  # until it is what it becomes
    child = identify(int((run / "child").read_text()))
    assert child not in processes_of(run) and state(child)
    assert child in end_all(run) and state(child) is None


def test_a_stopped_process_is_ended_too(run):
    child = spawn("stopped", SLEEP, run)
    send(identify(child.pid), signal.SIGSTOP)
    end_all(run)
    assert processes_of(run) == []


def test_processes_of_other_runs_are_left_alone(run, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    theirs = spawn("theirs", SLEEP, other)
    spawn("ours", SLEEP, run)
    end_all(run)
    assert theirs.alive()
    end_all(other)


def test_a_reused_process_number_is_not_signalled(run):
    child = spawn("child", SLEEP, run)
    now = identify(child.pid)
    assert send(Pid(now.pid, now.started - 1), signal.SIGKILL) is False
    assert state(Pid(now.pid, now.started - 1)) is None
    assert child.alive()


def test_a_child_that_dies_is_quoted(run):
    child = spawn("brief", [sys.executable, "-c", "print('the last words'); raise SystemExit(3)"], run)
    child.popen.wait()
    with pytest.raises(ProcessDied, match=r"(?s)brief exited with 3 .*the last words"):
        child.check()


def test_a_killed_child_is_named_by_its_signal(run):
    child = spawn("victim", SLEEP, run)
    os.kill(child.pid, signal.SIGKILL)
    child.popen.wait()
    with pytest.raises(ProcessDied, match="was killed by SIGKILL"):
        child.check()


def test_a_program_that_does_not_exist_is_one_clear_error(run):
    with pytest.raises(StackError, match=r"nothere could not be started: /no/such: No such file"):
        spawn("nothere", ["/no/such"], run)


def test_ending_a_child_that_ignores_sigterm_kills_it(run):
    code = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready'); time.sleep(60)"
    child = spawn("stubborn", [sys.executable, "-c", code], run)
    until = time.monotonic() + 10
    while "ready" not in tail(child.log) and time.monotonic() < until:
        time.sleep(0.02)
    child.end(grace_s=0.2)
    assert child.popen.returncode == -signal.SIGKILL


def test_a_zombie_counts_as_gone():
    child = subprocess.Popen(["true"])
    until = time.monotonic() + 10
    while identify(child.pid) is not None and time.monotonic() < until:
        time.sleep(0.02)
    assert identify(child.pid) is None
    child.wait()


def test_free_ports_are_all_different():
    assert len(set(free_ports(20))) == 20


def test_what_a_killed_process_wrote_for_the_moment_lies_in_the_runs_folder(run):
    code = "import tempfile,time; print(tempfile.mkdtemp(), flush=True); time.sleep(60)"
    child = spawn("writer", [sys.executable, "-c", code], run)
    until = time.monotonic() + 10
    while not child.log.read_text().endswith("\n") and time.monotonic() < until:
        time.sleep(0.02)
    child.end(0, first=signal.SIGKILL)
    assert child.log.read_text().startswith(str((run / "tmp").resolve()) + "/")


STEERED = """
import os, signal, subprocess, sys
from contextlib import nullcontext
from pathlib import Path
from harness.cli.main import _interruptible
from harness.stack.process import spawn
for signum in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(signum, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGCHLD))
seen = ["grep", "-E", "Sig(Ign|Blk)", "/proc/self/status"]
with _interruptible() if sys.argv[1] == "command line" else nullcontext():
    os.kill(os.getpid(), signal.SIGHUP)
    child = spawn("child", seen, Path(sys.argv[2]))
    child.popen.wait()
    print(child.log.read_text())
    if sys.argv[1] == "command line":
        subprocess.run(seen)
"""


@pytest.mark.parametrize(("who", "children"), [("command line", 2), ("library", 1)])
def test_a_child_begins_with_no_signal_ignored_or_blocked_though_a_shell_has_us_ignore_some(who, children, run):
    argv = [sys.executable, "-c", STEERED, who, str(run)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr  # SIGHUP did not end it, as nohup asks
    masks = [int(line.split()[1], 16) for line in done.stdout.splitlines() if line]
    assert [mask & 0x7FFFFFFF for mask in masks] == [0, 0] * children  # 32 and 33 are the C library's own
