"""What of a failure stands when the generator that saw it is in doubt: late, stalled, short of processor, off its rate.

A doubtful generator measures late, and what it measured is then no verdict on the service. But a service that fails
plainly must not hide behind it. So a failure stands where what the generator may have added could not have made it, and
where it is beyond chance. An answer that came is an error however late it was asked for, and so is a connection that
was refused or broke, and an answer for which a client waited in vain while the generator's loop ran. An answer that
took too long took too long if it still did with the time taken off for which the loop stalled.

A generator that is not only doubtful but starved (checks/evidence.py) took the service's processor with it, or sent in
bursts: beside it nothing stands.
"""

from __future__ import annotations

import numpy as np

from harness.history import WHOLE, History, Outcome

UNSEEN_MS = 100.0  # a loop that stands still for less is not recorded


def by_the_service(history: History, rows: np.ndarray, generator: str) -> np.ndarray:
    """Which requests ended by what the service did or did not do, whatever the generator did meanwhile."""
    stood_s = _stood_s(history, rows, generator)
    return (rows["outcome"] != Outcome.TIMEOUT) | (False if stood_s is None else stood_s == 0)


def at_least_ms(history: History, rows: np.ndarray, generator: str) -> np.ndarray | None:
    """What each request took or waited at the least, from its sending on, in ms: without the time for which the
    generator's loop stalled meanwhile. Infinite where the service broke off; None where the generator does not say
    when it stood.
    """
    stood_s = _stood_s(history, rows, generator)
    if stood_s is None:
        return None
    waited = np.isin(rows["outcome"], (*WHOLE, Outcome.TIMEOUT))
    return np.where(waited, 1000 * (rows["done"] - _since(rows) - stood_s) - UNSEEN_MS, np.inf)


def _stood_s(history: History, rows: np.ndarray, generator: str) -> np.ndarray | None:
    """For how long the generator's loop stalled while each request was under way; None where it does not say."""
    stood_s = np.zeros(len(rows))
    for e in history.of("load", "finished"):
        if e.detail.get("generator") == generator:
            if not isinstance(stalls := e.detail.get("stalls"), (list, tuple)):
                return None
            for end, for_s, *_ in stalls:  # behind them the number of a fleet's process
                from_s, until_s = np.maximum(_since(rows), end - for_s), np.minimum(rows["done"], end)
                stood_s += np.maximum(0.0, until_s - from_s)
    return stood_s


def _since(rows: np.ndarray) -> np.ndarray:
    """When each was sent, or should have been where it found no connection."""
    return np.where(np.isnan(rows["sent"]), rows["intended"], rows["sent"])
