"""How many samples a claim needs: the early-stopping rule of MLPerf LoadGen, computed exactly.

The claim is "at most this share of all requests is bad" (slow, unanswered, ...). With `bad` seen in `n`, it is proven
when a service whose true share is just the bound would show so few only once in a hundred runs:
P[Binomial(n, share) <= bad] <= 1 - CONFIDENCE. For "p95 < bound" that needs 90 requests of which none is slow, or 130
of which one is.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from harness.checks.words import duration, percent
from harness.verdict import Verdict

CONFIDENCE = 0.99
MOST = 10_000_000  # nobody sends more to prove one claim


def chance(bad: int, n: int, share: float) -> float:
    """P[Binomial(n, share) <= bad]: how likely so few bad ones are when the true share is `share`."""
    if bad >= n or share <= 0:
        return 1.0
    if share >= 1:
        return 0.0
    log_term = (
        math.lgamma(n + 1)
        - math.lgamma(bad + 1)
        - math.lgamma(n - bad + 1)
        + bad * math.log(share)
        + (n - bad) * math.log1p(-share)
    )
    if bad > n * share:  # past the mean the terms below do not shrink: sum the other tail instead
        return 1.0 - _tail(log_term, bad, n, share, up=True)
    return _tail(log_term, bad, n, share, up=False)


def _tail(log_term: float, k: int, n: int, share: float, up: bool) -> float:
    """The terms from k down to 0, or above k up to n, while they still count."""
    term, odds = math.exp(log_term), share / (1 - share)
    total = 0.0 if up else term
    while term > total * 1e-16 and (k < n if up else k > 0):
        term *= (n - k) / (k + 1) * odds if up else k / (n - k + 1) / odds
        k += 1 if up else -1
        total += term
    return total


def judge(bad: int, n: int, share: float) -> Verdict:
    """PASS when "at most `share` is bad" is proven, FAIL when more than that was seen, else INCONCLUSIVE."""
    if bad > n * share + 1e-9:
        return Verdict.FAIL
    return Verdict.PASS if n and chance(bad, n, share) <= 1 - CONFIDENCE + 1e-12 else Verdict.INCONCLUSIVE


def surely_more(bad: int, n: int, share: float) -> bool:
    """Whether "more than `share` is bad" is proven: at just the bound, so many are seen once in a hundred runs."""
    return bad > n * share + 1e-9 and 1 - chance(bad - 1, n, share) <= 1 - CONFIDENCE + 1e-12


def needed(share: float, bad: int = 0) -> int | None:
    """The fewest requests that prove the claim with `bad` of them bad; None when no number up to MOST would."""
    return _fewest(lambda n: judge(bad, n, share) is Verdict.PASS, from_n=bad + 1)


def needed_at(bad: int, n: int, share: float) -> int | None:
    """The requests needed if bad ones go on coming at the rate seen: bad in n; None when no number up to MOST would."""
    rate = bad / n if n else 0.0
    return _fewest(lambda m: judge(math.ceil(rate * m - 1e-9), m, share) is Verdict.PASS, from_n=max(n, 1))


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


def shortage(bad: int, n: int, share: float, over_s: float) -> tuple[str, str]:
    """Why n requests in over_s seconds do not prove the claim, and what would: (sentence, remedy)."""
    enough = needed_at(bad, n, share)
    if enough is None:
        seen = percent(bad / n) if n else "nothing"
        return (
            f"{seen} is too close to {percent(share)} to claim it",
            "give the service more headroom, or widen the SLO",
        )
    rate = n / over_s if over_s > 0 else 0
    lasts = f", {duration(math.ceil(enough / rate))} at {rate:.3g}/s" if rate else ""
    confidence = f"{100 * CONFIDENCE:g} % confidence"
    return (
        f"{n:,} requests are too few to claim it ({enough:,} needed at {confidence}{lasts})",
        f"load for longer or at a higher rate: {enough:,} requests",
    )
