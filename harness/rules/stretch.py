"""A recorded stretch of metrics as production would have had it: K times slower, with its normal state before it.

The record is fine (a scrape every 0.25 s, say); at K = 60 each of its scrapes becomes one of 15 s. What was counted is
counted K times, because a production fault of that length would have done it K times as long; what was measured stays.
Where Prometheus marks a series stale, so does this: the target was down, answered without the series, or is none any
more. In front, the
record's own baseline is repeated for as long as the longest window looks back, so that 1 h rules start warm.

A moment (a backup's, a certificate's end) keeps its distance to the clock, which `clock_s` sets to the present at the
record's start: only what passes during the record is stretched.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from harness.errors import HarnessError
from harness.history import Series, Window
from harness.rules.counts import ELAPSED
from harness.rules.hold import Hold

FEWEST_BASELINE_SLOTS = 4  # production scrapes before the fault: fewer say nothing about the normal state
EARLY = 0.25  # of a slot: how much before its time a scrape still counts for it
UNDER_WAY_S = 0.05  # a scrape that began so shortly before the fault may be answered after it, and show it
DROPPED_AFTER = 3  # scrapes after the last one of a target that is none any more its series are stale
DROPPED_FOR = 8  # scrapes missing that are no longer late ones
FEWEST_TO_THIN = 8  # scrapes in an evaluation, from which on most of them are between the ends of windows
SPARSE_S = 240.0  # one sample in so many seconds: within Prometheus' lookback of 5 min, and a day stays affordable
FAR_S, SPARSER_S = 12 * 3600.0, 3600.0  # before that no state of a rule lasts; what lies there only fills windows

_MISSING, _PRESENT, _STALE = 0, 1, 2
_OF_THE_SCRAPE = re.compile(r"up|scrape_\w+")  # Prometheus writes these itself, also about a target that is down
_ADDS_UP = ("total", "bucket", "count", "sum")  # what the names of a counter's and a histogram's series end in
_MOMENT_NAME = re.compile(r"\w*(time|timestamp|created)(_seconds)?")
_PLAIN = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")  # names that need no quotes
_START_NAME = re.compile(r"\w*(start_time|created)(_seconds)?")
_MOMENT_LEAST = 1e9  # Unix seconds in 2001: no duration is that long
_UNITS = (1.0, 1e3, 1e6, 1e9)  # of a moment: seconds, milliseconds ...
_RUN_S = 3600.0  # a process that started so shortly before the record was started by the gate
_TICKS = 1024  # in a second: moments on this raster are exact in floating point, so a distance is too


@dataclass(frozen=True)
class Grid:
    """Slots of one production scrape each, laid over the recorded stretch so that its scrapes fall on them."""

    start: float  # Unix seconds of slot 0, at the target's own scrape phase
    slots: int
    fault_slot: int  # the first slot that may show the fault
    step_s: float  # production seconds from slot to slot
    time_scale: float
    hold: Hold | None = None  # what of it is repeated; None: nothing is
    evaluated: frozenset[int] = frozenset()  # the slots in which an alert was live: Prometheus was at work then

    @property
    def length(self) -> int:
        """How many slots there are, with what is repeated."""
        return self.slots if self.hold is None else self.hold.length

    @property
    def slot_s(self) -> float:
        """Gate seconds from slot to slot."""
        return self.step_s / self.time_scale


def lay_grid(
    series: Iterable[Series],
    window: Window,
    fault_at: float,
    *,
    job: str,
    time_scale: float,
    scrape_s: float,
    step_s: float,
) -> Grid:
    """The grid of a recorded window with a fault in it, at the scrape phase of the job's `up`; times are Unix seconds.

    Raises HarnessError when that was not recorded, or hardly anything before the fault, or nothing after it.
    """
    series = list(series)
    scrapes = [at for s in series if s.labels.get("__name__") == "up" and s.labels.get("job") == job for at in s.at]
    scrapes = np.array([at for at in scrapes if window.start <= at <= window.end])
    if not scrapes.size:
        raise HarnessError(f'no samples of up{{job="{job}"}} in the recorded window: nothing to replay')
    # Scrapes come at one phase with a few ms of jitter; with slots laid on that phase no sample is moved by more.
    turns = np.exp(2j * np.pi * (scrapes - window.start) / scrape_s)
    start = window.start + float(np.angle(turns.mean()) / (2 * np.pi) % 1.0) * scrape_s
    slot_s = step_s / time_scale
    fault_slot = math.ceil((fault_at - UNDER_WAY_S - start) / slot_s - 1e-6)
    slots = math.floor((window.end - start) / slot_s + 1e-6) + 1
    if fault_slot < FEWEST_BASELINE_SLOTS:
        raise HarnessError(
            f"{max(fault_slot, 0)} scrapes recorded before the fault; {FEWEST_BASELINE_SLOTS} are needed"
        )
    if slots <= fault_slot:
        raise HarnessError("the record ends before the fault begins: nothing to replay")
    live = [at for s in series if s.labels.get("__name__") == "ALERTS" for at in s.at]
    evaluated = frozenset(math.floor((at - start) / slot_s + EARLY) for at in live)
    return Grid(start, slots, fault_slot, step_s, time_scale, evaluated=evaluated)


def stretch(
    series: Iterable[Series],
    grid: Grid,
    window: Window,
    baseline_slots: int,
    types: Mapping[str, str],
    dense_at_s: Collection[float] = (),
    moments: Collection[str] = (),
    every_s: float = 0.0,
) -> list[tuple[str, str]]:
    """promtool's input series, each its notation and its values a slot: the repeated baseline, then the record.

    `types` maps metric names to Prometheus types; for what it does not name the suffix decides. `moments` are the
    metrics that rules use as moments; some more are known by their names. Other series of a target go stale only where
    its `up` is among the series. Series without a sample in the window are left out.

    With `dense_at_s`, the baseline is whole only where the record would lie if moved back by each of those production
    seconds, and sparse elsewhere. That is enough for rates over windows of just those lengths, which need their ends.
    Where rules are evaluated far less often than scraped, every `every_s`, a held record is thinned alike: kept is what
    lies at the ends of windows, and where something changes or starts anew.
    """
    before = np.arange(-baseline_slots, 0)
    sparse = np.isin(before, _dense_slots(grid, dense_at_s), invert=True) if dense_at_s else np.zeros(len(before), bool)
    far = before * grid.step_s < -FAR_S
    sparse &= before % np.where(far, max(1, int(SPARSER_S / grid.step_s)), max(1, int(SPARSE_S / grid.step_s))) != 0
    placed = [(s, *_placed(s, grid, window)) for s in series]
    up = {_target(s): (_let_go(state, grid), values) for s, state, values in placed if s.labels["__name__"] == "up"}
    lines = []
    for s, state, values in placed:
        if not (state == _PRESENT).any():
            continue
        name = s.labels["__name__"]
        kind = _kind(name, types, moments, values[state == _PRESENT])
        if _target(s) in up:
            scraped, answered = up[_target(s)]
            if not _OF_THE_SCRAPE.fullmatch(name):
                state = _with_stale(state, scraped, answered)
            state = np.where(_known(state) & (scraped == _STALE), _STALE, state)
        state, values = _with_baseline_known(state, values, grid.fault_slot)
        head_state = np.where(sparse, _MISSING, state[before % grid.fault_slot])
        if kind == "moment":
            head, tail = _production_moments(state, values, before, grid, bool(_START_NAME.fullmatch(name)))
        else:
            head, tail = _production_values(state, values, before, grid, kind)
        if grid.hold is not None:
            state, tail = _held(grid.hold, name, state, tail, kind, grid.step_s)
        state, tail = np.append(head_state, state), np.append(head, tail)
        if grid.hold is not None and dense_at_s and every_s >= FEWEST_TO_THIN * grid.step_s:
            state = np.where(_kept(state, tail, grid.step_s, dense_at_s, every_s), state, _MISSING)
        lines.append((notation(s.labels), _values(state, tail)))
    return lines


def _dense_slots(grid: Grid, dense_at_s: Iterable[float]) -> np.ndarray:
    back = [int(at_s // grid.step_s) for at_s in dense_at_s]
    return np.concatenate([np.arange(-slots - 2, grid.length - slots + 2) for slots in back])


def _kept(
    state: np.ndarray, values: np.ndarray, step_s: float, dense_at_s: Collection[float], every_s: float
) -> np.ndarray:
    """The slots at which a window of an evaluation begins or ends, those about a change of state or a reset, and enough
    for a reading never to be too old."""
    slot = np.arange(len(state))
    kept = slot % int(SPARSE_S / step_s) == 0
    for at_s in dense_at_s:
        since = (slot * step_s + at_s) % every_s  # since a window began, or will end
        kept |= (since <= 2 * step_s) | (since >= every_s - step_s)
    known = np.flatnonzero(state == _PRESENT)
    anew = known[1:][np.diff(values[known]) < 0]
    for event in (np.flatnonzero(np.diff(state) != 0) + 1, anew):
        for near in (-2, -1, 0, 1):
            kept[(event + near).clip(0, len(kept) - 1)] = True
    return kept


def _held(
    hold: Hold, name: str, state: np.ndarray, values: np.ndarray, kind: str, step_s: float
) -> tuple[np.ndarray, np.ndarray]:
    present = state == _PRESENT
    if kind == "gauge":
        held = hold.gauge(values, hold.slope(name, present, values) if name in hold.growing else 0.0)
    elif kind == "moment":
        held = hold.moment(present, values, step_s * _unit(values))
    else:
        held = hold.counter(present, values)
    return state[hold.source], held


def _placed(s: Series, grid: Grid, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Which slots hold a sample, and the samples; of two in one slot the later counts."""
    at, value = np.asarray(s.at, float), np.asarray(s.value, float)
    inside = (at >= window.start) & (at <= window.end)
    # A scrape may come late, and hardly ever early: a late one still belongs to the slot it was due in.
    slot = np.floor((at[inside] - grid.start) / grid.slot_s + EARLY).astype(int).clip(0, grid.slots - 1)
    state, values = np.full(grid.slots, _MISSING), np.full(grid.slots, np.nan)
    state[slot], values[slot] = _PRESENT, value[inside]
    return state, values


