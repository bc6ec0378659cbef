"""Options that several commands have."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness.document import regular
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
    with_gate(sub)
    sub.add_argument("--profile", help="a profile of the plan")
    about = "break a service on this machine that runs already; elsewhere gate.yaml must name it: blast_radius"
    sub.add_argument("--allow-faults", action="store_true", help=about)


def with_gate(sub: argparse.ArgumentParser) -> None:
    """Which file holds the plan."""
    sub.add_argument("--gate", type=Path, default=Path("gate.yaml"), help="the plan (default: gate.yaml)")


def must_exist(path: Path, what: str, bundled: str) -> None:
    """Raises UsageError where there is no such file. bundled: the pattern of those that there are."""
    if why := regular(path):
        there = ", ".join(map(str, sorted(Path().glob(bundled)))) or "none here"
        missing = f"no {what} {path}" if why == "no such file" else f"{what} {path}: {why}"
        raise UsageError(f"{missing}; the bundled ones: {there}")


def port(text: str) -> int:
    """The number of a port. Raises ArgumentTypeError."""
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"must be a port from 1 to 65535, got {text!r}")
    return int(text)


def length_s(text: str) -> float:
    """How long something lasts. Raises ValueError."""
    from harness.units import parse_duration

    if not (seconds := parse_duration(text)):
        raise ValueError(f"must be above 0; got {text!r}")
    return seconds


def pushgateway(text: str) -> str:
    """The address of a Pushgateway. Raises UsageError."""
    try:
        parts = urlsplit(text)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and text.isprintable():
            return text
    except ValueError:
        pass
    raise UsageError("the address of a Pushgateway must be a URL, like http://pushgateway.example.org:9091")


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
