"""BaselineFigures: how fast, how many errors, how much processor and memory, against the earlier runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from harness.checks.check import Check
from harness.checks.earlier import AT_LEAST, FAIL, LAST, Compared, compared
from harness.checks.evidence import phase, sent
from harness.checks.figures import OTHERS, PACE, REQUESTS, Kind, figures_of, is_compared, kind_of
from harness.checks.latency import milliseconds
from harness.checks.noise import Band, band
from harness.checks.view import STEADY, View
from harness.history import SLOW_CLIENT, History, PastRun
from harness.units import count, duration, listed, percent
from harness.verdict import EVIDENCE_AT_MOST, Reference, Result, Verdict

# Of good runs, over all figures of all phases, were their noise normal. It has heavier tails, so that some more are.
FALSE_ALARMS = 0.005
TO_BE_SEEN = 0.10  # what a gate should be able to see of the median latency
SLOWER = 1.05  # times the pace of any earlier run: the machine is slower than it ever was
CROWDED = 0.05  # more of the processors than in any earlier run, in the hands of others, and timing says nothing
TAILS = ("latency p99.9", "latency longest")  # figures of so few requests that one moment makes them
MOMENTS, APART_S = 3, 1.0  # requests that are slower in so many moments, so far apart, are no accident
MANY = 10_000  # degrees of freedom of what is known
REMEDY = "see what changed since the last passing run; if it is meant to be so: `harness history accept RUN`"


class Compare(NamedTuple):
    """A figure beside what the earlier runs lead to expect."""

    name: str
    kind: Kind
    now: float
    expected: float
    bound: float  # in the unit of the figure
    worse: bool
    band: Band
    seen: int = 0  # earlier runs that were as far from all others
    by_pace: bool = False  # no worse than a machine as slow as this one can make it

    @property
    def change(self) -> float:
        """By which share of what was expected it is worse; negative: better."""
        by = self.now / self.expected - 1 if self.expected else math.inf if self.now else 0.0
        return by if self.kind.higher_is_worse else -by


@dataclass(frozen=True)
class BaselineFigures(Check):
    """No figure of a phase is worse than the earlier runs lead to expect: beyond their noise, and by so much that it
    matters (checks/noise.py, checks/figures.py)."""

    phase: str
    experiment: str = ""
    mode: str = FAIL
    last: int = LAST
    at_least: int = AT_LEAST
    worse_by: float | None = None  # the least change that matters; None: that of each figure
    false_alarms: float = FALSE_ALARMS / 2  # the share of good runs in which any figure of this phase is called worse
    generator: str = "load"
    kind: ClassVar[str] = "baseline_figures"
    Parameters: ClassVar[type[Compared]] = Compared

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> list[BaselineFigures]:
        """One for each phase. Half of the false alarms are allowed to the steady load, and half to the experiments."""
        given = cls.Parameters.read(parameters, view)
        experiments = view.phases[1:]
        each = FALSE_ALARMS / 2 / max(1, len(experiments))
        steady = cls(STEADY, false_alarms=FALSE_ALARMS if not experiments else FALSE_ALARMS / 2, **given)
        return [steady, *(cls(name, name, false_alarms=each, **given) for name in experiments)]

    @property
    def about(self) -> tuple[str, ...]:
        return (self.phase,)

    @property
    def subject(self) -> str:
        return f"{self.phase}: figures against the baseline"

    def judge(self, history: History) -> Result:
        """FAIL with each figure that is worse; INCONCLUSIVE where others had the processors that it took."""
        phase(history, self.phase)
        return compared(self, history, lambda runs: self._judge(history, runs))

    def _judge(self, history: History, runs: Sequence[PastRun]) -> Result:
        now = figures_of(history, self.phase, self.generator)
        alpha, found = self.compare(now, runs)
        worse = sorted((one for one in found if one.worse), key=_beyond, reverse=True)
        accidents = {one.name: said for one in worse if (said := self._accident(history, one))}
        worse = [one for one in worse if one.name not in accidents]
        if not found:
            reason = f"none of the figures of {self.phase} is in {self.at_least} of the {len(runs)} earlier runs"
            return self.result(Verdict.INCONCLUSIVE, reason, "see the run's log for why it recorded so little")
        if self.phase == STEADY and not worse and (lacking := self._lacking(now, runs)):
            reason = f"{listed(lacking)}, which each of {len(runs)} earlier runs had, is not in the record"
            return self.result(Verdict.INCONCLUSIVE, reason, "see what the service exposes of its processes")
        of = f"{count(len(found), 'figure')}, of {len(runs)} earlier runs"
        if not worse:
            said, remarks = self._power(found, alpha, len(runs))
            remarks += tuple(accidents.values())
            reason = f"none of {of}, is worse{said}"
            first = found[0]
            figures = {"measured": first.now, "bound": first.bound, "unit": first.kind.unit}
            return self.result(Verdict.PASS, reason, remarks=remarks, **figures)
        reason = "; ".join(map(_said, worse)) + f" (worse than expected from {len(runs)} earlier runs)"
        first = worse[0]
        figures = {"measured": first.now, "bound": first.bound, "unit": first.kind.unit}
        others, most = now.get(OTHERS, 0.0), max((self._past(run).get(OTHERS, 0.0) for run in runs), default=0.0)
        if others > most + CROWDED and all(one.kind.timed for one in worse):
            why = f"other processes had {percent(round(others, 2))} of the processors in {self.phase}, at most "
            reason = f"{why}{percent(round(most, 2))} in the earlier runs, so this is not attributable: {reason}"
            return self.result(Verdict.INCONCLUSIVE, reason, "run again while nothing else runs here", **figures)
        if all(one.by_pace for one in worse):
            paces = max(past[PACE] for run in runs if PACE in (past := self._past(run)))
            why = f"the machine was slower in {self.phase} than in any earlier run (its generator took {now[PACE]:.3g} "
            why += f"ms of processor for a request, at most {paces:.3g} ms before), so this is not attributable: "
            why += reason
            remedy = "run again on a machine as fast as in the runs that `harness history` lists"
            return self.result(Verdict.INCONCLUSIVE, why, remedy, **figures)
        if all(one.seen or one.by_pace for one in worse):
            why = f"1 of the {len(runs)} earlier runs was like this and the others were not, so this may be chance: "
            why += reason
            remedy = f"run it again; where it stays so, {REMEDY}"
            return self.result(Verdict.INCONCLUSIVE, why, remedy, **figures)
        evidence = tuple(self._evidence(history, worse))
        return self.result(Verdict.FAIL, reason, REMEDY, evidence=evidence, **figures)

    def compare(self, now: dict[str, float], runs: Sequence[PastRun]) -> tuple[float, list[Compare]]:
        """Each figure that enough of the earlier runs have, beside what they lead to expect; and how probable it is for
        one of them to be called worse by chance."""
        shared = {name: mine for name in now if is_compared(name) and len(mine := self._having(name, runs)) >= 3}
        shared = {name: mine for name, mine in shared.items() if len(mine) >= min(self.at_least, len(runs))}
        alpha = self.false_alarms / max(1, len(shared))  # Bonferroni: whatever hangs together, no more than their sum
        found = [self._one(name, now, mine, alpha) for name, mine in shared.items()]
        return alpha, [one for one in found if one is not None]

    def _lacking(self, now: dict[str, float], runs: Sequence[PastRun]) -> list[str]:
        names = set.intersection(*(set(self._past(run)) for run in runs)) - now.keys()
        return sorted(words(name, kind_of(self.phase, name)) for name in names if is_compared(name))

    def _past(self, run: PastRun) -> dict[str, float]:
        return dict(run.figures.get(self.phase, {}))

    def _having(self, name: str, runs: Sequence[PastRun]) -> list[dict[str, float]]:
        return [figures for run in runs if name in (figures := self._past(run))]

    def _one(self, name: str, now: dict[str, float], past: list[dict[str, float]], alpha: float) -> Compare | None:
        kind, value = kind_of(self.phase, name), now[name]
        sign = 1 if kind.higher_is_worse else -1
        paces = [one[PACE] for one in past if PACE in one] if kind.paced and PACE in now else []
        paces = paces if len(paces) == len(past) else []
        least = 0.005  # of a figure's logarithm: no two runs are more alike than this
        if kind.unit == "share":  # what chance alone makes of a share of so many requests
            least = 0.5 / math.sqrt(max(1.0, min(one.get(REQUESTS, 1.0) for one in (*past, now))))
        scaled = [sign * kind.scaled(one[name]) for one in past]
        lies = band(scaled, least, paces, now.get(PACE, math.nan))
        if lies is None:
            return None
        if kind.unit == "share" and lies.sigma == least:
            lies = replace(lies, df=MANY)  # the noise of chance alone is known, however few the runs
        expected = kind.unscaled(sign * lies.expected)
        matters = sign * expected + max(self._least(kind) * expected, kind.floor)
        bound = sign * max(sign * kind.unscaled(sign * lies.bound(alpha)), matters)
        worse = not math.isfinite(value) or sign * value > sign * bound
        seen = sum(self._alike(kind, lies, value, sign * other) for other in lies.left_out)
        # What several of the earlier runs had is how it is, although the others are far from it.
        return Compare(
            name, kind, value, expected, bound, worse and seen < 2, lies, seen, _by_pace(name, kind, now, past)
        )

    def _alike(self, kind: Kind, lies: Band, value: float, scaled: float) -> bool:
        """Whether a figure is as it was in an earlier run, on its scale."""
        other = kind.unscaled(scaled)
        apart = max(self._least(kind) * other, kind.floor)
        return abs(value - other) <= apart or abs(kind.scaled(value) - scaled) <= lies.near

    def _least(self, kind: Kind) -> float:
        return kind.worse_by if self.worse_by is None else self.worse_by

    def _power(self, found: list[Compare], alpha: float, runs: int) -> tuple[str, tuple[str, ...]]:
        """What would be seen of the median latency; and, where that is little, what it would take to see more."""
        median = next((one for one in found if one.name == "latency p50"), None)
        if median is None:
            return "", ()
        least = max(self._least(median.kind), median.kind.floor / median.expected)
        seen = max(math.expm1(median.band.detectable(alpha)), least)
        said = f"; p50 {median.kind.text(median.now)}, expected {median.kind.text(median.expected)}, "
        said += f"bound {median.kind.text(median.bound)}: {percent(math.ceil(100 * seen) / 100)} slower would be seen"
        if seen <= TO_BE_SEEN or least > TO_BE_SEEN:
            return said, ()
        enough = next((n for n in range(runs + 1, self.last + 1) if _seen(median.band, n, alpha) <= TO_BE_SEEN), None)
        if enough is not None:
            how = f"{count(enough - runs, 'more passing run')} would do for {percent(TO_BE_SEEN)}"
        else:
            times = (math.log1p(_seen(median.band, self.last, alpha)) / math.log1p(TO_BE_SEEN)) ** 2
            how = f"a load {math.ceil(10 * times) / 10:g} times as long might do for {percent(TO_BE_SEEN)}"
        only = f"only a p50 {percent(math.ceil(100 * seen) / 100)} slower than in the {runs} earlier runs would be seen"
        return said, (f"{only} (with 95 % power); {how}",)

    def _accident(self, history: History, one: Compare) -> str:
        """That a figure of the tail is worse by what happened in a moment or two; empty where it is not so."""
        if one.name not in TAILS:
            return ""
        window = phase(history, self.phase)
        rows = sent(history, window, self.generator)
        rows = rows[(rows["step"] & SLOW_CLIENT) == 0]  # as in the figure
        at = np.sort(rows["intended"][milliseconds(rows) > one.bound])
        begins: list[float] = []
        for moment in at.tolist():  # whatever goes on for longer, or comes again and again, is several
            if not begins or moment >= begins[-1] + APART_S:
                begins.append(moment)
        if not 0 < len(begins) < MOMENTS:
            return ""
        when = listed([duration(round(begin - window.start, 1)) for begin in begins])
        those = f"{count(len(at), 'request')}, {when} after the phase began"
        return f"{self.phase}: {_said(one)}; that is {those}, and a moment or two show no change"

    def _evidence(self, history: History, worse: Sequence[Compare]) -> Iterator[Reference]:
        """The slowest requests, or the samples of what was used."""
        window = phase(history, self.phase)
        for metric, name in (("process_cpu_seconds_total", "processor"), ("process_resident_memory_bytes", "memory")):
            if any(one.name == name for one in worse):
                yield Reference("sample", metric, window.start, window.end)
        rows = sent(history, window, self.generator)
        slowest = np.argsort(-milliseconds(rows), kind="stable")[: EVIDENCE_AT_MOST - 2]
        if any(one.name.startswith("latency") or one.name == "errors" for one in worse):
            for row in rows[slowest]:
                yield Reference("row", row["request_id"].decode(errors="replace"), float(row["intended"]))


def _by_pace(name: str, kind: Kind, now: dict[str, float], past: Sequence[dict[str, float]]) -> bool:
    """Whether a machine that is slower than it ever was may make a figure what it is: by the square of how much slower
    the generator, the same program in every run, is. A queue grows faster than the time of what it waits for."""
    paces = [one[PACE] for one in past if PACE in one]
    usual = float(np.median([one[name] for one in past]))
    if not kind.timed or len(paces) < len(past) or PACE not in now or not 0 < max(paces) * SLOWER < now[PACE]:
        return False
    times = now[name] / usual if kind.higher_is_worse and usual else usual / now[name] if now[name] else math.inf
    return times <= (now[PACE] / float(np.median(paces))) ** 2


def _seen(lies: Band, runs: int, alpha: float) -> float:
    return math.expm1(lies.detectable_with(runs, alpha))


def _beyond(one: Compare) -> float:
    """How far beyond its bound a figure lies, for an order of several."""
    sign = 1 if one.kind.higher_is_worse else -1
    return (sign * one.kind.scaled(one.now) - one.band.expected) / one.band.spread if math.isfinite(one.now) else 1e9


def _said(one: Compare) -> str:
    text, more = one.kind.text, "more" if one.kind.higher_is_worse else "less"
    by = f", {percent(round(abs(one.change), 2))} {more}" if math.isfinite(one.change) else ""
    return f"{words(one.name, one.kind)} {text(one.now)}, expected {text(one.expected)}, bound {text(one.bound)}{by}"


def words(name: str, kind: Kind) -> str:
    """A figure's name for a sentence: "latency p50", "ServiceDown fires after"."""
    alert = name.partition(" ")[2] if name.startswith(("fires ", "notified ")) else ""
    return f"{alert} {kind.words}" if alert else kind.words
