"""On a machine that its host takes away a gate is rightly INCONCLUSIVE, so a test of verdicts (test_red.py, no other)
that fails there is run again. The last try counts, whatever the host does; on a machine of its own the first does."""

from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol
from small_project import Project

STOLEN_AT_MOST = 0.1  # of all processor time while the test ran
TRIES = 3


@pytest.fixture
def project(tmp_path_factory):
    """A whole project, small and quick, that a test may spoil."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.without_slow_rules()
    return project


@pytest.fixture
def whole_project(tmp_path_factory):
    """The same with every rule that the service has."""
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
        robbed = (stolen_end - stolen_begin) / max(1, end - begin) > STOLEN_AT_MOST
        if tried == TRIES or not (robbed and any(r.failed for r in reports)):
            break
        item._initrequest()  # as pytest does before each run: fixtures are made anew
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
