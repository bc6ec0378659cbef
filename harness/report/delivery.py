"""Metrics of software delivery: gates, builds, deployments and rollbacks, pushed to a Pushgateway.

A Pushgateway keeps the latest of each, and Prometheus the history: a moment that changes is counted by `changes()`, so
that frequency, lead time and the share of deployments that were rolled back are queries (docs/delivery.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from http.client import HTTPException

from prometheus_client import CollectorRegistry, Gauge, pushadd_to_gateway

from harness.errors import PushError
from harness.report.summary import Summary, printable
from harness.verdict import Verdict

JOB = "ci"
WITHIN_S = 10.0


def of_gate(summary: Summary) -> CollectorRegistry:
    """A judged run: when it ended, what it took, its verdict, its results, and which share of the alerts it proved."""
    made = _moment("ci_gate_timestamp_seconds", "When the latest gate ended.", summary.ended)
    _gauge(made, "ci_gate_duration_seconds", "What the latest gate took.", summary.ended - summary.started)
    verdicts = {verdict.name.lower(): int(summary.verdict is verdict) for verdict in Verdict}
    _gauge(made, "ci_gate_verdict", "1 for the verdict of the latest gate.", verdicts, "verdict")
    counts = {verdict.name.lower(): len(summary.of(verdict)) for verdict in Verdict}
    _gauge(made, "ci_gate_results", "Results of the latest gate.", counts, "verdict")
    shares = {name: of["proven"] / of["applicable"] for name, of in summary.coverage.items() if of["applicable"]}
    _gauge(made, "ci_gate_alert_coverage_ratio", "Share of the alert rules that it proved.", shares, "severity")
    info = Gauge("ci_gate_info", "What the latest gate judged.", ["commit"], registry=made)
    info.labels(summary.commit).set(1)
    return made


def of_build(at: float, took_s: float, succeeded: bool) -> CollectorRegistry:
    """A build that has ended."""
    made = _moment("ci_build_timestamp_seconds", "When the latest build ended.", at)
    _gauge(made, "ci_build_duration_seconds", "What the latest build took.", took_s)
    _gauge(made, "ci_build_succeeded", "1 when the latest build succeeded.", int(succeeded))
    return made


def of_deployment(at: float, committed_at: float | None) -> CollectorRegistry:
    """A release that is in production now, and when its commit was made where that is known."""
    made = _moment("ci_deployment_timestamp_seconds", "When the latest deployment was done.", at)
    if committed_at is not None:
        about = "From the commit to the latest deployment."
        _gauge(made, "ci_deployment_lead_time_seconds", about, max(0.0, at - committed_at))
    return made


def of_rollback(at: float) -> CollectorRegistry:
    """A release that was taken back."""
    return _moment("ci_rollback_timestamp_seconds", "When the latest rollback was done.", at)


def push(made: CollectorRegistry, to: str, service: str, environment: str = "") -> None:
    """Put metrics beside those that a Pushgateway has of the service. Raises PushError."""
    group = {"service": service} | ({"environment": environment} if environment else {})
    try:
        pushadd_to_gateway(to, JOB, made, group, WITHIN_S)
    except (OSError, ValueError, HTTPException) as error:  # the last where what answers speaks no HTTP
        said = printable(str(error))
        raise PushError(f"{to} does not take the metrics: {said}; is a Prometheus Pushgateway there?") from None


def _moment(name: str, about: str, at: float) -> CollectorRegistry:
    made = CollectorRegistry()
    _gauge(made, name, about, at)
    return made


def _gauge(made: CollectorRegistry, name: str, about: str, value: float | Mapping[str, float], label: str = "") -> None:
    """A gauge with one value, or with one for each value of a label."""
    gauge = Gauge(name, about, [label] if label else [], registry=made)
    if isinstance(value, Mapping):
        for key, one in value.items():
            gauge.labels(key).set(one)
    else:
        gauge.set(value)
