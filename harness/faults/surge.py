"""More arrivals than the service can serve: a second open-model generator beside the first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.errors import FaultError
from harness.faults.fault import Facts, Fault
from harness.history import rows_file
from harness.stack import generator, prometheus
from harness.stack.process import Pid, identify, spawn
from harness.stack.stack import Stack
from harness.stack.undo import Undo


@dataclass(frozen=True)
class Surge(Fault):
    """A scenario at an arrival rate well beyond capacity, for a bounded time.

    `witness_query` is PromQL that gives a result only while the service itself says it is overloaded; arrivals alone
    are no proof, because a faster machine may serve them all.
    """

    scenario: str
    arrivals: str  # "poisson:900/s:seed=11"
    for_s: float
    witness_query: str
    kind: ClassVar[str] = "surge"
    touches: ClassVar[str] = "the service, by {arrivals} of {scenario}"
    undone: ClassVar[str] = "its generator is ended"
    deeds: ClassVar[tuple[str, ...]] = ()
    lease_s: ClassVar[float] = 120
    generator: ClassVar[str] = "surge"

    def mistakes(self) -> Iterator[tuple[str, str]]:
        if self.for_s <= 0:
            yield "for_s", f"must be above 0; got {self.for_s:g}"

    def target(self, stack: Stack) -> Facts:
        if not Path(self.scenario).exists():
            raise FaultError(f"surge: no scenario {self.scenario}")
        return {"url": stack.service_url}

    def undo(self, facts: Facts) -> list[Undo]:
        return [Undo("end", {k: facts[k] for k in Pid._fields})] if "pid" in facts else []

    def start(self, stack: Stack, facts: Facts) -> Facts:
        argv = generator.command(
            Path(self.scenario),
            facts["url"],
            arrivals=self.arrivals,
            for_s=self.for_s,
            rows=rows_file(stack.run, self.generator),
            events=stack.run / "events.jsonl",
            name=self.generator,
            **stack.access,
        )
        child = spawn(self.generator, argv, stack.run)
        found = identify(child.pid)
        if found is None:
            child.check()
            raise FaultError("surge: its generator ended at once")
        return {**facts, **found._asdict()}

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """The service's own metrics, as Prometheus stored them."""
        result = prometheus.query(stack.prometheus_url, self.witness_query)
        return f"Prometheus: {self.witness_query} = {float(result[0]['value'][1]):.4g}" if result else None
