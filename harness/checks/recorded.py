"""Recorded: the evidence is complete and the generator kept its schedule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from harness.checks import saturation
from harness.checks.check import Check, NoEvidence
from harness.checks.effect import broken
from harness.checks.evidence import UNSENT_REMEDY, lags_ms, of_events, of_rows, of_series, phase, setting, some, stolen
from harness.checks.view import View
from harness.eventlog import Event
from harness.history import History, Outcome, Window
from harness.omission import closed_load
from harness.stats import nearest_rank
from harness.units import count, duration, listed, percent
from harness.verdict import Reference, Result, Verdict


@dataclass(frozen=True)
class Recorded(Check):
    """Every request has its row, the load kept its schedule in the judged phases, and no scrape is missing in them.

    Never FAIL: a generator that fell behind or a gap in the record is our failure, not the service's.
    """

    generators: tuple[str, ...] = ("load",)
    phases: tuple[str, ...] = ("steady",)
    lag_p99_ms: float = 25.0
    lenient_phases: tuple[str, ...] = ()  # where shares and seconds are judged, not milliseconds: under a fault
    lenient_lag_p99_ms: float = 100.0
    rate_within: float = 0.01
    paced: tuple[str, ...] = ("load",)  # what must keep its schedule; a flood may be too much for its own generator
    busy_at_most: float = 0.9  # of one processor, by any of its processes; beyond it its clocks are not trusted
    stalled_at_most: float = 0.05  # of a phase, and of its whole time, the loop of any of its processes not running
    job: str | None = None  # the scrape job; None: the run's own
    may_miss: tuple[tuple[str, float], ...] = ()  # (phase, gate seconds without a scrape, which its own fault brings)
    kind: ClassVar[str] = "recorded"

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> tuple[Recorded, ...]:
        """With the plan's bounds for the generator."""
        cls.Parameters.read(parameters, view)
        return (
            cls(
                phases=view.phases,
                lag_p99_ms=view.lag_p99_ms,
                lenient_phases=view.phases[1:],
                lenient_lag_p99_ms=view.lag_p99_under_fault_ms,
                rate_within=view.rate_within,
                may_miss=tuple((name, c.scrape_gap) for name, c in view.contracts if c.scrape_gap),
            ),
        )

    @property
    def subject(self) -> str:
        return "the record"

    def judge(self, history: History) -> Result:
        """PASS with the figures, or INCONCLUSIVE with every reason there is."""
        windows = {name: phase(history, name) for name in self.phases}
        if not windows or not self.generators:
            raise NoEvidence("no phase or no generator is judged", "name the phases and generators of the run")
        scrape_s = setting(history, "scrape_s")
        since = min(w.start for w in windows.values())
        gaps = {name: _gaps(history, w, self.job) for name, w in windows.items()}
        usual_s, excused = 3 * scrape_s, dict(self.may_miss)
        wrong = [reason for g in self.generators for reason in self._account(history, g, since)]
        lags = []
        for generator in (g for g in self.paced if g in self.generators):
            wrong += self._saturated(history, generator, windows)
            wrong += self._unsent(_rows(history, generator, since), generator)
            for name, window in windows.items():
                wrong += self._pace(history, generator, name, window, lags)
        blind, unseen = [], {}
        for name, found in gaps.items():
            fault = broken(history, name) if name in excused else None
            for gap in (gap for gap in found if gap.length > usual_s):
                # one that its fault makes begins with the last scrape before it, or while it is on
                made = fault is not None and fault.start - usual_s <= gap.start <= fault.end
                bound_s = max(excused[name], usual_s) if made else usual_s
                if gap.length > bound_s:
                    missed = f"no scrape of the service for {duration(gap.length)} of the gate"
                    wrong.append(f"{name}: {missed}, bound {duration(bound_s)}")
                    unseen[name] = windows[name]
                    break  # the longest says it
                blind.append(f"{name} for {duration(gap.length)}, as its fault may (bound {duration(bound_s)})")
        again = [*_repeated(history), *([f"Prometheus was blind in {listed(blind)}"] if blind else [])]
        wrong += [exited for name, window in windows.items() for exited in _exited(history, name, window)]
        strict = [late for lenient, late in lags if not lenient] or [late for _, late in lags]
        lag = nearest_rank(np.concatenate(strict), 99) if strict else None
        figures = {"measured": lag, "bound": self.lag_p99_ms, "unit": "ms"}
        if wrong:
            evidence = self._evidence(history, windows, unseen)
            reason = "; ".join([*wrong, *again])
            return self.result(Verdict.INCONCLUSIVE, reason, UNSENT_REMEDY, evidence=evidence, **figures)
        rows = sum(len(_rows(history, g, since)) for g in self.generators)
        seen = [gap.length for found in gaps.values() for gap in found if gap.length <= usual_s] or [0.0]
        reason = (
            f"{count(rows, 'request')} planned, each with its row; dispatch lag p99 {duration(lag / 1000)} "
            f"(bound {duration(self.lag_p99_ms / 1000)}); scrapes at most {duration(max(seen))} apart "
            f"(bound {duration(usual_s)})"
        )
        again += [f"{each}: no schedule to keep" for g in self.generators if (each := closed_load(history, g))]
        return self.result(Verdict.PASS, "; ".join([reason, *again]), **figures)

    def _evidence(
        self, history: History, windows: Mapping[str, Window], unseen: Mapping[str, Window]
    ) -> tuple[Reference, ...]:
        """The generators' accounts, what was not sent or sent latest, the scrapes of phases with a gap, and what ended
        by itself."""
        rows = np.concatenate([history.requests(w, g) for w in windows.values() for g in self.generators])
        late = np.where(np.isnan(rows["sent"]), np.inf, rows["sent"] - rows["intended"])
        kept = ~np.isnan(rows["sent"]) | (rows["outcome"] == Outcome.UNSENT)  # what found no connection is not late
        accounts = [e for e in history.of("load") if e.detail.get("generator") in self.generators]
        exited = [e for w in windows.values() for e in history.of("stack", "exited", w)]
        scrapes = [of_series({"__name__": "up"}, window) for window in unseen.values()]
        return some(of_events(accounts), scrapes, of_events(exited), of_rows(rows[kept], late[kept]))

    def doubts(self, history: History, phase: str, generator: str) -> list[str]:
        """What speaks against the rows of a generator in a phase: its processor, its stalls, its lag, its rate."""
        window = history.phase(phase)
        if window is None:
            return []
        return [
            *self._saturated(history, generator, {phase: window}),
            *self._pace(history, generator, phase, window, []),
        ]

    def _account(self, history: History, generator: str, since: float) -> Iterator[str]:
        """What does not add up between the generator's account and its rows."""
        runs = _runs(history, generator, since)
        rows = _rows(history, generator, since)
        done = [finished.detail for _, finished in runs if finished is not None]
        if not runs or len(done) != len(runs):
            yield f"{generator}: started {count(len(runs), 'time')}, finished {len(done)}"
            return
        if not len(rows):
            yield f"{generator}: no rows on disk"
            return
        planned, locust = (sum(d.get(key, 0) for d in done) for key in ("planned", "locust_requests"))
        for what, n in (("rows on disk", len(rows)), ("requests counted by Locust", locust)):
            if n != planned:
                yield f"{generator}: {n:,} {what} for {planned:,} planned"
        # what follows an answer within a visit has the visit's number
        expected = np.sort(np.concatenate([np.arange(d.get("visits", d.get("planned", 0))) for d in done]))
        seq = np.sort(rows["seq"][rows["turn"] == 0].astype(np.int64))
        if len(rows) == planned and not np.array_equal(seq, expected):
            yield f"{generator}: {count(len(np.setdiff1d(expected, seq)), 'sequence number')} missing, others twice"

    def _saturated(self, history: History, generator: str, windows: Mapping[str, Window]) -> Iterator[str]:
        """What says that the generator had all it could do to keep up, in a phase or in its whole time."""
        runs = [run for run in _runs(history, generator, min(w.start for w in windows.values())) if run[1] is not None]
        accounts = [finished.detail for _, finished in runs]
        for account in accounts:
            if missing := saturation.missing(account):
                yield f"{generator}: its account does not say {missing}"
            if lost := account.get("lost"):
                yield f"{generator}: lost {count(len(lost), 'worker')} of {account.get('workers')}"
        judged = [(f"{name}: ", window, accounts) for name, window in windows.items()]
        # Where a phase was repeated the whole tells of attempts that do not count; those that do are judged.
        if not _repeated(history):
            judged += [
                ("", Window(started.detail.get("epoch", started.at), finished.at), [finished.detail])
                for started, finished in runs
            ]
        whose = "the worst process of " if any(account.get("workers", 1) > 1 for account in accounts) else ""
        for where, window, spans in judged:
            stalled_s = sum(saturation.stalled_s(account, window) for account in spans)
            if stalled_s > self.stalled_at_most * window.length:
                yield (
                    f"{where}the loop of {whose}{generator} stalled for {duration(stalled_s)} of "
                    f"{duration(window.length)}, bound {percent(self.stalled_at_most)}"
                )
            busy = max((saturation.busy(account, window) for account in spans), default=0.0)
            if busy > self.busy_at_most:
                share = percent(round(busy, 3))
                yield f"{where}{whose}{generator} used {share} of a processor, bound {percent(self.busy_at_most)}"

    def _unsent(self, rows: np.ndarray, generator: str) -> Iterator[str]:
        unsent = int(np.count_nonzero(rows["outcome"] == Outcome.UNSENT)) if len(rows) else 0
        if unsent:
            yield f"{generator}: {count(unsent, 'request')} of {len(rows):,} could not be sent, bound 0"

    def _pace(self, history: History, generator: str, name: str, window: Window, lags: list) -> Iterator[str]:
        """How late and how many the requests of a phase were sent; their lags in ms are appended to `lags`."""
        rows, every = history.requests(window, generator), history.rows.get(generator)
        late = lags_ms(rows)
        if not len(late):
            yield f"{name}: no request of {generator} was sent"
            return
        lags.append((name in self.lenient_phases, late))
        p99 = nearest_rank(late, 99)
        bound_ms = self.lenient_lag_p99_ms if name in self.lenient_phases else self.lag_p99_ms
        if p99 > bound_ms:
            late = f"{name}: {generator} sent late, p99 {duration(p99 / 1000)}, bound {duration(bound_ms / 1000)}"
            yield late + stolen(history, name)
        went = every[every["outcome"] != Outcome.UNSENT]
        moment = np.where(np.isnan(went["sent"]), went["intended"], went["sent"])
        achieved = int(np.count_nonzero((moment >= window.start) & (moment < window.end)))
        off = abs(achieved - len(rows))
        if off > max(1.0, self.rate_within * len(rows)):  # one request may fall on the other side of the edge
            yield (
                f"{name}: {generator} sent {achieved:,} for {len(rows):,} planned, {percent(off / len(rows))} off, "
                f"bound {percent(self.rate_within)}"
            )


