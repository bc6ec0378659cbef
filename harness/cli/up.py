"""`harness up`: hold a stack up until Ctrl-C."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.options import RUNS, command, port, with_plan
from harness.cli.output import near, remark, say
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.stack.stack import Stack


def add_to(commands: Any) -> None:
    about = "Hold a stack up until Ctrl-C, for `harness load`, `harness chaos`, locust and chaos."
    sub = command(commands, "up", run, about)
    with_plan(sub)
    sub.add_argument("--port", type=port, help="the service's port (default: a free one)")


def run(args: argparse.Namespace) -> int:
    from harness.cli.heal import heal_before
    from harness.run.folder import open_run
    from harness.run.gate import held
    from harness.run.preflight import planned, preflight
    from harness.stack.stack import CURRENT
    from harness.stack.tools import find

    plan = planned(args.gate, profile=args.profile, allow_faults=args.allow_faults)
    tools = find()
    plan, rules = preflight(plan, tools, remark)
    heal_before()
    if CURRENT.exists() and (CURRENT / "owner.json").exists():
        raise UsageError(f"a stack is up here already: {CURRENT.resolve()}; end it first (Ctrl-C in its terminal)")
    folder = open_run(plan, tools, RUNS)
    with held(plan, tools, folder, rules, args.port, say) as live:
        CURRENT.unlink(missing_ok=True)
        CURRENT.symlink_to(folder.name)
        try:
            say(_about(live.stack))
            while True:
                live.check()
                time.sleep(0.5)
        finally:
            CURRENT.unlink(missing_ok=True)


def _about(stack: Stack) -> str:
    """Where everything is, and what can be done with it."""
    # `harness load` passes it by itself; locust does not
    file = stack.access.get("headers_file")
    lines = [
        f"up: {stack.service} {stack.service_url}",
        f"    prometheus {stack.prometheus_url}",
        f"    alertmanager {stack.alertmanager_url}",
        f"    evidence {near(stack.run)}",
        *([f"    requests need --headers-file {near(Path(file))}"] if file else []),
        "    Ctrl-C ends it. In another terminal here:",
        "      harness load scenarios/steady.py",
        "      harness chaos experiments/server-crash.yaml",
    ]
    return "\n".join(lines)
