"""What can be known of a plan's production files before anything is started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness.errors import PlanError
from harness.plan.plan import Plan
from harness.plan.yamlfile import read
from harness.rules.compress import compress
from harness.rules.rulefile import check_with_promtool
from harness.stack import alertmanager, amtool, prometheus
from harness.stack.tools import Tools
from harness.stack.yamltext import shown


def preflight(plan: Plan, tools: Tools, remark: Callable[[str], None] = lambda _: None) -> tuple[Plan, str]:
    """The rules as they will run live, and the plan with the reasons why some have no live copy. `remark` gets a line
    for each thing that the run's Alertmanager does otherwise than production's. Raises PlanError with what promtool and
    amtool reject in the production files, and with what of them cannot be led to receivers here."""
    problems = check_with_promtool(tools.promtool, plan.rules)
    remarks, more = alertmanager_remarks(plan, tools)
    problems += more
    if any(plan.service.monitoring.additions.values()):
        file = read(plan.workdir / plan.gate.service, problems)
        place = f"{file.place(('monitoring', 'alert_relabel_configs')) if file else plan.gate.service}: monitoring"
        wrong = prometheus.rejected(tools.promtool, **plan.service.monitoring.additions)
        problems += [f"{place}: {line}" for line in wrong]
    if problems:
        raise PlanError(problems)
    for line in remarks:
        remark(line)
    text, refused = compress(
        plan.rules,
        time_scale=plan.gate.time_scale,
        scrape_s=plan.service.monitoring.scrape_interval,
        evaluation_s=plan.service.monitoring.evaluation_interval,
    )
    return plan.with_refusals(refused), text


def alertmanager_remarks(plan: Plan, tools: Tools) -> tuple[list[str], list[str]]:
    """What a run's Alertmanager does otherwise than production's, and what is wrong with its configuration."""
    path = Path(plan.service.monitoring.alertmanager)
    try:
        known = amtool.known(tools.amtool, path)
        if known.problems:
            return [], known.problems
        scale = plan.gate.time_scale
        copy = alertmanager.redirect(known.config, http_port=1, smtp_port=1, time_scale=scale, name=shown(path))
    except PlanError as error:
        return [], list(error.problems)
    return [*known.remarks, *copy.remarks], []
