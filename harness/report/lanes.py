"""The timeline of a run: what was sent, served, used, alerted and probed, on one axis of time and one grid.

Times are seconds since the begin of the timeline; however many requests there are, a line has at most POINTS points.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from harness.alert import NAME, Alert
from harness.history import History, Outcome, Series, Window
from harness.report.stored import Stored, loads

POINTS = 3000
STEPS_S = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
COLOURS = {50: "blue", 95: "orange", 99: "purple"}
PERCENTILES = tuple(COLOURS)
QUEUES = re.compile(
    r"queue_(depth|length|size|limit)|in_?flight|(^|_)(waiting|pending)_?requests|requests_(waiting|pending)"
)
GPU = re.compile(r"^(gpu|DCGM_FI_DEV|nvidia|nv_gpu)_?.*(used_bytes|used|utilization|util|UTIL|FB_USED)", re.A)
RESTARTS = {"restart": "restarted", "exited": "ended by itself"}
SPANS_AT_MOST = 400  # of one lane


class Fault(NamedTuple):
    """One fault of an experiment; `end` is None where nobody saw it end."""

    experiment: str
    kind: str
    start: float
    end: float | None
    witnessed: bool
    evidence: str  # what the witness saw
    params: Mapping[str, Any]
    by: str  # who undid it
    problem: str
    sham: bool


class Grid(NamedTuple):
    """The common axis."""

    start: float  # Unix seconds
    step: float
    points: int

    def place(self, at: np.ndarray) -> np.ndarray:
        """Which bucket moments lie in; those outside lie in none (-1)."""
        found = np.floor((np.asarray(at, float) - self.start) / self.step)
        return np.where((found >= 0) & (found < self.points), found, -1).astype(np.int64)


def lanes(stored: Stored) -> dict[str, Any]:
    """All that the timeline shows, as JSON has it; without anything recorded an empty one."""
    with np.errstate(all="ignore"):  # of rows that are damaged
        return _lanes(stored)


def _lanes(stored: Stored) -> dict[str, Any]:
    history = stored.history
    whole = _whole(history)
    if whole is None:
        return {
            "start": 0,
            "end": 0,
            "step": 1,
            "scale": 1,
            "x": [],
            "charts": [],
            "rows": [],
            "faults": [],
            "phases": [],
        }
    step = next((s for s in STEPS_S if whole.length / s <= POINTS), whole.length / POINTS)
    grid = Grid(whole.start, step, math.ceil(whole.length / step) + 1)
    since = lambda at: round(at - whole.start, 3)  # noqa: E731
    return {
        "start": whole.start,
        "end": since(whole.end),
        "step": step,
        "scale": history.setting("time_scale", 1.0),
        "x": [round((i + 0.5) * step, 3) for i in range(grid.points)],
        "phases": [{"name": n, "start": since(w.start), "end": since(w.end)} for n, w in phases(history).items()],
        "faults": [
            {
                "experiment": f.experiment, "kind": f.kind, "start": since(f.start), "sham": f.sham,
                "end": since(whole.end if f.end is None else f.end), "witnessed": f.witnessed,
            }
            for f in faults(history)
        ],
        "charts": [chart for chart in _charts(stored, grid) if chart["series"]],
        "rows": [row for row in _rows(stored, whole) if row["spans"] or row["marks"]],
    }  # fmt: skip


def phases(history: History) -> dict[str, Window]:
    """The phases that began; one that did not end lasts as long as there are events."""
    edges: dict[str, dict[str, float]] = {}
    for event in history.of("run", "phase"):
        edges.setdefault(str(event.detail.get("phase")), {})[str(event.detail.get("edge"))] = event.at
    last = history.events[-1].at if history.events else 0.0
    return {
        name: Window(of["begin"], max(of["begin"], of.get("end", last))) for name, of in edges.items() if "begin" in of
    }


def faults(history: History, experiment: str | None = None) -> list[Fault]:
    """The faults that were begun, in order of time."""
    about: dict[Any, list] = defaultdict(list)
    for event in history.of("fault"):
        if experiment in (None, event.detail.get("experiment")):
            about[event.detail.get("id")].append(event)
    found = []
    for events in about.values():
        start = next((e for e in events if e.detail.get("edge") == "start"), None)
        if start is None:
            continue
        stops = [e for e in events if e.detail.get("edge") == "stop"]
        ends = [e.at for e in stops if e.outcome == "ok"]
        seen = [e for e in events if e.detail.get("edge") == "witness"]
        problems = [str(e.detail.get("problem", "")) for e in (start, *stops)]
        found.append(
            Fault(
                str(start.detail.get("experiment", "")), start.name, start.at, min(ends, default=None),
                any(e.outcome == "ok" for e in seen), "; ".join(str(e.detail.get("evidence", "")) for e in seen),
                start.detail.get("params") or {}, str(next((e.detail.get("by", "") for e in stops), "")),
                "; ".join(filter(None, problems)), bool(start.detail.get("sham")),
            )
        )  # fmt: skip
    return sorted(found, key=lambda fault: fault.start)


def alert_of(stored: Mapping[str, Any]) -> Alert:
    """An alert as plan.yaml has it."""
    pairs = lambda of: tuple((str(k), str(v)) for k, v in of)  # noqa: E731
    return Alert(str(stored["name"]), pairs(stored.get("labels", ())), tuple(map(pairs, stored.get("others", ()))))


def _whole(history: History) -> Window | None:
    """From the first phase or request to the last thing that was recorded."""
    moments: list[float] = [edge for window in phases(history).values() for edge in window]
    for name in loads(history):
        for field in ("intended", "done"):
            values = history.rows[name][field]
            values = values[np.isfinite(values)]
            moments += [float(values.min()), float(values.max())] if len(values) else []
    if not moments:
        moments = [event.at for event in history.events]
    if not moments:
        return None
    moments += [n.at for n in history.notifications if n.at > min(moments)]
    return Window(min(moments), max(moments))


def _charts(stored: Stored, grid: Grid) -> Iterable[dict[str, Any]]:
    history = stored.history
    rows = {name: history.rows[name] for name in loads(history)}
    load = rows.get("load", next(iter(rows.values()), np.empty(0)))
    if len(load):
        place, good = grid.place(load["intended"]), load["outcome"] == Outcome.OK
        others = [grid.place(of["intended"]) for name, of in rows.items() if of is not load and len(of)]
        yield _chart("rate", "Requests", "/s", [
            _line("arrivals", "blue", _while_sent(place, _rate(place, grid))),
            _line("goodput", "green", _while_sent(place, _rate(place[good], grid)), fill=True),
            *([_line("other load", "grey", _rate(np.concatenate(others), grid))] if others else []),
        ])  # fmt: skip
        took = (load["done"] - load["intended"])[good] * 1000
        lines = zip(PERCENTILES, COLOURS.values(), _percentiles(place[good], took, grid), strict=True)
        bounds = {(c.get("percentile"), c.get("under_ms")) for c in stored.checks if c.get("check") == "latency"}
        yield _chart("latency", "Latency", "ms", [
            *(_line(f"p{p}", colour, values) for p, colour, values in lines),
            *(_bound(f"bound p{p:g}", ms, grid, COLOURS.get(p, "red")) for p, ms in sorted(_numbers(bounds))),
        ], log=True)  # fmt: skip
        kinds = [kind for kind in Outcome if kind is not Outcome.OK and np.any(load["outcome"] == kind)]
        colours = ("red", "orange", "purple", "blue", "teal", "grey")
        yield _chart("errors", "Not served", "/s", [
            _line(
                kind.name.lower().replace("_", " "), colour,
                _while_sent(place, _rate(place[load["outcome"] == kind], grid)), fill=i == 0,
            )
            for i, (kind, colour) in enumerate(zip(kinds, colours * 2, strict=False))
        ])  # fmt: skip
    gauges = [s for s in history.series if QUEUES.search(s.labels.get("__name__", ""))]
    gauges = [s for s in gauges if history.types.get(s.labels["__name__"], "gauge") == "gauge"]
    yield _chart("queue", "Queue", "", _summed(gauges, grid, np.fmax))
    yield _chart("memory", "Memory", "MB", _of_components(history, grid, "memory"))
    yield _chart("processors", "Processors", "cores", _of_components(history, grid, "cpu_s"))
    gpu = [s for s in history.series if GPU.search(s.labels.get("__name__", ""))]
    yield _chart("gpu", "GPU", "", _summed(gpu, grid, np.fmax))
    yield _chart("replicas", "Replicas", "", _replicas(history, grid))
    if len(load):
        sent = np.isfinite(load["sent"])
        lag = _percentiles(place[sent], ((load["sent"] - load["intended"]) * 1000)[sent], grid, (99,))[0]
        bound = next((c.get("lag_p99_ms") for c in stored.checks if c.get("check") == "recorded"), None)
        starved = [r for r in history.resources if r.others is not None]
        other = _last(grid, [r.at for r in starved], [100 * r.others for r in starved], np.fmax)
        lines = [_line("lag p99, ms", "blue", lag)]
        lines += [_bound("bound, ms", float(bound), grid)] if isinstance(bound, (int, float)) else []
        unsent = load["outcome"] == Outcome.UNSENT  # a request that met a closed port was never sent either
        lines += [_line("unsent, /s", "red", _rate(place[unsent], grid))] if unsent.any() else []
        lines += [_line("others' CPU, %", "grey", other)] if starved else []
        yield _chart("generator", "Generator", "", lines)


def _chart(name: str, title: str, unit: str, series: Sequence[Mapping[str, Any]], log: bool = False) -> dict[str, Any]:
    return {"id": name, "title": title, "unit": unit, "log": log, "series": list(series)}


def _line(name: str, colour: str, values: np.ndarray, fill: bool = False) -> dict[str, Any]:
    return {"name": name, "colour": colour, "fill": fill, "values": _plain(values)}


def _bound(name: str, at: float, grid: Grid, colour: str = "red") -> dict[str, Any]:
    return {"name": name, "colour": colour, "bound": at, "values": [at] * grid.points}


def _plain(values: np.ndarray) -> list[float | None]:
    """As JSON has them, to four digits."""
    return [None if not math.isfinite(v) else int(v) if v == int(v) else float(f"{v:.4g}") for v in values.tolist()]


def _numbers(pairs: Iterable[tuple[Any, Any]]) -> list[tuple[float, float]]:
    return [(a, b) for a, b in pairs if isinstance(a, (int, float)) and isinstance(b, (int, float))]


def _rate(place: np.ndarray, grid: Grid) -> np.ndarray:
    return np.bincount(place[place >= 0], minlength=grid.points)[: grid.points] / grid.step


def _while_sent(place: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values from the first request to the last: before and after them nothing was to be served."""
    kept = place[place >= 0]
    if len(kept):
        values[: kept.min()], values[kept.max() + 1 :] = np.nan, np.nan
    return values


