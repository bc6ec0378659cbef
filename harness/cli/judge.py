"""`harness judge`: objectives, judged by the requests of another load generator."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from harness.cli.options import command
from harness.cli.output import standard_output
from harness.errors import PlanError

ABOUT = "Judge objectives by the requests of another load generator: vegeta, hey or k6."


def add_to(commands: Any) -> None:
    sub = command(commands, "judge", run, ABOUT)
    forms = "vegeta's CSV or JSON lines, hey's CSV, or k6's JSON lines"
    sub.add_argument("--requests", type=Path, metavar="FILE", required=True, help=forms)
    objectives = "slos.yaml, or a file of OpenSLO, sloth or Pyrra (FILE#NAME,NAME: some of it)"
    sub.add_argument("--slos", metavar="FILE", required=True, help=objectives)


def run(args: argparse.Namespace) -> int:
    from harness.load.elsewhere import read
    from harness.plan.slos import read_slos
    from harness.run.judge import judge
    from harness.verdict import worst

    problems: list[str] = []
    slos = read_slos(Path(), args.slos, problems)
    if slos is None or problems:
        raise PlanError(problems)
    requests = read(args.requests)
    results = judge(requests, slos)
    verdict = worst(results)
    with standard_output() as out:
        out.write(f"{verdict.name}  {len(requests.rows):,} requests of {requests.tool}\n")
        for result in results:
            out.write(f"  {result.verdict.name:<13} {result.check}: {result.reason}\n")
            out.write(f"  {'':<13} {result.remedy}\n" if result.remedy else "")
        for remark in requests.remarks:
            out.write(f"  remark: {remark}\n")
    return verdict.exit_code
