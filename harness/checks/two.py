"""Two runs compared: each figure of the second beside that of the first, and whether the difference is more than noise.

Within a run, requests that follow each other are alike, so the noise of a percentile is that of whole seconds drawn
again (block bootstrap: Kuensch, Annals of Statistics 17, 1989; here of blocks that do not overlap). From run to run
there is more of it, which only earlier runs of the plan tell (checks/noise.py). Without them the machine's pace stands
in: a difference counts only as far as it is larger than that of the generator, which is the same program in both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.checks.baseline_figures import FALSE_ALARMS, words
from harness.checks.check import NoEvidence
from harness.checks.evidence import sent
from harness.checks.figures import PACE, PERCENTILES, Kind, figures, is_compared, kind_of
from harness.checks.latency import milliseconds
from harness.checks.noise import band
from harness.checks.view import STEADY
from harness.history import SLOW_CLIENT, History, Outcome, PastRun
from harness.verdict import Verdict

BLOCK_S = 1.0
DRAWS = 400
SEED = 7
ROWS_AT_MOST = 200_000  # of more, every second is thinned: the noise is hardly smaller than of these


@dataclass(frozen=True)
class Difference:
    """One figure of two runs."""

    phase: str
    name: str  # for a reader
    first: str
    second: str
    change: float  # as a share of the first; nan where that is 0
    low: float  # of the change at the same pace, by the noise
    high: float
    verdict: Verdict  # FAIL: worse; INCONCLUSIVE: not judged
    better: bool = False


def differences(
    first: PastRun, second: PastRun, rows: Sequence[History], earlier: Sequence[PastRun]
) -> list[Difference]:
    """Each figure that both runs have.

    rows: the recorded runs, where both are at hand, else nothing; earlier: passing runs of the same plan on the same
    kind of machine, by which the noise from run to run is known.
    """
    errors = [_errors_within(one) for one in rows]
    shared = [
        (phase, name)
        for phase, of_it in second.figures.items()
        for name in of_it
        if is_compared(name) and name in first.figures.get(phase, {})
    ]
    alpha = FALSE_ALARMS / max(1, len(shared))
    found = []
    for phase, name in shared:
        within = [one.get(name) for one in errors] if phase == STEADY else []
        found.append(_difference(phase, name, first, second, within, earlier, alpha))
    return found


def _difference(
    phase: str, name: str, first: PastRun, second: PastRun, within: Sequence[float | None],
    earlier: Sequence[PastRun], alpha: float,
) -> Difference:  # fmt: skip
    kind, a, b = kind_of(phase, name), first.figures[phase][name], second.figures[phase][name]
    sign = 1 if kind.higher_is_worse else -1
    apart = kind.scaled(b) - kind.scaled(a)
    between, slope = _between(phase, name, kind, earlier)
    pace = [one.figures[phase].get(PACE, 0.0) for one in (first, second)]
    slower = math.log(pace[1] / pace[0]) if kind.paced and min(pace) > 0 else 0.0
    if between is not None:
        apart -= slope * slower
    elif apart * slower > 0:
        apart = math.copysign(max(0.0, abs(apart) - abs(slower)), apart)
    known = len(within) == 2 and None not in within
    text = {"phase": phase, "name": words(name, kind), "first": kind.text(a), "second": kind.text(b)}
    if between is None and not known:
        return Difference(**text, change=_change(kind, a, b), low=math.nan, high=math.nan, verdict=Verdict.INCONCLUSIVE)
    noise = math.sqrt(2 * (between or 0.0) ** 2 + (0.0 if between is not None else sum(e * e for e in within)))
    from scipy.special import stdtrit  # here, because it takes a quarter of a second and most commands judge nothing

    reach = float(stdtrit(max(2, len(earlier) - 2) if between is not None else 30, 1 - alpha)) * noise
    low, high = (_change(kind, a, kind.unscaled(kind.scaled(a) + apart + off)) for off in (-reach, reach))
    least = max(kind.worse_by * abs(a), kind.floor)
    matters = abs(kind.unscaled(kind.scaled(a) + apart) - a) >= least
    worse, better = matters and sign * apart > reach, matters and -sign * apart > reach
    verdict = Verdict.FAIL if worse else Verdict.PASS
    return Difference(**text, change=_change(kind, a, b), low=low, high=high, verdict=verdict, better=better)


def _change(kind: Kind, a: float, b: float) -> float:
    return b / a - 1 if a else math.nan


def _between(phase: str, name: str, kind: Kind, earlier: Sequence[PastRun]) -> tuple[float | None, float]:
    """The noise from run to run on the figure's scale, and how much of the generator's pace the figure follows."""
    having = [one.figures[phase] for one in earlier if name in one.figures.get(phase, {})]
    if len(having) < 5:
        return None, 0.0
    values, pace = [kind.scaled(one[name]) for one in having], [one.get(PACE, 0.0) for one in having]
    lies = band(values, 0.005, pace if kind.paced else (), pace[-1])
    if lies is None:
        return None, 0.0
    if lies.runs - lies.df == 1:  # the pace is no part of it
        return lies.sigma, 0.0
    return lies.sigma, float(np.polyfit(np.log(pace), values, 1)[0])


def _errors_within(history: History) -> dict[str, float]:
    """The standard errors of the steady figures that rows tell, on their scales."""
    window = history.phase(STEADY)
    if window is None:
        return {}
    try:
        rows = sent(history, window, "load")
    except NoEvidence:
        return {}
    rows = rows[(rows["step"] & SLOW_CLIENT) == 0]
    rows = rows[:: max(1, len(rows) // ROWS_AT_MOST)]
    took, block = milliseconds(rows), ((rows["intended"] - window.start) / BLOCK_S).astype(int)
    order = np.argsort(took, kind="stable")
    took, block = np.where(np.isfinite(took), took, 1e9)[order], block[order]
    bad = (rows["outcome"] != Outcome.OK)[order]
    draw, blocks = np.random.default_rng(SEED), int(block.max(initial=0)) + 1
    drawn: dict[str, list[float]] = {}
    for _ in range(DRAWS):
        times = np.bincount(draw.integers(0, blocks, blocks), minlength=blocks)[block]  # each row drawn so many times
        upto = np.cumsum(times)
        for name, p in PERCENTILES.items():
            at = min(int(np.searchsorted(upto, math.ceil(p / 100 * upto[-1] - 1e-9))), len(took) - 1)
            _keep(drawn, f"latency {name}", took[at])
        _keep(drawn, "errors", float(times[bad].sum() / upto[-1]))
        _keep(drawn, "goodput", float(times[~bad].sum() / (blocks * BLOCK_S)))
    least = 0.5 / math.sqrt(len(rows))
    return {name: max(float(np.std(values)), least if name == "errors" else 0.002) for name, values in drawn.items()}


def _keep(drawn: dict[str, list[float]], name: str, value: float) -> None:
    drawn.setdefault(name, []).append(kind_of(STEADY, name).scaled(value))


def slower_by_chance(first: History, second: History) -> float | None:
    """How probable it is that a request of the second run took longer than one of the first (common-language effect
    size, McGraw and Wong 1992, from the Mann-Whitney statistic); None without rows."""
    took = []
    for history in (first, second):
        window = history.phase(STEADY)
        rows = history.requests(window) if window else np.empty(0)
        if not len(rows):
            return None
        took.append(milliseconds(rows[:: max(1, len(rows) // ROWS_AT_MOST)]))
    a, b = np.sort(took[0]), took[1]
    below, upto = np.searchsorted(a, b, "left"), np.searchsorted(a, b, "right")
    return float((below + upto).mean() / 2 / len(a))


def of_history(history: History, id: str) -> PastRun:
    """The figures of a recorded run, without those that are not finite."""
    kept = figures(history, id)
    finite: Mapping[str, dict[str, float]] = {
        phase: {name: value for name, value in of_it.items() if math.isfinite(value)}
        for phase, of_it in kept.figures.items()
    }
    return kept._replace(figures=finite)
