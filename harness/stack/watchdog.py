"""A process that outlives the harness by seconds: it heals a run whose harness is gone, and undoes overdue faults.

`python -m harness.stack.watchdog RUN [NAME]`, its standard input a pipe that the harness holds open. With NAME it only
ends the processes of that name once the harness is gone: what they belong to may be somebody else's.

It ignores the signals that end a session, because it is needed just then.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from harness.eventlog import append
from harness.stack.ledger import Ledger, heal, undo
from harness.stack.process import NOBODY, Child, end_members, ignore, spawn

CLEAN = b"q"  # the harness writes it when it has undone and ended everything itself


def start(run: Path, *only: str) -> Child:
    """Start the watchdog of a run, or only of its processes of one name; give it CLEAN through `dismiss` when nothing
    is left to heal."""
    argv = [sys.executable, "-m", "harness.stack.watchdog", str(run), *only]
    return spawn("watchdog", argv, run, stdin=subprocess.PIPE, marked=False)


def dismiss(watchdog: Child) -> None:
    """Tell the watchdog that all is put back; returns when it is gone."""
    try:
        watchdog.popen.stdin.write(CLEAN)
        watchdog.popen.stdin.flush()
    except (OSError, ValueError):
        pass  # it is gone already
    watchdog.end(first=signal.SIGCONT)


def watch(run: Path, every_s: float = 0.25, retry_s: float = 5.0) -> None:
    """Wait for the harness to dismiss us or to be gone, undoing what outlives its lease meanwhile."""
    ledger = Ledger(run)
    retry: dict[str, float] = {}  # when to try again what could not be undone, by entry
    while True:
        readable, _, _ = select.select([0], [], [], every_s)
        if readable:
            word = os.read(0, 1)
            if word == CLEAN:
                return
            if not word:
                break
        overdue = [e for e in ledger.open() if time.time() > max(e.until, retry.get(e.id, 0))]
        with suppress(OSError):  # no room for the event: the fault is undone, and the watchdog is still needed
            undo(run, overdue, by="watchdog", edge="lease")
        retry |= {e.id: time.time() + retry_s for e in overdue}
    healed, ended, failed = heal(run)
    append(
        run,
        "run",
        "healed",
        "fail" if failed else "ok",
        by="watchdog",
        faults=[e.kind for e in healed],
        processes=len(ended),
        problem="; ".join(failed),
    )
    (run / "owner.json").unlink(missing_ok=True)


def watch_one(run: Path, name: str) -> None:
    """Wait for the harness to dismiss us or to be gone; then end what it started by this name."""
    if os.read(0, 1) != CLEAN:
        end_members(run, name, NOBODY)


if __name__ == "__main__":
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(signum, ignore)
    (watch_one if sys.argv[2:] else watch)(Path(sys.argv[1]), *sys.argv[2:])
