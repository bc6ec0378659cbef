"""What rests on a metric that is wrong: its result says so."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from harness.checks.check import Check, Query
from harness.checks.metrics_true import MetricsTrue
from harness.history import History
from harness.units import listed
from harness.verdict import Result, Verdict

PARTS = ("", "_bucket", "_sum", "_count")  # of a histogram


def on_wrong_metrics(
    checks: Sequence[Check], results: Sequence[Result | None], history: History
) -> list[Result | None]:
    """The results, those of alerts and queries that read a metric which was found wrong with a remark on that. It
    changes no verdict: the metric's own does."""
    wrong = {
        check.name: {check.name + part for part in PARTS}
        for check, result in zip(checks, results, strict=True)
        if isinstance(check, MetricsTrue) and result is not None and result.verdict is Verdict.FAIL
    }
    if not wrong:
        return [*results]
    return [
        result and _remarked(result, [name for name, names in wrong.items() if names & _reads(check, result, history)])
        for check, result in zip(checks, results, strict=True)
    ]


def _reads(check: Check, result: Result, history: History) -> set[str]:
    """The metrics that a check's alert or query reads."""
    asked = [word for ask in check.asks() if isinstance(ask, Query) for word in re.findall(r"[\w:]+", ask.promql)]
    replays = [replay for of_phase in history.replays.values() if (replay := of_phase.get(result.alert))]
    return {*asked, *(name for replay in replays for name in replay.reads)}


def _remarked(result: Result, names: Sequence[str]) -> Result:
    if not names:
        return result
    what = "a metric that is wrong" if len(names) == 1 else "metrics that are wrong"
    return replace(result, reason=f"{result.reason}; rests on {listed(names)}, {what}")
