"""A few moments: the harness ended while it starts, under load, and while its server is stopped."""

import signal
import subprocess
import sys
import time

import pytest
from interrupted import interrupt
from small_project import leftovers

from harness.history import History
from harness.stack.ledger import Ledger

pytestmark = pytest.mark.gate


@pytest.mark.parametrize(
    ("after_s", "signum", "under_load"),
    [
        pytest.param(2.5, signal.SIGKILL, False, id="killed while the stack comes up"),
        pytest.param(0.5, signal.SIGTERM, True, id="terminated under load"),
        pytest.param(4, signal.SIGINT, False, id="Ctrl-C while the stack comes up"),
    ],
)
def test_nothing_is_left_when_the_harness_is_ended(tmp_path, after_s, signum, under_load):
    ended = interrupt(tmp_path, after_s, signum, under_load)
    assert ended["ran"] and ended["problems"] == []


def begin(project):
    argv = [sys.executable, "-m", "harness.cli", "gate"]
    return subprocess.Popen(argv, cwd=project.folder, stderr=subprocess.DEVNULL)


def test_killed_while_its_server_is_stopped_the_watchdog_heals_within_five_seconds(project):
    project.plan(["server-hang"], checks=["contracts"], for_s=1, repeats=0, patience="0s")
    gate = begin(project)
    until = time.monotonic() + 150

    def stopped():
        runs = list(project.folder.glob("runs/*/ledger.jsonl"))
        return bool(runs) and bool(Ledger(runs[0].parent).open())

    while not stopped() and time.monotonic() < until and gate.poll() is None:
        time.sleep(0.1)
    was_stopped = stopped()
    gate.kill()
    gate.wait()
    killed = time.monotonic()
    while (leftovers(project.folder) or stopped()) and time.monotonic() - killed < 20:
        time.sleep(0.05)
    while (project.run / "owner.json").exists() and time.monotonic() - killed < 20:
        time.sleep(0.05)  # the watchdog's last act
    healed_s = time.monotonic() - killed
    assert was_stopped
    assert not leftovers(project.folder) and not stopped()
    assert healed_s < 5
    assert History.read(project.run).of("run", "healed")[0].detail["faults"] == ["pause"]


def test_what_even_the_watchdog_could_not_heal_is_healed_by_the_next_command(project):
    project.plan(["server-hang"], checks=["contracts"], for_s=1)
    gate = begin(project)
    until = time.monotonic() + 120
    while len(leftovers(project.folder)) < 3 and time.monotonic() < until:  # beyond the commands that only prepare it
        time.sleep(0.05)
    children = subprocess.run(["pgrep", "-P", str(gate.pid), "-f", "stack.watchdog"], capture_output=True, text=True)
    watchdog = int(children.stdout.split()[0])
    subprocess.run(["kill", "-KILL", str(watchdog), str(gate.pid)], check=True)
    gate.wait()
    time.sleep(0.5)
    assert leftovers(project.folder)
    healed = project.harness("heal")
    assert healed.returncode == 0 and "ended process" in healed.stdout
    assert not leftovers(project.folder)
    assert "nothing was left behind" in project.harness("heal").stdout
