"""`harness heal`: undo whatever a killed run left behind."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from harness.cli.options import RUNS, command
from harness.cli.output import say
from harness.errors import StackError, UsageError


def add_to(commands: Any) -> None:
    sub = command(commands, "heal", run, "Undo whatever a killed run left behind.")
    sub.add_argument("--runs", type=Path, default=RUNS, help="the folder of runs (default: runs)")


def run(args: argparse.Namespace) -> int:
    from harness.stack.up import heal

    if args.runs != RUNS and not os.path.isdir(args.runs):
        raise UsageError(f"--runs: there is no folder {args.runs}")
    done = heal(args.runs)
    for line in done:
        say(line)
    if bad := [line for line in done if "NOT HEALED" in line]:
        raise StackError(f"{len(bad)} of {len(done)} could not be undone; undo them by hand, see the ledger of the run")
    say("healed" if done else "nothing was left behind")
    return 0


def heal_before(runs: Path = RUNS) -> None:
    """What every command that starts a stack does first."""
    from harness.stack.up import heal

    for line in heal(runs):
        say(f"left by an earlier run and healed: {line}")
