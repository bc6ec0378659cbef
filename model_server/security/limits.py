"""How much each caller may ask for."""

from __future__ import annotations


class Allowance:
    """A token bucket for each name: `per_s` on average, a second's worth at once."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}  # name: tokens left, at

    def wait_s(self, name: str, per_s: float, now: float) -> float:
        """0, and one token is taken; else for how many seconds there will be none."""
        most = max(1.0, per_s)
        left, at = self._buckets.get(name, (most, now))
        left = min(most, left + (now - at) * per_s)
        wait = 0.0 if left >= 1 else (1 - left) / per_s
        self._buckets[name] = (left if wait else left - 1, now)
        return wait
