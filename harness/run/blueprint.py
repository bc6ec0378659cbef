"""The stack that a plan describes."""

from __future__ import annotations

import yaml

from harness.plan.plan import Plan
from harness.plan.service import ProbeSpec
from harness.stack.kubelet import Probe
from harness.stack.up import Blueprint


def blueprint(plan: Plan, rules: str, port: int | None = None) -> Blueprint:
    """All that must be known to bring the stack up; `rules` is the text of the rules that run live."""
    service = plan.service
    return Blueprint(
        service=service.name,
        start_command=service.start.command,
        ready_within_s=service.start.ready_within,
        workdir=plan.workdir,
        job=service.monitoring.job,
        metrics_path=service.metrics,
        probes={
            which: _probe(spec)
            for which in ("startup", "liveness", "readiness")
            if (spec := getattr(service.probes, which)) is not None
        },
        rules=rules,
        alertmanager_config=yaml.safe_load(plan.alertmanager.read_text()),
        alertmanager_folder=plan.alertmanager.parent,
        time_scale=plan.gate.time_scale,
        scrape_s=plan.scrape_s,
        evaluation_s=plan.evaluation_s,
        port=port,
    )


def _probe(spec: ProbeSpec) -> Probe:
    return Probe(
        path=spec.path,
        period_s=spec.periodSeconds,
        timeout_s=spec.timeoutSeconds,
        failure_threshold=spec.failureThreshold,
        success_threshold=spec.successThreshold,
        initial_delay_s=spec.initialDelaySeconds,
        grace_s=spec.terminationGracePeriodSeconds,
    )
