"""One schedule over several workers: nothing lost, nothing twice, when a worker comes late, is lost or comes back."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scripted_server import scripted_server

from harness.history import Outcome, read_rows
from harness.stack import generator

SCENARIO = """
from harness.load.arrivals import poisson
from harness.load.locust import OpenModelUser, Request

class Asks(OpenModelUser):
    arrivals = poisson(100, seed=5)
    timeout_s = 3.0
    warm = 2

    def request(self, k):
        return Request("POST", "/predict", (), b"image", expected=k % 2)
"""


@pytest.fixture(scope="module")
def server():
    with scripted_server() as server:
        yield server


@pytest.fixture
def locust(tmp_path):
    """Starts Locust processes with a scenario; ends those a failed test left, children too."""
    (tmp_path / "asks.py").write_text(SCENARIO)
    children = []

    def start(*argv, prefix=()) -> subprocess.Popen:
        command = [*prefix, sys.executable, "-m", "locust", "-f", str(tmp_path / "asks.py"), "--only-summary", *argv]
        children.append(
            subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                start_new_session=True,
            )
        )  # fmt: skip
        return children[-1]

    yield start
    for child in children:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


def master_of(url: str, workers: int, folder: Path, *more: str) -> list[str]:
    files = ["--rows", str(folder / "rows"), "--events", str(folder / "events")]
    return ["-H", url, "--headless", "-u", "1", "--expect-workers", str(workers), *files, "--json", *more]


def processes_of(url: str, folder: Path, for_s: float | None = None) -> list[str]:
    """Two workers and their master, as the harness starts them."""
    rows, events = folder / "rows", folder / "events"
    argv = generator.command(
        folder / "asks.py", url, arrivals=None, for_s=for_s, rows=rows, events=events, name="load", processes=2
    )
    return [*argv[argv.index("-H") :], "--json"]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def left(folder: Path) -> tuple[np.ndarray, SimpleNamespace, SimpleNamespace]:
    """The rows in order, and what the account says of begin and end."""
    events = [json.loads(line) for line in (folder / "events").read_text().splitlines()]
    assert [e[2] for e in events] == ["started", "finished"]
    return np.sort(read_rows(folder / "rows"), order="seq"), *(SimpleNamespace(**e[5]) for e in events)


def adds_up(folder: Path, out: str) -> tuple[np.ndarray, SimpleNamespace]:
    rows, started, account = left(folder)
    due = rows if account.until is None else rows[rows["intended"] < account.until]
    assert list(due["seq"]) == list(range(len(due))), "each arrival once"
    assert len(set(rows["seq"])) == len(rows), "and none twice, where a worker heard late that it was over"
    assert account.planned == account.visits == account.rows == account.locust_requests == len(rows)
    assert account.sent + account.unsent == account.rows
    assert account.unsent == np.count_nonzero(rows["outcome"] == Outcome.UNSENT)
    (entry,) = [entry for printed in all_json(out) for entry in printed]
    assert (entry["num_requests"], entry["num_none_requests"]) == (len(rows), account.unsent)
    assert np.all(rows["intended"] >= started.epoch)
    return rows, account


def all_json(text: str) -> list:
    """Each JSON value of a text: every process prints its own, and where two do at once no line ends between them."""
    values, at, text = [], 0, text.strip()
    while at < len(text):
        value, end = json.JSONDecoder().raw_decode(text, at)
        values.append(value)
        at = end + len(text[end:]) - len(text[end:].lstrip())
    return values


def wait_for_rows(folder: Path, n: int, child: subprocess.Popen) -> None:
    while len(read_rows(folder / "rows")) < n:
        assert child.poll() is None, child.communicate()
        time.sleep(0.05)


def test_what_two_processes_print_at_once_is_read():
    assert all_json('[][]\n\n[{"a": 1}]\n') == [[], [], [{"a": 1}]] and all_json(" \n") == []


def test_processes_share_one_schedule_and_one_epoch(locust, server, tmp_path):
    from harness.load.arrivals import poisson

    child = locust(*processes_of(server.url, tmp_path, for_s=2))
    out, err = child.communicate(timeout=90)
    assert child.returncode == 0, err
    rows, account = adds_up(tmp_path, out)
    assert (account.workers, account.lost) == (2, [])
    assert set(rows["outcome"]) == {Outcome.OK}
    times = [t for t, _ in zip(poisson(100, seed=5).times(), rows, strict=False)]
    assert rows["intended"] - rows["intended"][0] == pytest.approx(np.array(times) - times[0], abs=1e-5)
    assert times[-1] < 2 and 150 < len(rows) < 260
    prefixes = [{row["request_id"][:16] for row in rows[rows["seq"] % 2 == i]} for i in (0, 1)]
    assert [len(p) for p in prefixes] == [1, 1] and prefixes[0] != prefixes[1], "two workers, each its own share"


def test_what_a_killed_worker_left_undone_is_unsent_and_a_late_one_changes_nothing(locust, server, tmp_path):
    port = str(free_port())
    master = locust(*master_of(server.url, 2, tmp_path, "--for", "8", "--master", "--master-bind-port", port))
    workers = [locust("--worker", "--master-port", port) for _ in range(2)]
    wait_for_rows(tmp_path, 50, master)
    workers[0].kill()
    late = locust("--worker", "--master-port", port)
    out, err = master.communicate(timeout=90)
    assert master.returncode == 1, "requests that could not be sent are failures: " + err
    rows, account = adds_up(tmp_path, out)
    assert len(account.lost) == 1 and account.workers == 2
    share = set(rows["seq"][rows["outcome"] == Outcome.UNSENT] % 2)
    assert len(share) == 1, "the dead worker's, and no other's"
    mine = rows[rows["seq"] % 2 == share.pop()]
    assert mine["outcome"][0] == Outcome.OK and mine["outcome"][-1] == Outcome.UNSENT
    assert set(mine["expected"]) <= {0, 1}, "what it would have asked is known"
    assert late.wait(timeout=60) == 0


def test_a_stalled_worker_is_late_and_loses_nothing(locust, server, tmp_path):
    port = str(free_port())
    master = locust(*master_of(server.url, 2, tmp_path, "--for", "5", "--master", "--master-bind-port", port))
    workers = [locust("--worker", "--master-port", port) for _ in range(2)]
    wait_for_rows(tmp_path, 50, master)
    workers[0].send_signal(signal.SIGSTOP)
    time.sleep(1.0)
    workers[0].send_signal(signal.SIGCONT)
    out, err = master.communicate(timeout=90)
    assert master.returncode == 0, err
    rows, account = adds_up(tmp_path, out)
    assert set(rows["outcome"]) == {Outcome.OK} and account.lost == []
    assert account.lag_max_ms > 800 and account.stalls, "the account says so"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
def test_a_signal_to_the_master_ends_all_in_order(locust, server, tmp_path, number):
    child = locust(*processes_of(server.url, tmp_path))
    wait_for_rows(tmp_path, 50, child)
    child.send_signal(number)
    out, err = child.communicate(timeout=90)
    assert child.returncode == 0, err
    rows, account = adds_up(tmp_path, out)
    assert set(rows["outcome"]) == {Outcome.OK} and account.lost == []


def test_a_mistake_in_a_scenario_ends_every_process_with_one_line(locust, server, tmp_path):
    (tmp_path / "asks.py").write_text(SCENARIO.replace("poisson(100, seed=5)", "'60 per s'"))
    child = locust(*processes_of(server.url, tmp_path, for_s=1))
    _, err = child.communicate(timeout=90)
    assert child.returncode == 2 and "asks.py: arrivals: must be one of" in err and "Traceback" not in err
    assert not (tmp_path / "events").exists() or not (tmp_path / "events").read_text(), "no load began"


AHEAD = """
import os
import harness.load.clock

