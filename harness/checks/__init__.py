"""Checks: one a file, and this table of them: what gate.yaml may name. Adding one takes no other place."""

from harness.checks.alert_coverage import AlertCoverage
from harness.checks.alert_delivered import AlertDelivered
from harness.checks.alert_fires import AlertFires
from harness.checks.answers import Answers
from harness.checks.audited import Audited
from harness.checks.availability import Availability
from harness.checks.baseline import Baseline
from harness.checks.baseline_alerts import BaselineAlerts
from harness.checks.baseline_figures import BaselineFigures
from harness.checks.baseline_metrics import BaselineMetrics
from harness.checks.check import Check, Group
from harness.checks.clients import Clients
from harness.checks.clocks import Clocks
from harness.checks.command import Command
from harness.checks.contracts import Contracts
from harness.checks.detection import Detection
from harness.checks.error_ratio import ErrorRatio
from harness.checks.growth import Growth, GrowthOf, LeftBehind
from harness.checks.injected import Injected
from harness.checks.judging import judge_all
from harness.checks.latency import Latency
from harness.checks.latency_after import LatencyAfter, Recovery
from harness.checks.logged import Logged
from harness.checks.messages import Messages
from harness.checks.metrics_true import MetricsTrue
from harness.checks.predictions import Predictions
from harness.checks.probe_decisions import ProbeDecisions
from harness.checks.promql import Promql
from harness.checks.quiet import Quiet
from harness.checks.recorded import Recorded
from harness.checks.routes import Routes
from harness.checks.rule_data import RuleData
from harness.checks.scrape import Scrape
from harness.checks.slos import Slos
from harness.checks.stalls import Stalls
from harness.checks.starts import Starts
from harness.checks.stops import Stops
from harness.checks.stored import Stored
from harness.checks.traced import Traced
from harness.checks.watchdog import WatchdogUnbroken

CHECKS: dict[str, type[Check] | type[Group]] = {
    c.kind: c
    for c in (
        Slos,
        Contracts,
        Latency,
        Stalls,
        Availability,
        ErrorRatio,
        Answers,
        Predictions,
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
        Growth,
        GrowthOf,
        LeftBehind,
        Recovery,
        LatencyAfter,
        Routes,
        Messages,
        RuleData,
        Logged,
        Audited,
        Stored,
        Traced,
        AlertCoverage,
        Detection,
        Baseline,
        BaselineFigures,
        BaselineAlerts,
        BaselineMetrics,
        MetricsTrue,
        Scrape,
        Clocks,
    )
}
UNASKED = (
    Answers,
    Predictions,
    Injected,
    WatchdogUnbroken,
    Recorded,
    Stalls,
    Growth,
    Recovery,
    Routes,
    Messages,
    RuleData,
    Logged,
    Audited,
    Stored,
    Traced,
    MetricsTrue,
    Starts,
    Scrape,
    Clocks,
    Baseline,
)  # in every gate

__all__ = ["CHECKS", "UNASKED", "Check", "Group", "judge_all", *sorted(c.__name__ for c in CHECKS.values())]
