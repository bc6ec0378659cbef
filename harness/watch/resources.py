"""What the kernel says of a component's processes, and how much lies in a folder: from outside, while they go on.

Memory is RssAnon + RssShmem + VmSwap (proc(5)): what a process made itself and only it can give back. Its pages of
files (RssFile) are left out, for the kernel takes and returns them as it likes, and so is the division of shared pages
(PSS), which changes when another process ends. What was swapped out has not been given back. Summed over the processes
of a component: pages that they share since a fork count for each, which moves the level and no slope.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from harness.eventlog import Log
from harness.history import Resources

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
THEIRS = ("RssAnon", "RssShmem", "VmSwap")
EVERY_S = 0.5


class Used(NamedTuple):
    """The fields of Resources that the kernel counts."""

    processes: int
    memory: int | None
    descriptors: int | None
    sockets: int | None
    threads: int
    cpu_s: float


def used(pids: Iterable[int], proc: Path = PROC) -> Used | None:
    """What these processes take together; None where none of them lives."""
    found = [one for pid in pids if (one := _used(proc / str(pid))) is not None]
    if not found:
        return None
    totals = [None if None in column else sum(column) for column in zip(*found, strict=True)]
    return Used(*totals)


def _used(folder: Path) -> Used | None:
    """The same of one process; None where it is gone."""
    try:
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
        fields = (folder / "stat").read_text().rpartition(")")[2].split()  # behind the name, which may hold anything
    except OSError:
        return None
    kilobytes = [int(status[name].split()[0]) for name in THEIRS if name in status]
    descriptors, sockets = _descriptors(folder / "fd")
    return Used(
        1,
        1024 * sum(kilobytes) if len(kilobytes) == len(THEIRS) else None,  # a kernel without them, or a zombie
        descriptors,
        sockets,
        int(status["Threads"]),
        sum(map(int, fields[11:15])) / TICKS,
    )


def _descriptors(folder: Path) -> tuple[int | None, int | None]:
    """How many are open, and how many of them are sockets."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.path for entry in entries]
    except OSError:
        return None, None
    sockets = 0
    for name in names:
        try:
            sockets += os.readlink(name).startswith("socket:")
        except OSError:  # closed meanwhile
            continue
    return len(names), sockets


def on_disk(path: Path) -> int:
    """The bytes that a file takes on its disk, or all files below a folder; 0 where there is none."""
    try:
        about = path.lstat()
        if not stat.S_ISDIR(about.st_mode):
            return 512 * about.st_blocks
        with os.scandir(path) as entries:
            return sum(on_disk(Path(entry.path)) for entry in entries)
    except OSError:
        return 0


class Sampler:
    """Writes what `look` gives to a file at an interval, in a thread of the caller's process.

    What breaks it ends it and is kept as `failure`: samples that are missing prove nothing.
    """

    def __init__(self, path: Path, look: Callable[[], Iterable[Resources]], every_s: float = EVERY_S):
        self.failure: Exception | None = None
        self._log, self._look, self._every_s = Log(path), look, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._guard, name="resources", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when the last sample is written."""
        self._stop.set()
        self._thread.join()
        self._log.close()

    def _guard(self) -> None:
        try:
            due = time.monotonic()
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                for record in self._look():
                    self._log.write(record)
                due = max(due + self._every_s, time.monotonic())
        except Exception as broke:
            self.failure = broke
