"""`harness chaos`: run one experiment, under load, against the stack of `harness up`, and judge it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from harness.cli.options import command, must_exist, with_plan
from harness.cli.output import announce, remark


def add_to(commands: Any) -> None:
    about = "Run one experiment, under load, against the stack of `harness up`, and judge it."
    sub = command(commands, "chaos", run, about)
    with_plan(sub)
    sub.add_argument("experiment", type=Path)


def run(args: argparse.Namespace) -> int:
    from harness.cli.report import report
    from harness.cli.screen import screen
    from harness.run.blast import TITLE, blast
    from harness.run.gate import experiment_once
    from harness.run.preflight import planned, preflight
    from harness.stack.stack import Stack
    from harness.stack.tools import find

    must_exist(args.experiment, "experiment", "experiments/*.yaml")
    plan = planned(args.gate, profile=args.profile, experiment_files=[args.experiment], allow_faults=args.allow_faults)
    tools = find()
    plan, _ = preflight(plan, tools, remark)
    stack = Stack.current()
    announce(TITLE, blast(plan.experiments))
    with screen() as watch:
        experiment_once(plan, stack, tools, watch)
    return report(stack.run).exit_code