def _target(s: Series) -> tuple[str | None, str | None]:
    return s.labels.get("job"), s.labels.get("instance")


def _known(state: np.ndarray) -> np.ndarray:
    """From its first sample on: before that a series is not stale but not there yet."""
    return np.maximum.accumulate(state == _PRESENT)


def _let_go(state: np.ndarray, grid: Grid) -> np.ndarray:
    """The states of an `up` whose target Prometheus drops: it marks all series of it stale, just over two scrapes after
    the last one. One that was killed marks nothing, and in the record shows that by evaluating nothing either."""
    state = state.copy()
    there = np.flatnonzero(state == _PRESENT)
    for last, again in pairwise([*there, len(state)]):
        at_work = len(grid.evaluated & {last + 1, last + 2, last + 3}) >= 2
        if again - last > DROPPED_FOR and at_work:
            state[last + DROPPED_AFTER : again] = _STALE
    return state


def _with_stale(state: np.ndarray, scraped: np.ndarray, answered: np.ndarray) -> np.ndarray:
    """A series is stale where its target was scraped without it: it was down, or no longer had the series."""
    gone = _known(state) & (scraped == _PRESENT) & ((answered == 0) | (state == _MISSING))
    return np.where(gone, _STALE, state)


def _with_baseline_known(state: np.ndarray, values: np.ndarray, fault_slot: int) -> tuple[np.ndarray, np.ndarray]:
    """A series first seen during the baseline is taken to have been there all along: its repeats have no holes."""
    first = np.flatnonzero(state == _PRESENT)[0]
    early = np.arange(len(state)) < (first if first < fault_slot else 0)
    return np.where(early, _PRESENT, state), np.where(early, values[first], values)


