"""The recorded run, read back: every judgement is a pure function of it.

A run's folder holds it as files (one writer each, so that a killed run stays readable). Of a run that came to its end
each is there and whole; of any other, what was being written last may be cut short, and nothing else may be:

    events.jsonl          Event, one JSON list a line
    requests-NAME.rows    ROW, one fixed-width record a request, one file a generator (.bin: ROW_1)
    probes.jsonl          ProbeAnswer, every raw answer the probe emulator got
    notifications.jsonl   Notification, everything the receivers were sent
    resources.jsonl       Resources, what the processes of each component took of the machine, twice a second
    samples.jsonl.gz      Series, what Prometheus stored
    types.json            the types of the metrics that the service declares
    replays.json          Replay, what the unmodified rules make of the recorded faults
    journals/NAME.json    Chaos Toolkit journals
    baseline.json         Baseline, the earlier runs that this one is compared with
    signals/              Signal, what the service itself recorded of its requests (signals.py)
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from harness import signals
from harness.alert import NAME, Alert
from harness.errors import EvidenceError
from harness.eventlog import Event
from harness.recordfile import LATEST, document, record, records, regular


class Outcome(IntEnum):
    """How a request ended, as its client saw it."""

    OK = 0  # a complete response that serves: a 2xx or a status that the request expects, with a class where it is due
    REFUSED_BY_SERVICE = 1  # a complete answer, status 400 or above
    TIMEOUT = 2  # no complete answer within the client's patience
    CONNECT_FAILED = 3
    BROKEN = 4  # the connection ended or was reset before the answer was complete
    GARBAGE = 5  # what came back is not HTTP
    UNSENT = 6  # its time came and it could not be sent: the generator's failure, never the service's
    ABANDONED = 7  # the client went away itself, as it was meant to: no verdict on anybody
    UNEXPECTED_STATUS = 8  # a complete answer, status below 500, but none of those that the request says it may get
    UNSERVED = 9  # a complete answer that serves nobody: a redirect, or no readable class for an input of a known class
    NOT_READ = 10  # a complete answer of which the generator cannot say whether it serves: cut by it, or not decoded


BASELINE, BASELINE_VERSION = "baseline.json", 1
HELD = "held.json"  # what rules make of faults that are held
OF_EVERY_RUN = (  # the files that each run that came to its end has
    "plan.yaml",
    "environment.json",
    "requests-load.rows",
    "probes.jsonl",
    "notifications.jsonl",
    "samples.jsonl.gz",
    "types.json",
    "replays.json",
)
WHOLE = (Outcome.OK, Outcome.REFUSED_BY_SERVICE, Outcome.UNEXPECTED_STATUS)  # a complete answer came
SLOW_CLIENT = 1 << 15  # in the step of a row: its client is slow or aborts, so how long it took is its own doing
GOLDEN = "golden"  # the generator of what is asked alone, before the load: each input, by which its other answers go
EXPECTS_STATUS = 1 << 14  # in the step of a row: its request states which statuses it expects


ROW_1 = np.dtype(  # of the first version: of a run before it was recorded which picture was asked about
    [
        ("seq", "<u4"),  # position in the schedule, from 0; all requests of one visit share it
        ("step", "<u2"),  # which of the scenario's requests it is, from 0; SLOW_CLIENT and EXPECTS_STATUS may be added
        ("status", "<u2"),  # HTTP status, 0 when there was none
        ("outcome", "u1"),  # Outcome
        ("expected", "i1"),  # class the input was made with, -1 unknown
        ("predicted", "i1"),  # class the service answered, -1 none
        ("turn", "u1"),  # place within its visit: 0 came by the schedule, the later ones followed an answer
        ("bytes_out", "<u4"),
        ("bytes_in", "<u4"),
        ("intended", "<f8"),  # Unix seconds: when the schedule wanted it sent
        ("sent", "<f8"),  # when it was handed to a connection; nan when it never was
        ("first_byte", "<f8"),  # nan when none came
        ("done", "<f8"),  # when its outcome was known
        ("request_id", "S32"),
    ]
)
ROW = np.dtype(
    [
        *((name, ROW_1[name]) for name in ROW_1.names),
        ("probability", "<f4"),  # that the service gave with the class, nan without one; no number: inf
        ("picture", "<u8"),  # which input it was asked about, the same number in every run; 0 where nobody said
    ]
)


class ProbeAnswer(NamedTuple):
    """One answer to one kubelet probe, and what the kubelet made of it."""

    at: float
    probe: Literal["startup", "liveness", "readiness"]
    ok: bool
    status: int  # HTTP status, 0 when there was no answer
    took: float  # seconds
    reason: str = ""
    decision: Literal["", "started", "restart", "ready", "unready"] = ""  # where this answer changed something
    component: str = "server"


class Notification(NamedTuple):
    """One message a receiver got."""

    at: float
    receiver: str  # the receiver's name in the Alertmanager configuration
    integration: str  # "pagerduty" | "slack" | "email" | "webhook"
    status: Literal["firing", "resolved"]
    alerts: tuple[str, ...]  # names of the alerts it is about
    problems: tuple[str, ...] = ()  # why the real service behind this receiver would not have taken it
    text: str = ""
    labels: tuple[Mapping[str, str], ...] = ()  # all labels of each of the alerts, in their order; (): not known

    def about(self, alert: Alert) -> bool:
        """Whether it is about an alert of this rule; by its name alone where the labels are not known."""
        return any(map(alert.owns, self.labels)) if self.labels else alert.name in self.alerts


def left_firing(messages: Iterable[Notification], alert: Alert, group_by: Sequence[str] | None) -> Iterator[bool]:
    """After each message to one integration, in order, whether it leaves any alert of a rule firing.

    `group_by`: the labels by which Alertmanager groups them, ("...",) for all; None: not known, then they are one
    group. A message names all that fires in its group, but for what is inhibited by then; one that names only what is
    over ends the group.
    """
    firing: dict[tuple[str, ...], set[frozenset]] = {}  # of each group
    said: dict[tuple[str, ...], float] = {}  # when a group was last said to be firing
    for n in messages:
        mine = [labels for labels in n.labels if alert.owns(labels)] or [{}]
        groups: dict[tuple[str, ...], set[frozenset]] = {}
        for labels in mine:
            names = sorted(labels) if group_by == ("...",) else group_by or ()
            groups.setdefault(tuple(labels.get(name, "") for name in names), set()).add(frozenset(labels.items()))
        if mine == [{}]:  # without its labels nobody knows of which group it is
            groups = {group: set() for group in firing} if n.status == "resolved" else {(): {frozenset()}}
        for group, instances in groups.items():
            if n.status == "firing":
                firing[group], said[group] = instances, n.at
            elif said.get(group) == n.at:
                firing[group] -= instances
            else:
                firing.pop(group, None)
                firing.pop((), None)  # said without its labels
        yield any(firing.values())


class Series(NamedTuple):
    """The raw samples of one series, as scraped."""

    labels: Mapping[str, str]  # with __name__
    at: Sequence[float]
    value: Sequence[float]


class Replay(NamedTuple):
    """What an unmodified rule makes of a recorded fault, in production seconds after the fault began; None: never."""

    pending_s: float | None
    firing_s: float | None
    last_firing_s: float | None
    ended_s: float | None  # where the record ends
    fault_end_s: float | None  # when the fault's effect ended
    fired_before: bool = False  # it was already firing in the baseline
    blind: Sequence[str] = ()  # metrics it reads that have no sample in the record: it could not fire whatever happened
    pending_before: bool = False  # it was already pending when the fault began, so it may fire sooner than it should
    sure_s: float | None = None  # when it fires at least its `for` after the fault began, whatever came before
    problem: str = ""  # why there is no answer, a sentence without its end; then nothing else is known
    reads: Sequence[str] = ()  # the metrics that its rule reads, also through recordings
    added_s: float = 0.0  # for how much longer than it was recorded the fault was held
    held: str = ""  # what that assumes of it, after "held for 6 h"
    labels: Sequence[Mapping[str, str]] = ()  # of each of its instances that fires first
    inhibitors: Sequence[Mapping[str, Any]] = ()  # alerts that fire meanwhile and may inhibit it: alert, labels, times


class Resources(NamedTuple):
    """What the processes of one component took of the machine at a moment, as the kernel counts it (proc(5)).

    None: the kernel does not say, for the processes are another user's, say. A component that had no process at a
    moment has no record of it.
    """

    at: float
    component: str
    role: Literal["replica", "dependency"]
    pid: int  # of its main process; with `started` another one after each restart
    started: int  # clock ticks since boot
    processes: int
    memory: int | None  # bytes that are theirs alone to give back: RssAnon + RssShmem + VmSwap
    descriptors: int | None  # open ones, those of sockets among them
    sockets: int | None
    threads: int
    cpu_s: float  # of processors used since each began, with what those that they waited for had used
    disk: int | None  # bytes of its own folder in {state}, and of its log
    others: float | None = None  # share of all processors that what is not of the run had since the sample before
    idle: float | None = None  # and that nobody had


class PastRun(NamedTuple):
    """What is kept of a run for those that come after it (checks/figures.py)."""

    id: str  # the name of its folder
    started: float  # Unix seconds
    figures: Mapping[str, Mapping[str, float]]  # phase -> name of a figure -> its value
    alerts: Mapping[str, Mapping[str, Mapping[str, Any]]]  # phase -> alert -> what became of it
    metrics: Mapping[str, Sequence[str]]  # name of a metric -> names of its labels


class Baseline(NamedTuple):
    """The earlier passing runs of the same plan on the same kind of machine, as they were known when a run ended."""

    runs: Sequence[PastRun] = ()  # the latest last
    problem: str = ""  # why they could not be read, a sentence without its end


class Window(NamedTuple):
    """A stretch of the run, in Unix seconds."""

    start: float
    end: float

    @property
    def length(self) -> float:
        return self.end - self.start


@dataclass(frozen=True)
class History:
    """Everything that was recorded of one run. Tests make one by hand; `read` makes one of a run's folder."""

    events: Sequence[Event] = ()
    rows: Mapping[str, np.ndarray] = field(default_factory=dict)
    probes: Sequence[ProbeAnswer] = ()
    notifications: Sequence[Notification] = ()
    series: Sequence[Series] = ()
    resources: Sequence[Resources] = ()
    journals: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    replays: Mapping[str, Mapping[str, Replay]] = field(default_factory=dict)  # experiment -> alert -> Replay
    held: Mapping[str, Mapping[str, Replay]] = field(default_factory=dict)  # the same, of a fault that was held
    types: Mapping[str, str] = field(default_factory=dict)  # metric -> its type, also of one that has no series yet
    ended: bool = True  # the run came to its end: nothing was cut off
    baseline: Baseline | None = None  # None: the run looked for none
    signals: Mapping[str, signals.Signal] = field(default_factory=dict)  # log, audit, record, span

    def of(self, source: str, name: str | None = None, within: Window | None = None) -> list[Event]:
        """The events of one source, optionally of one name and within a window, in order of time."""
        return [
            e
            for e in self.events
            if e.source == source
            and (name is None or e.name == name)
            and (within is None or within.start <= e.at <= within.end)
        ]

    def setting(self, key: str, default: Any = None) -> Any:
        """What the run was started with: time_scale, scrape_s, evaluation_s, ..."""
        for event in self.of("run", "started"):
            if key in event.detail:
                return event.detail[key]
        return default

    def phase(self, name: str) -> Window | None:
        """When a phase (the steady load, or an experiment by its name) began and ended, the last time where it was
        repeated; None if it did not do both."""
        edges = {e.detail.get("edge"): e.at for e in self.of("run", "phase") if e.detail.get("phase") == name}
        both = {"begin", "end"} <= edges.keys() and edges["begin"] <= edges["end"]
        return Window(edges["begin"], edges["end"]) if both else None

    def requests(self, window: Window | None = None, generator: str = "load") -> np.ndarray:
        """The rows of one generator whose intended time lies in the window, in order of intended time."""
        rows = self.rows.get(generator)
        if rows is None:
            return np.empty(0, ROW)
        if window is not None:
            rows = rows[(rows["intended"] >= window.start) & (rows["intended"] < window.end)]
        return rows[np.argsort(rows["intended"], kind="stable")]

    def named(self, name: str, **labels: str) -> list[Series]:
        """The series of one metric whose labels include the given ones."""
        return [
            s
            for s in self.series
            if s.labels.get("__name__") == name and all(s.labels.get(k) == v for k, v in labels.items())
        ]

    def alert_spans(
        self, alert: Alert | str | None = None, state: str = "firing"
    ) -> list[tuple[Mapping[str, str], Window]]:
        """When each alert was in a state, from the ALERTS series: (labels, window) in order of time.

        alert: of one rule, or of all rules of a name.

        Samples further apart than three evaluations are two spans.
        """
        apart = 3 * self.setting("evaluation_s", 15.0)
        spans = []
        for s in self.named("ALERTS", alertstate=state):
            if not (alert.owns(s.labels) if isinstance(alert, Alert) else alert in (None, s.labels.get(NAME))):
                continue
            start = None
            for i, at in enumerate(s.at):
                start = at if start is None else start
                if i + 1 == len(s.at) or s.at[i + 1] - at > apart:
                    spans.append((s.labels, Window(start, at)))
                    start = None
        return sorted(spans, key=lambda span: span[1])

    @classmethod
    def read(cls, folder: Path) -> History:
        """The history in a run's folder; of a run that did not come to its end, as far as it was written. Raises
        EvidenceError with the file, and its line, that is missing or damaged."""
        events = records(folder / "events.jsonl", Event, open_end=True)
        ended = _ended(events)
        # A stack that is still up goes on writing after an experiment that was run against it.
        open_end = not ended or (folder / "owner.json").exists()
        if not open_end:
            records(folder / "events.jsonl", Event)
            for name in OF_EVERY_RUN:
                older = folder / "requests-load.bin"
                regular(older if name == "requests-load.rows" and older.exists() else folder / name)
        resources = folder / "resources.jsonl"  # which older runs do not have
        journals, replays = sorted((folder / "journals").glob("*.json")), folder / "replays.json"
        return cls(
            events=sorted(events, key=lambda e: e.at),
            rows={p.stem.removeprefix("requests-"): read_rows(p, open_end) for p in rows_files(folder)},
            probes=records(folder / "probes.jsonl", ProbeAnswer, open_end),
            notifications=records(folder / "notifications.jsonl", Notification, open_end),
            series=records(folder / "samples.jsonl.gz", Series, open_end),
            resources=records(resources, Resources, open_end) if resources.exists() else (),
            journals={p.stem: document(p, Mapping[str, Any]) for p in journals},
            replays=read_replays(replays) if replays.exists() else {},
            held=read_replays(folder / HELD) if (folder / HELD).exists() else {},
            types={} if open_end else document(folder / "types.json", Mapping[str, str]),
            ended=ended,
            baseline=read_baseline(folder / BASELINE) if (folder / BASELINE).exists() else None,
            signals=signals.read(folder),
        )


