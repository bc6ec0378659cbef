"""A verdict reached on a machine that its host took away is none, here as in the gate itself: a test of verdicts
(test_red.py, no other) that fails there is run again, and after the last try skipped with its reason. On a machine of
its own every failure counts at once."""

from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol
from small_project import Project

STOLEN_AT_MOST = 0.1  # of all processor time while the test ran
TRIES = 2


@pytest.fixture
def project(tmp_path_factory):
    """A whole project, small and quick, that a test may spoil."""
    return Project(tmp_path_factory.mktemp("project"))


def processor():
    """Ticks of all processors since boot, and those the host took away."""
    ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(ticks), ticks[7]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    if item.path.name != "test_red.py":
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for tried in range(1, TRIES + 1):
        begin, stolen_begin = processor()
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        end, stolen_end = processor()
        share = (stolen_end - stolen_begin) / max(1, end - begin)
        failed = next((r for r in reports if r.when == "call" and r.failed), None)
        if failed is None or share <= STOLEN_AT_MOST:
            break
        if tried < TRIES:
            item._initrequest()  # as pytest does before each run: fixtures are made anew
            continue
        why = f"Skipped: the host took {share:.0%} of the processors away, both times; {failed.longrepr}"
        failed.outcome, failed.longrepr = "skipped", (str(item.path), item.location[1], why[:600])
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
