"""Questions to a history that several checks ask; one that the record cannot answer raises NoEvidence."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from harness.alert import Alert
from harness.checks.check import NoEvidence
from harness.eventlog import Event
from harness.history import WHOLE, History, Notification, Outcome, ProbeAnswer, Window
from harness.stats import nearest_rank
from harness.units import count, duration, listed, percent
from harness.verdict import EVIDENCE_AT_MOST, Reference

UNSENT_AT_MOST = NOT_READ_AT_MOST = 0.001
PRODUCTION_TIMEOUT_S = 10.0  # Prometheus' default for a scrape, where its interval is no shorter
UNSENT_REMEDY = "see the generator's log: too little processor for it, or fewer allowed in flight than rate x patience?"
CUT_SHORT_REMEDY = "give the load a longer schedule, or judge it for less: load.arrivals and load.for in gate.yaml"
NEIGHBOURS = 0.2  # of all processors in a phase; an idle machine shows 1 to 3 % (kernel threads, others' daemons)
IDLE_ENOUGH = 0.3  # of all processors: with so much idle nobody waits for one


def late_by_ms(history: History, phase: str, generator: str = "load") -> float | None:
    """The p99 of a generator's dispatch lag in a phase; None where nothing was sent."""
    window = history.phase(phase)
    late = lags_ms(history.requests(window, generator)) if window else ()
    return nearest_rank(late, 99) if len(late) else None


def lags_ms(rows: np.ndarray) -> np.ndarray:
    """The dispatch lag of each request that was sent; what found no connection has none, by the service's doing."""
    late = 1000 * (rows["sent"] - rows["intended"])
    return late[~np.isnan(late)]


def crowded(history: History, phase: str) -> str:
    """Which share of the processors others had in a phase, processes that are not of the run and the host; empty when
    it was little, when enough was idle all the same (a large node has many tenants), or where nobody noted it."""
    bound, used = history.setting("neighbours", NEIGHBOURS), spent(history, phase)
    if "own" not in used or used["idle"] > IDLE_ENOUGH * used["all"]:
        return ""
    others, host = max(0, used["busy"] - used["own"]) / used["all"], used["stolen"] / used["all"]
    if others + host <= bound:
        return ""
    had = percent(round(others, 2)) + (f" and the host {percent(round(host, 2))}" if host else "")
    return f"in {phase} other processes had {had} of the processors (bound {percent(bound)})"


def crowded_within(history: History, window: Window) -> str:
    """The same of a stretch that is shorter than a phase, by the samples of the resources (watch/resources.py)."""
    bound = history.setting("neighbours", NEIGHBOURS)
    seen = [r for r in history.resources if r.others is not None and window.start <= r.at <= window.end + 1]
    most = max((r for r in seen if r.idle <= IDLE_ENOUGH), key=lambda r: r.others, default=None)
    if most is None or most.others <= bound:
        return ""
    return f"other processes had {percent(round(most.others, 2))} of the processors then (bound {percent(bound)})"


def stolen(history: History, name: str) -> str:
    """What share of the processors the host took away in a phase, as an addition to a sentence; empty below 5 %."""
    used = spent(history, name)
    share = used["stolen"] / used["all"] if used else 0.0
    return f"; the host took {percent(round(share, 2))} of the processors away" if share >= 0.05 else ""


def spent(history: History, phase: str) -> dict[str, int]:
    """Ticks of the processors within a phase, by what they were for (harness/watch/processors.py); empty where they
    were not noted."""
    edges = {
        e.detail["edge"]: e.detail.get("cpu") for e in history.of("run", "phase") if e.detail.get("phase") == phase
    }
    begin, end = edges.get("begin") or {}, edges.get("end") or {}
    used = {name: end[name] - begin[name] for name in end if name in begin}
    return used if used.get("all", 0) > 0 else {}


def phase(history: History, name: str) -> Window:
    """When a phase began and ended."""
    window = history.phase(name)
    if why := cut_short(history, name):
        raise NoEvidence(why, CUT_SHORT_REMEDY)
    if window is None:
        raise NoEvidence(f"the record does not hold the phase {name!r} from begin to end", "run it to its end")
    return window


def cut_short(history: History, name: str) -> str:
    """That a phase was not carried out to its end, because the load's schedule was over before; empty where it was."""
    ended = next(iter(history.of("run", "load-ended")), None)
    window = history.phase(name)
    if not name or ended is None or (window is not None and window.end < ended.at):
        return ""
    return f"the schedule of the load ended after {duration(ended.detail['after_s'])}, before {name} was over"


def setting(history: History, key: str) -> Any:
    """What the run was started with."""
    value = history.setting(key)
    if value is None:
        raise NoEvidence(f"the record does not say the run's {key}", "judge with the version that made the run")
    return value


