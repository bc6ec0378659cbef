"""Statistics of requests: exact percentiles, and how many samples a claim needs.

A claim is "at most this share of all requests is bad" (slow, unanswered, ...). With `bad` seen in `n`, it is proven
when a service whose true share is just the bound would show so few only once in a hundred runs:
P[Binomial(n, share) <= bad] <= 1 - CONFIDENCE. This is the early-stopping rule of MLPerf LoadGen, computed exactly.
For "p95 < bound" it needs 90 requests of which none is slow, or 130 of which one is.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

CONFIDENCE = 0.99
MOST = 10_000_000  # nobody sends more to prove one claim


def nearest_rank(values: np.ndarray, percentile: float) -> float:
    """The smallest value that at least this percentage of all values does not exceed."""
    rank = max(1, math.ceil(percentile / 100 * len(values) - 1e-9))
    return float(np.partition(values, rank - 1)[rank - 1])


def at_most(bad: int, n: int, share: float) -> float:
    """P[Binomial(n, share) <= bad]: how likely so few bad ones are when the true share is `share`."""
    from scipy.special import bdtr  # here, because it takes a quarter of a second and most commands judge nothing

    if bad >= n or share <= 0:
        return 1.0
    return float(bdtr(bad, n, share)) if share < 1 else 0.0


def is_proven(bad: int, n: int, share: float) -> bool:
    """Whether "at most `share` is bad" is proven."""
    return n > 0 and at_most(bad, n, share) <= 1 - CONFIDENCE + 1e-12


def exceeds(bad: int, n: int, share: float) -> bool:
    """Whether more than that share was seen."""
    return bad > n * share + 1e-9


def exceeds_significantly(bad: int, n: int, share: float) -> bool:
    """Whether "more than `share` is bad" is proven: at just the bound, so many are seen once in a hundred runs."""
    return exceeds(bad, n, share) and 1 - at_most(bad - 1, n, share) <= 1 - CONFIDENCE + 1e-12


def interval(bad: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact (Clopper-Pearson) confidence interval of a share of which `bad` in `n` were seen."""
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = 0.0 if bad == 0 else float(betaincinv(bad, n - bad + 1, tail))
    high = 1.0 if bad == n else float(betaincinv(bad + 1, n - bad, 1 - tail))
    return low, high


def needed(share: float, bad: int = 0) -> int | None:
    """The fewest requests that prove the claim with `bad` of them bad; None when no number up to MOST would."""
    return _fewest(lambda n: is_proven(bad, n, share) and not exceeds(bad, n, share), from_n=bad + 1)


def provable(share: float) -> bool:
    """Whether so many requests as somebody may send, none of them bad, prove the claim."""
    return share > 0 and (share >= 1 or math.log(1 - CONFIDENCE) / math.log1p(-share) <= MOST)


def needed_at(bad: int, n: int, share: float) -> int | None:
    """The requests needed if bad ones go on coming at the rate seen: bad in n; None when no number up to MOST would."""
    rate = bad / n if n else 0.0

    def proves(m: int) -> bool:
        seen = math.ceil(rate * m - 1e-9)
        return is_proven(seen, m, share) and not exceeds(seen, m, share)

    return _fewest(proves, from_n=max(n, 1))


def _fewest(proves: Callable[[int], bool], from_n: int) -> int | None:
    """The first number from which on the claim is proven, by bisection."""
    low, high = from_n - 1, from_n
    while not proves(high):
        low, high = high, 2 * high
        if high > MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if proves(middle) else (middle, high)
    return high
