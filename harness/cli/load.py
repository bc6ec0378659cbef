"""`harness load`: run one scenario against the stack of `harness up`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from harness.cli.options import command
from harness.cli.output import files_in, standard_output
from harness.errors import UsageError


def add_to(commands: Any) -> None:
    load = command(commands, "load", run, "Run one scenario against the stack of `harness up`.")
    load.add_argument("scenario", type=Path)
    load.add_argument("--arrivals", help="like poisson:60/s:seed=7 (default: the scenario's own)")
    load.add_argument("--for", dest="for_s", default="30s", help="how long (default: 30s)")
    load.add_argument("--corpus", type=Path, metavar="DIR", help="labelled images (default: the scenario's own)")
    load.add_argument("--ca-file", type=Path, metavar="PATH", help="whose certificates to trust for https")
    load.add_argument("--insecure", action="store_true", help="do not ask whose certificate it is")
    load.add_argument("--processes", type=int, default=1, help="how many processes share the schedule (default: 1)")


def run(args: argparse.Namespace) -> int:
    from harness.cli.screen import screen
    from harness.report.load import write
    from harness.run.load import LOADED, load_once
    from harness.stack.stack import Stack
    from harness.units import parse_duration

    if not args.scenario.exists():
        raise UsageError(f"no scenario {args.scenario}; the bundled ones: {files_in('scenarios', '*.py')}")
    try:
        for_s = parse_duration(args.for_s)
    except ValueError as error:
        raise UsageError(f"--for {error}") from error
    if args.processes < 1:
        raise UsageError(f"--processes must be at least 1, got {args.processes}")
    for option, path in (("--corpus", args.corpus), ("--ca-file", args.ca_file)):
        if path is not None and not path.exists():
            raise UsageError(f"{option}: there is no {path}")
    with screen() as watch:
        history, recorded, answers = load_once(
            Stack.current(), args.scenario, args.arrivals, for_s, watch, args.processes,
            args.corpus, args.ca_file, args.insecure,
        )  # fmt: skip
    with standard_output() as out:
        write(history, LOADED, recorded, out, answers)
    return max(recorded.verdict, answers.verdict).exit_code
