"""`harness capacity`: find the highest arrival rate at which the service keeps its SLOs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from harness.cli.options import command, with_plan
from harness.cli.output import files_in, standard_output
from harness.errors import UsageError


def add_to(commands: Any) -> None:
    about = "Find the highest arrival rate at which the service of `harness up` keeps its SLOs."
    capacity = command(commands, "capacity", run, about)
    with_plan(capacity)
    capacity.add_argument("scenario", type=Path)
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

    if not args.scenario.exists():
        raise UsageError(f"no scenario {args.scenario}; the bundled ones: {files_in('scenarios', '*.py')}")
    limits = _limits(args)
    plan = load(args.gate, profile=args.profile)
    stack = Stack.current()
    with screen() as watch:
        found = capacity(
            plan,
            lambda arrivals, for_s: load_once(stack, args.scenario, arrivals, for_s, watch)[0],
            LOADED,
            **limits,
        )
    with standard_output() as out:
        write(found, args.scenario.stem, out)
    return found.verdict.exit_code


def _limits(args: argparse.Namespace) -> dict[str, float]:
    """What bounds the search. Raises UsageError with everything that is wrong."""
    from harness.units import parse_duration, parse_rate, parse_share

    options = {
        "first_per_s": ("--from", parse_rate, args.first),
        "most_per_s": ("--most", parse_rate, args.most),
        "for_s": ("--for", parse_duration, args.for_s),
        "precision": ("--precision", parse_share, args.precision),
    }
    limits, wrong = {}, []
    for name, (option, parse, text) in options.items():
        try:
            limits[name] = parse(text)
        except ValueError as error:
            wrong.append(f"{option} {error}")
    if not 0.005 <= limits.get("precision", 1) <= 1:
        wrong.append(f"--precision must lie between 0.5% and 100%, got {args.precision}")
    if wrong:
        raise UsageError("; ".join(wrong))
    return limits
