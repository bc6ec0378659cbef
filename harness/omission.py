"""Coordinated omission: what a closed load hides of the service's stalls, and by how much at most.

A user of a closed load sends its next request when it has its response. While a response takes r seconds, a user that
usually sends one every T seconds holds back r / T of them. Each of these would have waited at most as long as the
response that held it back. So each response stands for 1 + r / T requests of its latency, and percentiles of that are
the bound. T is the mean time that users think, and what a response takes usually (its median). What the requests that
were held back would have added to the load of the service is not in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from harness.history import History

CLOSED = "closed"


@dataclass(frozen=True)
class ClosedLoad:
    """Whose users wait for their responses. think_s: what they take from a response to the next request; None where
    none sent two, or the generator did not end."""

    arrivals: str
    users: int
    think_s: float | None

    def __str__(self) -> str:
        kind, _, value = self.arrivals.removeprefix("closed:").partition("=")
        return f"closed model, {f'shape {value}, ' if kind == 'shape' else ''}{self.users:,} users at most at once"

    def at_most(self, held_s: np.ndarray, took: np.ndarray, percentile: float) -> float:
        """What a percentile of `took` (of any unit, infinite where not served) would be at most, had no user waited.
        held_s: how long each request held back its user. Infinite where it is not known."""
        if self.think_s is None or not len(took):
            return math.inf
        every_s = self.think_s + float(np.median(held_s))
        if every_s <= 0:
            return math.inf
        order = np.argsort(took)
        stands_for = np.cumsum(1 + np.floor(held_s[order] / every_s))
        place = int(np.searchsorted(stands_for, stands_for[-1] * percentile / 100))
        return float(took[order[min(place, len(order) - 1)]])


def closed_load(history: History, generator: str = "load") -> ClosedLoad | None:
    """The last closed load of a generator; None where its last load was an open one."""
    mine = [e for e in history.of("load") if e.detail.get("generator") == generator]
    started = next((e for e in reversed(mine) if e.name == "started"), None)
    if started is None or started.detail.get("model") != CLOSED:
        return None
    account = next((e.detail for e in mine if e.name == "finished" and e.at >= started.at), {})
    return ClosedLoad(started.detail.get("arrivals", ""), account.get("users", 0), account.get("think_s"))
