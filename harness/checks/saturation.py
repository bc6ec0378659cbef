"""Saturation of a generator: how hard it found it to keep up, by its own account; the worst process counts.

The account holds when the loop of each process stalled, as (end, seconds), and what each used of its processor, as
(end, seconds, CPU seconds); the spans of a distributed load have the number of their process behind that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.history import Window

Account = Mapping[str, Any]


def stalled_s(account: Account, window: Window) -> float:
    """For how long of a window its loop stalled."""
    stalls = _by_process(account, "stalls", 2).values()
    return max((sum(_overlap_s(window, *span[:2]) for span in spans) for spans in stalls), default=0.0)


def busy(account: Account, window: Window) -> float:
    """Which share of a processor it used in a window; a span over the edge counts by its part within."""
    return max((_busy(spans, window) for spans in _by_process(account, "cpu", 3).values()), default=0.0)


def missing(account: Account) -> str:
    """What of this the account does not say; empty when it says all."""
    alive = max(1, account.get("workers", 1) - len(account.get("lost", ())))
    if account.get("stalls") is None:
        return "when its loop stalled"
    return "" if len(_by_process(account, "cpu", 3)) >= alive else "what it used of its processor"


def _busy(spans: Sequence[Sequence[float]], window: Window) -> float:
    within = [(_overlap_s(window, end, for_s), for_s, cpu_s) for end, for_s, cpu_s, *_ in spans]
    covered_s = sum(overlap_s for overlap_s, _, _ in within)
    return (
        sum(cpu_s * overlap_s / for_s for overlap_s, for_s, cpu_s in within if overlap_s) / covered_s
        if covered_s
        else 0
    )


def _overlap_s(window: Window, end: float, for_s: float) -> float:
    return max(0.0, min(end, window.end) - max(end - for_s, window.start))


def _by_process(account: Account, key: str, width: int) -> dict[int, list[Sequence[float]]]:
    spans: dict[int, list[Sequence[float]]] = {}
    for span in account.get(key) or ():
        spans.setdefault(span[width] if len(span) > width else 0, []).append(span)
    return spans
