"""Whether the samples of a phase prove "at most this share is bad" (harness/stats.py), and what is missing if not."""

from __future__ import annotations

import math

from harness import stats
from harness.units import duration, percent
from harness.verdict import Verdict

HEADROOM = "give the service more headroom, or widen the SLO"


def judge(bad: int, n: int, share: float) -> Verdict:
    """PASS when "at most `share` is bad" is proven, FAIL when more than that was seen, else INCONCLUSIVE."""
    if stats.exceeds(bad, n, share):
        return Verdict.FAIL
    return Verdict.PASS if stats.is_proven(bad, n, share) else Verdict.INCONCLUSIVE


def claim(
    bad: int, n: int, share: float, over_s: float, reason: str, failing: str, remedy: str
) -> tuple[Verdict, str, str]:
    """The verdict, its reason and what to do next. `failing` ends the reason of a FAIL, `remedy` is for one."""
    verdict = judge(bad, n, share)
    if verdict is Verdict.INCONCLUSIVE:
        why, remedy = shortage(bad, n, share, over_s)
        return verdict, f"{reason}, but {why}", remedy
    return (verdict, reason + failing, remedy) if verdict is Verdict.FAIL else (verdict, reason, "")


def shortage(bad: int, n: int, share: float, over_s: float, too_close: str = HEADROOM) -> tuple[str, str]:
    """Why n requests in over_s seconds do not prove the claim, and what would: (sentence, remedy). too_close: the
    remedy where no number of requests would."""
    enough = stats.needed_at(bad, n, share)
    if enough is None:
        seen = percent(bad / n) if n else "nothing"
        return (
            f"{seen} is too close to {percent(share)} to claim it",
            too_close,
        )
    rate = n / over_s if over_s > 0 else 0
    lasts = f", {duration(math.ceil(enough / rate))} at {rate:.3g}/s" if rate else ""
    confidence = f"{100 * stats.CONFIDENCE:g} % confidence"
    return (
        f"{n:,} requests are too few to claim it ({enough:,} needed at {confidence}{lasts})",
        f"load for longer or at a higher rate: {enough:,} requests",
    )
