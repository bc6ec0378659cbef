"""What is wrong with the files of the monitoring as the reason of a result: each with its place, the first few."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.checks.view import Finding

SHOWN = 5
LONGEST = 420  # characters of all that are shown, but for the first


def findings(stored: Iterable[Sequence[str]]) -> list[Finding]:
    """Findings as a check has them, also one that was read back from a stored plan."""
    return [Finding(*each) for each in stored]


def said(found: Sequence[Finding]) -> str:
    """What was found in one sentence: the first, then the first of each other kind, so that many of one kind hide no
    other, and as many more as are read at a glance. Findings of one kind have one remedy."""
    remedies = [each.remedy for each in found]
    first = [remedies.index(each.remedy) == i for i, each in enumerate(found)]
    ordered = sorted(range(len(found)), key=lambda i: not first[i])
    texts = [f"{each.place}: {each.said}" if each.place else each.said for each in map(found.__getitem__, ordered)]
    shown = texts[:1]
    for text in texts[1:SHOWN]:
        if sum(map(len, shown)) + len(text) > LONGEST:
            break
        shown.append(text)
    more = f"; and {len(found) - len(shown)} more" if len(found) > len(shown) else ""
    return "; ".join(shown) + more
