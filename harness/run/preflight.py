"""What can be known of a plan's production files before anything is started."""

from __future__ import annotations

from pathlib import Path

from harness.errors import PlanError
from harness.plan.plan import Plan
from harness.rules.compress import compress
from harness.rules.rulefile import check_with_promtool
from harness.stack import alertmanager
from harness.stack.tools import Tools


def preflight(plan: Plan, tools: Tools) -> tuple[Plan, str]:
    """The rules as they will run live, and the plan with the reasons why some have no live copy. Raises PlanError with
    what promtool and amtool reject in the production files."""
    problems = check_with_promtool(tools.promtool, plan.rules)
    problems += alertmanager.check_config(tools.amtool, Path(plan.service.monitoring.alertmanager))
    if problems:
        raise PlanError(problems)
    text, refused = compress(
        plan.rules,
        time_scale=plan.gate.time_scale,
        scrape_s=plan.service.monitoring.scrape_interval,
        evaluation_s=plan.service.monitoring.evaluation_interval,
    )
    return plan.with_refusals(refused), text
