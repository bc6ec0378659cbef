"""Something breaks inside a process: its event loop stalls, its worker waits for ever, it leaks."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from harness.errors import FaultError
from harness.faults.fault import Facts, Fault
from harness.recordfile import records
from harness.stack import prometheus
from harness.stack.component import inside_control
from harness.stack.stack import Stack
from harness.stack.undo import Undo

REPORTED_WITHIN_S, POLL_S = 5.0, 0.02


class Report(NamedTuple):
    """What the module in a process says that it did, a line of the file beside the control file."""

    at: float
    pid: int
    state: Literal["follows", "on", "off", "failed"]
    id: str = ""  # of the control file's content
    said: str = ""


@dataclass(frozen=True)
class Inside(Fault):
    """`fault` happens with its `arguments` inside the processes of a component, by a module that the contract's `start`
    has put on their path: experiments/inside, or one that follows the same file.

    `witness_query` is PromQL that gives a result only while the fault shows from outside; what the module says of
    itself is no proof. A process that takes the place of a broken one is whole.
    """

    fault: str
    witness_query: str
    arguments: dict[str, Any] = field(default_factory=dict)
    component: str = "server"
    kind: ClassVar[str] = "inside"
    alone: ClassVar[str] = "inside"
    undone: ClassVar[str] = "the module in its processes lets go; a process that does not is restarted by its probes"
    ends_with_process: ClassVar[bool] = True

    def target(self, stack: Stack) -> Facts:
        main, control = stack.pid(self.component), inside_control(stack.run, self.component)
        if control.exists():
            raise FaultError(f"inside: something is broken inside {self.component} already; undo it first")
        there = {pid.pid for pid in stack.members(self.component, main)}
        followers = sorted({report.pid for report in _reports(control)} & there)
        if not followers:
            how = "by `harness gate` or `harness chaos` as the contract's `start` says; `chaos run` restarts nothing"
            raise FaultError(f"inside: no module in {self.component} follows {control.name}: it is to be started {how}")
        return {**main._asdict(), "control": str(control), "followers": followers}

    def undo(self, facts: Facts) -> list[Undo]:
        return [Undo("remove", {"path": facts["control"]})]

    def start(self, stack: Stack, facts: Facts) -> Facts:
        control, id = Path(facts["control"]), uuid.uuid4().hex[:8]
        scratch = control.with_name(f"{control.name}.new")
        scratch.write_text(json.dumps({"id": id, "fault": self.fault, "arguments": self.arguments}))
        os.replace(scratch, control)
        until = time.monotonic() + REPORTED_WITHIN_S
        found: list[Report] = []
        while len(found) < len(facts["followers"]) and time.monotonic() < until:
            time.sleep(POLL_S)
            found = [report for report in _reports(control) if report.id == id]
        did = [report.said for report in found if report.state == "on"]
        if not did:
            why = found[0].said if found else f"no process said what it did within {REPORTED_WITHIN_S:g} s"
            raise FaultError(f"inside: {self.fault} did not take in {self.component}: {why}")
        return {**facts, "did": did[0]}

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """The service's own metrics, or that it has none, as Prometheus stored them."""
        result = prometheus.query(stack.prometheus_url, self.witness_query)
        if not result:
            return None
        return f"Prometheus: {self.witness_query} = {float(result[0]['value'][1]):.4g}; {facts['did']}"


def _reports(control: Path) -> Iterator[Report]:
    yield from records(control.with_name(f"{control.name}.report"), Report, open_end=True)
