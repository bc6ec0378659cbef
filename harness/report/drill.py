"""One experiment in depth: its faults, its contract row by row, its log lines, a request of it, and its journal."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from harness.history import History, Outcome, Replay, Window
from harness.report.lanes import alert_of, faults, phases
from harness.report.loud import loud
from harness.report.stored import Stored, loads
from harness.units import duration

WORST_FIRST = ("FAIL", "INCONCLUSIVE", "PASS")
LONGEST = 240  # characters of what an activity said
SPANS_AT_MOST = 40


def drilled(stored: Stored, results: Sequence[Mapping[str, Any]], experiments: Sequence[str]) -> list[dict[str, Any]]:
    """Each experiment that began, or that results are about, in the order of the plan."""
    history, windows = stored.history, phases(stored.history)
    logs, logged = loud(stored.run, {name: windows[name] for name in experiments if name in windows})
    spans = history.signals.get("span")
    traced = np.empty(0, "S32") if spans is None else np.unique(spans.rows["request_id"])
    found = []
    for name in experiments:
        window = windows.get(name)
        journal = history.journals.get(name, {})
        about = journal.get("experiment")
        about = about if isinstance(about, dict) else {}
        mine = [r for r in results if str(r.get("subject", "")).partition(": ")[0] == name]
        found.append(
            {
                "name": name,
                "title": str(about.get("title", "")),
                "description": str(about.get("description", "")),
                "window": window,
                "verdict": worst_of(mine),
                "faults": [_fault(fault) for fault in faults(history, name)],
                "rows": [_row(stored, name, r) for r in mine],
                "logs": logs.get(name, []),
                "logged": logged.get(name, 0),
                "request": window and _request(history, _fault_window(history, name) or window, traced),
                "journal": list(_journal(journal)),
                "status": str(journal.get("status", "")),
            }
        )
    return found


def worst_of(results: Sequence[Mapping[str, Any]]) -> str:
    """The worst of some verdicts; "" of none."""
    known = {r.get("verdict") for r in results}
    return next((verdict for verdict in WORST_FIRST if verdict in known), "")


def _fault(fault: Any) -> dict[str, Any]:
    said = {k: v for k, v in fault.params.items() if v not in (None, "", [], {})}
    lasted = None if fault.end is None else fault.end - fault.start
    return {
        "kind": fault.kind,
        "params": ", ".join(f"{k}={v if isinstance(v, str) else json.dumps(v, default=str)}" for k, v in said.items()),
        "lasted": "it is not known to have ended" if lasted is None else duration(lasted),
        "witness": fault.evidence or "no witness is recorded",
        "witnessed": fault.witnessed,
        "by": fault.by,
        "problem": fault.problem,
        "sham": fault.sham,
    }


def _fault_window(history: History, experiment: str) -> Window | None:
    mine = faults(history, experiment)
    ends = [f.end for f in mine if f.end is not None]
    return Window(mine[0].start, max(ends)) if ends else None


def _row(stored: Stored, experiment: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the contract: what was expected, predicted, and measured in replay and live."""
    kind, about = str(result.get("check", "")), str(result.get("subject", "")).partition(": ")[2]
    row = {
        "what": about,
        "check": kind,
        "verdict": str(result.get("verdict", "")),
        "reason": str(result.get("reason", "")),
    }
    row |= {"expected": "", "predicted": "", "replay": "", "live": ""}
    bound, unit = result.get("bound"), str(result.get("unit", ""))
    for check in stored.checks:
        if (
            check.get("check") == kind
            and check.get("experiment") == experiment
            and isinstance(check.get("alert"), dict)
        ):
            alert = alert_of(check["alert"])
            key = str(alert) + (f" to {check.get('receiver')}" if kind == "alert_delivered" else "")
            if about == key:
                return row | (_fires if kind == "alert_fires" else _delivered)(stored, experiment, check, result)
    if kind == "injected":  # its figure is of what was left
        return row
    if isinstance(bound, (int, float)):
        row["expected"] = figure(bound, unit)
    if isinstance(measured := result.get("measured"), (int, float)):
        row["live"] = figure(measured, unit)
    return row


def figure(value: float, unit: str) -> str:
    """A figure with its unit, as a reader wants it."""
    if unit == "s":
        return duration(value)
    if unit == "ms":
        return duration(value / 1000)
    if unit == "share":
        return f"{100 * value:.4g} %"
    if unit in ("B", "bytes"):
        return f"{value / 1e6:,.1f} MB"
    return f"{value:,.6g} {unit}".strip() if abs(value) < 1e6 else f"{value:,.0f} {unit}".strip()


