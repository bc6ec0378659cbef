"""Why a generator ended is said in one line that its user can act on, with the scenario's file and line."""

import re
import time

import pytest

from harness.errors import LoadEnded, ProcessDied, UsageError
from harness.stack import generator

OURS = """
from pathlib import Path
from harness.load.arrivals import constant
from harness.load.locust import OpenModelUser, Request

class Asks(OpenModelUser):
    arrivals = constant(20)
    def request(self, k):
        return Request("GET", "/")
"""
PLAIN = """
from locust import HttpUser, task

class Asks(HttpUser):
    @task
    def ask(self):
        self.client.get("/")
"""

MISTAKES = {
    "no Python": (OURS + "class Asks(OpenModelUser)\n", None, r"asks\.py:10: SyntaxError: expected ':'"),
    "no such module": (OURS + "import nosuch\n", None, r"asks\.py:10: ModuleNotFoundError: No module named 'nosuch'"),
    "a bad schedule": (
        OURS.replace("(20)", "(-1)"), None, r"asks\.py:7: UsageError: constant: rate must be above 0/s, got -1",
    ),
    "a bad request": (OURS.replace("Request(", "Requets("), None, r"asks\.py:9: NameError: name 'Requets' is not .*"),
    "a request too late to be seen before": (
        OURS.replace("return", "return k > 3 and 1 / 0 or"), None, r"asks\.py:9: ZeroDivisionError: division by zero",
    ),
    "a schedule nobody knows": (OURS, "posson:60/s", r"asks\.py: arrivals: must be one of .*, got 'posson:60/s'"),
    "users of Locust's own, and a schedule nobody knows": (PLAIN, "posson:60/s", r"asks\.py: arrivals: must be .*"),
}  # fmt: skip


def start(folder, text, arrivals=None, for_s=0.5, name="load"):
    (folder / "asks.py").write_text(text)
    argv = generator.command(
        folder / "asks.py", "http://127.0.0.1:9", arrivals=arrivals, for_s=for_s, rows=folder / "rows",
        events=folder / "events", name="load",
    )  # fmt: skip
    return generator.start(name, argv, folder, folder / "asks.py")


def why(child):
    """What its check raises when it has ended."""
    try:
        child.popen.wait(60)
        child.check()
    except Exception as error:
        return error
    finally:
        child.end()
    raise AssertionError("it is still running")


@pytest.mark.parametrize(("text", "arrivals", "says"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_with_its_place(tmp_path, text, arrivals, says):
    error = why(start(tmp_path, text, arrivals))
    assert type(error) is UsageError and error.exit_code == 2, error
    assert re.fullmatch(says, str(error)), error


def test_a_schedule_that_is_over_is_no_failure_and_each_load_has_a_log_of_its_own(tmp_path):
    began = time.time()
    # of another length: bytecode of the same second and size would be taken for that of the file written next
    assert isinstance(why(start(tmp_path, OURS.replace("Request(", "Reqest("))), UsageError)
    (tmp_path / "times").write_text("0\n0.2\n")
    child = start(tmp_path, OURS, f"replay:{tmp_path / 'times'}", for_s=None)
    ended = why(child)
    assert isinstance(ended, LoadEnded) and began < ended.at <= time.time()
    assert "Reqest" not in child.log.read_text()


def test_what_says_nothing_of_itself_is_quoted(tmp_path):
    child = generator.start("load", ["sh", "-c", "echo some words; exit 1"], tmp_path, tmp_path / "asks.py")
    assert type(error := why(child)) is ProcessDied and "some words" in str(error)
    child = generator.start("load", ["sh", "-c", "kill -9 $$"], tmp_path, tmp_path / "asks.py")
    assert type(why(child)) is ProcessDied


LOG = """[2026-11-25 23:18:06,211] vm/INFO/locust.main: Starting Locust 2.47.0
[2026-11-25 23:18:06,221] vm/ERROR/{logger}: {text}
"""


@pytest.mark.parametrize(
    ("logger", "text", "says"),
    [
        (
            "harness.load.locust.runner",
            "asks.py: corpus: no/where is not a folder",
            "asks.py: corpus: no/where is not a folder",
        ),
        ("harness.load.locust.dispatch", "asks.py:9: NameError: x", "asks.py:9: NameError: x"),
        ("harness.load.locust.distributed", "vm_1: asks.py:9: NameError: x", "vm_1: asks.py:9: NameError: x"),
        ("locust.runners", "no such thing", ""),
    ],
)
def test_only_our_own_part_of_it_speaks_of_mistakes(tmp_path, logger, text, says):
    assert generator.complaint(LOG.format(logger=logger, text=text), tmp_path / "asks.py") == says


def test_several_mistakes_are_counted(tmp_path):
    log = "".join(
        LOG.format(logger="harness.load.locust.dispatch", text=text) for text in ("one", "two", "one", "three")
    )
    assert generator.complaint(log, tmp_path / "asks.py") == "one (and 2 more in its log)"
