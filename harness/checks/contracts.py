"""Contracts: what each experiment promises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from harness.checks.alert_delivered import AlertDelivered
from harness.checks.alert_fires import AlertFires
from harness.checks.check import Check, Group
from harness.checks.clients import Clients
from harness.checks.parameters import ExperimentName, Parameters
from harness.checks.probe_decisions import ProbeDecisions
from harness.checks.stops import Stops
from harness.checks.view import Contract, View, promised


class Contracts(Group):
    """Both proofs of each alert, the probes' decisions, the stops and the clients' errors that the contracts expect."""

    kind: ClassVar[str] = "contracts"

    class Parameters(Parameters):
        experiment: ExperimentName | None = None

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> list[Check]:
        """Those of the experiment that is named, or of each."""
        only = cls.Parameters.read(parameters, view)["experiment"]
        if not view.contracts:
            raise ValueError("the plan has no experiments")
        return [c for name, promised in view.contracts if only in (None, name) for c in _checks(name, promised, view)]


def _checks(experiment: str, contract: Contract, view: View) -> Iterator[Check]:
    for want in contract.alerts:
        rule = promised(want, view.rules)
        within = (want.fires_within, want.resolves_within)
        about = {"place": rule.place, "reads": rule.reads, "held_s": want.held, "growing": want.growing}
        about["predicted"] = rule.fires_s
        yield AlertFires(experiment, rule.alert, want.severity, *within, **about)
        yield AlertDelivered.promised(experiment, rule, want.severity, want.receiver, want, want.proof, view)
    for component, want in contract.probes.items():
        yield ProbeDecisions(experiment, component, want.restart, want.readiness, want.at_most)
    for component, want in contract.stops.items():
        yield Stops(experiment, component, want.exits_within, want.exit_codes, want.readiness_first, want.lost_at_most)
    yield Clients(experiment, contract.clients.errors_at_most, contract.clients.recovered_within)
