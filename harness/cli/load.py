"""`harness load`: run one scenario against the stack of `harness up`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from harness.cli.options import command, length_s, must_exist, parsed
from harness.cli.output import standard_output
from harness.errors import UsageError

MOST_PROCESSES = 256  # of one host
MOST_USERS = 10_000
ACCESS = {  # files by which requests get in, in place of those that service.yaml names
    "ca_file": "whose certificates to trust for https",
    "client_cert": "the generator's own certificate for https, PEM",
    "client_key": "its key, where that is not in the same file",
    "headers_file": "a JSON object of headers for every request",
}


def add_to(commands: Any) -> None:
    load = command(commands, "load", run, "Run one scenario against the stack of `harness up`.")
    load.add_argument("scenario", type=Path)
    load.add_argument("--user", metavar="NAME", help="which of the scenario's user classes, where it has several")
    load.add_argument("--arrivals", help="like poisson:60/s:seed=7 (default: the scenario's own)")
    load.add_argument(
        "--open",
        metavar="RATE",
        help="of users that keep no schedule: iterations arrive at this rate, like 60/s, whatever the service does",
    )
    load.add_argument("--users", type=int, default=1, help="how many of these users else (closed model; default: 1)")
    load.add_argument("--spawn-rate", type=float, metavar="N", help="users started a second (default: all at once)")
    load.add_argument("--tags", action="append", default=[], metavar="TAG", help="only tasks with this tag")
    load.add_argument("--exclude-tags", action="append", default=[], metavar="TAG", help="no task with this tag")
    load.add_argument("--for", dest="for_s", default="30s", help="how long (default: 30s)")
    load.add_argument("--corpus", type=Path, metavar="DIR", help="labelled images (default: the scenario's own)")
    for name, about in ACCESS.items():
        load.add_argument(_option(name), type=Path, metavar="PATH", help=about)
    load.add_argument("--insecure", action="store_true", help="do not ask whose certificate it is")
    load.add_argument("--processes", type=int, default=1, help="how many processes share the schedule (default: 1)")


def run(args: argparse.Namespace) -> int:
    from harness.cli.screen import screen
    from harness.report.load import write
    from harness.run.load import LOADED, load_once
    from harness.stack.generator import Users
    from harness.stack.stack import Stack

    must_exist(args.scenario, "scenario", "scenarios/*.py")
    (for_s,) = parsed(("--for", length_s, args.for_s))
    if not 1 <= args.processes <= MOST_PROCESSES:
        raise UsageError(f"--processes must be from 1 to {MOST_PROCESSES}, got {args.processes}")
    if not 1 <= args.users <= MOST_USERS:
        raise UsageError(f"--users must be from 1 to {MOST_USERS:,}, got {args.users}")
    if args.spawn_rate is not None and not 0 < args.spawn_rate <= MOST_USERS:
        raise UsageError(f"--spawn-rate must be above 0 users a second, got {args.spawn_rate:g}")
    if args.open and args.arrivals:
        raise UsageError("--open and --arrivals both say when requests come; leave one out")
    arrivals = args.arrivals or (args.open and (args.open if ":" in args.open else f"poisson:{args.open}:seed=7"))
    users = Users(args.users, args.spawn_rate, tuple(args.tags), tuple(args.exclude_tags))
    given = vars(args)
    for name in ("corpus", *ACCESS):
        if given[name] is not None and not os.path.exists(given[name]):
            raise UsageError(f"{_option(name)}: there is no {given[name]}")
    access = {name: given[name] for name in ("insecure", *ACCESS)}
    with screen() as watch:
        history, recorded, answers = load_once(
            Stack.current(),
            args.scenario,
            arrivals,
            for_s,
            watch,
            args.processes,
            args.corpus,
            access,
            args.user,
            users,
        )
    with standard_output() as out:
        write(history, LOADED, recorded, out, answers)
    return max(recorded.verdict, answers.verdict).exit_code


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