def _runs(history: History, generator: str, since: float) -> list[tuple[Event, Event | None]]:
    """The generator's runs that did not end before `since`: when it started, and when it finished if it did."""
    mine = [e for e in history.of("load") if e.detail.get("generator") == generator]
    started = [e for e in mine if e.name == "started"]
    found = []
    for one, after in zip(started, [*started[1:], None], strict=False):
        until = float("inf") if after is None else after.at
        finished = next((e for e in mine if e.name == "finished" and one.at <= e.at < until), None)
        if (until if finished is None else finished.at) >= since:
            found.append((one, finished))
    return found


def _rows(history: History, generator: str, since: float) -> np.ndarray:
    """The rows of those runs; what an earlier load left in the same file is not theirs."""
    runs = _runs(history, generator, since)
    rows = history.requests(generator=generator)
    return rows[rows["intended"] >= runs[0][0].at] if runs else rows


def _gaps(history: History, window: Window, job: str | None) -> list[Window]:
    """The stretches of a window from scrape to scrape of a target, longest first; all of it where there is none."""
    job = job or history.setting("job")
    targets = history.named("up", **({"job": job} if job else {}))
    inside = [[at for at in s.at if window.start <= at <= window.end] for s in targets] or [[]]
    found = [Window(*two) for at in inside for two in pairwise([window.start, *at, window.end])]
    return sorted(found, key=lambda gap: gap.length, reverse=True)


def _exited(history: History, name: str, window: Window) -> Iterator[str]:
    """Which dependencies ended in a phase although no fault of it was done to them."""
    hit = {e.detail.get("component") for e in history.of("fault", within=window) if e.detail.get("edge") == "start"}
    for e in history.of("stack", "exited", window):
        if (dependency := e.detail.get("component")) not in hit:
            yield f"{name}: the dependency {dependency} ended by itself, exit code {e.detail.get('code')}"


def _repeated(history: History) -> list[str]:
    """Which phases were repeated, because the generator was late in them."""
    times: dict[str, int] = {}
    for e in history.of("run", "repeated"):
        times[e.detail["phase"]] = times.get(e.detail["phase"], 0) + 1
    return [f"{name} was repeated {count(n, 'time')}, the generator having been late" for name, n in times.items()]
