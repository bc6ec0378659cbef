"""What one process asks of another that holds the stack: the service with more in its environment, and as it was."""

import os
import subprocess
import sys

import pytest

from harness.errors import StackError
from harness.stack import planned
from harness.stack.process import identify
from harness.stack.up import with_added

ASK = """
import pathlib, sys
from harness.stack import planned
planned.ask(pathlib.Path(sys.argv[1]), {"A": "b"})
"""


class Service:
    """Notes how it is started; while `ready` is False it does not get ready."""

    def __init__(self):
        self.added, self.ready = [], True

    def restart(self, added):
        self.added.append(dict(added))
        if not self.ready:
            raise StackError("server was not ready")


@pytest.fixture
def held(tmp_path):
    service = Service()
    return tmp_path, service, planned.Holder(tmp_path, service.restart)


def test_what_is_asked_is_done_once_and_the_request_goes(held):
    run, service, holder = held
    holder.heed()
    planned.ask(run, {"A": "b"})
    assert planned.asked(run) == planned.Request({"A": "b"}, identify(os.getpid()))
    holder.heed()
    assert planned.asked(run) is None and service.added == [{"A": "b"}]
    planned.ask(run, {})
    for _ in range(3):
        holder.heed()
    assert service.added == [{"A": "b"}, {}]


def test_why_it_could_not_be_done_is_said_and_it_is_not_tried_again(held):
    run, service, holder = held
    service.ready = False
    planned.ask(run, {"A": "b"})
    for _ in range(3):
        holder.heed()
    assert planned.asked(run).problem == "server was not ready" and len(service.added) == 1
    planned.withdraw(run)
    planned.withdraw(run)
    assert planned.asked(run) is None


@pytest.mark.parametrize("ready", [True, False])
def test_what_a_process_asked_for_ends_with_it(held, ready):
    run, service, holder = held
    subprocess.run([sys.executable, "-c", ASK, str(run)], check=True)
    service.ready = ready
    holder.heed()
    service.ready = True
    holder.heed()
    assert service.added == [{"A": "b"}, {}] and planned.asked(run) is None
    holder.heed()
    assert len(service.added) == 2


def test_a_service_that_does_not_come_back_as_it_was_is_an_error(held):
    run, service, holder = held
    subprocess.run([sys.executable, "-c", ASK, str(run)], check=True)
    holder.heed()
    service.ready = False
    with pytest.raises(StackError):
        holder.heed()


PATHS = [
    ({}, None, {"A": "b"}, {"A": "b"}),
    ({"PYTHONPATH": "own"}, "harness", {"A": "b"}, {"A": "b", "PYTHONPATH": "own"}),
    ({}, None, {"PYTHONPATH": "/inside"}, {"PYTHONPATH": "/inside"}),
    ({}, "harness", {"PYTHONPATH": "/inside"}, {"PYTHONPATH": "/inside:harness"}),
    ({"PYTHONPATH": "own"}, "harness", {"PYTHONPATH": "/inside"}, {"PYTHONPATH": "/inside:own"}),
    ({"B": "own"}, None, {"B": "c"}, {"B": "c"}),
]


@pytest.mark.parametrize("path", ["PYTHONPATH", "LD_LIBRARY_PATH"])
@pytest.mark.parametrize(("own", "of_harness", "added", "got"), PATHS)
def test_what_is_added_comes_first_and_the_services_own_is_found_as_before(
    own, of_harness, added, got, path, tmp_path, monkeypatch
):
    own, added, got = ({path if k == "PYTHONPATH" else k: v for k, v in one.items()} for one in (own, added, got))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    if of_harness is not None:
        monkeypatch.setenv(path, of_harness)
    assert with_added(own, added, tmp_path) == got | {"HARNESS_INSIDE": str(tmp_path)}
    assert with_added(own, {}, tmp_path) == own
