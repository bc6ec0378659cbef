"""What the service's counters rose by from scrape to scrape, and what the rows say that they must have risen by.

A request is counted at some time between its sending and a little after its answer, and a scrape reads the counters at
some time between its start and its end. So of each pair of scrapes it is known how many requests a counter must have
counted between them, and how many it may have: they differ by what was in flight at the two. A process that ends takes
with it what it counted after its last scrape.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np

from harness.checks.evidence import restarts
from harness.history import ROW, History, Outcome, Series, Window

COUNTED_WITHIN_S = 0.05  # after the client had its answer
ENDS_WITHIN_S = 10.0  # after its client gave it up the service may still answer a request, and count that
OFTEN = 0.1  # of the scrapes: a start time that changes so often is none
ANSWERED = (Outcome.OK, Outcome.REFUSED_BY_SERVICE, Outcome.UNEXPECTED_STATUS, Outcome.UNSERVED)
START_TIME = "process_start_time_seconds"


class Target(NamedTuple):
    """The scrapes of one target that succeeded."""

    instance: str
    at: np.ndarray  # Unix seconds, in order
    took: np.ndarray  # seconds
    restarted: np.ndarray  # bool, one fewer: whether its process was another one at the next scrape
    known: bool  # whether it is known when its process was started


class Fall(NamedTuple):
    """A counter that fell although its process was the same."""

    instance: str
    at: float
    before: float
    after: float


@dataclass(frozen=True)
class Counted:
    """A counter, summed over the series and targets that it has; one value for each moment of the grid."""

    at: np.ndarray  # Unix seconds before which it was not read
    until: np.ndarray  # and after which not
    value: np.ndarray  # what it rose by since the first, whatever restarts there were
    loose: np.ndarray  # what it may have risen by beyond that in restarts that a fast rise hides
    ends: tuple[Window, ...] = ()  # from the last scrape of a process to the first of the next one
    falls: tuple[Fall, ...] = ()
    series: int = 0

    def within(self, window: Window) -> slice:
        """The moments that lie in a window."""
        return slice(*np.searchsorted(self.at, (window.start, window.end)).tolist())


class Span(NamedTuple):
    """When each of some requests was sent and ended at the latest, each in order of itself."""

    sent: np.ndarray
    done: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, after_s: float) -> Span:
        return cls(np.sort(rows["sent"]), np.sort(rows["done"] + after_s))


class Misfit(NamedTuple):
    """By how many a counter rose too little and too much, the worst pair of scrapes each; 0 where it fits."""

    too_few: int
    few_in: Window
    too_many: int
    many_in: Window

    @property
    def worst(self) -> tuple[int, Window]:
        """By how many it is off at most, below 0 for too few, and between which scrapes."""
        few = self.too_few >= self.too_many
        return (-self.too_few, self.few_in) if few else (self.too_many, self.many_in)


def targets(history: History) -> list[Target]:
    """Each target of the run's job with its successful scrapes."""
    job = history.setting("job")
    took = {s.labels.get("instance"): s for s in history.named("scrape_duration_seconds")}
    started = {s.labels.get("instance"): s for s in history.named(START_TIME)}
    started = {name: s for name, s in started.items() if _believed(started, s, len(restarts(history)))}
    probed = any(e.source == "probe" for e in history.events)
    found = []
    for up in history.named("up", **({"job": job} if job else {})):
        instance = up.labels.get("instance", "")
        at, ok = np.asarray(up.at, float), np.asarray(up.value, float) == 1
        if not ok.any():
            continue
        at = at[ok]
        lasted = np.nan_to_num(aligned(took.get(instance), at))
        other = _changed(aligned(started[instance], at)) if instance in started else _ended_between(history, at)
        found.append(Target(instance, at, lasted, other, probed or instance in started))
    return found


def aligned(series: Series | None, at: np.ndarray) -> np.ndarray:
    """The values of a series at given scrapes; nan where it has none."""
    values = np.full(len(at), np.nan)
    if series is not None and len(series.at):
        have = np.asarray(series.at, float)
        place = np.minimum(np.searchsorted(have, at - 5e-4), len(have) - 1)
        same = np.abs(have[place] - at) < 5e-4
        values[same] = np.asarray(series.value, float)[place[same]]
    return values


