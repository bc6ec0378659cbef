"""A generator that was too busy, stalled or sent too little is INCONCLUSIVE by its own account."""

import subprocess

import numpy as np
import pytest
from scripted_server import scripted_server

from harness.checks import Recorded
from harness.checks.judging import judged
from harness.eventlog import Event
from harness.history import History, Series, Window, read_rows
from harness.recordfile import records
from harness.stack import generator
from harness.verdict import Verdict

SCENARIO = """
import time
from harness.load.arrivals import constant
from harness.load.locust import OpenModelUser, Request

def burn(for_s):
    until = time.process_time() + for_s
    while time.process_time() < until:
        pass

class Asks(OpenModelUser):
    arrivals = constant(50)

    def request(self, k):
        {does}
        return Request("GET", "/ok")
"""
# On a machine that others use as well nobody gets nine tenths of a processor, so here less is too much.
RECORDED = Recorded(busy_at_most=0.4)
FROM_S, TO_S, ENDS_S = 1, 3, 4.5  # the phase, and the end of the run


@pytest.fixture(scope="module")
def server():
    with scripted_server() as server:
        yield server


def run(folder, url, does, processes=1):
    """What `recorded` makes of the middle of a run."""
    (folder / "asks.py").write_text(SCENARIO.format(does=does))
    rows, events = folder / "rows", folder / "events"
    for file in (rows, events):
        file.unlink(missing_ok=True)
    argv = generator.command(
        folder / "asks.py", url, arrivals=None, for_s=ENDS_S, rows=rows, events=events, name="load", processes=processes
    )
    subprocess.run(argv, capture_output=True, timeout=120, check=True)
    account = records(events, Event)
    epoch = account[0].detail["epoch"]
    phase = Window(epoch + FROM_S, epoch + TO_S)
    edges = [
        Event(at, "run", "phase", detail={"phase": "steady", "edge": edge})
        for edge, at in zip(("begin", "end"), phase, strict=True)
    ]
    started = Event(epoch - 10, "run", "started", detail={"scrape_s": 0.25, "job": "svc"})
    at = np.arange(phase.start, phase.end + 0.3, 0.25)
    up = Series({"__name__": "up", "job": "svc"}, at.tolist(), [1.0] * len(at))
    history = History(
        events=sorted([started, *account, *edges], key=lambda e: e.at), rows={"load": read_rows(rows)}, series=[up]
    )
    return judged(RECORDED, history)


CASES = {
    "too busy all the time": ("burn(0.012)", 1, "steady: load used "),
    "too busy in the phase alone": ("burn(0.012 if 50 <= k < 150 else 0)", 1, "steady: load used "),
    "too busy in one worker alone": ("burn(0.024 if k % 2 else 0)", 2, "steady: the worst process of load used "),
    "stalls": ("time.sleep(0.3 if k % 25 == 0 else 0)", 1, "steady: the loop of load stalled for "),
    "stalls in workers": (
        "time.sleep(0.3 if k % 25 == 0 else 0)", 2, "steady: the loop of the worst process of load stalled for ",
    ),
    "sends after the phase": ("time.sleep(1.2 if k == 140 else 0)", 1, "steady: load sent 90 for 100 planned"),
}  # fmt: skip


@pytest.mark.parametrize("does, processes, says", CASES.values(), ids=CASES)
def test_an_unreliable_generator_is_inconclusive(server, tmp_path, does, processes, says):
    for _ in range(3):  # of a processor that others take, it may not get so much
        result = run(tmp_path, server.url, does, processes)
        assert result.verdict is Verdict.INCONCLUSIVE, result
        if says in result.reason:
            break
    assert says in result.reason, result


def test_a_reliable_generator_passes(server, tmp_path):
    results = []
    while len(results) < 3 and not any(result.verdict is Verdict.PASS for result in results):
        results.append(run(tmp_path, server.url, "pass"))
    assert any(result.verdict is Verdict.PASS for result in results) or all("late" in r.reason for r in results), (
        results
    )