def sent(history: History, window: Window, generator: str) -> np.ndarray:
    """The rows that were sent in a window and whose end is known, in order; too many others are no evidence."""
    went = waited_for(history, window, generator)
    known = went[went["outcome"] != Outcome.NOT_READ]
    unread = len(went) - len(known)
    if unread > NOT_READ_AT_MOST * len(went):
        why = f"{unread:,} of {count(len(went), 'response')} could not be read by the generator, bound "
        why += percent(NOT_READ_AT_MOST) + _first(history, window, generator)
        raise NoEvidence(why, "let the service answer within 1 MiB, in no Content-Encoding but gzip, deflate or br")
    return known


def waited_for(history: History, window: Window, generator: str) -> np.ndarray:
    """The rows that were sent in a window and waited for, in order; too many unsent ones are no evidence."""
    rows = history.requests(window, generator)
    rows = rows[rows["outcome"] != Outcome.ABANDONED]
    if not len(rows):
        raise NoEvidence(f"no request of {generator!r} is recorded in {window.length:.3g} s", "see the generator's log")
    went = rows[rows["outcome"] != Outcome.UNSENT]
    unsent = 1 - len(went) / len(rows)
    if unsent > UNSENT_AT_MOST:
        why = f"{percent(unsent)} of {len(rows):,} requests could not be sent, bound {percent(UNSENT_AT_MOST)}"
        raise NoEvidence(why, UNSENT_REMEDY)
    return went


def timed_out(history: History, window: Window) -> str:
    """That scrapes of the service took longer than the gate waits, whose time-out is as short as its interval, as an
    addition to a sentence; empty where none did."""
    waits_s = history.setting("scrape_s", 0.0)
    allowed_s = min(PRODUCTION_TIMEOUT_S, waits_s * history.setting("time_scale", 1.0))
    allowed_s = history.setting("scrape_timeout_s", allowed_s)
    at, up = target_up(history, window)
    failed = set(at[up == 0].tolist())
    long = [
        took
        for s in history.named("scrape_duration_seconds")
        for moment, took in zip(s.at, s.value, strict=True)
        if moment in failed and took >= 0.95 * waits_s > 0
    ]
    if not long or allowed_s <= waits_s:
        return ""
    many = f"{len(long)} scrapes" if len(long) > 1 else "a scrape"
    return (
        f"; {many} took {duration(min(long))}, as long as the gate waits, where production allows {duration(allowed_s)}"
    )