def _kind(name: str, types: Mapping[str, str], moments: Collection[str], values: np.ndarray) -> str:
    """ "counter", "moment" (a Unix time) or "gauge"."""
    late = np.nanmax(values, initial=0) > _MOMENT_LEAST
    if late and name in moments:
        return "moment"
    family, _, suffix = name.rpartition("_")
    declared = types.get(name) or (types.get(family) if suffix in (*_ADDS_UP, "created") else None)
    if (declared == "counter" and suffix != "created") or ELAPSED.fullmatch(name):
        return "counter"  # so is the time since a start, which began anew where it falls
    if declared in ("histogram", "summary", None, "unknown", "untyped") and suffix in _ADDS_UP:
        return "counter"
    return "moment" if late and _MOMENT_NAME.fullmatch(name) else "gauge"


def _production_values(
    state: np.ndarray, values: np.ndarray, before: np.ndarray, grid: Grid, kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """The values of the repeated baseline and of the record, as production would have had them."""
    period = grid.fault_slot
    if kind == "gauge":
        return values[before % period], values
    # Multiplying keeps every reset a reset; rebasing to the first sample could hide one.
    tail = values * grid.time_scale
    known = np.flatnonzero(state[:period] == _PRESENT)
    if known.size < 2 or not before.size:
        return tail[before % period], tail
    steps = np.diff(tail[known])
    grown = np.zeros(period)  # since the baseline's first sample; a reset in the baseline is not repeated
    grown[known[1:]] = np.cumsum(np.where(steps < 0, tail[known[1:]], steps))
    a_period = grown[known[-1]] * period / (known[-1] - known[0])
    rounds = before // period - before[0] // period
    head = tail[known[0]] + grown[before % period] + rounds * a_period
    present = np.flatnonzero(state == _PRESENT)
    resets = np.flatnonzero(np.diff(tail[present]) < 0)
    first_life = present[: resets[0] + 1 if resets.size else None]
    tail[first_life] += -(before[0] // period) * a_period
    return head, tail


def _production_moments(
    state: np.ndarray, values: np.ndarray, before: np.ndarray, grid: Grid, a_start: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Moments of the repeated baseline and of the record, by production's clock, which is the record's where it begins.

    One that came before the record stays, one that came in it is stretched with it, and one to come is as far ahead as
    it was where it was first seen. A process that the gate itself started (`a_start`) ran before the test began.
    """
    unit = _unit(values)
    at, slot = values / unit, np.arange(len(values))
    present = np.flatnonzero(state == _PRESENT)
    changed = present[np.append(True, at[present][1:] != at[present][:-1])]  # where each value is first seen
    seen = changed[(np.searchsorted(changed, slot, side="right") - 1).clip(0)] * grid.slot_s
    since = at - grid.start  # gate seconds
    ahead = since > seen + grid.slot_s
    moved = np.where(ahead, since + seen * (grid.time_scale - 1), since * grid.time_scale)  # from the record's start
    stays = (since < 0) | (ahead & (seen == 0))
    if a_start:
        young = (since < 0) & (since > -_RUN_S)
        moved, stays = moved - young * len(before) * grid.step_s, stays & ~young
    tail = np.where(stays, values, (_exactly(grid.start) + _exactly(moved)) * unit)
    # What is set again and again is as far from the clock in each repeat; what is not stays what it was.
    again = np.count_nonzero(changed < grid.fault_slot) > 2
    rounds_s = before // grid.fault_slot * grid.fault_slot * grid.step_s
    head = tail[before % grid.fault_slot] + rounds_s * unit if again else np.full(len(before), tail[present[0]])
    return head, tail


def _unit(values: np.ndarray) -> float:
    """Of a moment: how much of it is a second."""
    most = np.max(values, where=np.isfinite(values), initial=0)
    return max((unit for unit in _UNITS if most / unit >= _MOMENT_LEAST), default=1.0)


def clock_s(grid: Grid, zero_s: float) -> float:
    """What production's clock shows where the test begins, `zero_s` before the record, in Unix seconds."""
    return float(_exactly(grid.start - zero_s))


def _exactly(seconds: float | np.ndarray) -> np.ndarray:
    return np.round(np.multiply(seconds, _TICKS)) / _TICKS


def notation(labels: Mapping[str, str]) -> str:
    """A series as promtool's tests write it."""
    rest = ", ".join(f"{label(k)}={_quoted(v)}" for k, v in sorted(labels.items()) if k != "__name__")
    name = labels["__name__"]
    return f"{name}{{{rest}}}" if _PLAIN.fullmatch(name) else f"{{{', '.join(filter(None, (_quoted(name), rest)))}}}"


def label(name: str) -> str:
    """A label's name as PromQL writes it."""
    return name if _PLAIN.fullmatch(name) and ":" not in name else _quoted(name)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _values(state: np.ndarray, values: np.ndarray) -> str:
    return " ".join(
        "_" if slot == _MISSING else "stale" if slot == _STALE else number(value)
        for slot, value in zip(state.tolist(), values.tolist(), strict=True)
    )


def number(value: float) -> str:
    """Every digit of it: shorter forms would corrupt large counters."""
    if math.isfinite(value):
        return repr(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    return "NaN" if math.isnan(value) else "Inf" if value > 0 else "-Inf"
