"""Planned restarts are known to all that must know when a process of the service was another one."""

import numpy as np
import pytest
from handmade import history, ready, restart
from joins import killed

from harness.checks.counted import targets
from harness.checks.evidence import restarted, restarts, undisturbed
from harness.checks.joined import Kill, kills
from harness.eventlog import Event
from harness.history import Series, Window


def planned(at, component="server", code=0):
    return Event(at, "stack", "restart", detail={"component": component, "cause": "request", "code": code})


def test_they_are_those_of_the_kubelet_and_the_planned_ones_of_replicas():
    record = history(restart(30), planned(10), planned(20, "database"), planned(40), probes=ready(1))
    assert [(e.at, restarted(e)) for e in restarts(record)] == [(10, "server"), (30, "server"), (40, "server")]
    assert [e.at for e in restarts(record, Window(5, 15))] == [10]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        pytest.param(0, [], id="it ended by itself"),
        pytest.param(-15, [], id="by the signal"),
        pytest.param(-9, [Kill("server", 8.5, 10)], id="in its grace period it did not"),
    ],
)
def test_one_that_is_killed_when_it_is_asked_to_end_is_a_kill(code, found):
    record = history(planned(10, code=code), probes=ready(1))
    assert kills(record) == found


def test_a_fault_of_a_process_is_none_of_the_next_one():
    record = history(*killed(5), planned(20, code=-9), probes=ready(1))
    assert [(kill.start, kill.end) for kill in kills(record)] == [(5, 5.5), (18.5, 20)]


def test_a_phase_with_one_is_not_undisturbed():
    assert undisturbed(history(planned(10), probes=ready(1)), Window(20, 30))
    assert not undisturbed(history(planned(25), probes=ready(1)), Window(20, 30))


@pytest.mark.parametrize("known", [True, False], ids=["by its start time", "by what the run did"])
def test_counters_begin_anew_after_one(known):
    at = np.arange(0, 20, 0.25)
    about = {"job": "svc", "instance": "a:1"}
    series = [Series({"__name__": "up", **about}, at.tolist(), [1.0] * len(at))]
    if known:
        since = np.where(at < 10, 1000.0, 2000.0).tolist()
        series.append(Series({"__name__": "process_start_time_seconds", **about}, at.tolist(), since))
    [target] = targets(history(planned(9.9), probes=ready(1), series=series))
    assert at[1:][target.restarted].tolist() == [10.0] and target.known is known
