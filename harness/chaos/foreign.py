"""An action of somebody else's as a fault: begun before the action, witnessed from outside, ended by the rollbacks.

What it does is unknown here. So it is undone by the rollbacks of its own experiment, played again where Chaos Toolkit
did not get to them, and whether it took effect, and is gone, is what the contract's `witness` says.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.eventlog import append
from harness.stack import prometheus
from harness.stack.ledger import Entry
from harness.stack.stack import Stack
from harness.stack.undo import Undo
from harness.witness import Witness

KIND = "action"  # of its ledger entries, which `heal` leaves to the rollbacks
LOOK_S, POLL_S = 5.0, 0.2


def witness_of(experiment: Mapping[str, Any]) -> Witness | None:
    """The witness in the contract of an experiment, if there is one."""
    for extension in experiment.get("extensions") or ():
        expected = extension.get("expect") if extension.get("name") == "harness" else None
        if expected and expected.get("witness"):
            return Witness.model_validate(expected["witness"])
    return None


def is_foreign(activity: Mapping[str, Any]) -> bool:
    """Whether it is an action, and none of the harness' own."""
    module = str((activity.get("provider") or {}).get("module", ""))
    return activity.get("type") == "action" and not module.startswith("harness.")


def seen(witness: Witness, stack: Stack) -> str | None:
    """What the witness sees now; None for nothing. Raises what keeps it from looking."""
    if witness.query is not None:
        result = prometheus.query(stack.prometheus_url, witness.query)
        return f"Prometheus: {witness.query} = {float(result[0]['value'][1]):.4g}" if result else None
    if witness.http is not None:
        return _unanswered(witness, stack)
    done = subprocess.run(
        shlex.split(witness.command), env={**os.environ, **stack.environment}, capture_output=True, text=True,
        timeout=LOOK_S,
    )  # fmt: skip
    return f"{witness.command} exited with 0: {done.stdout.strip()[-200:]}" if done.returncode == 0 else None


def _unanswered(witness: Witness, stack: Stack) -> str | None:
    import httpx  # only who asks pays for it

    url = f"{stack.service_url}{witness.http}" if witness.http.startswith("/") else witness.http
    try:
        status = httpx.get(url, timeout=LOOK_S, trust_env=False, verify=False).status_code
    except httpx.HTTPError as error:
        return f"{url}: {type(error).__name__}: {error}" if witness.status is None else None
    hit = status >= 400 if witness.status is None else status == witness.status
    return f"{url} is answered with {status}" if hit else None


class Foreign:
    """One such action, from before it until after the rollbacks."""

    def __init__(self, witness: Witness, stack: Stack, experiment: str, name: str, file: Path):
        """Write down that it begins; what of it is undone how is on disk before it is done."""
        self._witness, self._stack, self._experiment, self._name = witness, stack, experiment, name
        self._seen, self._problem, self._over = "", "", threading.Event()
        self._before, problem = self._look()
        params = {**witness.model_dump(exclude_none=True), "action": name}
        undo = Undo("play_rollbacks", {"experiment": str(file.resolve()), "folder": os.getcwd()})
        self._entry: Entry = stack.ledger.add(KIND, experiment, params, {}, [undo], witness.lease)
        about = {"component": witness.component, "ends_with_process": witness.component is not None, "generator": None}
        self._record("start", "ok", params=params, **about)
        if problem:
            self._before = f"it could not be asked before the action: {problem}"
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()

    def acted(self, problem: str) -> None:
        """The action has ended, well or with a problem: wait for the witness."""
        if self._over.is_set():
            return  # it is done a second time
        if problem:
            self._record("start-failed", "fail", problem=problem)
        self._watching.join(self._witness.within)
        self._over.set()
        self._watching.join()
        if self._before:
            self._record("witness", "unknown", evidence=f"it held before the action, too: {self._before}")
        elif not self._seen:
            missed = f"not seen within {self._witness.within:g} s of the action" + self._problem
            self._record("witness", "unknown", evidence=missed)

    def rolled_back(self) -> None:
        """The rollbacks have been played: it is over once the witness sees nothing any more."""
        self._over.set()
        until = time.monotonic() + self._witness.within
        while (found := self._look()) != ("", "") and not self._before and time.monotonic() < until:
            time.sleep(POLL_S)
        left = found[0] or found[1]
        if left and not self._before:
            problem = f"its witness still holds {self._witness.within:g} s after the rollbacks: {left}"
            self._record("stop", "fail", by="rollbacks", problem=problem)
        else:
            self._stack.ledger.close(self._entry)
            self._record("stop", "ok", by="rollbacks", problem="")

    def _watch(self) -> None:
        while not self._seen and not self._over.wait(POLL_S):
            self._seen, problem = self._look()
            self._problem = f": {problem}" if problem else ""
            if self._seen and not self._before:
                self._record("witness", "ok", evidence=self._seen)

    def _look(self) -> tuple[str, str]:
        """What is seen, and why nothing can be."""
        try:
            return seen(self._witness, self._stack) or "", ""
        except Exception as error:  # of a command or a server of somebody else's
            return "", f"{type(error).__name__}: {error}"

    def _record(self, edge: str, outcome: str, **detail: Any) -> None:
        about = {"id": self._entry.id, "experiment": self._experiment, "sham": False}
        append(self._stack.run, "fault", f"action {self._name!r}", outcome, edge=edge, **detail, **about)
