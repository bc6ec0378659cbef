"""A run has one user class, which keeps a schedule: whatever else a file holds is one sentence before any load."""

import subprocess
import sys

import pytest
from scripted_server import scripted_server

from harness.errors import UsageError
from harness.history import read_rows
from harness.stack import generator

STEADY = """
from locust import HttpUser, LoadTestShape, constant, task
from harness.load.arrivals import replay, spike
from harness.load.locust import OpenModelUser, Request

class Steady(OpenModelUser):
    arrivals = "constant:50/s"
    {more}

    def request(self, k):
        return Request("GET", "/ok")
"""
POLLER = """
class Checks(HttpUser):
    wait_time = constant(1)

    @task
    def live(self):
        self.client.get("/ok")
"""
SHAPE = """
class Waves(LoadTestShape):
    def tick(self):
        return (1, 1)
"""
ABSTRACT = """
class Base(OpenModelUser):
    abstract = True
"""
NAME_ONE = "name the one to run: `locust ... Steady`, `harness load --user Steady`, or load.user in gate.yaml"
WRONG = {
    "a poller beside it": (
        STEADY + POLLER,
        f"one user class is one schedule, and here are 2: Checks (keeps none), Steady; {NAME_ONE}",
    ),
    "an imported one": (
        "from other import Other\n" + STEADY,
        "one user class is one schedule, and here are 2: Other, Steady; name the one to run: `locust ... Other`",
    ),
    "an imported one of the same name": (
        "from other import Steady as Once\n" + STEADY,
        "asks.py: The following user classes have the same class name: other.Steady, asks.Steady",
    ),
    "a shape": (STEADY + SHAPE, "Waves is a LoadTestShape, and the load here is the schedule of Steady; leave the"),
    "tasks": (
        STEADY + "\n    @task\n    def also(self):\n        self.client.get('/ok')\n",
        "Steady: its schedule is all that runs, so it must have no tasks: also",
    ),
    "a list of tasks and no patience": (
        STEADY.replace("{more}", "tasks = [print]; timeout_s = 0"),
        "must have no tasks: print; Steady.timeout_s: must be seconds above 0, got 0",
    ),
    "no weight": (STEADY.replace("{more}", "weight = 0"), "asks.py: There are no users with weight > 0."),
    "no arrival": (
        STEADY.replace("{more}", "arrivals = type('Never', (), dict(times=lambda self: iter(())))()"),
        "holds no arrival, so nothing would be sent",
    ),
    "none in time": (
        STEADY.replace("{more}", "arrivals = spike(0, 9, at_s=30, for_s=5)"),
        "--for: the first arrival of spike:0/s..9/s:at=30s:for=5s is due after 30 s, so within 0.4 s nothing would be",
    ),
    "only an abstract one": (STEADY.partition("class Steady")[0] + ABSTRACT, "has no user class that Locust would run"),
    "none": ("from harness.load.locust import OpenModelUser\n", "has no user class that Locust would run"),
}  # fmt: skip


def run(folder, url, text, *more, **options):
    (folder / "asks.py").write_text(text.replace("{more}", ""))
    argv = generator.command(
        folder / "asks.py", url, arrivals=None, for_s=0.4, rows=folder / "rows", events=folder / "events", name="load",
        **options,
    )  # fmt: skip
    return subprocess.run([*argv, *more], cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def server():
    with scripted_server() as server:
        yield server


@pytest.mark.parametrize(("text", "says"), WRONG.values(), ids=WRONG)
def test_what_is_no_single_schedule_is_one_sentence_before_any_load(server, tmp_path, text, says):
    (tmp_path / "other.py").write_text((STEADY + STEADY.replace("class Steady", "class Other")).replace("{more}", ""))
    before = server.requests
    done = run(tmp_path, server.url, text)
    assert done.returncode in (1, 2), done.stderr
    assert says in generator.complaint(done.stderr, tmp_path / "asks.py")
    assert server.requests == before and not len(read_rows(tmp_path / "rows"))


@pytest.mark.parametrize("processes", [1, 2], ids=["alone", "distributed"])
def test_the_one_that_is_named_runs_beside_abstract_ones_and_pollers(server, tmp_path, processes):
    done = run(tmp_path, server.url, STEADY + POLLER + ABSTRACT, user="Steady", processes=processes)
    assert done.returncode == 0, done.stderr
    assert len(read_rows(tmp_path / "rows")) == 20


def test_a_name_that_is_none_is_said(server, tmp_path):
    done = run(tmp_path, server.url, STEADY, user="Stady")
    assert generator.complaint(done.stderr, tmp_path / "asks.py") == "asks.py: has no user class Stady"
    with pytest.raises(UsageError, match="a user class has a name like Steady, not '--web-ui'"):
        run(tmp_path, server.url, STEADY, user="--web-ui")


@pytest.mark.parametrize("more", [(), ("--processes", "2"), ("--master", "--expect-workers", "1")], ids=str)
def test_plain_locust_ends_with_2_too(server, tmp_path, more):
    (tmp_path / "asks.py").write_text((STEADY + POLLER).replace("{more}", ""))
    argv = [sys.executable, "-m", "locust", "-f", "asks.py", "-H", server.url, "--headless", "-u", "1", "-t", "9s"]
    done = subprocess.run([*argv, *more], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and NAME_ONE in done.stderr, done.stderr
