"""Checks: one a file, and this table of them: what gate.yaml may name. Adding one takes no other place."""

from harness.checks.alert_coverage import AlertCoverage
from harness.checks.alert_delivered import AlertDelivered
from harness.checks.alert_fires import AlertFires
from harness.checks.answers import Answers
from harness.checks.availability import Availability
from harness.checks.check import Check, Group
from harness.checks.clients import Clients
from harness.checks.command import Command
from harness.checks.contracts import Contracts
from harness.checks.error_ratio import ErrorRatio
from harness.checks.injected import Injected
from harness.checks.judging import judge_all
from harness.checks.latency import Latency
from harness.checks.probe_decisions import ProbeDecisions
from harness.checks.promql import Promql
from harness.checks.quiet import Quiet
from harness.checks.recorded import Recorded
from harness.checks.slos import Slos
from harness.checks.starts import Starts
from harness.checks.stops import Stops
from harness.checks.watchdog import WatchdogUnbroken

CHECKS: dict[str, type[Check] | type[Group]] = {
    c.kind: c
    for c in (
        Slos,
        Contracts,
        Latency,
        Availability,
        ErrorRatio,
        Answers,
        AlertFires,
        AlertDelivered,
        Quiet,
        WatchdogUnbroken,
        ProbeDecisions,
        Clients,
        Stops,
        Starts,
        Injected,
        Recorded,
        Promql,
        Command,
        AlertCoverage,
    )
}
UNASKED = (Answers, Injected, WatchdogUnbroken, Recorded, Starts)  # in every gate

__all__ = ["CHECKS", "UNASKED", "Check", "Group", "judge_all", *sorted(c.__name__ for c in CHECKS.values())]
