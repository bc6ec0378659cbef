"""A planned start, asked of whoever holds a stack: the service anew with more in its environment, and back.

The request is a file of the run. It goes when the service is in traffic, or says why it does not get there. It is good
for as long as the process that asked is there: nothing of an experiment outlives that.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.errors import StackError
from harness.masking import hidden
from harness.stack.ledger import PRIVATE
from harness.stack.process import Pid, identify, spawn, state, tail
from harness.stack.spec import filled

PREPARED_WITHIN_S = 60.0


class Request(NamedTuple):
    """What is asked, and by whom."""

    added: Mapping[str, str]  # to the environment; nothing: as service.yaml says
    asker: Pid
    problem: str = ""  # why it could not be done; empty while nobody knows


def request_file(run: Path) -> Path:
    """Where a request lies."""
    return run / "requests" / "start"


def ask(run: Path, added: Mapping[str, str]) -> None:
    """Ask, for as long as this process is there."""
    request_file(run).parent.mkdir(exist_ok=True)
    _write(run, Request(added, identify(os.getpid())))


def asked(run: Path) -> Request | None:
    """The request that is open, or was answered with a problem; None where there is none."""
    try:
        added, asker, problem = json.loads(request_file(run).read_text())
    except FileNotFoundError:
        return None
    return Request(added, Pid(*asker), problem)


def withdraw(run: Path) -> None:
    """Have nobody do it any more."""
    request_file(run).unlink(missing_ok=True)


def scratch(run: Path, experiment: str) -> Path:
    """A folder for what an experiment's `start` makes; it goes with the stack."""
    folder = run.resolve() / PRIVATE / "scratch" / experiment
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def prepared(commands: Sequence[str], values: Mapping[str, object], run: Path, workdir: Path) -> str:
    """Run commands, their placeholders filled in, each to its end; gives why one did not do its work, empty where all
    did."""
    for command in commands:
        try:
            child = spawn("prepare", [filled(part, values) for part in shlex.split(command)], run, cwd=workdir)
        except StackError as error:
            return f"prepare: {hidden(command)}: {error}"
        try:
            code = child.popen.wait(PREPARED_WITHIN_S)
        except subprocess.TimeoutExpired:
            return f"prepare: {hidden(command)}: no end within {PREPARED_WITHIN_S:g} s; its log: {child.log}"
        finally:
            child.end()
        if code != 0:
            return f"prepare: {hidden(command)}: exited with {code}; last lines of {child.log}:\n{tail(child.log)}"
    return ""


class Holder:
    """Carries requests out. `restart(added)` raises StackError where the service does not get ready."""

    def __init__(self, run: Path, restart: Callable[[Mapping[str, str]], None]):
        self._run, self._restart = run, restart
        self._asker: Pid | None = None  # for whom something is added now

    def heed(self) -> None:
        """Do what is asked, and take back what a process wanted that is gone. Raises StackError where the service does
        not get ready as service.yaml says."""
        if self._asker is not None and state(self._asker) is None:
            self._asker = None
            withdraw(self._run)
            self._restart({})
        elif (request := asked(self._run)) is not None and not request.problem:
            self._asker = request.asker if request.added else None
            try:
                self._restart(request.added)
            except StackError as error:
                _write(self._run, request._replace(problem=str(error)))
            else:
                withdraw(self._run)


def _write(run: Path, request: Request) -> None:
    scratch = request_file(run).with_suffix(".new")
    scratch.write_text(json.dumps(request))
    os.replace(scratch, request_file(run))
