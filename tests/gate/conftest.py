"""A verdict reached on a machine that its host took away is none, here as in the gate itself: a test of verdicts
(test_red.py, no other) is then skipped and says why. On a machine of its own every failure counts."""

from pathlib import Path

import pytest
from small_project import Project

STOLEN_AT_MOST = 0.1  # of all processor time while the test ran


@pytest.fixture
def project(tmp_path):
    """A whole project, small and quick, that a test may spoil."""
    return Project(tmp_path)


def processor():
    """Ticks of all processors since boot, and those the host took away."""
    ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(ticks), ticks[7]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    item.began = processor()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call" and report.failed and item.path.name == "test_red.py":
        (begin, stolen_begin), (end, stolen_end) = item.began, processor()
        share = (stolen_end - stolen_begin) / max(1, end - begin)
        if share > STOLEN_AT_MOST:
            report.outcome = "skipped"
            why = (
                f"Skipped: the host took {share:.0%} of the processors away while it ran; it failed with {call.excinfo}"
            )
            report.longrepr = (str(item.path), item.location[1], why[:600])
    return report
