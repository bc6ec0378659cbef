"""From a plan to all that the stack must know of it."""

from __future__ import annotations

from pathlib import Path

import yaml

from harness.plan import access as plan_access
from harness.plan import service as plan_service
from harness.plan.plan import Plan
from harness.stack.access import Access, Secret
from harness.stack.blueprint import Blueprint, DependencySpec, Monitoring, Prepare, Ready, ServiceSpec, Start
from harness.stack.prober import Probe


def blueprint(plan: Plan, rules: str, port: int | None = None) -> Blueprint:
    """The stack of a plan. rules: the rule file that runs live, as text; port: of the service, None for a free one."""
    return Blueprint(
        service=_service(plan),
        monitoring=Monitoring(
            job=plan.service.monitoring.job,
            metrics_path=plan.service.metrics.path,
            metrics=_access(plan.service.metrics, plan.service_folder),
            rules=rules,
            alertmanager_config=yaml.safe_load(plan.alertmanager.read_text()),
            alertmanager_folder=plan.alertmanager.parent,
            scrape_s=plan.scrape_s,
            evaluation_s=plan.evaluation_s,
        ),
        workdir=plan.workdir,
        time_scale=plan.gate.time_scale,
        port=port,
    )


def _service(plan: Plan) -> ServiceSpec:
    service = plan.service
    return ServiceSpec(
        name=service.name,
        start=_start(service.start),
        probes={
            which: _probe(spec, plan.service_folder)
            for which in ("startup", "liveness", "readiness")
            if (spec := getattr(service.probes, which)) is not None
        },
        replicas=service.replica_names,
        prepare=tuple(Prepare(step.command, step.output, step.within) for step in service.start.prepare),
        dependencies=tuple(_dependency(name, spec) for name, spec in service.dependencies.items()),
        requests=_access(service.requests, plan.service_folder),
    )


def _start(start: plan_service.Start) -> Start:
    return Start(start.command, start.ready_within, start.environment)


def _dependency(name: str, spec: plan_service.DependencySpec) -> DependencySpec:
    if spec.ready is not None:
        ready = Ready(spec.ready.tcp or "", spec.ready.http or "", spec.ready.command or "")
    else:
        ready = Ready(tcp=spec.address or "127.0.0.1:{port}")
    return DependencySpec(name, _start(spec.start) if spec.start else None, spec.address or "", ready)


def _probe(spec: plan_service.ProbeSpec, folder: Path) -> Probe:
    return Probe(
        path=spec.path,
        period_s=spec.periodSeconds,
        timeout_s=spec.timeoutSeconds,
        failure_threshold=spec.failureThreshold,
        success_threshold=spec.successThreshold,
        initial_delay_s=spec.initialDelaySeconds,
        grace_s=spec.terminationGracePeriodSeconds,
        https=spec.scheme == "HTTPS",
        headers=tuple(
            (header.name, _secret(header.valueFrom, folder) if header.valueFrom else header.value or "")
            for header in spec.httpHeaders
        ),
    )


def _access(access: plan_access.Access, folder: Path) -> Access:
    return Access(
        scheme=access.scheme,
        bearer=_secret(access.bearer, folder) if access.bearer else None,
        basic=(access.basic.user, _secret(access.basic, folder)) if access.basic else None,
        header=(access.header.name, _secret(access.header, folder)) if access.header else None,
        ca=_path(access.ca, folder),
        insecure=access.insecure,
        client_cert=_path(access.client_cert, folder),
        client_key=_path(access.client_key, folder),
    )


def _secret(source: plan_access.SecretSource, folder: Path) -> Secret:
    return Secret(file=_path(source.from_file, folder), env=source.env or "")


def _path(path: str | None, folder: Path) -> str:
    """Beside service.yaml, but for what is in the run's own folder."""
    return "" if path is None else path if path.startswith("{state}/") else str(folder / path)
