"""One experiment in depth: its faults, its contract row by row, its log lines, a request of it, and its journal."""

from __future__ import annotations

import json
import math
import mmap
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from harness.history import History, Outcome, Replay, Window
from harness.recordfile import regular
from harness.report.lanes import alert_of, faults, phases
from harness.report.stored import Stored, loads
from harness.report.summary import printable
from harness.units import duration

WORST_FIRST = ("FAIL", "INCONCLUSIVE", "PASS")
LOG_LINES = 12
LONGEST = 240  # characters of a line
LOUD_AT_MOST = 20_000  # lines of one log that are looked at
LOG_AT_MOST = 64 << 20  # bytes of a log, from its end
SPANS_AT_MOST = 40
_LOUD = re.compile(
    rb'"level": ?"(?:warning|error|critical|WARNING|ERROR|CRITICAL)"'
    rb"|\b(?:WARNING|ERROR|CRITICAL|FATAL)\b|\blevel=(?:warn|error)"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_EXPECTED = "Rollbacks were explicitly requested"  # Chaos Toolkit warns of it in every experiment
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?")


def drilled(stored: Stored, results: Sequence[Mapping[str, Any]], experiments: Sequence[str]) -> list[dict[str, Any]]:
    """Each experiment that began, or that results are about, in the order of the plan."""
    history, windows = stored.history, phases(stored.history)
    loud = list(_loud(stored.run))
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
                "logs": [line for at, line in loud if window and window.start <= at <= window.end][:LOG_LINES],
                "request": window and _request(history, _fault_window(history, name) or window),
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
        "live": _live(history, experiment, alert),
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
        said += f", over {duration(replay.last_firing_s - replay.fault_end_s)} after the effect"
    return said


def _live(history: History, experiment: str, alert: Any) -> str:
    window, mine = phases(history).get(experiment), faults(history, experiment)
    if window is None or not mine or not history.named("ALERTS"):
        return ""
    begun = [s.start for _, s in history.alert_spans(alert) if mine[0].start <= s.start <= window.end]
    if not begun:
        return "never"
    return f"after {duration((min(begun) - mine[0].start) * history.setting('time_scale', 1.0))}"


def _request(history: History, window: Window) -> dict[str, Any] | None:
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
    known = history.signals.get("span")
    if known is not None and bad.any():  # rather one that the service has a trace of
        traced = np.isin(rows["request_id"], known.rows["request_id"])
        bad = bad & traced if (bad & traced).any() else bad
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


def _loud(run: Path) -> Iterator[tuple[float, str]]:
    """Warnings and errors of the run's logs that say when they were written, as (Unix seconds, line)."""
    for log in sorted((run / "logs").glob("*.log")):
        try:
            length = regular(log)
            if not length:
                continue
            with open(log, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
                done, seen = max(0, length - LOG_AT_MOST), 0
                while seen < LOUD_AT_MOST and (match := _LOUD.search(text, done)):
                    begin, end = text.rfind(b"\n", 0, match.start()) + 1, text.find(b"\n", match.end())
                    done, seen = length if end < 0 else end + 1, seen + 1
                    line = text[begin : min(done, begin + 8 * LONGEST)].decode(errors="replace")
                    if _EXPECTED not in line and (at := _moment(line)) is not None:
                        yield at, f"{log.name}: {printable(_told(_COLOUR.sub('', line)))[:LONGEST]}"
        except Exception:  # one log that cannot be read hides none of the others
            continue


def _moment(line: str) -> float | None:
    found = _TIME.search(line)
    if found is None:
        return None
    text = found[0].replace(",", ".").replace("Z", "+00:00")
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at.timestamp()


def _told(line: str) -> str:
    """A JSON line by its level, message and what else it says."""
    try:
        said = json.loads(line)
        if isinstance(said, dict):
            first = [str(said.pop(k)) for k in ("timestamp", "level", "message") if said.get(k) is not None]
            return " ".join(
                [*first, *(f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in said.items() if v)]
            )
    except (ValueError, RecursionError):
        pass
    return line
