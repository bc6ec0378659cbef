"""`harness check`: judge a stored run again."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from harness.cli.options import command


def add_to(commands: Any) -> None:
    sub = command(commands, "check", run, "Judge a stored run again.")
    sub.add_argument("run", type=Path, help="a folder under runs/")


def run(args: argparse.Namespace) -> int:
    from harness.cli.report import report

    return report(args.run).exit_code
