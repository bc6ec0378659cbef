"""`harness detection`: how long each alert of a stored run took from its fault to its receiver."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from harness.cli.options import command
from harness.cli.output import say

HEAD = ("experiment", "alert", "pending", "firing", "predicted", "notified", "floor", "resolved", "slow")


def add_to(commands: Any) -> None:
    sub = command(commands, "detection", run, "Say how long each alert took, and what was predicted.")
    sub.add_argument("run", type=Path, help="a folder under runs/")


def run(args: argparse.Namespace) -> int:
    from harness.checks.detection import detected
    from harness.run.evidence import judge
    from harness.units import duration

    def said(seconds: float | None) -> str:
        return "-" if seconds is None else duration(seconds)

    judged = judge(args.run)
    rows = [HEAD]
    for one in detected(judged.history, judged.results):
        predicted = " to ".join(map(duration, one.predicted_s)) if one.predicted_s else "-"
        times = (said(one.pending_s), said(one.firing_s), predicted, said(one.notified_s), said(one.floor_s))
        rows.append((one.experiment, one.alert, *times, said(one.resolved_notified_s), one.slow or "-"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0
