"""What is wrong with the files of the monitoring as the reason of a result: each with its place, the first few."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.checks.view import Finding

SHOWN = 5


def findings(stored: Iterable[Sequence[str]]) -> list[Finding]:
    """Findings as a check has them, also one that was read back from a stored plan."""
    return [Finding(*each) for each in stored]


def said(found: Sequence[Finding]) -> str:
    """All that was found in one sentence."""
    first = [f"{each.place}: {each.said}" if each.place else each.said for each in found[:SHOWN]]
    more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "; ".join(first) + more
