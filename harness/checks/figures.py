"""What later runs compare a run by: its figures, its alerts and its metrics.

Figures say how fast it was, how many requests failed, what it took of processor and memory, and how soon faults were
detected and over; alerts, which of them fired and whom they reached. Each is a pure function of the recorded run. What
the record does not hold is left out.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.alert import NAME, Alert, alerts, selector
from harness.checks.check import NoEvidence
from harness.checks.clients import outage
from harness.checks.effect import effect
from harness.checks.evidence import sent, spent
from harness.checks.latency import milliseconds
from harness.checks.view import STEADY
from harness.history import SLOW_CLIENT, History, Outcome, PastRun, Resources, Window
from harness.stats import nearest_rank
from harness.units import duration, percent

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9, "longest": 100.0}
PACE = "pace"  # milliseconds of processor that the generator, the same in every run, spent on each request
OTHERS = "others"  # share of all processors that processes which are not of the run, and the host, had
REQUESTS = "requests"  # these three are about the machine and the load, and compared with nothing


@dataclass(frozen=True)
class Kind:
    """How a figure is compared: on the scale of its logarithm, or of the arcsine of its root where it is a share."""

    words: str
    unit: str  # "ms", "s", "share", "/s" or "MB"
    worse_by: float  # a change that is smaller, as a share of the figure, does not matter
    floor: float  # and neither does one below this, in the unit
    higher_is_worse: bool = True
    timed: bool = True  # it depends on how fast the machine is
    paced: bool = False  # and follows the generator's pace from run to run

    def scaled(self, value: float) -> float:
        """The value on the scale on which its noise is the same for small and large values."""
        if self.unit == "share":  # variance-stabilizing: Anscombe, Biometrika 35 (1948)
            return math.asin(math.sqrt(min(max(value, 0.0), 1.0)))
        return math.log(max(value, self.floor / 10))

    def unscaled(self, scaled: float) -> float:
        """The inverse."""
        if self.unit == "share":
            return math.sin(min(max(scaled, 0.0), math.pi / 2)) ** 2
        return 0.0 if scaled <= math.log(self.floor / 10) + 1e-9 else math.exp(min(scaled, 700.0))

    def text(self, value: float) -> str:
        """The value as a reader sees it."""
        if self.unit == "share":
            return percent(value)
        if not math.isfinite(value):
            return "no answer"
        if self.unit == "s" or (self.unit == "ms" and value >= 1000):
            return duration(value / 1000 if self.unit == "ms" else value)
        return f"{value:.4g}{self.unit}" if self.unit == "/s" else f"{value:.3g} {self.unit}"


KINDS = {
    "latency p50": Kind("latency p50", "ms", 0.05, 0.2, paced=True),
    "latency p90": Kind("latency p90", "ms", 0.15, 0.5, paced=True),
    "latency p95": Kind("latency p95", "ms", 0.15, 0.5, paced=True),
    "latency p99": Kind("latency p99", "ms", 0.20, 2.0, paced=True),
    "latency p99.9": Kind("latency p99.9", "ms", 0.30, 20.0, paced=True),
    "latency longest": Kind("longest latency", "ms", 0.50, 100.0, paced=True),
    "errors": Kind("failed requests", "share", 0.05, 0.001, timed=False),
    "goodput": Kind("goodput", "/s", 0.05, 0.1, higher_is_worse=False),
    "capacity": Kind(
        "capacity", "/s", 0.05, 1.0, higher_is_worse=False
    ),  # of `harness capacity`, which records a run of its own
    "processor": Kind("processor time of a request", "ms", 0.10, 0.05, paced=True),
    "memory": Kind("most resident memory", "MB", 0.05, 10.0, timed=False),
    "experiment errors": Kind("failed requests", "share", 0.20, 0.02),
    "served again": Kind("served again after", "s", 0.30, 1.0),
    "fires": Kind("fires after", "s", 0.50, 30.0),
    "notified": Kind("notified after", "s", 0.50, 60.0),
}


def kind_of(phase: str, name: str) -> Kind:
    """How a figure of a phase is compared; "fires ServiceDown" is of the kind "fires"."""
    if phase != STEADY and name == "errors":
        return KINDS["experiment errors"]
    return KINDS.get(name) or KINDS[name.partition(" ")[0]]


def is_compared(name: str) -> bool:
    """Whether a name is one of a figure that is compared; a history may hold those of another version."""
    return name in KINDS or name.partition(" ")[0] in KINDS


def figures(history: History, id: str = "") -> PastRun:
    """All that is kept of a run."""
    phases = dict.fromkeys(e.detail.get("phase") for e in history.of("run", "phase"))
    started = next((e.at for e in history.of("run", "started")), 0.0)
    return PastRun(
        id,
        started,
        {name: figures_of(history, name) for name in phases},
        {name: _heard(alerts_of(history, name)) for name in phases},
        metrics(history),
    )


def figures_of(history: History, phase: str, generator: str = "load") -> dict[str, float]:
    """The figures of one phase by their names, those of KINDS and the three beside."""
    window = history.phase(phase)
    if window is None:
        return {}
    try:
        rows = sent(history, window, generator)
    except NoEvidence:
        return {}
    found = _latency(rows) if phase == STEADY else {}
    found |= _errors(rows) | _machine(history, phase, window, len(rows), generator)
    if phase == STEADY:
        found |= {"goodput": np.count_nonzero(rows["outcome"] == Outcome.OK) / window.length} if window.length else {}
        found |= _resources(history, window, len(rows))
    else:
        found |= _recovery(history, phase, window, rows) | _detection(history, phase)
    return {name: float(value) for name, value in found.items() if value is not None}


def _latency(rows: np.ndarray) -> dict[str, float]:
    took = milliseconds(rows[(rows["step"] & SLOW_CLIENT) == 0])
    return {f"latency {name}": nearest_rank(took, p) for name, p in PERCENTILES.items()} if len(took) else {}


def _errors(rows: np.ndarray) -> dict[str, float]:
    return {"errors": float(np.mean(rows["outcome"] != Outcome.OK)), REQUESTS: len(rows)} if len(rows) else {}


def _machine(history: History, phase: str, window: Window, requests: int, generator: str) -> dict[str, float]:
    """How fast the machine was in a phase, by what its generator spent on each request, and who else used it."""
    found = {}
    spans = [
        span
        for e in history.of("load", "finished")
        if e.detail.get("generator") == generator
        for span in e.detail.get("cpu") or ()
    ]
    seconds = sum(span[2] for span in spans if len(span) > 2 and window.start <= span[0] <= window.end)
    if seconds > 0 and requests:
        found[PACE] = 1000 * seconds / requests
    if "own" in (used := spent(history, phase)):
        found[OTHERS] = (max(0, used["busy"] - used["own"]) + used.get("stolen", 0)) / used["all"]
    return found


def _resources(history: History, window: Window, requests: int) -> dict[str, float]:
    """What the service used, as the kernel counted it, else by what its processes expose; of all replicas together."""
    lives: dict[tuple[str, int, int], list[Resources]] = {}
    for one in history.resources:
        if one.role == "replica" and window.start <= one.at <= window.end:
            lives.setdefault((one.component, one.pid, one.started), []).append(one)
    if lives and requests:
        held = [[one.memory for one in life if one.memory is not None] for life in lives.values()]
        found = {"processor": 1000 * sum(life[-1].cpu_s - life[0].cpu_s for life in lives.values()) / requests}
        return found | ({"memory": sum(map(max, held)) / 1e6} if all(held) else {})
    job = history.setting("job")
    of_job = {"job": job} if job else {}
    found = {}
    grown = [_growth(*_within(s, window)) for s in history.named("process_cpu_seconds_total", **of_job)]
    if grown and requests:
        found["processor"] = 1000 * sum(grown) / requests
    resident = [_within(s, window)[1] for s in history.named("process_resident_memory_bytes", **of_job)]
    if any(map(len, resident)):
        found["memory"] = sum(max(values) for values in resident if len(values)) / 1e6
    return found


def _within(series: Any, window: Window) -> tuple[np.ndarray, np.ndarray]:
    at, value = np.asarray(series.at, float), np.asarray(series.value, float)
    inside = (at >= window.start) & (at <= window.end)
    return at[inside], value[inside]


def _growth(at: np.ndarray, value: np.ndarray) -> float:
    """What a counter counted, from 0 again after each reset."""
    steps = np.diff(value)
    return float(np.where(steps < 0, value[1:], steps).sum())


def _recovery(history: History, phase: str, window: Window, rows: np.ndarray) -> dict[str, float | None]:
    """How long after the fault the clients were served again; 0 where there was no outage."""
    moments = effect(history, phase)
    if moments is None or moments.over is None:
        return {}
    try:
        good = rows["outcome"] == Outcome.OK
        last = outage(rows["intended"], good, moments.start, moments.over, window.end)
    except NoEvidence:
        return {}
    if last is None:
        return {"served again": 0.0}
    return {"served again": None if last.ended is None else last.ended - moments.start}


def _detection(history: History, phase: str) -> dict[str, float]:
    """When each alert fired in the replay, and when anybody was first notified of it; production seconds."""
    moments = effect(history, phase)
    found = {}
    for alert, state in alerts_of(history, phase).items() if moments else ():
        if state["replay"] == "fired" and not state.get("before"):
            found[f"fires {alert}"] = state["fires_s"]
        if state.get("notified_s") is not None and not state.get("before"):
            found[f"notified {alert}"] = state["notified_s"]
    return found


def alerts_of(history: History, phase: str) -> dict[str, dict[str, Any]]:
    """What became of each alert in a phase, by `str` of it. Times in production seconds.

    replay, live: "fired", "pending", "quiet" or, where nobody knows, "unknown"; fires_s, held_s and left_s: when it
    fired in the replay after the fault began, for how long, and how much of the record was left then; live_held_s: for
    how long it fired live; receivers: who was notified that it fires, and notified_s, when the first of them was.
    before: it fired already when the fault began.
    """
    window = history.phase(phase)
    if window is None:
        return {}
    scale, replays = history.setting("time_scale", 1.0), history.replays.get(phase, {})
    moments = effect(history, phase) if phase != STEADY else None
    since = window.start if moments is None else moments.start
    fired, pending = _live(history, window, "firing"), _live(history, window, "pending")
    recorded = bool(history.named("ALERTS"))
    known = _alerts([*replays, *_unreplayed(replays, [labels for labels, _ in (*fired, *pending)])])
    found = {}
    for key, alert in known.items():
        one: dict[str, Any] = {"replay": "unknown", "live": "unknown"}
        if (replay := replays.get(key)) is not None and not replay.problem:
            one["replay"] = "quiet"
            if replay.firing_s is not None or replay.fired_before:
                begun = replay.firing_s or 0.0
                one |= {"replay": "fired", "fires_s": begun, "before": replay.fired_before}
                one["held_s"] = max(0.0, (replay.last_firing_s or begun) - begun)
                one["left_s"] = max(0.0, (replay.ended_s or begun) - begun)
            elif replay.pending_s is not None:
                one["replay"] = "pending"
        if recorded:
            mine = [span for labels, span in fired if alert.owns(labels)]
            one["live"] = "fired" if mine else "quiet"
            if mine:
                one["live_held_s"] = scale * max(s.end - s.start for s in mine)
            elif any(alert.owns(labels) for labels, _ in pending):
                one["live"] = "pending"
        notified = [n for n in history.notifications if n.status == "firing" and n.at >= since and n.about(alert)]
        notified = [n for n in notified if n.at <= window.end]
        one["receivers"] = sorted({n.receiver for n in notified})
        one["notified_s"] = scale * (min(n.at for n in notified) - since) if notified else None
        found[key] = one
    return found


def _heard(found: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Those of the alerts that were not quiet."""
    return {key: one for key, one in found.items() if {one["replay"], one["live"]} & {"fired", "pending"}}


