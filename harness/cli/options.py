"""Options that several commands have."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.errors import UsageError

RUNS = Path("runs")
PUSH_TO = "HARNESS_PUSH_TO"  # the environment variable that names a Pushgateway

Command = Callable[[argparse.Namespace], int]


def command(commands: Any, name: str, does: Command, about: str) -> argparse.ArgumentParser:
    """A command of its own, with the sentence that its help says."""
    sub = commands.add_parser(name, help=about, description=about)
    sub.set_defaults(command=does)
    return sub


def with_plan(sub: argparse.ArgumentParser) -> None:
    """The options of a command that reads a plan."""
    sub.add_argument("--gate", type=Path, default=Path("gate.yaml"), help="the plan (default: gate.yaml)")
    sub.add_argument("--profile", help="a profile of the plan")


def must_exist(path: Path, what: str, bundled: str) -> None:
    """Raises UsageError where there is no such file. bundled: the pattern of those that there are."""
    if not path.exists():
        there = ", ".join(map(str, sorted(Path().glob(bundled)))) or "none here"
        raise UsageError(f"no {what} {path}; the bundled ones: {there}")


def parsed(*options: tuple[str, Callable[[str], float], str]) -> list[float]:
    """The value of each option, given as (name, how it is read, text). Raises UsageError with all that is wrong."""
    values, wrong = [], []
    for name, parse, text in options:
        try:
            values.append(parse(text))
        except ValueError as error:
            wrong.append(f"{name} {error}")
    if wrong:
        raise UsageError("; ".join(wrong))
    return values
