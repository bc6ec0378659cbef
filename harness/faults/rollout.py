"""A release is rolled out: each replica in turn is restarted, the next only once the one before it is ready."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from harness.errors import FaultError
from harness.eventlog import append
from harness.faults.fault import Facts, Fault
from harness.history import ProbeAnswer
from harness.recordfile import records
from harness.stack.component import restart_request
from harness.stack.control import RESTART
from harness.stack.process import tail
from harness.stack.stack import Stack
from harness.stack.undo import Undo

LOOK_S, POLL_S = 1.0, 0.05
PYTHON_PATH = "PYTHONPATH"


@dataclass(frozen=True)
class Rollout(Fault):
    """Each replica, or each of `replicas`, is restarted with `environment` added to its own, as a Deployment with
    `maxUnavailable: 1` and `maxSurge: 0` does: out of traffic, SIGTERM, its grace period, and the next one only when it
    is ready again.

    One that is not ready within `ready_within_s` ends it there, as `progressDeadlineSeconds` does, and is left as it
    is. The rollback restarts what was restarted, without that environment; where none was given there is nothing to
    roll back. Of PYTHONPATH the entries are folders beside gate.yaml.
    """

    environment: dict[str, str] = field(default_factory=dict)
    replicas: list[str] = field(default_factory=list)
    ready_within_s: float = 30.0
    kind: ClassVar[str] = "rollout"
    replaces: ClassVar[bool] = True
    touches: ClassVar[str] = "every replica, one after the other"
    undone: ClassVar[str] = "each is restarted as it was before"
    lease_s: ClassVar[float] = 240
    ends_with_process: ClassVar[bool] = True

    def mistakes(self) -> Iterator[tuple[str, str]]:
        if self.ready_within_s <= 0:
            yield "ready_within_s", f"must be above 0; got {self.ready_within_s:g}"

    @classmethod
    def asks(cls, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        """Without another environment it is a restart."""
        return cls.deeds if arguments.get("environment") else (RESTART,)

    def target(self, stack: Stack) -> Facts:
        known = [name for name in stack.addresses if name not in stack.dependencies]
        if unknown := [name for name in self.replicas if name not in known]:
            raise FaultError(f"rollout: no replica is called {unknown[0]} (known: {', '.join(known)})")
        for name in self.replicas or known:
            stack.pid(name)
        return {"at": time.time(), "replicas": self.replicas or known, "stuck": ""}

    def undo(self, facts: Facts) -> list[Undo]:
        if not self.environment:
            return []
        return [Undo("restart_component", {"component": name}) for name in reversed(facts["replicas"])]

    def start(self, stack: Stack, facts: Facts) -> Facts:
        environment = dict(self.environment)
        if PYTHON_PATH in environment:
            folders = environment[PYTHON_PATH].split(os.pathsep)
            environment[PYTHON_PATH] = os.pathsep.join(str(Path(entry).absolute()) for entry in folders if entry)
        begun: list[str] = []
        for name in facts["replicas"]:
            began, request = time.monotonic(), restart_request(stack.run, name)
            request.parent.mkdir(exist_ok=True)
            scratch = request.with_name(f"{request.name}.new")
            scratch.write_text(json.dumps({"added": environment}))
            os.replace(scratch, request)
            begun.append(name)
            while request.exists() and time.monotonic() - began < self.ready_within_s:
                time.sleep(POLL_S)
            took_s, ready = time.monotonic() - began, not request.exists()
            append(stack.run, "stack", "rolled-out", "ok" if ready else "fail", took=took_s, component=name)
            if not ready:
                return {**facts, "replicas": begun, "stuck": name}
        return {**facts, "replicas": begun}

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """The readiness probe of each replica: it was answered no, or not at all, since; and of one that did not get
        ready a client, which nobody answers, and what its log says last."""
        unready = {
            answer.component
            for answer in records(stack.run / "probes.jsonl", ProbeAnswer, open_end=True)
            if answer.at >= facts["at"] and answer.probe == "readiness" and not answer.ok
        }
        stuck = facts["stuck"]
        if missing := [name for name in facts["replicas"] if name not in unready and name != stuck]:
            return None if not all(stack.started_since(name, facts["at"]) for name in missing) else _anew(facts)
        if not stuck:
            return f"the readiness probe was answered no in turn: {', '.join(facts['replicas'])}"
        found = stack.react(stuck, LOOK_S)
        if found is None or found.kind != "refused":
            return None
        log = tail(stack.run / "logs" / f"{stuck}.log", 1).strip()
        return f"{stack.addresses[stuck]} refuses connections; {stuck} said last: {log[-200:]}"


def _anew(facts: Facts) -> str:
    return f"each was started anew: {', '.join(facts['replicas'])}"