harness.load.clock._ANCHOR += float(os.environ.get("CLOCK_AHEAD_S", 0))
"""


def test_a_worker_whose_clock_is_wrong_is_named_and_the_run_ends_badly(locust, server, tmp_path):
    (tmp_path / "asks.py").write_text(SCENARIO + AHEAD)
    port = str(free_port())
    master = locust(*master_of(server.url, 1, tmp_path, "--for", "1", "--master", "--master-bind-port", port))
    locust("--worker", "--master-port", port, prefix=("env", "CLOCK_AHEAD_S=3600"))
    _, err = master.communicate(timeout=90)
    assert master.returncode == 2
    assert re.search(r"its clock is \+3(600|599)\.\d s off", err), err


NAMESPACES = [
    (f"load-{os.getpid()}-a", "10.199.7.1", "10.199.7.2"),
    (f"load-{os.getpid()}-b", "10.199.8.1", "10.199.8.2"),
]


@pytest.fixture
def namespaces():
    """Two network namespaces, each with its own address and a link to this one."""

    def ip(*argv):
        subprocess.run(["ip", *argv], check=True, capture_output=True, timeout=20)

    try:
        for i, (name, here, there) in enumerate(NAMESPACES):
            ip("netns", "add", name)
            ip("link", "add", f"ld{os.getpid()}-{i}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("addr", "add", f"{here}/24", "dev", f"ld{os.getpid()}-{i}")
            ip("link", "set", f"ld{os.getpid()}-{i}", "up")
            for argv in (("addr", "add", f"{there}/24", "dev", "eth0"), ("link", "set", "eth0", "up")):
                ip("-n", name, *argv)
            ip("-n", name, "route", "add", "default", "via", here)
        yield
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespaces here: {getattr(error, 'stderr', b'') or error}")
    finally:
        for name, *_ in NAMESPACES:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False, timeout=20)


def test_workers_on_other_hosts_share_the_schedule_over_the_network(locust, namespaces, tmp_path):
    port = str(free_port())
    with scripted_server(address="0.0.0.0") as server:
        url = f"http://{NAMESPACES[0][1]}:{server.server_address[1]}"
        master = locust(*master_of(url, 2, tmp_path, "--for", "2", "--master", "--master-bind-port", port))
        for name, here, _ in NAMESPACES:
            inside = ("ip", "netns", "exec", name)
            locust("--worker", "--master-host", here, "--master-port", port, prefix=inside)
        out, err = master.communicate(timeout=90)
        asked_from = server.clients
    assert master.returncode == 0, err
    rows, account = adds_up(tmp_path, out)
    assert set(rows["outcome"]) == {Outcome.OK} and account.workers == 2
    assert asked_from == {there for *_, there in NAMESPACES}