def _live(history: History, window: Window, state: str) -> list[tuple[Mapping[str, str], Window]]:
    """When each alert was in a state in a phase: (labels, what of it lies in the phase)."""
    return [
        (labels, Window(max(span.start, window.start), min(span.end, window.end)))
        for labels, span in history.alert_spans(state=state)
        if span.start <= window.end and span.end >= window.start
    ]


def _unreplayed(replays: Iterable[str], labels: Iterable[Mapping[str, str]]) -> list[str]:
    """The names of alerts that were seen live and have no replay."""
    names = {key.partition("{")[0] for key in replays}
    return list(dict.fromkeys(one[NAME] for one in labels if one.get(NAME) and one[NAME] not in names))


def _alerts(keys: Sequence[str]) -> dict[str, Alert]:
    """The alerts that keys of replays mean, by name and, where several share one, by labels."""
    pairs = []
    for key in keys:
        try:
            pairs.append(selector(key))
        except ValueError:
            pairs.append((key, {}))
    return dict(zip(keys, alerts(pairs), strict=True))


def metrics(history: History) -> dict[str, list[str]]:
    """The metrics that the service exposed by the names of their labels; a label that only some series have too."""
    job, found = history.setting("job"), defaultdict(set)
    for s in history.series:
        if s.labels.get("job") == job and s.labels.get("__name__") not in (None, "ALERTS", "ALERTS_FOR_STATE"):
            found[s.labels["__name__"]] |= s.labels.keys() - {"__name__"}
    return {name: sorted(labels) for name, labels in sorted(found.items())}