def counted(some: Sequence[Target], series: Sequence[Series]) -> Counted:
    """The sum of some series of the targets."""
    parts = [_of_target(target, [s for s in series if _is_of(s, target, some)]) for target in some]
    if len(parts) == 1:
        return parts[0]
    begin = max(part.at[0] for part in parts)
    grid = np.unique(np.concatenate([part.at for part in parts]))
    grid = grid[grid >= begin]
    last = [np.searchsorted(part.at, grid, "right") - 1 for part in parts]
    return Counted(
        np.min([part.at[k] for part, k in zip(parts, last, strict=True)], 0),
        np.max([part.until[k] for part, k in zip(parts, last, strict=True)], 0),
        np.sum([part.value[k] for part, k in zip(parts, last, strict=True)], 0),
        np.sum([part.loose[k] for part, k in zip(parts, last, strict=True)], 0),
        tuple(end for part in parts for end in part.ends),
        tuple(fall for part in parts for fall in part.falls),
        sum(part.series for part in parts),
    )


def _of_target(target: Target, series: Sequence[Series]) -> Counted:
    rise, loose = np.zeros(len(target.at)), np.zeros(len(target.at))
    falls = []
    for one in series:
        values = _filled(aligned(one, target.at), target.restarted)
        before, after = values[:-1], values[1:]
        fell = after < before
        rise[1:] += np.where(fell, after, after - before)
        loose[1:] += np.where(target.restarted & ~fell, before, 0)
        if target.known:
            falls += [
                Fall(target.instance, float(target.at[k + 1]), float(before[k]), float(after[k]))
                for k in np.flatnonzero(fell & ~target.restarted)
            ]
    ends = tuple(Window(float(target.at[k]), float(target.at[k + 1])) for k in np.flatnonzero(target.restarted))
    total = np.cumsum(rise), np.cumsum(loose)
    return Counted(target.at, target.at + target.took, *total, ends, tuple(falls), len(series))


def _filled(values: np.ndarray, restarted: np.ndarray) -> np.ndarray:
    """A series that is not there yet is 0, and one that went stays as it was, until its process is another one."""
    present = ~np.isnan(values)
    life = np.concatenate([[0], np.cumsum(restarted)])
    last = np.maximum.accumulate(np.where(present, np.arange(len(values)), -1))
    mine = (last >= 0) & (life[last] == life)
    return np.where(mine, values[last], 0.0)


def _is_of(series: Series, target: Target, some: Sequence[Target]) -> bool:
    return len(some) == 1 or series.labels.get("instance") == target.instance


def _believed(started: Mapping[Any, Series], one: Series, restarts: int) -> bool:
    """Whether a start time says when its process was another one: not where it changes at every tenth scrape, and not
    where none of them ever changed although processes were restarted."""
    changes = {id(s): int(np.count_nonzero(_changed(np.asarray(s.value, float)))) for s in started.values()}
    if changes[id(one)] > restarts + OFTEN * len(one.value):
        return False
    return not restarts or any(changes.values())


def _changed(started: np.ndarray) -> np.ndarray:
    """Between which values the start time of a process became another; it is not always as exact as it looks."""
    last = np.maximum.accumulate(np.where(np.isnan(started), 0, np.arange(len(started))))
    return np.abs(np.nan_to_num(np.diff(started[last]))) > 0.5


def _ended_between(history: History, at: np.ndarray) -> np.ndarray:
    """Whether a process of the service ended between each two scrapes, by what the run saw or did."""
    moments = [e.at for e in restarts(history)]
    moments += [e.at for e in history.of("fault") if e.detail.get("edge") == "start" and e.detail.get("component")]
    between = np.zeros(max(0, len(at) - 1), bool)
    place = np.searchsorted(at, moments) - 1
    between[place[(place >= 0) & (place < len(between))]] = True
    return between


def misfit(counter: Counted, surely: Span, perhaps: Span, within: slice = slice(None)) -> Misfit:
    """Whether a counter rose as the rows say between all pairs of scrapes.

    surely: the requests that it counts. perhaps: those that it may have counted, whose clients did not see how they
    ended.
    """
    at, until, value = counter.at[within], counter.until[within], counter.value[within]
    nothing = Window(0, 0)
    if len(at) < 2:
        return Misfit(0, nothing, 0, nothing)
    ended, begun = np.searchsorted(surely.done, at, "right"), np.searchsorted(surely.sent, until, "right")
    over, open_ = np.searchsorted(perhaps.done, at, "right"), np.searchsorted(perhaps.sent, until, "right")
    excused = counter.loose[within] + lost(counter, surely)[within]
    few, few_in = _worst(value - begun + excused, value - ended + excused, at)
    many, many_in = _worst(ended + over - value, begun + open_ - value, at)
    return Misfit(few, few_in, many, many_in)


