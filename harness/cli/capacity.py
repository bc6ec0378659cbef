"""`harness capacity`: find the highest arrival rate at which the service keeps its SLOs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from harness.cli.options import command, length_s, must_exist, parsed, with_plan
from harness.cli.output import standard_output


def add_to(commands: Any) -> None:
    about = "Find the highest arrival rate at which the service of `harness up` keeps its SLOs."
    capacity = command(commands, "capacity", run, about)
    with_plan(capacity)
    capacity.add_argument("scenario", type=Path)
    capacity.add_argument("--user", metavar="NAME", help="which of the scenario's user classes, where it has several")
    capacity.add_argument("--from", dest="first", default="50/s", metavar="RATE", help="where to begin (default: 50/s)")
    capacity.add_argument("--most", default="5000/s", metavar="RATE", help="where to stop (default: 5000/s)")
    capacity.add_argument("--precision", default="5%", help="how near the rates kept and broken come (default: 5%%)")
    capacity.add_argument(
        "--for",
        dest="for_s",
        default="10s",
        help="how long a step lasts at least (default: 10s); low rates need longer",
    )


def run(args: argparse.Namespace) -> int:
    from harness.cli.screen import screen
    from harness.plan.plan import load
    from harness.report.capacity import write
    from harness.run.capacity import capacity
    from harness.run.load import LOADED, load_once
    from harness.stack.stack import Stack
    from harness.units import parse_rate

    must_exist(args.scenario, "scenario", "scenarios/*.py")
    first_per_s, most_per_s, for_s, precision = parsed(
        ("--from", parse_rate, args.first),
        ("--most", parse_rate, args.most),
        ("--for", length_s, args.for_s),
        ("--precision", _precision, args.precision),
    )
    plan = load(args.gate, profile=args.profile)
    stack = Stack.current()
    with screen() as watch:
        found = capacity(
            plan,
            lambda arrivals, for_s: load_once(stack, args.scenario, arrivals, for_s, watch, user=args.user)[0],
            LOADED,
            first_per_s=first_per_s,
            precision=precision,
            most_per_s=most_per_s,
            for_s=for_s,
        )
    with standard_output() as out:
        write(found, args.scenario.stem, out)
    return found.verdict.exit_code


def _precision(text: str) -> float:
    from harness.units import parse_share

    if not 0.005 <= (share := parse_share(text)) <= 1:
        raise ValueError(f"must lie between 0.5% and 100%, got {text}")
    return share