def _fires(stored: Stored, experiment: str, check: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    history, alert = stored.history, alert_of(check["alert"])
    of = (history.held if check.get("held_s") else history.replays).get(experiment, {})
    predicted = check.get("predicted") or ()
    return {
        "what": f"{alert} fires",
        "expected": _times("within", check.get("fires_within_s"), "resolves within", check.get("resolves_within_s")),
        "predicted": " to ".join(duration(s) for s in dict.fromkeys(predicted)) if predicted else "",
        "replay": _replayed(of.get(str(alert))),
        "live": "proven by replay alone" if check.get("held_s") else _live(history, experiment, alert),
    }


def _delivered(stored: Stored, experiment: str, check: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    measured = result.get("measured")
    waits = check.get("group_wait_s")
    seen = f"after {duration(measured)}" if isinstance(measured, (int, float)) else "never"
    key = "replay" if check.get("posted") else "live"
    return {
        "what": f"{alert_of(check['alert'])} reaches {check.get('receiver')}",
        "expected": _times(
            "within", check.get("notified_within_s"), "of its end within", check.get("resolved_notified_within_s")
        ),
        "predicted": f"{duration(waits)} after it fires" if isinstance(waits, (int, float)) else "",
        key: seen + (", posted as the replay raised it" if check.get("posted") else ""),
    }


def _times(first: str, a: Any, second: str, b: Any) -> str:
    said = [f"{word} {duration(s)}" for word, s in ((first, a), (second, b)) if isinstance(s, (int, float))]
    return ", ".join(said) or "never"


def _replayed(replay: Replay | None) -> str:
    if replay is None:
        return ""
    if replay.problem:
        return f"no answer: {replay.problem}"
    if replay.firing_s is None:
        return "fired before" if replay.fired_before else "never" if replay.pending_s is None else "pending only"
    said = f"after {duration(replay.firing_s)}"
    if replay.last_firing_s is not None and replay.fault_end_s is not None:
        if replay.ended_s is not None and replay.last_firing_s >= replay.ended_s:
            return said + ", not resolved in the record"
        later = replay.last_firing_s - replay.fault_end_s
        said += f", last firing {duration(later)} after the effect" if later > 0 else ", over with the effect"
    return said


def _live(history: History, experiment: str, alert: Any) -> str:
    window, mine = phases(history).get(experiment), faults(history, experiment)
    if window is None or not mine or not history.named("ALERTS"):
        return ""
    begun = [s.start for _, s in history.alert_spans(alert) if mine[0].start <= s.start <= window.end]
    if not begun:
        return "never"
    return f"after {duration((min(begun) - mine[0].start) * history.setting('time_scale', 1.0))}"


def _request(history: History, window: Window, traced: np.ndarray) -> dict[str, Any] | None:
    """The request of a stretch that tells most: the slowest that failed, else the slowest; with its trace."""
    names = loads(history)
    if not names:
        return None
    rows = history.requests(window, names[0])
    rows = rows[rows["request_id"] != b""]
    if not len(rows):
        return None
    took = rows["done"] - rows["intended"]
    bad = (rows["outcome"] != Outcome.OK) & (rows["outcome"] != Outcome.ABANDONED)
    if len(traced) and bad.any():  # rather one that the service has a trace of
        near = np.minimum(np.searchsorted(traced, rows["request_id"]), len(traced) - 1)
        known = traced[near] == rows["request_id"]
        bad = bad & known if (bad & known).any() else bad
    row = rows[int(np.nanargmax(np.where(bad, took, -1.0) if bad.any() else took))]
    outcome = int(row["outcome"])
    name = Outcome(outcome).name.lower().replace("_", " ") if outcome <= max(Outcome) else f"outcome {outcome}"
    key, status = row["request_id"], f", status {row['status']}" if row["status"] else ""
    return {
        "id": key.decode("ascii", "replace"),
        "at": float(row["intended"]),
        "said": f"{name}{status}, took {duration(float(row['done'] - row['intended']))}",
        "spans": _spans(history, key),
    }


def _spans(history: History, request_id: bytes) -> list[dict[str, Any]]:
    """The spans of a request's traces, in the order they began, as parts of their whole length."""
    signal = history.signals.get("span")
    if signal is None:
        return []
    mine = signal.rows[signal.rows["request_id"] == request_id]
    mine = mine[(mine["trace"] != 0).any(axis=1)]
    if not len(mine):
        return []
    rows = signal.rows[(signal.rows["trace"] == mine[0]["trace"]).all(axis=1)]
    rows = np.sort(rows, order=["began", "ended"])[:SPANS_AT_MOST]
    begin, end = float(rows["began"].min()), float(rows["ended"].max())
    whole, names = max(end - begin, 1e-9), signal.about.get("spans", ())
    return [
        {
            "name": names[row["name"]] if row["name"] < len(names) else "span",
            "took": duration(max(0.0, float(row["ended"] - row["began"]))),
            "left": round(100 * (float(row["began"]) - begin) / whole, 2),
            "width": round(max(0.5, 100 * float(row["ended"] - row["began"]) / whole), 2),
            "failed": bool(row["failed"]),
        }
        for row in rows
        if math.isfinite(row["began"]) and math.isfinite(row["ended"])
    ]


def _journal(journal: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """What Chaos Toolkit did."""
    for part in ("run", "rollbacks"):
        entries = journal.get(part)
        for one in entries if isinstance(entries, list) else ():
            activity = one.get("activity") if isinstance(one, dict) else None
            if not isinstance(activity, dict):
                continue
            took, failed = one.get("duration"), one.get("exception")
            said = (
                "; ".join(map(str, failed[-1:]))
                if isinstance(failed, list)
                else json.dumps(one.get("output"), default=str)
            )
            yield {
                "part": "rollback" if part == "rollbacks" else str(activity.get("type", "")),
                "name": str(activity.get("name", "")),
                "status": str(one.get("status", "")),
                "took": duration(took) if isinstance(took, (int, float)) else "",
                "said": said[:LONGEST],
            }
