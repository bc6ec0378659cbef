"""The tail of a phase's latencies, and the times in which a request waited and none was answered well."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from harness.checks.check import NoEvidence
from harness.checks.evidence import phase, sent
from harness.checks.latency import milliseconds
from harness.history import SLOW_CLIENT, History, Outcome
from harness.stats import nearest_rank


class Tail(NamedTuple):
    """What requests took from their intended moment, in ms (exact nearest rank; infinite: not served)."""

    requests: int
    p50: float
    p95: float
    p99: float
    p99_9: float
    max: float
    gap: float  # ms; the longest time in which a request waited and none was answered well


class Gaps(NamedTuple):
    """Times in which at least one request waited and none was answered well, in order."""

    start: np.ndarray  # (n,) Unix seconds
    end: np.ndarray

    @property
    def length(self) -> np.ndarray:
        return self.end - self.start


def tail(history: History, phase_name: str, generator: str = "load") -> Tail:
    """The figures of a phase, without slow clients. Raises NoEvidence."""
    rows = ordinary(history, phase_name, generator)
    took = milliseconds(rows)
    ranks = [nearest_rank(took, of_100) for of_100 in (50, 95, 99, 99.9, 100)]
    lengths = gaps(rows).length
    return Tail(len(rows), *ranks, 1000 * float(lengths.max(initial=0.0)))


def ordinary(history: History, phase_name: str, generator: str = "load") -> np.ndarray:
    """The rows of a phase in order of intended time, without those of slow clients. Raises NoEvidence."""
    rows = sent(history, phase(history, phase_name), generator)
    rows = rows[(rows["step"] & SLOW_CLIENT) == 0]
    if not len(rows):
        raise NoEvidence(f"no request of an ordinary client is recorded in {phase_name}", "let some ask")
    return rows


def gaps(rows: np.ndarray) -> Gaps:
    """The gaps between good answers: each from the one before, or from when the next request was sent where none waited
    then, to the next one, or to the last outcome. So the pauses of an arrival process are none."""
    since = np.sort(np.where(np.isnan(rows["sent"]), rows["intended"], rows["sent"]))
    done = np.sort(rows["done"])
    good = np.sort(rows["done"][rows["outcome"] == Outcome.OK])
    before = np.concatenate([[-np.inf], good])
    after = np.concatenate([good, done[-1:]])
    begun, ended = np.searchsorted(since, before, "right"), np.searchsorted(done, before, "right")
    following = np.append(since, np.inf)[begun]  # the next to be sent
    start = np.where(begun > ended, before, following)
    there = after > start
    return Gaps(start[there], after[there])
