"""How much each caller may ask for."""

from __future__ import annotations

import functools
import math
import time

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

LONGEST_S = 1e9


class Allowance:
    """So many requests a second for each name, or one in so many seconds. It keeps two numbers for each name, and a
    clock that is set back locks nobody out for longer than a window: what counts is the window of the time it is."""

    def __init__(self) -> None:
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def wait_s(self, name: str, per_s: float) -> float:
        """0, and the request is counted; else in how many seconds one may be let in again."""
        limit = _limit(per_s)
        if self._limiter.hit(limit, name):
            return 0.0
        # At the very begin of a window the library says that its end is now.
        return max(self._limiter.get_window_stats(limit, name).reset_time - time.time(), 0.001)


@functools.lru_cache(1024)
def _limit(per_s: float) -> RateLimitItem:
    """Whole requests in whole seconds, and never more than `per_s` of them."""
    if per_s >= 1:
        return RateLimitItemPerSecond(int(per_s))
    return RateLimitItemPerSecond(1, math.ceil(min(1 / per_s, LONGEST_S)))