def _ended(events: Sequence[Event]) -> bool:
    """Whether a run came to its end, and nothing of it began after that."""
    last = {event.name: i for i, event in enumerate(events) if event.source == "run"}
    return "ended" in last and last["ended"] > max(last.get("started", -1), last.get("phase", -1))


def read_replays(path: Path) -> dict[str, dict[str, Replay]]:
    stored = document(path, Mapping[str, Mapping[str, Sequence[Any]]])
    return {
        experiment: {alert: record(values, Replay, f"{path}: {experiment}: {alert}") for alert, values in of_it.items()}
        for experiment, of_it in stored.items()
    }


def read_baseline(path: Path) -> Baseline:
    stored = document(path, Mapping[str, Any])
    if stored.get("version") != BASELINE_VERSION or not isinstance(stored.get("runs"), list):
        raise EvidenceError(f"{path}: does not hold what this harness writes there")
    runs = [record(values, PastRun, f"{path}: run {n}") for n, values in enumerate(stored["runs"], 1)]
    return Baseline(tuple(runs), str(stored.get("problem", "")))


def rows_file(run: Path, generator: str = "load") -> Path:
    """Where the rows of a generator are written."""
    return run / f"requests-{generator}.rows"


def rows_files(run: Path) -> list[Path]:
    """The files of rows in a run's folder, of any version."""
    return sorted([*run.glob("requests-*.rows"), *run.glob("requests-*.bin")])


