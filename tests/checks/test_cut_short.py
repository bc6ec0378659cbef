"""A phase in which the schedule of the load ended was not carried out: nothing in it is a verdict, however it looks."""

import pytest
from handmade import FAIL, INCONCLUSIVE, PASS, history, phase, rows, up

from harness.checks import Clients, Injected, Latency, ProbeDecisions, Recorded, WatchdogUnbroken
from harness.checks.judging import judged
from harness.eventlog import Event

STEADY, CRASH = phase("steady", 0, 30), phase("crash", 40, 60)
FAST, SLOW = Latency("steady", 95, 500), Latency("steady", 95, 50)


def ended(at):
    return Event(at, "run", "load-ended", "fail", detail={"after_s": at + 1.0})


def record(*events):
    return history(*events, rows={"load": rows(1800)}, series=[up(0, 60)])


@pytest.mark.parametrize(
    ("check", "record", "verdict"),
    [
        pytest.param(FAST, record(STEADY, CRASH, ended(45.0)), PASS, id="it ended after what is judged"),
        pytest.param(SLOW, record(STEADY, CRASH, ended(45.0)), FAIL, id="and a failure before it stays one"),
        pytest.param(FAST, record(STEADY[:1], ended(7.6)), INCONCLUSIVE, id="it ended before the phase did"),
        pytest.param(FAST, record(STEADY, ended(7.6)), INCONCLUSIVE, id="whether or not the phase went on"),
        pytest.param(SLOW, record(STEADY, ended(7.6)), INCONCLUSIVE, id="also where it looks bad"),
        pytest.param(Latency("crash", 95, 500), record(STEADY, ended(32.0)), INCONCLUSIVE, id="before it even began"),
        pytest.param(Clients("crash"), record(STEADY, CRASH, ended(45.0)), INCONCLUSIVE, id="under an experiment"),
        pytest.param(ProbeDecisions("crash"), record(STEADY, CRASH, ended(45.0)), INCONCLUSIVE, id="its probes"),
        pytest.param(Injected("crash"), record(STEADY, CRASH, ended(45.0)), INCONCLUSIVE, id="its faults"),
        pytest.param(WatchdogUnbroken(phases=("steady",)), record(STEADY, ended(7.6)), INCONCLUSIVE, id="the watchdog"),
        pytest.param(Recorded(), record(STEADY, ended(7.6)), INCONCLUSIVE, id="the record"),
    ],
)
def test_what_was_cut_short_is_no_verdict(check, record, verdict):
    result = judged(check, record)
    assert result.verdict is verdict, result
    if verdict is INCONCLUSIVE:
        assert result.reason.startswith("the schedule of the load ended after ") and "load.arrivals" in result.remedy
        assert result.reason.endswith(
            "before crash was over" if "crash" in result.subject else "before steady was over"
        )
