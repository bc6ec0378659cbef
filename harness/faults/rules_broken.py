"""A rule file that Prometheus cannot read, as a bad release leaves it: the reload fails, and the old rules go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from harness.errors import FaultError
from harness.faults.fault import Facts, Fault
from harness.stack import prometheus
from harness.stack.stack import Stack
from harness.stack.undo import Undo, saved

TAKEN = "prometheus_config_last_reload_successful"
BROKEN = "groups:\n- name: broken\n  rules:\n  - {alert: Broken, expr: 'up == ('}\n"


@dataclass(frozen=True)
class RulesBroken(Fault):
    """The rule file of the running Prometheus is made invalid and a reload asked for. Undone by the file as it was, and
    another reload."""

    kind: ClassVar[str] = "rules_broken"
    touches: ClassVar[str] = "the rules of the run's Prometheus"
    undone: ClassVar[str] = "the file is put back and reloaded"
    deeds: ClassVar[tuple[str, ...]] = ()

    def target(self, stack: Stack) -> Facts:
        return kept(stack, "rules.yaml")

    def undo(self, facts: Facts) -> list[Undo]:
        return restored(facts)

    def start(self, stack: Stack, facts: Facts) -> None:
        Path(facts["file"]["path"]).write_text(BROKEN)
        if not prometheus.reload(stack.prometheus_url):
            raise FaultError("rules_broken: Prometheus took the broken rules")

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """Prometheus' own metric."""
        return f"Prometheus: {TAKEN} is 0" if prometheus.own_metric(stack.prometheus_url, TAKEN) == 0 else None


def kept(stack: Stack, name: str) -> Facts:
    """What must be known to put a file of the run's Prometheus back. Raises FaultError."""
    if prometheus.own_metric(stack.prometheus_url, TAKEN) != 1:
        raise FaultError("Prometheus runs with a configuration that its last reload refused; undo that first")
    file = saved(stack.run, (stack.run / "prometheus" / name).resolve())
    return {"file": dict(file.arguments), "reload": f"{stack.prometheus_url}/-/reload"}


def restored(facts: Mapping[str, Any]) -> list[Undo]:
    """The file as it was, and Prometheus with it."""
    return [Undo("restore_file", facts["file"]), Undo("reload_prometheus", {"url": facts["reload"]})]
