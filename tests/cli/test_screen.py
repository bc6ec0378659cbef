from dataclasses import replace

from harness.cli.screen import line, lines
from harness.run.view import Progress

BUSY = Progress(
    stage="experiment 3/4 server-hang",
    elapsed_s=151,
    stage_s=11,
    stage_for_s=20,
    arrivals_per_s=60,
    goodput_per_s=45,
    p95_ms=212,
    always=frozenset({"DeadMansSwitch"}),
    alerts={"ServiceDown": "firing", "DeadMansSwitch": "firing", "ServiceNotReady": "pending"},
    probes={"liveness": [True, False, False]},
    in_traffic=False,
)


def test_a_terminal_shows_the_stage_the_clients_the_alerts_and_the_probes():
    assert lines(BUSY) == [
        "experiment 3/4 server-hang (11 s of 20 s)                        elapsed 2:31",
        "answered 60/s  goodput 45/s  p95 212 ms  errors 25 %",
        "alerts   ServiceDown firing  ServiceNotReady pending",
        "probes   liveness ✓✗✗  out of traffic",
    ]


def test_how_long_it_still_takes_is_told_where_it_is_known():
    assert lines(replace(BUSY, left_s=99.9))[0].endswith("elapsed 2:31  about 1:39 left")


def test_ci_shows_the_same_on_one_line():
    assert line(BUSY).startswith("experiment 3/4 server-hang (11 s of 20 s)") and "\n" not in line(BUSY)


def test_what_is_not_known_yet_is_left_out():
    assert lines(Progress("starting", 0, 0)) == ["starting" + 57 * " " + "elapsed 0:00"]


def test_no_answer_at_all_is_said_so():
    shown = lines(Progress("hang", 3, 3, arrivals_per_s=0, goodput_per_s=0))
    assert shown[1] == "no client has got an answer in the last 2 s"
