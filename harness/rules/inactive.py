"""Alerts that do not fire in a record, by their expressions at its own moments, without the baseline before it.

At an evaluation Prometheus keeps a state of an alert only where its expression gives something. So one whose expression
gives nothing in the whole record is inactive in it; and one whose expression gives something for less than its `for`,
and nothing just before, is pending there and no more. Whatever else an alert does is for promtool, which evaluates its
rule from the beginning of the baseline on.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from harness.alert import NAME, Alert
from harness.rules.dependencies import Entry
from harness.rules.expression import ANY, metrics_used

PLAIN = {"name", "interval", "labels"}  # keys of a group by which its evaluation is no other
_OTHER_TIMES = re.compile(r"@|offset\s*-")  # it may read what came later than its evaluation

Sample = tuple[Mapping[str, str], float]


def told_by_expression(entry: Entry, reads: Collection[Entry]) -> bool:
    """Whether the state of an alert is known from what its expression gives: not of one that goes on firing without it,
    or that reads what rules make, or what it could not have read when it was evaluated."""
    return (
        not reads
        and not getattr(entry.rule, "keep_firing_for_s", 0.0)
        and entry.header.keys() <= PLAIN
        and not _OTHER_TIMES.search(entry.rule.expr)
        and ANY not in metrics_used(entry.rule.expr)
    )


def states(
    alert: Alert, there: Collection[float], at_s: Sequence[float], first_s: float, for_s: float
) -> dict[float, list[Sample]] | None:
    """What promtool would find of an alert at each of the moments, which are all evaluations from one before `first_s`
    to the end; None where it may fire. there: those at which its expression gives something."""
    begins_s = min(there, default=None)
    if begins_s is not None and (begins_s < first_s or at_s[-1] - begins_s >= for_s):
        return None
    pending = {NAME: alert.name, "alertstate": "pending", **dict(alert.labels)}
    return {at: [(pending, 1.0)] if at in there else [] for at in at_s}