def _percentiles(
    place: np.ndarray, values: np.ndarray, grid: Grid, wanted: Sequence[float] = PERCENTILES
) -> list[np.ndarray]:
    """The nearest-rank percentiles of each bucket; nan where it is empty."""
    kept = (place >= 0) & np.isfinite(values)
    place, values = place[kept], values[kept]
    order = np.lexsort((values, place))
    values, n = values[order], np.bincount(place, minlength=grid.points)[: grid.points]
    first = np.cumsum(n) - n
    found = []
    for p in wanted:
        at = first + np.maximum(0, np.ceil(p / 100 * n - 1e-9).astype(np.int64) - 1)
        known = values[np.minimum(at, len(values) - 1)] if len(values) else np.full(grid.points, np.nan)
        found.append(np.where(n > 0, known, np.nan))
    return found


def _last(grid: Grid, at: Sequence[float], value: Sequence[float], joined: np.ufunc) -> np.ndarray:
    """Samples on the grid, several of one bucket as one; carried over short gaps, for the grid may be finer."""
    found = np.full(grid.points, np.nan)
    place, values = grid.place(np.asarray(at, float)), np.asarray(value, float)
    kept = (place >= 0) & np.isfinite(values)
    joined.at(found, place[kept], values[kept])
    known = np.flatnonzero(np.isfinite(found))
    for a, b in pairwise(known):
        if 1 < b - a <= max(2, 2.5 / grid.step):
            found[a + 1 : b] = found[a]
    return found


