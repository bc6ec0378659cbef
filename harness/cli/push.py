"""`harness push`: send a Pushgateway how a build, gate, deployment or rollback ended."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.options import PUSH_TO, Command, parsed, pushgateway
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.report.summary import Summary


def add_to(commands: Any) -> None:
    about = "Send a Pushgateway how a build, gate, deployment or rollback ended."
    push = commands.add_parser("push", help=about, description=about)
    kinds = push.add_subparsers(required=True, metavar="WHAT")

    def pushed(name: str, does: Command, about: str) -> argparse.ArgumentParser:
        sub = kinds.add_parser(name, help=about, description=about)
        sub.set_defaults(command=does)
        sub.add_argument("--to", metavar="URL", help=f"the Pushgateway (default: ${PUSH_TO})")
        if does is not _run:
            sub.add_argument("--service", help="its name (default: as gate.yaml has it)")
        return sub

    pushed("gate", _run, "A stored run.").add_argument("run", type=Path, help="a folder under runs/")
    build = pushed("build", _build, "A build that has ended.")
    build.add_argument("--took", metavar="TIME", required=True, help="like 5m12s")
    build.add_argument("--failed", action="store_true", help="it did not succeed")
    deployment = pushed("deployment", _deployment, "A release that is in production now.")
    deployment.add_argument("--commit", default="HEAD", help="what was deployed (default: HEAD)")
    for released in (deployment, pushed("rollback", _rollback, "A release that was taken back.")):
        released.add_argument("--environment", default="production", help="where (default: production)")


def push_summary(summary: Summary, to: str) -> None:
    """Send a judged run. Raises PushError."""
    from harness.report import delivery

    delivery.push(delivery.of_gate(summary), to, summary.service)


def _run(args: argparse.Namespace) -> int:
    from harness.cli.report import summarized

    to = _pushgateway(args)
    push_summary(summarized(args.run), to)
    return 0


def _build(args: argparse.Namespace) -> int:
    from harness.report import delivery
    from harness.units import parse_duration

    (took_s,) = parsed(("push build: --took", parse_duration, args.took))
    delivery.push(delivery.of_build(time.time(), took_s, not args.failed), _pushgateway(args), _service(args))
    return 0


def _deployment(args: argparse.Namespace) -> int:
    from harness.report import delivery
    from harness.run.folder import committed_at

    committed = committed_at(Path.cwd(), args.commit)
    if committed is None and args.commit != "HEAD":  # without git there is a deployment, and no lead time
        raise UsageError(f"push deployment: git knows no commit {args.commit!r} here")
    made = delivery.of_deployment(time.time(), committed)
    delivery.push(made, _pushgateway(args), _service(args), args.environment)
    return 0


def _rollback(args: argparse.Namespace) -> int:
    from harness.report import delivery

    delivery.push(delivery.of_rollback(time.time()), _pushgateway(args), _service(args), args.environment)
    return 0


def _pushgateway(args: argparse.Namespace) -> str:
    if not (to := args.to or os.environ.get(PUSH_TO)):
        raise UsageError(f"push: to which Pushgateway? give --to URL, or set {PUSH_TO}")
    return pushgateway(to)


def _service(args: argparse.Namespace) -> str:
    from harness.plan.plan import load

    return args.service or load(Path("gate.yaml")).service.name
