"""Stalls: the times in which the service answers nobody, however good its percentiles are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from harness.checks.check import Check
from harness.checks.evidence import crowded_within
from harness.checks.latency import Latency
from harness.checks.parameters import Milliseconds, Parameters, Phase
from harness.checks.tail import Gaps, gaps, ordinary
from harness.checks.view import STEADY, View
from harness.history import History, Window
from harness.units import count, duration
from harness.verdict import EVIDENCE_AT_MOST, Reference, Result, Verdict

BY_CHANCE = 0.001  # so seldom in a run do as many slow answers follow each other by chance
LONG = 1.5  # times the objective: one gap that long is a stall; of shorter ones it takes several
SEVERAL = 3
UNSEEN_S = 0.1  # a stall of the generator that is shorter is not recorded
FEWEST = 5  # requests within a gap of just the bound: with fewer one slow answer alone would be one


@dataclass(frozen=True)
class Stalls(Check):
    """In the steady load no time passes in which requests wait and none is answered well.

    Without a bound of its own it follows from the objective of latency: where a share of the requests may take longer
    than the objective, and each by itself, so many that were due one after the other do so once in a thousand runs:
    n * share^many = 0.001. A gap in which at least so many were due longer than the objective before its end is a
    stall. One of 1.5 times the objective, or three of any length, are too many. The pauses of the arrivals are no gaps,
    nor is the time for which the generator itself stalled.
    """

    phase: str
    under_ms: float | None = None  # the objective of latency
    share: float = 0.05  # of requests that may take longer
    gap_ms: float | None = None  # the bound where gate.yaml sets one
    generator: str = "load"
    kind: ClassVar[str] = "stalls"

    class Parameters(Parameters):
        gap: Milliseconds
        phase: Phase = STEADY

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> Sequence[Check]:
        if parameters is None:
            return () if view.latency is None else (cls(STEADY, view.latency[1], Latency(STEADY, *view.latency).share),)
        given = cls.Parameters.read(parameters, view)
        return (cls(given["phase"], gap_ms=given["gap"]),)

    @property
    def subject(self) -> str:
        return f"{self.phase}: {'stalls' if self.gap_ms is None else 'longest gap'}"

    def judge(self, history: History) -> Result:
        """FAIL on a long gap or several; INCONCLUSIVE where other processes had the processors meanwhile, or where too
        few requests were due for a gap to show."""
        rows = ordinary(history, self.phase, self.generator)
        found = gaps(rows)
        length = found.length - _stalled_s(history, found, self.generator)
        every = float(rows["intended"][-1] - rows["intended"][0]) / max(1, len(rows) - 1)  # seconds between arrivals
        bound_s, stalls = self._stalls(rows, found, length, every)
        longest = float(length.max(initial=0.0))
        said = f"longest time without a good answer while requests waited {duration(longest)} of {len(rows):,} requests"
        figures = {"measured": 1000 * longest, "bound": 1000 * bound_s, "unit": "ms"}
        if stalls.any():
            order = np.flatnonzero(stalls)[np.argsort(-length[stalls], kind="stable")]
            worst = order[0]
            begun = float(found.start[worst] - rows["intended"][0])
            many = f"{count(len(order), 'stall')}, the longest" if len(order) > 1 else "a stall"
            waiting = count(_due(rows, found, worst), "request")
            reason = (
                f"{many} of {duration(length[worst])} from {duration(begun)} after the begin on, with "
                f"{waiting} waiting and none answered well (bound {duration(bound_s)})"
            )
            shown = tuple(
                Reference("row", self._first(rows, found, i), float(found.start[i]), float(found.end[i]))
                for i in order[:EVIDENCE_AT_MOST]
            )
            figures["measured"] = 1000 * float(length[worst])
            if had := crowded_within(history, Window(float(found.start[worst]), float(found.end[worst]))):
                reason = f"{had}, so this is not attributable to the service: {reason}"
                return self.result(Verdict.INCONCLUSIVE, reason, "run again while nothing else runs here", **figures)
            remedy = "look at what the service does at these moments: collection of garbage, locks, a checkpoint"
            return self.result(Verdict.FAIL, reason, remedy, evidence=shown, **figures)
        if self.gap_ms is not None and every * FEWEST > bound_s:
            reason = f"{said}, but of so few, one every {duration(every)}, no gap of {duration(bound_s)} would show"
            return self.result(
                Verdict.INCONCLUSIVE, reason, f"load at a higher rate: {math.ceil(FEWEST / bound_s)}/s", **figures
            )
        return self.result(Verdict.PASS, f"{said}, bound {duration(bound_s)}", **figures)

    def attributable(self, history: History) -> bool:
        """Where the generator says for how long it stalled, for that is left out."""
        accounts = [e for e in history.of("load", "finished") if e.detail.get("generator") == self.generator]
        return bool(accounts) and all(isinstance(e.detail.get("stalls"), (list, tuple)) for e in accounts)

    def _stalls(self, rows: np.ndarray, found: Gaps, length: np.ndarray, every: float) -> tuple[float, np.ndarray]:
        """The bound on one gap in seconds, and which are too much: (n,) bool."""
        if self.gap_ms is not None:
            return self.gap_ms / 1000, length >= self.gap_ms / 1000
        many = max(FEWEST, math.ceil(math.log(len(rows) / BY_CHANCE) / -math.log(self.share)))
        objective_s = self.under_ms / 1000
        since = np.sort(rows["intended"])
        due = np.searchsorted(since, found.end - objective_s, "right") - np.searchsorted(since, found.start, "left")
        stalls = (length > objective_s) & (due >= many)
        bound_s = max(LONG * objective_s, objective_s + many * every)
        return bound_s, stalls & ((length > bound_s) | (np.count_nonzero(stalls) >= SEVERAL))

    def _first(self, rows: np.ndarray, found: Gaps, at: int) -> str:
        """The id of a request that waited in a gap."""
        waited = rows[(rows["intended"] < found.end[at]) & (rows["done"] > found.start[at])]
        return waited["request_id"][0].decode(errors="replace") if len(waited) else ""


def _due(rows: np.ndarray, found: Gaps, at: int) -> int:
    return int(np.count_nonzero((rows["intended"] < found.end[at]) & (rows["done"] > found.start[at])))


def _stalled_s(history: History, found: Gaps, generator: str) -> np.ndarray:
    """For how long the generator's loop stalled in each gap."""
    lost = np.zeros(len(found.start))
    for e in history.of("load", "finished"):
        if e.detail.get("generator") == generator:
            for end, for_s, *_ in e.detail.get("stalls") or ():
                overlap = np.minimum(found.end, end) - np.maximum(found.start, end - for_s)
                lost += np.where(overlap > 0, overlap + UNSEEN_S, 0.0)
    return lost