def _summed(series: Sequence[Series], grid: Grid, joined: np.ufunc) -> list[dict[str, Any]]:
    """One line a metric, its series added up."""
    found: dict[str, np.ndarray] = {}
    for s in series:
        values, name = _last(grid, s.at, s.value, joined), s.labels["__name__"]
        both = found.get(name)
        sums = values if both is None else np.where(np.isnan(both), values, both + np.nan_to_num(values))
        found[name] = sums
    colours = ("blue", "orange", "purple", "green", "teal", "grey")
    return [_line(n, c, v) for (n, v), c in zip(sorted(found.items())[: len(colours)], colours, strict=False)]


def _of_components(history: History, grid: Grid, quantity: str) -> list[dict[str, Any]]:
    """Memory in MB, or processors used, of each component, those of the service first."""
    of: dict[str, list] = defaultdict(list)
    for one in history.resources:
        if getattr(one, quantity) is not None:
            of[one.component].append(one)
    found = []
    for component, some in sorted(of.items(), key=lambda item: (item[1][0].role != "replica", item[0])):
        if quantity == "memory":
            pairs = [(one.at, one.memory / 1e6) for one in some]
        else:
            both = [(a, b) for a, b in pairwise(some) if (a.pid, a.started) == (b.pid, b.started) and b.at > a.at]
            pairs = [(b.at, max(0.0, (b.cpu_s - a.cpu_s) / (b.at - a.at))) for a, b in both]
        if pairs:
            found.append((component, _last(grid, *zip(*pairs, strict=True), np.fmax)))
    colours = ("blue", "orange", "purple", "green", "teal", "grey")
    return [_line(name, colour, values) for (name, values), colour in zip(found, colours, strict=False)]


