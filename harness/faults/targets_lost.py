"""The service is no target any more, as when discovery finds it under another label: nobody scrapes it, and nothing is
down."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import yaml

from harness.errors import FaultError
from harness.faults.fault import Facts, Fault
from harness.faults.rules_broken import kept, restored
from harness.stack import prometheus
from harness.stack.stack import Stack
from harness.stack.undo import Undo


@dataclass(frozen=True)
class TargetsLost(Fault):
    """The scrape configuration of the running Prometheus is left without targets, and reloaded. Undone by the file as
    it was, and another reload; Prometheus scrapes 5 s after that at the latest."""

    kind: ClassVar[str] = "targets_lost"
    touches: ClassVar[str] = "the targets of the run's Prometheus"
    undone: ClassVar[str] = "the file is put back and reloaded"
    deeds: ClassVar[tuple[str, ...]] = ()

    def target(self, stack: Stack) -> Facts:
        return kept(stack, "prometheus.yaml")

    def undo(self, facts: Facts) -> list[Undo]:
        return restored(facts)

    def start(self, stack: Stack, facts: Facts) -> Facts:
        file = Path(facts["file"]["path"])
        settings = yaml.safe_load(file.read_text())
        for job in settings["scrape_configs"]:
            job["static_configs"] = []
        prometheus.write_config(file, settings)
        if refused := prometheus.reload(stack.prometheus_url):
            raise FaultError(f"targets_lost: Prometheus did not reload: {refused}")
        return {**facts, "jobs": [job["job_name"] for job in settings["scrape_configs"]]}

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """What the rules see: no series `up` of the job is fresh."""
        absent = [f'absent(up{{job="{job}"}})' for job in facts["jobs"]]
        found = [query for query in absent if prometheus.query(stack.prometheus_url, query)]
        return f"Prometheus: {found[0]} = 1" if found else None
