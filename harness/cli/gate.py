"""`harness gate`: carry the plan out against real parts and judge it."""

from __future__ import annotations

import argparse
import os
from typing import Any

from harness.cli.options import PUSH_TO, RUNS, command, pushgateway, with_plan
from harness.cli.output import announce, complain, near, remark
from harness.errors import PushError


def add_to(commands: Any) -> None:
    sub = command(commands, "gate", run, "Carry the plan out against real parts and judge it.")
    with_plan(sub)
    sub.add_argument(
        "--only", action="append", default=[], metavar="EXPERIMENT", help="only this experiment; repeatable"
    )
    sub.add_argument("--push-to", metavar="URL", help=f"a Pushgateway that gets the outcome (default: ${PUSH_TO})")


def run(args: argparse.Namespace) -> int:
    from harness.cli.heal import heal_before
    from harness.cli.history import remember
    from harness.cli.push import push_summary
    from harness.cli.report import report
    from harness.cli.screen import screen
    from harness.run import gate, runs
    from harness.run.blast import TITLE, blast
    from harness.run.folder import open_run
    from harness.run.foreseen import foreseen
    from harness.run.preflight import planned, preflight
    from harness.stack.tools import find

    if to := args.push_to or os.environ.get(PUSH_TO):
        pushgateway(to)
    plan = planned(args.gate, profile=args.profile, only=args.only, allow_faults=args.allow_faults)
    tools = find()
    plan, rules = preflight(plan, tools, remark)
    for each in plan.not_applicable:
        of = f"; not proven: {', '.join(each.alerts)}" if each.alerts else ""
        remark(f"NOT-APPLICABLE {each.experiment}: this host lacks {each.reason}; {each.remedy}{of}")
    runs.look(plan)
    for line in foreseen(plan, RUNS):
        remark(line)
    if plan.experiments:
        announce(TITLE, blast(plan.experiments))
    heal_before()
    folder = open_run(plan, tools, RUNS)
    with screen() as watch:
        gate.gate(plan, tools, folder, rules, watch)
    summary = report(folder)
    remember(plan.workdir / plan.gate.history, folder, summary.verdict)
    if to:
        try:
            push_summary(summary, to)
        except PushError as error:  # which is no verdict
            complain(f"{error}\n  once there is: harness push gate {near(folder)} --to {to}")
    return summary.exit_code
