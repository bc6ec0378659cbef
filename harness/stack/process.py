"""Child processes of a run: started with a mark that any later process can find them by, each with its own log."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from harness.errors import ProcessDied, StackError

MARK = "HARNESS_RUN"  # every process of a run has this in its environment, so none can be lost between fork and record
ORIGIN = "HARNESS_PROCESS"  # and this, NAME/NUMBER of the one that it came of, another number at each start
STEERED_BY = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Pid(NamedTuple):
    """One process, distinguished from a later one with the same number by its start time in clock ticks."""

    pid: int
    started: int


NOBODY = Pid(-1, 0)  # where a component's main process is not known


@dataclass
class Child:
    """A process we started."""

    name: str
    popen: subprocess.Popen
    log: Path
    since: float  # monotonic seconds

    @property
    def pid(self) -> int:
        return self.popen.pid

    def alive(self) -> bool:
        return self.popen.poll() is None

    def check(self) -> None:
        """Raise ProcessDied, quoting its last lines, if it ended by itself."""
        code = self.popen.poll()
        if code is not None:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
            age_s = time.monotonic() - self.since
            raise ProcessDied(f"{self.name} {how} after {age_s:.1f} s; last lines of {self.log}:\n{tail(self.log)}")

    def end(self, grace_s: float = 5.0, first: int = signal.SIGTERM) -> None:
        """Ask it to end, then make it; returns when it is gone. Does nothing if it is."""
        if self.alive():
            self.popen.send_signal(first)
            try:
                self.popen.wait(grace_s)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        if self.popen.stdin:
            self.popen.stdin.close()


def spawn(
    name: str,
    argv: Sequence[str],
    run: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    niceness: int = 0,
    stdin: int = subprocess.DEVNULL,
    stdout: IO[bytes] | None = None,
    marked: bool = True,
) -> Child:
    """Start a child of a run. It gets the run's mark, its own log in `logs/`, `tmp/` to write in for the moment, and a
    process group of its own, so that Ctrl-C reaches the harness alone, which then ends its children in order. Only the
    watchdog, which ends the marked ones, goes unmarked. stdout: instead of the log.

    It begins with no signal ignored or blocked, although a shell's `&` and nohup have us ignore some: it is ended by
    them."""
    log, scratch = run / "logs" / f"{name}.log", (run / "tmp").resolve()
    for folder in (log.parent, scratch):
        folder.mkdir(exist_ok=True)
    # A process that is killed cannot tidy up: what it wrote for the moment is left in the run's folder, not elsewhere.
    environment = {**os.environ, "TMPDIR": str(scratch), **(env or {}), "PYTHONUNBUFFERED": "1"} | (
        {MARK: str(run.resolve()), ORIGIN: f"{name}/{time.monotonic_ns()}"} if marked else {}
    )
    inherited = signal.pthread_sigmask(signal.SIG_BLOCK, ()) or any(map(_ignored, STEERED_BY))
    with open(log, "ab") as out:
        try:
            popen = subprocess.Popen(
                list(argv),
                stdin=stdin,
                stdout=stdout or out,
                stderr=out,
                env=environment,
                cwd=cwd,
                process_group=0,
                preexec_fn=_default_signals if inherited else None,  # the command line sees to it that none is
            )
        except OSError as error:
            raise StackError(f"{name} could not be started: {argv[0]}: {error.strerror}") from error
    if niceness:
        os.setpriority(os.PRIO_PROCESS, popen.pid, niceness)
    return Child(name, popen, log, time.monotonic())


def started_ticks(pid: int, proc: Path = Path("/proc")) -> int | None:
    """When a process started, in clock ticks since boot; None if there is no such process or it is a zombie."""
    fields = _stat(pid, proc)
    return int(fields[19]) if fields and fields[0] not in "ZX" else None


def state(pid: Pid, proc: Path = Path("/proc")) -> str | None:
    """The kernel's letter for what a process is doing (R, S, D, T, ...); None once that very process is gone."""
    fields = _stat(pid.pid, proc)
    return fields[0] if fields and int(fields[19]) == pid.started and fields[0] not in "ZX" else None


def identify(pid: int) -> Pid | None:
    """The process behind a number now; None if there is none."""
    started = started_ticks(pid)
    return None if started is None else Pid(pid, started)


def send(pid: Pid, signum: int) -> bool:
    """Signal exactly this process; False if it is gone, or another user's."""
    if state(pid) is None:
        return False
    try:
        os.kill(pid.pid, signum)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def heed_signals() -> None:
    """Let this process pass on to no child that a signal is ignored or blocked; it goes on ignoring what it did.

    exec resets a signal that has a handler, even one that does nothing. Call it in the main thread.
    """
    for signum in filter(_ignored, STEERED_BY):
        signal.signal(signum, ignore)
    if _ignored(signal.SIGCHLD):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # else no child's exit code could be known
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def ignore(signum: int, frame: object) -> None:
    """Does nothing about a signal."""


