"""More arrivals than the service can serve: open-model generators beside the first."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.errors import FaultError
from harness.faults.fault import Facts
from harness.stack import generator, prometheus
from harness.stack.ledger import Undo
from harness.stack.process import identify, spawn
from harness.stack.stack import Stack

STEP_S = 3.0  # a generator needs 1 s to start; then the service has 2 s to say that it is overloaded


@dataclass(frozen=True)
class Surge:
    """A scenario at an arrival rate well beyond capacity, for a bounded time.

    `witness_query` is PromQL that gives a result only while the service itself says it is overloaded; arrivals alone
    are no proof, because a faster machine may serve them all. While it says nothing, one more generator at the same
    rate joins every three seconds, up to `at_most`, so that one experiment overloads slow and fast machines alike.
    """

    scenario: str
    arrivals: str  # "poisson:900/s:seed=11"
    for_s: float
    witness_query: str
    at_most: int = 3
    kind: ClassVar[str] = "surge"
    sham: ClassVar[bool] = False

    def target(self, stack: Stack) -> Facts:
        if not Path(self.scenario).exists():
            raise FaultError(f"surge: no scenario {self.scenario}")
        return {"url": stack.service_url}

    def undo(self, facts: Facts) -> list[Undo]:
        return [Undo("end", pid, started) for pid, started in facts.get("generators", ())]

    def start(self, stack: Stack, facts: Facts) -> Facts:
        return self._joined(stack, {**facts, "generators": [], "until": time.time() + self.for_s})

    def escalate(self, stack: Stack, facts: Facts) -> Facts | None:
        """The facts with one more generator, when it is time for one; None when not."""
        many = len(facts["generators"])
        due = facts["until"] - self.for_s + many * STEP_S
        return self._joined(stack, facts) if many < self.at_most and time.time() >= due else None

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """The service's own metrics, as Prometheus stored them."""
        answer = prometheus.query(stack.prometheus_url, self.witness_query)
        if not answer:
            return None
        value = float(answer[0]["value"][1])
        return f"Prometheus: {self.witness_query} = {value:.4g}, {len(facts['generators'])} x {self.arrivals}"

    def _joined(self, stack: Stack, facts: Facts) -> Facts:
        many = len(facts["generators"])
        argv = generator.command(
            Path(self.scenario),
            facts["url"],
            arrivals=self.arrivals,
            for_s=max(1.0, facts["until"] - time.time()),
            rows=stack.run / "requests-surge.bin",
            events=stack.run / "events.jsonl",
            name="surge",
            corpus=stack.corpus,
        )
        child = spawn(f"surge-{many + 1}", argv, stack.run)
        found = identify(child.pid)
        if found is None:
            child.check()
            raise FaultError("surge: its generator ended at once")
        return {**facts, "generators": [*facts["generators"], list(found)]}
