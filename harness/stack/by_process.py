"""Control by the processes of this machine: those that the harness started, or those below a number in a file."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import StackError
from harness.stack.control import Found, Seen
from harness.stack.process import Pid, end_members, identify, members, send, state
from harness.stack.undo import Undo

STOPPED_WITHIN_S = 3.0
POLL_S = 0.01


@dataclass(frozen=True)
class Processes:
    """The main process of a component, and all that come of it. mark: by which the run's own are known."""

    run: Path
    name: str
    main: Pid
    mark: str

    def found(self) -> Found:
        return {**self.main._asdict(), "others": [list(pid) for pid in self._members() if pid != self.main]}

    def kill(self, found: Found) -> bool:
        main = Pid(found["pid"], found["started"])
        return main in end_members(self.run, self.mark, main)

    def stop(self, found: Found, grace_s: float) -> bool | None:
        main, began = Pid(found["pid"], found["started"]), time.monotonic()
        if not send(main, signal.SIGTERM):
            return None
        while (there := state(main)) and time.monotonic() - began < grace_s:
            time.sleep(POLL_S)
        if there:
            self.kill(found)
        return bool(there)

    def pause(self, found: Found) -> Found:
        """SIGSTOP to all, the main one first, because it starts the others, until all are stopped."""
        if not send(self.main, signal.SIGSTOP):
            raise StackError(f"{self.name} (pid {self.main.pid}) was gone before it could be stopped")
        until = time.monotonic() + STOPPED_WITHIN_S
        while True:
            there = self._members()
            running = [pid for pid in there if state(pid) not in ("T", "t", None)]
            if not running or time.monotonic() > until:
                return {**found, "others": [list(pid) for pid in there if pid != self.main]}
            for pid in running:
                send(pid, signal.SIGSTOP)
            time.sleep(POLL_S)

    @staticmethod
    def resumes(component: str, found: Found) -> list[Undo]:
        stopped = {key: found[key] for key in ("pid", "started", "others")}
        return [Undo("continue", {"component": component, **stopped})]

    @staticmethod
    def revives(component: str, found: Found) -> list[Undo]:
        return [Undo("restart_component", {"component": component})] if found["dependency"] else []

    def _members(self) -> list[Pid]:
        return members(self.run, self.mark, self.main)


@dataclass(frozen=True)
class PidFile:
    """What a file says that is written by whoever started the process. Read again each time: the next process has
    another number."""

    path: Path
    restarted_by: str = ""

    def seen(self, before: tuple[Any, ...]) -> Seen:
        pid = self.look()
        return Seen(False) if pid is None else Seen(True, tuple(pid), pid)

    @property
    def where(self) -> str:
        """What it is called, for a message."""
        return f"{self.path} names no process that runs"

    def look(self) -> Pid | None:
        """The process that it names now; None where there is no such one. Raises StackError where the file can name
        none that a fault may touch."""
        try:
            text = self.path.read_text().split()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise StackError(f"{self.path}: {getattr(error, 'strerror', 'not text')}") from None
        if not text:
            return None  # about to be written
        if not text[0].isdecimal() or not 1 < int(text[0]) < 1 << 22:
            raise StackError(f"{self.path}: must begin with the number of a process above 1; got {text[0][:20]!r}")
        if int(text[0]) in (os.getpid(), os.getppid()):
            raise StackError(f"{self.path}: names the harness itself, or what started it")
        return identify(int(text[0]))
