"""Rows of the load joined by request id with what the service recorded of them: pure functions of a history."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from harness import verdict
from harness.checks.check import NoEvidence
from harness.checks.counted import of_status
from harness.checks.evidence import link_of, restarted, restarts
from harness.history import SLOW_CLIENT, WHOLE, History, Outcome, Window
from harness.signals import Signal
from harness.units import count, duration, listed
from harness.verdict import EVIDENCE_AT_MOST

ENDED_BY_ITSELF_S = 1.5  # within which it is seen that a process has ended
GRACEFUL = (-2, -15)  # exit codes of a process that a signal asked to end
AGREES_TO = 1e-3  # probabilities are rounded
EARLY_S, LATE_S = 1.0, 30.0  # what a line's time may differ from its request's: a clock's error, a queue
REFUSED = (400, 401, 403, 404, 405, 409, 411, 413, 414, 415, 422, 429, 431)  # nothing is done for such a request
BETWEEN = "between phases"
MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, near 2^64 divided by the golden ratio


class Kill(NamedTuple):
    """A stretch of time after which a process was gone that nobody had asked to end; Unix seconds."""

    component: str
    start: float
    end: float


@dataclass(frozen=True)
class Truth:
    """All requests that were sent, of all generators, by request id, and which of them must have left something."""

    rows: np.ndarray  # sorted by the keys of their request ids
    keys: np.ndarray
    answered: np.ndarray  # with a class, where requests ask for one; status 2xx
    due: np.ndarray  # those, and answers of other statuses that must leave something, too
    lost: np.ndarray  # of these, those that a killed process may have taken with it
    phases: np.ndarray  # number of the phase of each
    names: tuple[str, ...]  # of the phases


def kills(history: History) -> list[Kill]:
    """When each replica was killed, from the first fault on that was done to that process. One that did not end in its
    grace period was killed, too, also where it was to be started otherwise."""
    found, before = [], {}
    for e in restarts(history):
        component, code = restarted(e), e.detail.get("code")
        starts = [
            f.at
            for f in history.of("fault")
            if f.detail.get("edge") == "start"
            and f.detail.get("component") == component
            and not f.detail.get("sham")
            and before.get(component, 0.0) <= f.at <= e.at
        ]
        before[component] = e.at
        if type(code) is int and code < 0 and code not in GRACEFUL:
            found.append(Kill(component, min(starts, default=e.at - ENDED_BY_ITSELF_S), e.at))
    return found


def unreceived(history: History) -> list[Kill]:
    """When nobody took spans, because a fault was done to their receiver or to the way there."""
    ends = {e.detail.get("id"): e.at for e in history.of("fault") if e.detail.get("edge") in ("stop", "lease")}
    return [
        Kill("collector", e.at, ends.get(e.detail.get("id"), float("inf")))
        for e in history.of("fault")
        if e.detail.get("edge") == "start"
        and not e.detail.get("sham")
        and "collector" in (e.detail.get("component"), link_of(e))
    ]


def truth(history: History, within_s: float, classifies: bool = False, also: Sequence[str] = ()) -> Truth:
    """The requests of a run. within_s: for how long before a kill its process may have kept what it had to write.
    classifies: only an answer with a class is one. also: other statuses whose answers leave something. Raises
    NoEvidence where nothing was sent."""
    every = [rows[rows["outcome"] != Outcome.UNSENT] for rows in history.rows.values()]
    rows = np.concatenate(every) if every else np.empty(0)
    if not len(rows):
        raise NoEvidence("no request is recorded", "see the generator's log")
    keys = keys_of(rows["request_id"])
    order = np.argsort(keys, kind="stable")
    rows, keys = rows[order], keys[order]
    whole = np.isin(rows["outcome"], WHOLE)
    answered = whole & (rows["status"] >= 200) & (rows["status"] < 300)
    asks = (rows["predicted"] >= 0) | (rows["expected"] >= 0)
    if classifies or asks.any():
        answered &= asks
    due = answered | (whole & of_status(rows, also))
    ended = kills(history)
    lost = due & (during(rows["done"], ended, within_s) | _read_later(rows, ended, within_s))
    edges = {e.detail.get("phase") for e in history.of("run", "phase")}
    windows = {name: w for name in sorted(filter(None, edges)) if (w := history.phase(name)) is not None}
    names = tuple(sorted(windows, key=lambda name: windows[name].start))
    phases = np.full(len(rows), len(names))
    for i, name in enumerate(names):
        phases[(rows["intended"] >= windows[name].start) & (rows["intended"] < windows[name].end)] = i
    return Truth(rows, keys, answered, due, lost, phases, (*names, BETWEEN))


def excusing(sent: Truth, broken: Iterable[Window], within_s: float) -> tuple[Truth, int]:
    """The same, where what was answered while something was broken need not have left anything; and how many answers
    these are. within_s: for how long before that it may not have been written yet, and after it still not be."""
    which = sent.due & meanwhile(sent, broken, within_s)
    return replace(sent, due=sent.due & ~which, lost=sent.lost & ~which), int(np.count_nonzero(which))


def meanwhile(sent: Truth, broken: Iterable[Window], within_s: float) -> np.ndarray:
    """Which requests were under way while something was broken, or so long before or after it."""
    which = np.zeros(len(sent.rows), bool)
    for window in broken:
        which |= (sent.rows["done"] >= window.start - within_s) & (sent.rows["sent"] <= window.end + within_s)
    return which


def nothing_due(sent: Truth) -> str:
    """That no request was answered that must have left something; empty where one was."""
    if sent.due.any():
        return ""
    return f"none of {count(len(sent.rows), 'request')} was answered with status 2xx and a class: nothing to judge"


def during(at: np.ndarray, stretches: Iterable[Kill], before_s: float = 0.0) -> np.ndarray:
    """Which moments lie in one of the stretches, or so long before it."""
    inside = np.zeros(len(at), bool)
    for kill in stretches:
        inside |= (at >= kill.start - before_s) & (at <= kill.end)
    return inside


def with_requests(rows: np.ndarray, stretches: Iterable[Kill], before_s: float) -> list[Kill]:
    """The stretches, each from when the first request was sent that was under way in it, or so long before it: what was
    done for that one may have been written long before the rest of it."""
    longer = []
    for kill in stretches:
        sent = rows["sent"][_under_way(rows, kill, before_s)]
        longer.append(kill._replace(start=min(sent.min(initial=kill.start), kill.start - before_s)))
    return longer


def _read_later(rows: np.ndarray, stretches: Iterable[Kill], before_s: float) -> np.ndarray:
    """Which requests of slow clients were under way in one of the stretches, or so long before it: what they read last
    the service may have answered long since."""
    under_way = np.zeros(len(rows), bool)
    for kill in stretches:
        under_way |= _under_way(rows, kill, before_s)
    return under_way & (rows["step"] & SLOW_CLIENT != 0)


def _under_way(rows: np.ndarray, kill: Kill, before_s: float) -> np.ndarray:
    return (rows["done"] >= kill.start - before_s) & (rows["sent"] <= kill.end)


def rows_of(sent: Truth, request_ids: np.ndarray) -> np.ndarray:
    """The position of the row of each request id; -1 where nobody sent it."""
    at = np.minimum(np.searchsorted(sent.keys, keys_of(request_ids)), len(sent.keys) - 1)
    return np.where(sent.rows["request_id"][at] == request_ids, at, -1)


def keys_of(request_ids: np.ndarray) -> np.ndarray:
    """A number of 64 bits for each request id: of a million the chance that two are equal is below 1e-7, and to sort
    and find numbers takes a tenth of what texts take."""
    words = np.ascontiguousarray(request_ids).view("<u8").reshape(len(request_ids), request_ids.itemsize // 8)
    key = np.zeros(len(request_ids), "<u8")
    for column in range(words.shape[1]):
        key = (key ^ words[:, column]) * MIX
        key ^= key >> np.uint64(29)
    return key


def lookup(keys: np.ndarray, values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """What gives the value of each of some keys, -1 for one that is not there."""
    order = np.argsort(keys, kind="stable")
    known, held = keys[order], values[order]

    def get(asked: np.ndarray) -> np.ndarray:
        if not len(known):
            return np.full(len(asked), -1)
        at = np.minimum(np.searchsorted(known, asked), len(known) - 1)
        return np.where(known[at] == asked, held[at], -1)

    return get


def evidence(signal: Signal | None, history: History, kind: str, what: str) -> Signal:
    """A signal that can be judged. Raises NoEvidence."""
    if signal is None:
        why = f"the run does not hold {what}"
        raise NoEvidence(why, "it was cut off, or made by an older harness: run the gate again")
    if problem := signal.about.get("problem"):
        raise NoEvidence(f"{what} could not be read: {problem}", signal.about.get("remedy") or REMEDIES[kind])
    return signal


REMEDIES = {
    "log": "say where the service's log lies: telemetry.logs.file in service.yaml; without it, what it prints is read",
    "audit": "say where the audit log lies: telemetry.audit.file in service.yaml",
    "record": "say where the database lies and what its table is called: telemetry.database in service.yaml",
    "span": "see logs/collector.log, and that the service is told of {otlp}: telemetry.traces in service.yaml",
}


def by_phase(sent: Truth, which: np.ndarray) -> str:
    """How many of some rows (a mask, or positions) lie in each phase: "3 in steady, 1 in sham"."""
    numbers = np.bincount(sent.phases[which], minlength=len(sent.names))
    where = [(n, name) for n, name in zip(numbers.tolist(), sent.names, strict=True) if n]
    return listed([f"{n:,} {name if name == BETWEEN else f'in {name}'}" for n, name in where])


def by_status(sent: Truth, which: np.ndarray) -> str:
    """The status of some rows, as an addition to a sentence, where all have the same that is no success."""
    statuses = np.unique(sent.rows["status"][which])
    return f"; each has status {statuses[0]}" if len(statuses) == 1 and statuses[0] >= 300 else ""


def example(sent: Truth, which: np.ndarray) -> str:
    """The first request of some rows, to be looked for: "request 4bf9..."."""
    rows = sent.rows[which]
    return f"request {rows[np.argmin(rows['intended'])]['request_id'].decode()}"


def references(sent: Truth, kind: str, *some: np.ndarray) -> tuple[verdict.Reference, ...]:
    """Rows, and beside each what the service recorded of the same request, the first of each mask in turn."""
    picked: dict[int, None] = {}
    for which in some:
        positions = np.flatnonzero(which) if which.dtype == bool else np.unique(which)
        positions = positions[np.argsort(sent.rows["intended"][positions], kind="stable")]
        picked |= dict.fromkeys(positions[: max(1, EVIDENCE_AT_MOST // 2 // max(1, len(some)))].tolist())
    found = []
    for i in picked:
        request_id, at = sent.rows[i]["request_id"].decode(), float(sent.rows[i]["intended"])
        found += [verdict.Reference("row", request_id, at), verdict.Reference(kind, request_id)]
    return tuple(found[:EVIDENCE_AT_MOST])


def confidence_of(rows: np.ndarray) -> np.ndarray:
    """The confidence that goes with each answer's probability: the larger of it and what it lacks to 1."""
    return np.maximum(rows["probability"], 1 - rows["probability"])


