"""`harness slos rules`: the burn-rate rules that follow from a slos.yaml."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.output import remark, standard_output
from harness.errors import PlanError, UsageError

if TYPE_CHECKING:
    from harness.stack.spec import ServiceSpec

ABOUT = "Write the burn-rate rules that follow from a slos.yaml to standard output."
EXAMPLE = (
    "example: harness slos rules monitoring/slos.yaml --service service.yaml --buckets 0.1,0.5,1 "
    "--runbook https://wiki.example.org/runbook > monitoring/rules/slos.yaml"
)
UNIT_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


def add_to(commands: Any) -> None:
    about = "What follows from the objectives of a service."
    kinds = commands.add_parser("slos", help=about, description=about).add_subparsers(required=True, metavar="WHAT")
    sub = kinds.add_parser("rules", help=ABOUT, description=ABOUT, epilog=EXAMPLE)
    sub.set_defaults(command=run)
    sub.add_argument("file", metavar="FILE", type=Path, help="the objectives, slos.yaml")
    names = "a service.yaml that names job and metrics (monitoring.job, telemetry.metrics)"
    sub.add_argument("--service", metavar="FILE", type=Path, help=names)
    sub.add_argument("--job", help="the service's job in Prometheus (default: that of --service)")
    sub.add_argument("--requests", metavar="METRIC", help="its counter of requests (default: that of --service)")
    sub.add_argument("--status", metavar="LABEL", help="the counter's label with the HTTP status (default: status)")
    sub.add_argument("--duration", metavar="METRIC", help="its histogram of how long requests took, in seconds")
    sub.add_argument("--latency-of", metavar="MATCHERS", help="of which requests, like 'endpoint=\"/predict\"'")
    sub.add_argument("--buckets", metavar="BOUNDS", help="the histogram's bounds, like 0.1,0.5,1: latency must be one")
    sub.add_argument("--runbook", metavar="URL", default="docs/runbook.md", help="(default: docs/runbook.md)")


def run(args: argparse.Namespace) -> int:
    from harness.plan.slos import SloFile
    from harness.plan.yamlfile import read, validated
    from harness.rules import burn
    from harness.stack.spec import ServiceSpec

    problems: list[str] = []
    file = read(args.file, problems)
    slos = file and validated(file, SloFile, problems)
    told = read(args.service, problems) if args.service else None
    service = told and validated(told, ServiceSpec, problems, folder=args.service.parent)
    if problems:
        raise PlanError(problems)
    job, requests, duration = _named(args, service)
    objectives = []
    if promise := slos.slos.availability:
        objectives.append(burn.availability(job, promise.target))
    if promise := slos.slos.latency:
        place = f"{file.place(('slos', 'latency', 'target'))}: latency"
        metric = _given(duration, place, "telemetry.metrics.duration", "--duration")
        unit_s = UNIT_S[metric.unit]
        _ends(args.buckets, promise.target / unit_s, f"{place}: no bucket of {metric.name} ends at its target")
        of = ", ".join(filter(None, (burn.selector(job, metric.labels), args.latency_of)))
        objectives.append(burn.latency(metric.name, of, promise.target, promise.percentile, unit_s))
    if promise := slos.slos.error_rate:
        place = f"{file.place(('slos', 'error_rate'))}: error_rate"
        metric = _given(requests, place, "telemetry.metrics.requests", "--requests")
        status = _given(args.status or metric.status, place, "telemetry.metrics.requests.status", "--status")
        objectives.append(burn.error_rate(metric.name, burn.selector(job, metric.labels), status, promise.target))
    try:
        content = burn.rules(objectives, service.name if service else job, args.runbook)
    except ValueError as error:
        raise PlanError([f"{file.place(('slos',))}: {error}"]) from None
    with standard_output() as out:
        out.write(f"# Generated from {args.file.name}: harness slos rules\n")
        out.write(burn.text(content))
    return 0


def _named(args: argparse.Namespace, service: ServiceSpec | None) -> tuple[str, Any, Any]:
    """Job, requests and duration: of the options, else of service.yaml. Raises UsageError."""
    from pydantic import ValidationError

    from harness.telemetry import Metrics

    metrics = (service and service.telemetry.metrics) or Metrics()
    job = args.job or (service and service.monitoring.job)
    if not job or not re.fullmatch(r'[^"\\\x00-\x1f]+', job):
        raise UsageError("no job is named by which Prometheus has the service; name it by --job, or give --service")
    own = {name: text for name in ("requests", "duration") if (text := getattr(args, name)) is not None}
    try:
        given = Metrics(**own)
    except ValidationError:
        options = " or ".join(f"--{name}" for name in own)
        raise UsageError(f"{options} is no name of a metric, like http_requests_total") from None
    return job, given.requests or metrics.requests, given.duration or metrics.duration


def _given(value: Any, place: str, in_service: str, option: str) -> Any:
    if value is None:
        raise UsageError(f"{place}: nothing names what measures it; name it by {option}, or {in_service} of --service")
    return value


def _ends(buckets: str | None, edge: float, problem: str) -> None:
    """Raises UsageError where no bucket ends at the bound: a rule that reads one that is not there never fires."""
    if buckets is None:
        remark("whether a bucket ends at the latency's target is not checked; give the bounds by --buckets")
        return
    try:
        bounds = [float(text) for text in buckets.split(",")]
    except ValueError:
        raise UsageError(f"--buckets must be numbers between commas, like 0.1,0.5,1; got {buckets[:80]!r}") from None
    if not any(abs(bound - edge) < 1e-9 * max(1.0, edge) for bound in bounds):
        raise UsageError(f"{problem}; choose one of {', '.join(f'{bound:g}' for bound in bounds)}, or add a bucket")
