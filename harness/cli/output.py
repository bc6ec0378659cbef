"""How a command speaks: to its user, to whoever reads its output, and of files near by."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO


def say(line: str) -> None:
    """A line on standard output."""
    with standard_output() as out:
        print(line, file=out)


def complain(message: str) -> None:
    """What went wrong, on standard error, where somebody reads it."""
    with suppress(OSError):
        print(f"harness: {message}", file=sys.stderr, flush=True)


def remark(line: str) -> None:
    """What a reader of the verdict should know of how it came about, on standard error."""
    print(f"harness: remark: {line}", file=sys.stderr, flush=True)


def announce(title: str, lines: Iterable[str]) -> None:
    """What is about to be done, on standard error."""
    print("\n".join([f"harness: {title}", *(f"  {line}" for line in lines)]), file=sys.stderr, flush=True)


@contextmanager
def standard_output() -> Iterator[TextIO]:
    """Standard output; a reader that goes away early (`| head`) does not change how the command ends."""
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def wants_color() -> bool:
    """Whether standard output is a terminal whose user has nothing against colour."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def near(path: Path) -> str:
    """A path as its user would type it here."""
    with suppress(ValueError, OSError):
        return str(path.resolve().relative_to(Path.cwd()))
    return str(path)
