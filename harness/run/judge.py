"""Objectives judged by the requests of another load generator: `harness judge --requests FILE`."""

from __future__ import annotations

from dataclasses import replace

from harness.checks import Availability, Check, ErrorRatio, Latency, judge_all
from harness.eventlog import Event
from harness.history import History
from harness.load.elsewhere import Elsewhere
from harness.omission import CLOSED
from harness.plan.slos import Slos
from harness.verdict import Result, Verdict

PHASE = "steady"
LEFT_OUT = "run it again by a tool that keeps failed requests: `harness load`, vegeta or k6"


def judge(requests: Elsewhere, slos: Slos) -> list[Result]:
    """A result for each objective; INCONCLUSIVE for what these requests cannot prove."""
    checks: list[Check] = []
    if slos.latency is not None:
        checks.append(Latency(PHASE, slos.latency.percentile, 1000 * slos.latency.target))
    if slos.error_rate is not None:
        checks.append(ErrorRatio(PHASE, slos.error_rate.target))
    if slos.availability is not None:
        checks.append(Availability(PHASE, slos.availability.target))
    found = judge_all(checks, history_of(requests))
    if not requests.failed_left_out:
        return found
    return [result if result.verdict is Verdict.FAIL else _unproven(result, requests.remarks[0]) for result in found]


def _unproven(result: Result, why: str) -> Result:
    return replace(result, verdict=Verdict.INCONCLUSIVE, reason=f"{result.reason}; {why}", remedy=LEFT_OUT)


def history_of(requests: Elsewhere) -> History:
    """The record that these requests are."""
    rows = requests.rows
    begin, end = float(rows["intended"].min()), float(rows["intended"].max()) + 1e-6
    events = [
        Event(begin, "run", "started", detail={"time_scale": 1, "scrape_s": 15.0, "evaluation_s": 15.0}),
        *(
            Event(at, "run", "phase", detail={"phase": PHASE, "edge": edge})
            for at, edge in ((begin, "begin"), (end, "end"))
        ),
    ]
    if requests.closed:
        about = {"generator": "load", "model": CLOSED, "arrivals": f"closed:by={requests.tool}"}
        events.append(Event(begin, "load", "started", detail=about))
    return History(events=sorted(events, key=lambda e: e.at), rows={"load": rows})