def _worst(before: np.ndarray, after: np.ndarray, at: np.ndarray) -> tuple[int, Window]:
    """The largest before[i] - after[j] with i < j, 0 at least, and the time between those two."""
    peak = np.maximum.accumulate(before)[:-1]
    by = peak - after[1:]
    j = int(np.argmax(by))
    if by[j] < 0.5:
        return 0, Window(0, 0)
    i = int(np.argmax(before[: j + 1]))
    return round(float(by[j])), Window(float(at[i]), float(at[j + 1]))


def lost(counter: Counted, surely: Span) -> np.ndarray:
    """How many of its requests the ends of processes may have taken with them, up to each moment of a counter."""
    gone = np.zeros(len(counter.at))
    for end in counter.ends:
        many = np.searchsorted(surely.sent, end.end) - np.searchsorted(surely.done, end.start, "right")
        gone[counter.until >= end.end - 5e-4] += max(0, int(many))  # of several targets one is read again
    return gone


def selected(history: History, name: str, labels: Sequence[tuple[str, Sequence[str]]]) -> list[Series]:
    """The series of a metric whose labels have one of the given values each."""
    return [s for s in history.named(name) if all(s.labels.get(key) in some for key, some in labels)]


def rows_of(history: History, some: Sequence[Target]) -> np.ndarray:
    """The requests of all generators that were handed to a connection, and those that experiments made themselves, of
    which nobody knows what they got. One that its client gave up is `done` when the service has ended it, too."""
    spans = [span for journal in history.journals.values() for span in _asked_in(journal)]
    more = np.zeros(len(spans), ROW)
    if spans:
        more["sent"], more["done"] = np.transpose(spans)
        more["outcome"], more["predicted"], more["expected"] = Outcome.NOT_READ, -1, -1
    every = np.concatenate([*history.rows.values(), more])
    every = every[~np.isnan(every["sent"])]
    given_up = ~answered(every)
    sent, end = every["sent"][given_up], every["done"][given_up] + ENDS_WITHIN_S
    for gap in _hangs(some):  # a process that hangs ends nothing until it goes on
        end = np.where((sent <= gap.end) & (end >= gap.start), np.maximum(end, gap.end + ENDS_WITHIN_S), end)
    every["done"][given_up] = end
    return every


def answered(rows: np.ndarray) -> np.ndarray:
    """Which requests got a whole answer."""
    return np.isin(rows["outcome"], ANSWERED) & (rows["status"] > 0)


def _hangs(some: Sequence[Target]) -> list[Window]:
    """When a target could not be scraped for longer than between most of its scrapes, in order."""
    found = []
    for target in some:
        apart = np.diff(target.at)
        for k in np.flatnonzero(apart > 3 * np.median(apart)) if len(apart) else ():
            found.append(Window(float(target.at[k]), float(target.at[k + 1])))
    return sorted(found)


def _asked_in(journal: Any) -> Iterator[tuple[float, float]]:
    """When each HTTP request began and ended that Chaos Toolkit itself made in an experiment."""
    if isinstance(journal, Mapping):
        provider = (journal.get("activity") or {}).get("provider") if "start" in journal else None
        if provider and provider.get("type") == "http" and journal.get("end"):
            yield tuple(datetime.fromisoformat(journal[edge]).timestamp() for edge in ("start", "end"))
    parts = journal.values() if isinstance(journal, Mapping) else journal if isinstance(journal, list) else ()
    for part in parts:
        yield from _asked_in(part)


def of_status(rows: np.ndarray, statuses: Sequence[str]) -> np.ndarray:
    """Which rows have one of these statuses, each as 503 or 5xx."""
    kept = np.zeros(len(rows), bool)
    for status in statuses:
        kept |= rows["status"] // 100 == int(status[0]) if status.endswith("xx") else rows["status"] == int(status)
    return kept


def grouped(series: Sequence[Series], label: str) -> Mapping[str, list[Series]]:
    """Series by the value of a label; without it by an empty one."""
    found: dict[str, list[Series]] = {}
    for s in series:
        found.setdefault(s.labels.get(label, ""), []).append(s)
    return found