def target_up(history: History, window: Window, job: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The scrapes of the service in a window: (Unix seconds, 1 where it answered else 0), in order of time."""
    job = job or history.setting("job")
    series = history.named("up", **({"job": job} if job else {}))
    at = np.concatenate([np.asarray(s.at, float) for s in series] or [np.empty(0)])
    value = np.concatenate([np.asarray(s.value, float) for s in series] or [np.empty(0)])
    inside = (at >= window.start) & (at <= window.end)
    order = np.argsort(at[inside], kind="stable")
    return at[inside][order], value[inside][order]


def undisturbed(history: History, window: Window) -> bool:
    """Whether nothing was done to the service, or to a link of it, in a phase but that it was asked, and none of its
    processes ended."""
    faults = [e for e in history.of("fault", within=window) if e.detail.get("edge") == "start"]
    hit = any((e.detail.get("component") or link_of(e)) and not e.detail.get("sham") for e in faults)
    return not hit and not restarts(history, window)


def link_of(event: Event) -> str:
    """The link that a fault is done to; empty where to none."""
    return str((event.detail.get("params") or {}).get("link") or "")


def restarts(history: History, within: Window | None = None) -> list[Event]:
    """Each time a process of the service was replaced, in order: by the kubelet, or as planned, which is an event of
    the stack. That of a dependency is none of them."""
    replicas = {p.component for p in history.probes}
    planned = [e for e in history.of("stack", "restart", within) if e.detail.get("component") in replicas]
    return sorted([*history.of("probe", "restart", within), *planned], key=lambda e: e.at)


def restarted(event: Event) -> str:
    """Which component one of them was about."""
    return str(event.detail.get("process") or event.detail.get("component") or "")


def served(rows: np.ndarray) -> np.ndarray:
    """Which requests got a complete answer that is not one of another kind: a redirect, one without the class that is
    due, one in a broken encoding. (A refusal is an answer; what it means is for each check.)"""
    redirect = (rows["status"] >= 300) & (rows["status"] < 400) & (rows["outcome"] != Outcome.OK)
    return np.isin(rows["outcome"], WHOLE) & ~redirect


def unserved(history: History, window: Window, generator: str, rows: np.ndarray, bound: str = "") -> str:
    """That complete answers served nobody (with a bound on that), and what the first of them held; empty where there is
    none."""
    some = rows[rows["outcome"] == Outcome.UNSERVED]
    if not len(some):
        return ""
    redirect = (some["status"] >= 300) & (some["status"] < 400)
    classless = ~redirect & (some["expected"] >= 0)
    kinds = (
        (classless, "hold no readable class"),
        (redirect, "are redirects"),
        (~redirect & ~classless, "have a broken Content-Encoding"),
    )
    of = count(int(np.count_nonzero(np.isin(rows["outcome"], (*WHOLE, Outcome.UNSERVED)))), "answer")
    how = [f"{np.count_nonzero(which):,} of {of} {kind}" for which, kind in kinds if which.any()]
    return listed(how) + bound + _first(history, window, generator)


def outcomes(rows: np.ndarray) -> str:
    """The commonest ways in which requests ended: "12 status 503, 3 timeout"."""
    firsts, many = _ways(rows)
    said: dict[str, int] = {}
    for (o, s), n in zip(rows[["outcome", "status"]][firsts].tolist(), many.tolist(), strict=True):
        way = f"status {s}" if s >= 300 or o == Outcome.UNEXPECTED_STATUS else Outcome(o).name.lower().replace("_", " ")
        said[way] = said.get(way, 0) + n
    return ", ".join(f"{said[way]:,} {way}" for way in sorted(said, key=said.get, reverse=True)[:3])


def _ways(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first row of each way to end, the commonest way first, and how many ended so."""
    way = rows["outcome"].astype(np.uint32) << 16 | rows["status"]  # one number: records of two sort far slower
    _, first, many = np.unique(way, return_index=True, return_counts=True)
    order = np.lexsort((first, -many))
    return first[order], many[order]


def of_rows(rows: np.ndarray, by: np.ndarray | None = None) -> tuple[Reference, ...]:
    """References to some of these rows, which are in order of time: those with the highest `by`, or, without it, the
    first of each way to end, the commonest first, then the last of all, and then others between."""
    if by is not None:
        chosen = np.argsort(-by, kind="stable")[:EVIDENCE_AT_MOST].tolist()
    else:
        n = len(rows)
        spread = np.linspace(0, n - 1, min(n, EVIDENCE_AT_MOST)).astype(int) if n else ()
        chosen = [*_ways(rows)[0].tolist(), *([n - 1] if n else []), *map(int, spread)]
        chosen = list(dict.fromkeys(chosen))[:EVIDENCE_AT_MOST]
    return tuple(
        Reference("row", row["request_id"].decode("ascii", "replace"), float(row["intended"]), float(row["done"]))
        for row in rows[chosen]
    )


def of_series(labels: Mapping[str, str], window: Window) -> Reference:
    """The samples of one series, or of all that have these labels, in a window."""
    return Reference("sample", series_name(labels), window.start, window.end)


def of_alert(history: History, window: Window, alert: Alert | str | None = None) -> tuple[Reference, ...]:
    """When an alert was pending or firing in a window, by its ALERTS series; all alerts where none is named."""
    return tuple(
        of_series({"__name__": "ALERTS", **labels}, span)
        for state in ("firing", "pending")
        for labels, span in history.alert_spans(alert, state)
        if span.start <= window.end and span.end >= window.start
    )


def of_fault(history: History, experiment: str) -> tuple[Reference, ...]:
    """What is recorded of an experiment's faults: how each began, was seen and ended."""
    window = history.phase(experiment)
    mine = [e for e in history.of("fault", within=window) if e.detail.get("experiment") == experiment]
    return of_events(mine)


def series_name(labels: Mapping[str, str]) -> str:
    """A series as PromQL writes it."""
    pairs = ", ".join(f"{k}={json.dumps(v, ensure_ascii=False)}" for k, v in labels.items() if k != "__name__")
    return f"{labels.get('__name__', '')}{{{pairs}}}"


def of_notifications(messages: Iterable[Notification]) -> tuple[Reference, ...]:
    """Messages to receivers."""
    return tuple(Reference("notification", n.receiver, n.at, n.at) for n in messages)


def of_events(events: Iterable[Event]) -> tuple[Reference, ...]:
    """Events of the run."""
    return tuple(Reference("event", f"{e.source} {e.name}", e.at, e.at) for e in events)


def of_probes(answers: Iterable[ProbeAnswer]) -> tuple[Reference, ...]:
    """Answers to probes."""
    return tuple(Reference("probe", f"{p.component} {p.probe}", p.at, p.at) for p in answers)


def some(*kinds: Sequence[Reference]) -> tuple[Reference, ...]:
    """As many as a result may have: the most telling of each kind, where there is no room for all."""
    kinds = tuple(kind for kind in kinds if kind)
    least = EVIDENCE_AT_MOST // max(1, len(kinds))
    kept = [list(dict.fromkeys(kind))[:least] for kind in kinds]
    for mine, kind in zip(kept, kinds, strict=True):
        room = EVIDENCE_AT_MOST - sum(map(len, kept))
        mine += [one for one in dict.fromkeys(kind) if one not in mine][: max(0, room)]
    return tuple(dict.fromkeys(one for mine in kept for one in mine))[:EVIDENCE_AT_MOST]


def _first(history: History, window: Window, generator: str) -> str:
    """What the first answer that served nobody held, or could not be read, as the generator noted it: of the window, or
    the last before it."""
    noted = [
        (at, text)
        for e in history.of("load", "finished")
        if e.detail.get("generator") == generator
        for at, text in e.detail.get("excerpts") or ()
        if at < window.end
    ]
    within = [text for at, text in noted if at >= window.start]
    found = within[0] if within else max(noted, default=(0, ""))[1]
    return f"; the first: {found}" if found else ""