def origin(pid: int, run: Path, proc: Path = Path("/proc")) -> str | None:
    """NAME/NUMBER of the process of a run that this one came of, by its mark; None where it has no mark of this run."""
    try:
        environment = (proc / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return None  # gone meanwhile, or another user's
    if f"{MARK}={run.resolve()}".encode() not in environment:
        return None
    found = [entry for entry in environment if entry.startswith(ORIGIN.encode())]
    return found[0].decode(errors="replace").partition("=")[2] if found else ""


def processes_of(run: Path, name: str | None = None, proc: Path = Path("/proc")) -> list[Pid]:
    """Every live process that carries the mark of this run, or of one component of it, but the caller."""
    return [
        Pid(pid, int(fields[19]))
        for pid, fields in _processes(proc).items()
        if (mark := origin(pid, run, proc)) is not None and name in (None, mark.partition("/")[0])
    ]


def members(run: Path, mark: str | None, main: Pid, proc: Path = Path("/proc")) -> list[Pid]:
    """Every live process of a component, its main one first: that one's descendants and process group, whatever became
    of it itself, and all of this origin, such as a daemon or a child in a session of its own. mark: NAME/NUMBER, or
    NAME for whichever number, or None for all of the run."""
    there = _processes(proc)
    if main.pid in there and int(there[main.pid][19]) != main.started:
        main = NOBODY  # another process has its number
    found = {main.pid: None} if main.pid in there else {}
    for pid, fields in there.items():
        came_of = origin(pid, run, proc)
        marked = came_of is not None and mark in (None, came_of, came_of.partition("/")[0])
        if marked or 1 < main.pid == int(fields[2]):
            found[pid] = None
    children: dict[int, list[int]] = {}
    for pid, fields in there.items():
        children.setdefault(int(fields[1]), []).append(pid)
    reached = list(found)
    for pid in reached:  # which grows meanwhile
        new = [child for child in children.get(pid, ()) if child not in found]
        found |= dict.fromkeys(new)
        reached += new
    return [Pid(pid, int(there[pid][19])) for pid in found]


def end_members(run: Path, mark: str, main: Pid, known: Iterable[Pid] = (), within_s: float = 3.0) -> list[Pid]:
    """SIGKILL every process of a component, again until there is none; gives those it ended. known: which there were
    before, for a child that has lost its parent and carries no mark is not found."""
    ended: dict[Pid, None] = {}
    seen, give_up = dict.fromkeys(known), time.monotonic() + within_s
    while time.monotonic() < give_up:
        seen |= dict.fromkeys(members(run, mark, main))
        alive = [pid for pid in seen if send(pid, signal.SIGKILL)]
        if not alive:
            break
        ended |= dict.fromkeys(alive)
        time.sleep(0.01)
    return list(ended)


def end_all(run: Path, settle_s: float = 0.3, within_s: float = 3.0) -> list[Pid]:
    """SIGKILL every process of a run, again until none has been seen for `settle_s`; gives those it ended."""
    seen: dict[Pid, None] = {}
    ended: dict[Pid, None] = {}
    give_up = time.monotonic() + within_s
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < settle_s and time.monotonic() < give_up:
        seen |= dict.fromkeys(members(run, None, NOBODY))
        if alive := [pid for pid in seen if send(pid, signal.SIGKILL)]:
            ended |= dict.fromkeys(alive)
            quiet_since = time.monotonic()
        time.sleep(0.05)
    return list(ended)


def free_ports(n: int) -> list[int]:
    """Loopback ports that are free now, all different."""
    sockets = [socket.socket() for _ in range(n)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


def tail(path: Path, lines: int = 20) -> str:
    """The last lines of a log, indented."""
    try:
        text = path.read_bytes()[-8192:].decode(errors="replace").splitlines()[-lines:]
    except OSError:
        text = []
    return "\n".join(f"    {line}" for line in text) or "    (nothing)"


def _ignored(signum: int) -> bool:
    return signal.getsignal(signum) is signal.SIG_IGN


def _default_signals() -> None:
    for signum in STEERED_BY:
        signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _processes(proc: Path) -> dict[int, list[str]]:
    """What `stat` says of each live process but the caller."""
    numbers = [int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()]
    stats = {pid: _stat(pid, proc) for pid in numbers if pid != os.getpid()}
    return {pid: fields for pid, fields in stats.items() if fields and fields[0] not in "ZX"}


def _stat(pid: int, proc: Path) -> list[str] | None:
    try:
        return (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
