"""`harness slos rules`: the burn-rate rules that follow from a slos.yaml."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.output import remark, standard_output
from harness.errors import PlanError

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
    described = read(args.service, problems) if args.service else None
    service = described and validated(described, ServiceSpec, problems, folder=args.service.parent)
    job, requests, duration = _named(args, service, problems)
    bounds = _bounds(args.buckets, problems)
    if slos is None or problems:
        raise PlanError(problems)
    objectives = []
    if promise := slos.slos.availability:
        objectives.append(burn.availability(job, promise.target))
    if promise := slos.slos.latency:
        place = f"{file.place(('slos', 'latency', 'target'))}: latency"
        if duration is None:
            problems.append(f"{place}: {_unnamed('duration')}")
        else:
            unit_s = UNIT_S[duration.unit]
            problems += _ends(bounds, promise.target / unit_s, f"{place}: no bucket of {duration.name}")
            of = ", ".join(filter(None, (burn.selector(job, duration.labels), args.latency_of)))
            objectives.append(burn.latency(duration.name, of, promise.target, promise.percentile, unit_s))
    if promise := slos.slos.error_rate:
        if requests is None:
            problems.append(f"{file.place(('slos', 'error_rate'))}: error_rate: {_unnamed('requests')}")
        else:
            status = args.status or requests.status or "status"
            of = burn.selector(job, requests.labels)
            objectives.append(burn.error_rate(requests.name, of, status, promise.target))
    if problems:
        raise PlanError(problems)
    try:
        content = burn.rules(objectives, service.name if service else job, args.runbook)
    except ValueError as error:
        raise PlanError([f"{file.place(('slos',))}: {error}"]) from None
    if slos.slos.latency and bounds is None:
        remark("whether a bucket ends at the latency's target is not checked; give the bounds by --buckets")
    with standard_output() as out:
        out.write(f"# Generated from {args.file.name}: harness slos rules\n")
        out.write(burn.text(content))
    return 0


def _named(args: argparse.Namespace, service: ServiceSpec | None, problems: list[str]) -> tuple[str, Any, Any]:
    """Job, requests and duration: of the options, else of service.yaml; None for a metric that neither names."""
    from pydantic import ValidationError

    from harness.telemetry import Metrics

    metrics = (service and service.telemetry.metrics) or Metrics()
    job = args.job or (service and service.monitoring.job)
    if not args.service and not job:
        problems.append("no job is named by which Prometheus has the service; name it by --job, or give --service")
    if job and not re.fullmatch(r'[^"\\\x00-\x1f]+', job):
        problems.append("--job must have no quotation marks, backslashes or control characters")
    found = []
    for name in ("requests", "duration"):
        text, one = getattr(args, name), getattr(metrics, name)
        try:
            one = one if text is None else getattr(Metrics(**{name: text}), name)
        except ValidationError:
            problems.append(f"--{name} is no name of a metric, like http_{name}_total")
        found.append(one)
    return job, *found


def _unnamed(metric: str) -> str:
    return f"nothing names what measures it; name it by --{metric}, or telemetry.metrics.{metric} of --service"


def _bounds(buckets: str | None, problems: list[str]) -> list[float] | None:
    if buckets is None:
        return None
    try:
        return [float(text) for text in buckets.split(",")]
    except ValueError:
        problems.append(f"--buckets must be numbers between commas, like 0.1,0.5,1; got {buckets[:80]!r}")
        return None


def _ends(bounds: list[float] | None, edge: float, problem: str) -> list[str]:
    """What is wrong where no bucket ends at the bound: a rule that reads one that is not there never fires."""
    if bounds is None or any(abs(bound - edge) < 1e-9 * max(1.0, edge) for bound in bounds):
        return []
    known = ", ".join(f"{bound:g}" for bound in bounds)
    return [f"{problem} ends at its target; choose one of {known}, or add a bucket"]
