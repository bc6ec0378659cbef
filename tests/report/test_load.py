"""The report on a load says what its clients met: corrected and uncorrected beside each other, exactly."""

import io

import numpy as np

from harness.eventlog import Event
from harness.history import EXPECTS_STATUS, ROW, SLOW_CLIENT, History, Outcome
from harness.report.load import write
from harness.verdict import Result, Verdict

RECORDED = Result("recorded", "the record", Verdict.PASS, "lag p99 0.3 ms")


def report(rows: np.ndarray) -> str:
    edges = [Event(at, "run", "phase", detail={"phase": "load", "edge": e}) for at, e in ((99, "begin"), (200, "end"))]
    out = io.StringIO()
    write(History(events=edges, rows={"load": rows}), "load", RECORDED, out)
    return out.getvalue()


def a_stall_of_two_seconds() -> np.ndarray:
    """100 a second for 8 s; the service answers in 5 ms, but nobody between second 3 and 5. Each of ten clients sends
    its next request only when it has its answer, so that most of the stall is in the waiting to be sent."""
    rows = np.zeros(800, ROW)
    rows["intended"] = 100 + np.arange(800) / 100
    begun = np.where((rows["intended"] >= 103) & (rows["intended"] < 105), 105.0, rows["intended"])
    rows["sent"] = np.where(np.arange(800) % 100 < 10, rows["intended"], begun)
    rows["done"] = begun + 0.005
    rows["status"] = 200
    return rows


def test_a_stall_shows_from_the_intended_moment_and_hides_from_the_sending():
    text = report(a_stall_of_two_seconds())
    corrected, uncorrected = (line.split()[-6:] for line in text.splitlines() if "from the" in line)
    assert [float(v) for v in corrected] == [5.0, 1205.0, 1605.0, 1925.0, 2005.0, 2005.0]
    assert float(uncorrected[0]) == float(uncorrected[2]) == 5.0, "p95 from the sending: as if nothing had been"
    assert "worst second                 p99 1995.0 ms in the one that began 3 s after the first request" in text
    assert "800 requests in 8.0 s" in text and "generator: lag p99 0.3 ms" in text


def test_steps_are_told_apart_where_there_are_several():
    rows = a_stall_of_two_seconds()
    assert "step" not in report(rows)
    rows["step"][::4] = 1
    rows["done"][::4] = rows["intended"][::4] + 0.020
    first, second = (line.split() for line in report(rows).splitlines() if line.strip().startswith("step"))
    assert (first[1:3], second[1:3]) == (["0", "600"], ["1", "200"])
    assert second[3:] == ["20.0"] * 6


def test_what_failed_is_counted_by_how_and_has_no_latency():
    rows = a_stall_of_two_seconds()
    rows["outcome"][:400], rows["status"][:400] = Outcome.REFUSED_BY_SERVICE, 503
    rows["outcome"][400:] = Outcome.TIMEOUT
    text = report(rows)
    assert "refused by service        400   50.00 %  400 x 503" in text and "timeout" in text
    assert "latency" not in text


def test_slow_clients_expected_statuses_and_an_unreliable_generator_are_marked():
    rows = a_stall_of_two_seconds()
    rows["step"][::4] |= SLOW_CLIENT
    rows["step"][1::4] |= EXPECTS_STATUS
    edges = [Event(at, "run", "phase", detail={"phase": "load", "edge": e}) for at, e in ((99, "begin"), (200, "end"))]
    out = io.StringIO()
    late = Result("recorded", "the record", Verdict.INCONCLUSIVE, "load sent late")
    write(History(events=edges, rows={"load": rows}), "load", late, out)
    text = out.getvalue()
    assert "step 0 slow client" in text and "step 0 expects" in text
    assert "  generator: INCONCLUSIVE: load sent late\n" in text
