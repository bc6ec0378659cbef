"""What a result rests on, as lines: each reference found again in the run's folder, times counted from its phase."""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from harness.alert import selector
from harness.errors import EvidenceError
from harness.history import EXPECTS_STATUS, History, Outcome, Resources, Series
from harness.recordfile import regular
from harness.report.summary import printable
from harness.units import count, duration
from harness.verdict import Reference

LINES_AT_MOST = 4  # of one log, of one request
SERIES_AT_MOST = 4
SAMPLES_AT_MOST = 8
AROUND_S = 0.5  # of a moment whose samples are shown
NEAR_S = 1e-5  # by which moments are the same: they were written and read as text
LONGEST = 400  # characters of a line that is quoted

Find = Callable[[str, str], list[str]]  # (kind, request id) -> what the run has of that request


class References:
    """The references of one stored run. `find` gives its log lines, audit records, database rows and spans."""

    def __init__(self, run: Path, history: History, find: Find):
        self.run, self.history, self.find = run, history, find
        self._windows = {
            name: window
            for name in dict.fromkeys(e.detail.get("phase") for e in history.of("run", "phase"))
            if (window := history.phase(name)) is not None
        }

    def lines(self, reference: Reference) -> list[str]:
        """What it refers to, a line or several; each printable, the first says what it is. Raises EvidenceError."""
        resolve: Mapping[str, Callable[[Reference], Iterator[str]]] = {
            "row": self._row,
            "sample": self._sample,
            "notification": self._notification,
            "event": self._event,
            "probe": self._probe,
        }
        found = list(resolve.get(reference.kind, self._of_request)(reference))
        nothing = [f"{reference.kind} {reference.key}{self._when(reference)}: not stored in this run"]
        return [_short(line) for line in found or nothing]

    def moment(self, at: float) -> str:
        """A moment as "steady +12.345 s": from the begin of the phase that it lies in; else in UTC."""
        for name, window in self._windows.items():
            if window.start <= at <= window.end:
                return f"{name} +{at - window.start:.3f} s"
        return _utc(at)

    def _when(self, reference: Reference) -> str:
        return "" if math.isnan(reference.at) else f" at {self.moment(reference.at)}"

    def _row(self, reference: Reference) -> Iterator[str]:
        """The row of one request, then what the service has of it."""
        for generator, rows in self.history.rows.items():
            mine = rows[rows["request_id"] == reference.key.encode()]
            if len(mine) > 1 and not math.isnan(reference.at):  # a client may use an id twice
                mine = mine[np.argsort(np.abs(mine["intended"] - reference.at), kind="stable")]
            for row in mine[:1]:
                yield self._as_text(row, generator)
                yield from (f"  {line}" for line in self._known_of(reference.key))
                return

    def _as_text(self, row: np.void, generator: str) -> str:
        outcome, status = int(row["outcome"]), int(row["status"])
        name = Outcome(outcome).name.lower().replace("_", " ") if outcome <= max(Outcome) else f"outcome {outcome}"
        step = row["step"] & (EXPECTS_STATUS - 1)
        said = [f"row {generator} {row['seq']}", self.moment(row["intended"]), f"step {step}"]
        said += [f"{name}, status {status}" if status else name, f"took {duration(row['done'] - row['intended'])}"]
        if math.isnan(row["sent"]):
            said.append("never sent")
        elif row["sent"] - row["intended"] >= 0.001:
            said.append(f"sent {duration(row['sent'] - row['intended'])} late")
        if not math.isnan(row["first_byte"]):
            said.append(f"first byte after {duration(row['first_byte'] - row['sent'])}")
        if row["expected"] >= 0 or row["predicted"] >= 0:
            wrong = " (wrong)" if 0 <= row["expected"] != row["predicted"] >= 0 else ""
            said.append(f"class {row['predicted']} of expected {row['expected']}{wrong}")
        if not math.isnan(row["probability"]):
            said.append(f"probability {row['probability']:.6g}")
        if row["picture"]:
            said.append(f"picture {row['picture']:016x}")
        said.append(f"{row['bytes_out']:,} bytes sent, {row['bytes_in']:,} received")
        return ", ".join([*said, f"id {row['request_id'].decode('ascii', 'replace') or 'none'}"])

    def _known_of(self, request_id: str) -> Iterator[str]:
        """What the run has of a request beside its row."""
        if not request_id:
            return
        lines = self.find("log", request_id)
        yield from (f"log: {_log_line(line, request_id)}" for line in lines[:LINES_AT_MOST])
        if not lines:
            yield from (f"{place}: {_log_line(line, request_id)}" for place, line in self._logged(request_id))
        for kind in ("audit", "record", "span"):
            yield from (f"{kind}: {line}" for line in self.find(kind, request_id)[: 2 * LINES_AT_MOST])

    def _logged(self, request_id: str) -> Iterator[tuple[str, str]]:
        """Lines of the run's logs that hold a request's id, each with its place."""
        for log in sorted((self.run / "logs").glob("*.log")):
            if regular(log) == 0:
                continue
            with open(log, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
                at, shown = text.find(request_id.encode()), 0
                while at >= 0 and shown < LINES_AT_MOST:
                    start, end = text.rfind(b"\n", 0, at) + 1, text.find(b"\n", at)
                    end = len(text) if end < 0 else end
                    yield f"logs/{log.name}", text[start : min(end, start + 20 * LONGEST)].decode(errors="replace")
                    at, shown = text.find(request_id.encode(), end), shown + 1

    def _of_request(self, reference: Reference) -> Iterator[str]:
        """Log lines, audit records, database rows and spans of a request."""
        lines = self.find(reference.kind, reference.key)
        for line in lines[: 2 * LINES_AT_MOST]:
            yield f"{reference.kind} {reference.key}: {_log_line(line, reference.key)}"
        if reference.kind == "log" and not lines:
            for place, line in self._logged(reference.key):
                yield f"{place}: {_log_line(line, reference.key)}"

    def _resources(self, reference: Reference, quantity: str, component: str) -> Iterator[str]:
        """What the kernel counted of a component's processes, at about ten moments."""
        mine = [one for one in self.history.resources if one.component == component and _same(one.at, reference)]
        if mine:
            yield f"{reference.key}: {count(len(mine), 'sample')}"
        step = max(1, (len(mine) - 1) // 9)
        for one in (*mine[:-1:step], *mine[-1:]):
            value = getattr(one, quantity)
            yield f"  {self.moment(one.at)}  {'not known' if value is None else format(value, ',')}"

    def _sample(self, reference: Reference) -> Iterator[str]:
        """The samples of the series, a line each series: those that are new values, and the first and last."""
        quantity, of, component = reference.key.partition(" of ")
        quantity = "sockets" if quantity == "connections" else quantity
        if of and quantity in Resources._fields:
            yield from self._resources(reference, quantity, component)
            return
        try:
            name, labels = selector(reference.key)
        except ValueError:
            return
        found = self.history.named(name, **labels)
        some = [(s, kept) for s in found if (kept := _within(s, reference))]
        for series, kept in some[:SERIES_AT_MOST]:
            yield f"sample {_series(series.labels)}: {count(len(kept), 'sample')}, {self._values(kept)}"
        if len(some) > SERIES_AT_MOST:
            yield f"  and {len(some) - SERIES_AT_MOST:,} more series of {name}"
        if not some:
            yield f"sample {reference.key}: none is stored{self._stretch(reference)}"

    def _values(self, samples: list[tuple[float, float]]) -> str:
        """Samples as "1 from steady +0.1 s to steady +9 s", or as a row of their moments and values."""
        (first, value), (last, _) = samples[0], samples[-1]
        if all(v == value for _, v in samples):
            until = f" to {self.moment(last)}" if last > first else ""
            return f"{value:.6g} from {self.moment(first)}{until}"
        rest = ", ".join(f"+{at - first:.3f} s: {v:.6g}" for at, v in _telling(samples))
        return f"from {self.moment(first)} on: {rest}"

    def _notification(self, reference: Reference) -> Iterator[str]:
        for n in self.history.notifications:
            if n.receiver == reference.key and _same(n.at, reference):
                by = f" by {n.integration}" if n.integration and n.integration != n.receiver else ""
                yield f"notification to {n.receiver}{by}, {self.moment(n.at)}: {n.status}: {', '.join(n.alerts)}"
                yield from (f"  problem: {problem}" for problem in n.problems)
                yield from (f"  {_series(labels)}" for labels in n.labels[:SERIES_AT_MOST])
                if n.text:
                    yield f"  {n.text}"
                return

    def _event(self, reference: Reference) -> Iterator[str]:
        source, _, name = reference.key.partition(" ")
        for e in self.history.of(source, name):
            if _same(e.at, reference):
                took = f", took {duration(e.took)}" if e.took is not None else ""
                said = {key: value for key, value in e.detail.items() if value not in ("", None)}
                about = ", ".join(f"{key} {_value(value)}" for key, value in said.items())
                outcome = "" if e.outcome == "ok" else f" {e.outcome}"
                yield f"event {source} {name}{outcome}, {self.moment(e.at)}{took}: {about}".rstrip(": ")

    def _probe(self, reference: Reference) -> Iterator[str]:
        component, _, which = reference.key.rpartition(" ")
        about = (component, which)
        mine = [p for p in self.history.probes if (p.component, p.probe) == about and _same(p.at, reference)]
        for p in mine[: 2 * SAMPLES_AT_MOST]:
            got = f"status {p.status}" if p.status else "yes" if p.ok else "no response"
            why = f" ({p.reason})" if p.reason else ""
            decided = f", so it was {p.decision}" if p.decision else ""
            yield f"probe {which} of {component}, {self.moment(p.at)}: {got} after {duration(p.took)}{why}{decided}"
        if len(mine) > 2 * SAMPLES_AT_MOST:
            yield f"  and {count(len(mine) - 2 * SAMPLES_AT_MOST, 'answer')} more"

    def _stretch(self, reference: Reference) -> str:
        if math.isnan(reference.at):
            return ""
        until = "" if math.isnan(reference.until) else f" to {self.moment(reference.until)}"
        return f" from {self.moment(reference.at)}{until}"


def _same(at: float, reference: Reference) -> bool:
    """Whether a moment is the one, or in the stretch, that a reference says."""
    if math.isnan(reference.at):
        return True
    until = reference.at if math.isnan(reference.until) else reference.until
    return reference.at - NEAR_S <= at <= until + NEAR_S


def _within(series: Series, reference: Reference) -> list[tuple[float, float]]:
    """The samples of a series in the stretch of a reference, or around its moment."""
    if math.isnan(reference.at):
        return list(zip(series.at, series.value, strict=True))
    until = reference.at if math.isnan(reference.until) else reference.until
    pad = AROUND_S if until - reference.at < NEAR_S else NEAR_S
    pairs = zip(series.at, series.value, strict=True)
    return [(at, value) for at, value in pairs if reference.at - pad <= at <= until + pad]


def _telling(samples: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The first and the last sample, and between them those at which the value changed most."""
    if len(samples) <= SAMPLES_AT_MOST:
        return samples
    steps = [abs(b[1] - a[1]) for a, b in pairwise(samples)]
    order = sorted(range(1, len(samples) - 1), key=lambda i: (-steps[i - 1] if math.isfinite(steps[i - 1]) else 0, i))
    return [samples[i] for i in sorted({0, len(samples) - 1, *order[: SAMPLES_AT_MOST - 2]})]


def _series(labels: Mapping[str, Any]) -> str:
    named = {name: str(value) for name, value in labels.items() if name != "__name__"}
    pairs = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in named.items())
    return f"{labels.get('__name__', '')}{{{pairs}}}"


def _log_line(text: str, request_id: str) -> str:
    """A line of a log; one of JSON by when it was written, its level and message, then all else that it says but the
    request's id."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if not isinstance(said, dict):
        return text
    first = [str(said.pop(key)) for key in ("timestamp", "level", "message") if said.get(key) is not None]
    inner = said.pop("context", None)
    said |= inner if isinstance(inner, dict) else {"context": inner}
    rest = {key: value for key, value in said.items() if value not in (None, "", request_id)}
    return " ".join([*first, *(f"{key}={_value(value)}" for key, value in rest.items())])


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _utc(at: float) -> str:
    try:
        return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S.%f}"[:-3] + " UTC"
    except (ValueError, OverflowError, OSError):
        raise EvidenceError(f"{at} is no moment that a run has") from None


def _short(line: str) -> str:
    """A line that a terminal shows as it is, and not too much of it; what it is indented by is kept."""
    indent = "  " if line.startswith("  ") else ""
    text = printable(line)
    return indent + (text if len(text) <= LONGEST else f"{text[: LONGEST - 4]} ...")
