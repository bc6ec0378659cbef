"""Checks: one a file, and this table of them. Each is frozen parameters and one pure judge(history) -> Result."""

from collections.abc import Iterable

from harness.checks.alert_coverage import AlertCoverage
from harness.checks.alert_delivered import AlertDelivered
from harness.checks.alert_fires import AlertFires
from harness.checks.answers import Answers
from harness.checks.availability import Availability
from harness.checks.clients import Clients
from harness.checks.error_ratio import ErrorRatio
from harness.checks.evidence import Check, judged
from harness.checks.injected import Injected
from harness.checks.latency import Latency
from harness.checks.probe_decisions import ProbeDecisions
from harness.checks.quiet import Quiet
from harness.checks.recorded import Recorded
from harness.checks.watchdog import WatchdogUnbroken
from harness.history import History
from harness.verdict import Result

CHECKS: dict[str, type[Check]] = {
    c.kind: c
    for c in (
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
        Injected,
        Recorded,
        AlertCoverage,
    )
}


def judge_all(checks: Iterable[Check], history: History) -> list[Result]:
    """A result for each check, in their order; a check that raises gives an INCONCLUSIVE one that quotes it.

    What the Recorded among them has to say against the generator counts for what the others make of its rows.
    """
    checks = list(checks)
    record = next((check for check in checks if isinstance(check, Recorded)), None)
    return [judged(check, history, record) for check in checks]


__all__ = ["CHECKS", "Check", "judge_all", *sorted(c.__name__ for c in CHECKS.values())]
