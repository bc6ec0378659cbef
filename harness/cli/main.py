"""Finds the command, and turns what it raises into one message and an exit code."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import harness
from harness.cli import (
    capacity,
    chaos,
    check,
    compare,
    detection,
    doctor,
    gate,
    heal,
    history,
    judge,
    load,
    page,
    probes,
    push,
    slos,
    up,
    why,
)  # fmt: skip
from harness.cli.output import complain
from harness.errors import HarnessError, Interrupted, PlanError
from harness.stack.process import heed_signals, ignore

# Each adds its own arguments.
COMMANDS = (
    gate, check, why, page, detection, probes, compare, history, up, load, judge, capacity, chaos, slos, push, heal,
    doctor,
)  # fmt: skip
REFUSED = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}  # by the machine
EXIT_CODES = "0 pass, 1 fail, 2 usage or plan error, 3 inconclusive, 70 the harness broke, 130 interrupted"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code."""
    if sys.stdout is None:  # closed by who started us
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 until the end
    args = parser().parse_args(argv)
    try:
        with _interruptible():
            return args.command(args)
    except PlanError as error:
        count = len(error.problems)
        complain(f"{count} problem{'' if count == 1 else 's'}:\n" + "\n".join(f"  {p}" for p in error.problems))
        return error.exit_code
    except HarnessError as error:
        complain(str(error))
        return error.exit_code
    except (Interrupted, KeyboardInterrupt):
        complain("interrupted; what was on is undone, what ran is ended (`harness heal` says if anything is left)")
        return Interrupted.exit_code
    except OSError as error:
        if error.errno not in REFUSED:
            return _broke()
        file = error.filename2 or error.filename  # of two, where it was to be written
        where = f"{file}: " if file is not None else ""
        complain(f"{where}{error.strerror}; make room or give the right to write, and run it again")
        return HarnessError.exit_code
    except Exception:
        return _broke()


def _broke() -> int:
    complain("the harness itself broke; please report this with the lines below")
    traceback.print_exc()
    return HarnessError.exit_code


def parser() -> argparse.ArgumentParser:
    """The arguments of every command."""
    whole = argparse.ArgumentParser(
        prog="harness", description="A release gate for a monitored model service.", epilog=f"exit codes: {EXIT_CODES}"
    )
    whole.add_argument("--version", action="version", version=f"harness {harness.__version__}")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(commands)
    return whole


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP raise Interrupted once; while that unwinds, more of them are ignored. A SIGHUP that
    was ignored (nohup) still is; a SIGINT that was (a shell's &) is heeded, being sent on purpose. What is ignored is
    so by this process alone, and by none of its children (`heed_signals`)."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        for s in signals:
            signal.signal(s, ignore)
        raise Interrupted(signal.Signals(signum).name)

    hangup = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    signals = (signal.SIGINT, signal.SIGTERM, *hangup)
    heed_signals()
    before = {s: signal.signal(s, interrupt) for s in signals}
    try:
        yield
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
