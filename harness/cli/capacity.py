"""`harness capacity`: find the highest arrival rate at which the service keeps its SLOs."""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from harness.cli.options import command, length_s, must_exist, parsed, with_plan
from harness.cli.output import remark, standard_output
from harness.errors import HistoryError
from harness.verdict import Capacity, Verdict

if TYPE_CHECKING:
    from harness.plan.plan import Plan


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
    plan = load(args.gate, profile=args.profile, allow_faults=args.allow_faults, overloads=True)
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
        worse = _against_earlier(plan, args.scenario, found, out) if found.verdict is Verdict.PASS else False
    return Verdict.FAIL.exit_code if worse else found.verdict.exit_code


def _against_earlier(plan: Plan, scenario: Path, found: Capacity, out: TextIO) -> bool:
    """Say how a capacity compares with the earlier ones of the plan and the scenario, and add it to them; whether it is
    worse."""
    from harness.checks.baseline_figures import BaselineFigures
    from harness.checks.earlier import AT_LEAST, LAST, too_few
    from harness.checks.view import STEADY
    from harness.history import PastRun
    from harness.run import runs
    from harness.run.comparable import digest, machine
    from harness.run.folder import commit

    path, now = plan.workdir / plan.gate.history, {"capacity": found.kept_per_s}
    about = f"{digest(plan)} {scenario.stem} capacity", machine()
    began = time.time()
    run = PastRun(f"capacity-{datetime.fromtimestamp(began, UTC):%Y%m%dT%H%M%S.%fZ}", began, {STEADY: now}, {}, {})
    try:
        earlier = runs.baseline(path, *about, LAST)
        if len(earlier) < AT_LEAST:
            worse = False
            out.write(f"  remark  it is {too_few(len(earlier), AT_LEAST)}\n")
        else:
            _, (one,) = BaselineFigures(STEADY).compare(now, earlier)
            worse = one.worse
            text, how = one.kind.text, "worse than" if worse else "no worse than"
            said = f"{text(one.now)}, expected {text(one.expected)}, bound {text(one.bound)}"
            out.write(f"  {how} in {len(earlier)} earlier searches: {said}\n")
        verdict = Verdict.FAIL if worse else Verdict.PASS
        runs.add(path, runs.Entry(run, verdict.name, *about, plan.service.name, commit(plan.workdir)))
    except HistoryError as error:
        remark(f"the capacity is neither compared with earlier ones nor added to them: {error}")
        return False
    return worse


def _precision(text: str) -> float:
    from harness.units import parse_share

    if not 0.005 <= (share := parse_share(text)) <= 1:
        raise ValueError(f"must lie between 0.5% and 100%, got {text}")
    return share
