"""What of a FAIL is attributable to the service when the generator is in doubt: late, stalled, short of processor, off
its rate.

Such a generator measures late, and what it measured is then no verdict on the service. But a service that fails plainly
must not hide behind it. So a FAIL is attributable where what the generator may have added could not have caused it, and
where it is significant. An answer that came is an error however late it was requested, and so is a connection that was
refused or broke, and a timeout during which the generator's loop ran. An answer that took too long took too long if it
still did without the time for which the loop stalled.

A generator that is not only in doubt but starved (checks/doubts.py) took the service's processor with it, or sent in
bursts: beside it nothing is attributable.
"""

from __future__ import annotations

import numpy as np

from harness.history import WHOLE, History, Outcome

UNSEEN_MS = 100.0  # a stall that is shorter is not recorded


def by_the_service(history: History, rows: np.ndarray, generator: str) -> np.ndarray:
    """Which requests ended by what the service did or did not do, whatever the generator did meanwhile."""
    stalled_s = _stalled_s(history, rows, generator)
    return (rows["outcome"] != Outcome.TIMEOUT) | (False if stalled_s is None else stalled_s == 0)


def at_least_ms(history: History, rows: np.ndarray, generator: str) -> np.ndarray | None:
    """What each request took or waited at the least, from its sending on, in ms: without the time for which the
    generator's loop stalled meanwhile. Infinite where the service broke off; None where the generator does not say
    when it stalled.
    """
    stalled_s = _stalled_s(history, rows, generator)
    if stalled_s is None:
        return None
    waited = np.isin(rows["outcome"], (*WHOLE, Outcome.TIMEOUT))
    return np.where(waited, 1000 * (rows["done"] - _since(rows) - stalled_s) - UNSEEN_MS, np.inf)


def _stalled_s(history: History, rows: np.ndarray, generator: str) -> np.ndarray | None:
    """For how long the generator's loop stalled while each request was under way; None where it does not say."""
    stalled_s = np.zeros(len(rows))
    for e in history.of("load", "finished"):
        if e.detail.get("generator") == generator:
            if not isinstance(stalls := e.detail.get("stalls"), (list, tuple)):
                return None
            for end, for_s, *_ in stalls:  # behind them the number of a process of a distributed load
                from_s, until_s = np.maximum(_since(rows), end - for_s), np.minimum(rows["done"], end)
                stalled_s += np.maximum(0.0, until_s - from_s)
    return stalled_s


def _since(rows: np.ndarray) -> np.ndarray:
    """When each was sent, or should have been where it found no connection."""
    return np.where(np.isnan(rows["sent"]), rows["intended"], rows["sent"])