def differing(
    rows: np.ndarray, lines: np.ndarray, maps: Sequence[str], refused: bool = True, timed: np.ndarray | bool = True
) -> dict[str, np.ndarray]:
    """Which lines say something else than the answer to the same request: "another class" -> mask. maps: what the
    lines are said to hold. refused: there may be one of a request that was refused. timed: whose times are to agree."""
    single = lines["part"] == 0  # of one of several inputs the row does not know the answer
    answered = (rows["status"] >= 200) & (rows["status"] < 300) & single
    found = {}
    if "label" in maps:
        found["another class"] = answered & (rows["predicted"] >= 0) & (lines["label"] != rows["predicted"])
    for field, meant in (("probability", rows["probability"]), ("confidence", confidence_of(rows))):
        if field in maps:
            off = ~(np.abs(lines[field] - meant) <= AGREES_TO)  # nan, where the line says none, is off too
            found[f"another {field}"] = answered & ~np.isnan(meant) & off
    if "status" in maps:
        found["another status"] = (rows["status"] > 0) & (lines["status"] != rows["status"])
    if not refused:
        found["a success for a request that was refused"] = np.isin(rows["status"], REFUSED)
    if "time" in maps and "at" in lines.dtype.names:
        since = np.where(np.isnan(rows["sent"]), rows["intended"], rows["sent"])
        early, late = lines["at"] < since - EARLY_S, lines["at"] > rows["done"] + LATE_S
        found["a time that is not its request's"] = timed & (early | late | np.isnan(lines["at"]))
    return {what: mask for what, mask in found.items() if mask.any()}


def within_run(history: History, sent: Truth, at: np.ndarray) -> np.ndarray:
    """Which moments lie in the time of the load; what has no time is taken to do so."""
    first = float(np.min(sent.rows["intended"])) - EARLY_S
    return ~(at < first)


def unaccounted(history: History) -> str:
    """Which generator may have sent requests that have no row; empty where each accounts for all of its own."""
    for name in sorted({str(e.detail.get("generator")) for e in history.of("load", "started")}):
        started, finished = (
            [e for e in history.of("load", what) if e.detail.get("generator") == name]
            for what in ("started", "finished")
        )
        written = sum(e.detail.get("rows") or 0 for e in finished)
        if len(finished) < len(started) or written > len(history.rows.get(name, ())):
            return f"the generator {name} does not account for all that it sent"
    return ""


def allowed(within_s: float) -> str:
    return f"answered within {duration(within_s)} before a kill"
