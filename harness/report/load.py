"""One load run from its clients' side: counts, exact percentiles, and the generator's own verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

import numpy as np

from harness.history import EXPECTS_STATUS, SLOW_CLIENT, History, Outcome
from harness.omission import ClosedLoad, closed_load
from harness.report.timeline import PERCENTILES, timeline
from harness.stats import nearest_rank
from harness.verdict import Result, Verdict


def write(
    history: History, phase: str, recorded: Result, out: TextIO, answers: Result | None = None, generator: str = "load"
) -> None:
    """The report on one phase as text; `recorded` is the result on the generator itself, `answers` that on the statuses
    which the scenario expects."""
    rows = history.requests(history.phase(phase), generator)
    mark = "" if recorded.verdict is Verdict.PASS else f"{recorded.verdict.name}: "
    lines = [f"{len(rows):,} requests in {_length(rows):.1f} s"]
    for outcome in Outcome:
        some = rows[rows["outcome"] == outcome]
        if len(some):
            statuses = ", ".join(f"{n:,} x {status}" for status, n in _counts(some["status"]) if status)
            name = outcome.name.lower().replace("_", " ")
            lines.append(f"  {name:<20} {len(some):>8,}  {100 * len(some) / len(rows):6.2f} %  {statuses}")
    answered = rows[rows["outcome"] == Outcome.OK]
    if len(answered):
        lines.append(
            "  latency of good responses, ms  " + "".join(f"{f'p{p:g}':>9}" for p in PERCENTILES) + "      max"
        )
        lines.append("    from the intended moment     " + _percentiles(answered["done"] - answered["intended"]))
        lines.append("    from the sending             " + _percentiles(answered["done"] - answered["sent"]))
        if (closed := closed_load(history, generator)) is not None:
            lines += _hidden(closed, answered)
        lines += _steps(answered, _names(history, generator)) + _worst(rows)
        labelled = answered[(answered["expected"] >= 0) & (answered["predicted"] >= 0)]
        if len(labelled):
            right = np.count_nonzero(labelled["expected"] == labelled["predicted"])
            lines.append(f"  correct predictions    {100 * right / len(labelled):.2f} % of {len(labelled):,} labelled")
    if answers is not None and answers.verdict is not Verdict.PASS:
        lines += [f"  answers: {answers.reason}", f"           {answers.remedy}"]
    lines.append(f"  generator: {mark}{recorded.reason}")
    if recorded.remedy:
        lines.append(f"             {recorded.remedy}")
    out.write("\n".join(lines) + "\n")


def _hidden(closed: ClosedLoad, answered: np.ndarray) -> list[str]:
    """What a closed load may hide."""
    took = answered["done"] - answered["sent"]
    most = [1000 * closed.at_most(took, took, p) for p in (*PERCENTILES, 100)]
    return [
        f"    at most, had no user waited  {''.join('  unknown' if np.isinf(ms) else f'{ms:9.1f}' for ms in most)}",
        f"    {closed}: its latency hides stalls (coordinated omission)",
    ]


def _names(history: History, generator: str) -> Sequence[str]:
    """What the steps of a locustfile are, which numbers its kinds of request."""
    for event in reversed(history.of("load", "finished")):
        if event.detail.get("generator") == generator:
            return event.detail.get("steps") or ()
    return ()


def _steps(answered: np.ndarray, names: Sequence[str] = ()) -> list[str]:
    """Percentiles from the intended moment for each step, where there are several."""
    lines = []
    for step, n in _counts(answered["step"]):
        mine = answered[answered["step"] == step]
        number = step & ~(SLOW_CLIENT | EXPECTS_STATUS)
        name = f"  {names[number]}" if number < len(names) else ""
        took = _percentiles(mine["done"] - mine["intended"])
        lines.append(f"    step {_step(step):<13} {n:>5,}     {took}{name}")
    return lines if len(lines) > 1 else []


def _worst(rows: np.ndarray) -> list[str]:
    """The second with the highest latency: what a percentile of the whole run may hide."""
    moments = timeline([rows])
    p99 = moments["corrected_ms"][:, PERCENTILES.index(99)]
    if len(np.unique(moments["second"])) < 2 or np.all(np.isnan(p99)):
        return []
    worst = moments[np.nanargmax(p99)]
    step = f", step {_step(int(worst['step']))}" if len(np.unique(moments["step"])) > 1 else ""
    return [
        f"    worst second                 p99 {np.nanmax(p99):.1f} ms in the one that began "
        f"{worst['second'] - int(rows['intended'].min())} s after the first request{step}"
    ]


def _step(step: int) -> str:
    """A step by its number, whether its clients were slow or aborting, and whether its requests expect a status."""
    return (
        f"{step & ~(SLOW_CLIENT | EXPECTS_STATUS)}"
        + " slow client" * bool(step & SLOW_CLIENT)
        + " expects" * bool(step & EXPECTS_STATUS)
    )


def _length(rows: np.ndarray) -> float:
    return float(rows["intended"][-1] - rows["intended"][0]) if len(rows) else 0.0


def _counts(values: np.ndarray) -> list[tuple[int, int]]:
    return [(int(v), int(n)) for v, n in zip(*np.unique(values, return_counts=True), strict=True)]


def _percentiles(seconds: np.ndarray) -> str:
    """Nearest rank, so that each figure is a request that happened."""
    return "".join(f"{1000 * nearest_rank(seconds, p):9.1f}" for p in (*PERCENTILES, 100))
