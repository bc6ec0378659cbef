"""Tiny histories made by hand: one function for each thing that can be in one, times in gate seconds from 0."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from harness.checks import Check, judge_all
from harness.eventlog import Event
from harness.history import ROW, History, Notification, Outcome, ProbeAnswer, Replay, Series
from harness.verdict import Result, Verdict

PASS, INCONCLUSIVE, FAIL = Verdict
SCALE, SCRAPE_S = 60, 0.25  # one gate second is a production minute
STARTED = Event(
    0, "run", "started", detail={"time_scale": SCALE, "scrape_s": SCRAPE_S, "evaluation_s": SCRAPE_S, "job": "svc"}
)


def phase(name: str, start: float, end: float) -> list[Event]:
    edges = {"begin": start, "end": end}
    return [Event(at, "run", "phase", detail={"phase": name, "edge": edge}) for edge, at in edges.items()]


def fault(
    experiment: str, start: float, stop: float | None, kind: str = "pause", witness: str = "ok", undone: str = "ok",
    process: str | None = None, sham: bool = False, id: str = "f1",
) -> list[Event]:  # fmt: skip
    about = {"experiment": experiment, "id": id, "sham": sham}
    params = {"process": process} if process else {}
    events = [Event(start, "fault", kind, detail={**about, "edge": "start", "params": params})]
    if witness:
        events.append(
            Event(start + 0.1, "fault", kind, witness, detail={**about, "edge": "witness", "evidence": "not seen"})
        )
    if stop is not None:
        events.append(
            Event(stop, "fault", kind, undone, detail={**about, "edge": "stop", "problem": "no such process"})
        )
    return events


def restart(at: float, cause: str = "exit", component: str = "server") -> Event:
    return Event(at, "probe", "restart", detail={"process": component, "cause": cause})


def ready(*at: float) -> list[ProbeAnswer]:
    return [ProbeAnswer(t, "readiness", True, 200, 0.01, decision="ready") for t in at]


def unready(*at: float) -> list[ProbeAnswer]:
    return [ProbeAnswer(t, "readiness", False, 503, 0.01, decision="unready") for t in at]


def alive(start: float, end: float) -> list[ProbeAnswer]:
    return [ProbeAnswer(t, "liveness", True, 200, 0.01) for t in np.arange(start, end, 2.0).tolist()]


def rows(n: int, start: float = 0, rate: float = 60, took: float = 0.1, lag: float = 0.001, **few: Any) -> np.ndarray:
    """n requests at a rate; `few` maps "outcome_status" names such as slow=3, timeout=2, status_500=1 to how many."""
    made = np.zeros(n, ROW)
    made["seq"] = np.arange(n)
    made["intended"] = start + np.arange(n) / rate
    made["sent"] = made["intended"] + lag
    made["done"] = made["intended"] + took
    made["status"] = 200
    at = 0
    for what, many in few.items():
        some = slice(at, at + many)
        at += many
        if what == "slow":
            made["done"][some] = made["intended"][some] + 0.9
        elif what.startswith("status_"):
            made["outcome"][some], made["status"][some] = Outcome.REFUSED_BY_SERVICE, int(what.removeprefix("status_"))
        else:
            made["outcome"][some], made["status"][some] = Outcome[what.upper()], 0
        if what == "unsent":
            made["sent"][some] = np.nan
    return made


def broken(made: np.ndarray, start: float, end: float, outcome: Outcome = Outcome.CONNECT_FAILED) -> np.ndarray:
    """The same rows, those of a stretch failed."""
    made["outcome"][(made["intended"] >= start) & (made["intended"] < end)] = outcome
    return made


def up(start: float, end: float, down: tuple[float, float] = (0, 0), without: tuple[float, float] = (0, 0)) -> Series:
    at = np.arange(start, end + 0.001, SCRAPE_S)
    at = at[~((at > without[0]) & (at < without[1]))]
    value = np.where((at >= down[0]) & (at < down[1]), 0.0, 1.0)
    return Series({"__name__": "up", "job": "svc"}, at.tolist(), value.tolist())


def firing(alert: str, *spans: tuple[float, float], state: str = "firing", **labels: str) -> Series:
    at = np.concatenate([np.arange(start, end + 0.001, SCRAPE_S) for start, end in spans]).tolist()
    return Series({"__name__": "ALERTS", "alertname": alert, "alertstate": state, **labels}, at, [1.0] * len(at))


def notified(
    at: float,
    receiver: str,
    status: str,
    alert: str,
    problems: Sequence[str] = (),
    integration: str = "",
    **labels: str,
) -> Notification:
    """Without any label it is a message of which the alerts' labels are not known."""
    known = ({"alertname": alert, **labels},) if labels else ()
    return Notification(at, receiver, integration or receiver, status, (alert,), tuple(problems), "", known)


def replay(**known: Any) -> Replay:
    nothing = dict.fromkeys(("pending_s", "firing_s", "last_firing_s", "ended_s", "fault_end_s"))
    return Replay(**{**nothing, **known})


def history(*events: Event | list[Event], **parts: Any) -> History:
    flat = [STARTED, *(e for one in events for e in (one if isinstance(one, list) else [one]))]
    return History(events=sorted(flat, key=lambda e: e.at), **parts)


def table(cases: Sequence[tuple]) -> pytest.MarkDecorator:
    """Parametrize by (sentence, check, history, verdict, words of its reason)."""
    made = [pytest.param(*case[1:], id=case[0].replace(" ", "-")) for case in cases]
    return pytest.mark.parametrize(("check", "record", "verdict", "says"), made)


def expect(check: Check, record: History, verdict: Verdict, says: str, beside: Sequence[Check] = ()) -> Result:
    """The check gives the verdict, says so in a sentence with a figure and a next step, and says it twice the same.
    `beside`: the checks whose results it judges by."""
    result, again = (judge_all([check, *beside], record)[0] for _ in range(2))
    assert (result.verdict, says in result.reason) == (verdict, True), result
    assert result == again
    assert result.check == check.kind and result.subject
    if verdict is PASS:
        assert not result.remedy
        assert any(c.isdigit() for c in result.reason), f"no figure: {result.reason}"
    else:
        assert result.remedy, f"no next step: {result.reason}"
    return result