def _replicas(history: History, grid: Grid) -> list[dict[str, Any]]:
    """How many processes readiness has in traffic, and how many targets Prometheus found up."""
    found = []
    changes: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for event in history.of("probe", "traffic"):
        changes[str(event.detail.get("process"))].append((event.at, bool(event.detail.get("in_traffic"))))
    if changes:
        middle = grid.start + (np.arange(grid.points) + 0.5) * grid.step
        total = np.zeros(grid.points)
        for some in changes.values():
            at, state = np.array([c[0] for c in some]), np.array([0, *(c[1] for c in some)])
            total += state[np.searchsorted(at, middle, "right")]
        found.append(_line("in traffic", "green", total, fill=True))
    job = history.setting("job")
    up = [s for s in history.named("up") if job is None or s.labels.get("job") == job]
    found += [{**line, "name": "targets up", "colour": "blue"} for line in _summed(up, grid, np.fmin)]
    return found


def _rows(stored: Stored, whole: Window) -> Iterable[dict[str, Any]]:
    """The lanes of spans and marks: faults, alerts, probes, restarts, generators."""
    history = stored.history
    since = lambda at: round(min(max(at, whole.start), whole.end) - whole.start, 3)  # noqa: E731
    spans = []
    for f in faults(history):
        state = "sham" if f.sham else "fault" if f.witnessed else "unseen"
        about = f"{f.experiment}: {f.kind}" + ("" if f.witnessed else ", which no witness saw")
        spans.append([since(f.start), since(whole.end if f.end is None else f.end), state, about])
    yield {"group": "Faults", "name": "faults", "spans": spans, "marks": []}
    yield from _alert_rows(stored, since)
    answers: dict[tuple[str, str], list] = defaultdict(list)
    for answer in history.probes:
        answers[answer.component, answer.probe].append(answer)
    for (component, probe), some in sorted(answers.items()):
        marks = [
            [since(p.at), p.decision, f"{p.decision}: {p.reason}" if p.reason else p.decision]
            for p in some
            if p.decision
        ]
        row = {"group": "Probes", "name": f"{component} {probe}", "spans": _answers(some, since), "marks": marks}
        yield row
    restarts: dict[str, list] = defaultdict(list)
    for source in ("stack", "probe"):
        for name, what in RESTARTS.items():
            for e in history.of(source, name):
                why = f" ({e.detail['cause']})" if e.detail.get("cause") else ""
                restarts[_of(e.detail)].append([since(e.at), "restart", f"{_of(e.detail)} {what}{why}"])
    for component, marks in sorted(restarts.items()):
        yield {"group": "Restarts", "name": component, "spans": [], "marks": sorted(marks)[:SPANS_AT_MOST]}
    yield from _generators(history, whole, since)