def read_rows(path: Path, open_end: bool = True) -> np.ndarray:
    """The rows of one file, whatever its version. Raises EvidenceError. open_end: its writer may be at work or may have
    been killed, so that there may be no such file, and its last row may be cut short (it is left out)."""
    if open_end and not path.exists():
        return np.empty(0, ROW)
    stored = _stored_as(path)
    whole, rest = divmod(regular(path), stored.itemsize)
    rows = _as_now(np.fromfile(path, stored, count=whole) if whole else np.empty(0, stored))
    if open_end:
        return rows
    if rest:
        raise EvidenceError(f"{path}: is cut short after row {whole}")
    if (wrong := np.flatnonzero((rows["outcome"] > max(Outcome)) | ~(np.abs(rows["intended"]) <= LATEST))).size:
        raise EvidenceError(f"{path}: is damaged: row {wrong[0] + 1} is none that a generator writes")
    return rows


def rows_in(paths: Iterable[Path], at_once: int = 1 << 19) -> Iterator[np.ndarray]:
    """The rows of several files, some at a time: for more of them than memory holds."""
    for path in paths:
        stored = _stored_as(path)
        with open(path, "rb") as file:
            while len(rows := np.fromfile(file, stored, at_once)):
                yield _as_now(rows)


def _stored_as(path: Path) -> np.dtype:
    return ROW_1 if path.suffix == ".bin" else ROW


def _as_now(rows: np.ndarray) -> np.ndarray:
    """Rows of any version as the present one has them."""
    if rows.dtype == ROW:
        return rows
    now = np.zeros(len(rows), ROW)
    for name in ROW_1.names:
        now[name] = rows[name]
    now["probability"] = np.nan
    return now


def write_series(path: Path, series: Iterable[Series]) -> None:
    """Store series as gzipped JSON lines."""
    with gzip.open(path, "wt", compresslevel=4) as out:
        for s in series:
            out.write(json.dumps([dict(s.labels), list(s.at), list(s.value)], separators=(",", ":")) + "\n")