def _generators(history: History, whole: Window, since: Any) -> Iterable[dict[str, Any]]:
    """A lane for each generator: when it sent, and whether it sent all that was due."""
    begun: dict[str, float] = {}
    spans: dict[str, list] = defaultdict(list)
    for e in history.of("load"):
        name = str(e.detail.get("generator", ""))
        if e.name == "started":
            begun[name] = e.at
        elif e.name == "finished" and name in begun:
            unsent = e.detail.get("unsent") or 0
            about = f"{name}: {e.detail.get('rows', 0):,} requests, {unsent:,} not sent"
            spans[name].append([since(begun.pop(name)), since(e.at), "bad" if unsent else "ok", about])
    for name, at in begun.items():
        spans[name].append([since(at), since(whole.end), "unseen", f"{name}: did not finish"])
    for name, mine in sorted(spans.items(), key=lambda item: item[0] != "load"):
        yield {"group": "Generators", "name": name, "spans": mine[:SPANS_AT_MOST], "marks": []}


def _of(detail: Mapping[str, Any]) -> str:
    return str(detail.get("component") or detail.get("process") or "")


def _answers(some: Sequence[Any], since: Any) -> list[list[Any]]:
    """Answers to one probe as stretches of alike ones."""
    found: list[list[Any]] = []
    for answer, following in zip(some, [*some[1:], None], strict=True):
        end = answer.at + answer.took if following is None else min(following.at, answer.at + max(answer.took, 5.0))
        state = "ok" if answer.ok else "bad"
        if found and found[-1][2] == state and since(answer.at) - found[-1][1] < 0.002:
            found[-1][1] = since(end)
        else:
            found.append(
                [since(answer.at), since(end), state, answer.reason or ("answered" if answer.ok else "failed")]
            )
    return found[:SPANS_AT_MOST]


def _alert_rows(stored: Stored, since: Any) -> Iterable[dict[str, Any]]:
    """A lane for each alert that was not quiet, or that a contract expects, with what its contracts allow."""
    history = stored.history
    scale = history.setting("time_scale", 1.0) or 1.0
    begins = {name: min(f.start for f in mine) for name in phases(history) if (mine := faults(history, name))}
    rows: dict[str, dict[str, Any]] = {}

    def row(alert: str) -> dict[str, Any]:
        empty = {"group": "Alerts", "name": alert, "spans": [], "marks": [], "bounds": []}
        return rows.setdefault(alert, empty)

    for state in ("pending", "firing"):
        for labels, span in history.alert_spans(state=state):
            about = ", ".join(f"{k}={v}" for k, v in sorted(labels.items()) if k not in HIDDEN_LABELS)
            mine = row(str(labels.get(NAME)))["spans"]
            if len(mine) < SPANS_AT_MOST:
                mine.append([since(span.start), since(span.end), state, f"{state} {about}".strip()])
    for n in history.notifications:
        for name in dict.fromkeys(n.alerts):
            mark = [since(n.at), "notified" if n.status == "firing" else "resolved", f"{n.receiver}: {n.status}"]
            mine = row(name)["marks"]
            if len(mine) < SPANS_AT_MOST:
                mine.append(mark)
    for check in stored.checks:
        key = {"alert_fires": "fires_within_s", "alert_delivered": "notified_within_s"}.get(str(check.get("check")))
        start, within = begins.get(str(check.get("experiment"))), check.get(key) if key else None
        if (
            start is None
            or "alert" not in check
            or not isinstance(within, (int, float))
            or check.get("held_s")
            or check.get("posted")
        ):
            continue
        what = "must fire" if key == "fires_within_s" else f"{check.get('receiver')} must be notified"
        said = f"{check['experiment']}: {what} by here"
        row(str(check["alert"]["name"]))["bounds"].append([since(start), since(start + within / scale), said])
    severities = {str(r["alert"]["name"]): str(r.get("severity", "")) for r in stored.rules}
    for name, one in sorted(rows.items(), key=lambda item: (_first(item[1]), item[0])):
        yield {**one, "severity": severities.get(name, "")}


HIDDEN_LABELS = {NAME, "__name__", "alertstate", "job", "service", "severity"}


def _first(row: Mapping[str, Any]) -> float:
    bounds = [b[0] for b in row["bounds"]]
    return min(bounds or [s[0] for s in row["spans"]] or [m[0] for m in row["marks"]], default=0.0)
