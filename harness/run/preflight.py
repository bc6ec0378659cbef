"""What can be known of a plan's files before anything is started: all that is wrong, and the rules as they run live."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.document import regular, shown
from harness.errors import PlanError, ToolMissing
from harness.plan.patterns import matching
from harness.plan.plan import Plan, load
from harness.plan.watched import production_files
from harness.plan.yamlfile import read
from harness.rules import compress
from harness.rules.rulefile import check_with_promtool
from harness.run import attachable
from harness.run.texts import texts_wrong
from harness.stack import alertmanager, amtool, prometheus
from harness.stack.spec import ServiceSpec
from harness.stack.tools import Tools, find


def planned(gate: Path, **options: Any) -> Plan:
    """The plan as `plan.load` reads it. Where that finds mistakes, those that promtool and amtool find in the other
    production files come with them, at once. Raises PlanError."""
    if regular(gate) == "no such file":
        raise PlanError([f"{gate}: no such file; go to where it lies, or name it by --gate"])
    try:
        return load(gate, **options)
    except PlanError as error:
        rules, config = production_files(gate)
        blamed = {problem.partition(":")[0] for problem in error.problems}
        unread = [path for path in (*rules, config) if path and shown(path) not in blamed and not regular(path)]
        try:
            broken = [path for path in unread if path != config]
            _, more = rejected(find(), broken, config if config in unread else None)
        except ToolMissing:
            more = []
        raise PlanError([*error.problems, *more]) from None


def preflight(plan: Plan, tools: Tools, remark: Callable[[str], None] = lambda _: None) -> tuple[Plan, str]:
    """The rules as they will run live, and the plan with the reasons why some have no live copy. `remark` gets a line
    for each thing that the run's Alertmanager does otherwise than production's. Raises PlanError with what promtool and
    amtool reject in the production files, with what of them cannot be led to receivers here, and where not one rule
    could be delivered."""
    remarks, problems = rejected(tools, plan.rules, Path(plan.service.monitoring.alertmanager), plan.gate.time_scale)
    monitoring = plan.service.monitoring
    if any(monitoring.additions.values()):
        file = read(plan.workdir / plan.gate.service, problems)
        place = f"{file.place(('monitoring', 'alert_relabel_configs')) if file else plan.gate.service}: monitoring"
        problems += [f"{place}: {line}" for line in prometheus.rejected(tools.promtool, **monitoring.additions)]
    if problems:
        raise PlanError(problems)
    scales = plan.gate.time_scale, monitoring.scrape_interval, monitoring.evaluation_interval
    for line in (*remarks, *compress.remarks(plan.rules, *scales)):
        remark(line)
    if not monitoring.severities:
        config = shown(Path(monitoring.alertmanager))
        remark(
            f"{config}: who gets the alerts of which severity is not judged; say monitoring.severities in service.yaml"
        )
    if plan.service.attached:
        if unattachable := attachable.unattachable(plan):
            raise PlanError(unattachable)
        for line in (*not_judged(plan.service), *attachable.unlike(plan)):
            remark(line)
    text, refused = compress.compress(plan.rules, *scales)
    if problem := _nothing_live(plan, refused):
        raise PlanError([problem])
    return plan.with_refusals(refused).with_texts(texts_wrong(plan, tools)), text


def not_judged(service: ServiceSpec) -> list[str]:
    """What is not judged of a service that runs already, and why."""
    lines = ["how long the service takes to start is not judged: the harness does not start it"]
    if any(one.control.is_blind for one in service.reached):
        what = "what the service keeps of memory, descriptors and threads is not judged"
        lines.append(f"{what}: by its control its processes are not known; of its growth only series are")
    return lines


def rejected(
    tools: Tools, rules: Sequence[Path], config: Path | None, time_scale: float = 1.0
) -> tuple[list[str], list[str]]:
    """What a run's Alertmanager does otherwise than production's; and what promtool and amtool reject in rule files and
    an Alertmanager configuration, or what of it cannot be led to receivers here."""
    problems = check_with_promtool(tools.promtool, rules) if rules else []
    if config is None:
        return [], problems
    if unread := _templates(config):  # amtool itself would wait for a named pipe
        return [], [*problems, *unread]
    try:
        known = amtool.known(tools.amtool, config)
        if known.problems:
            return [], [*problems, *known.problems]
        copy = alertmanager.redirect(known.config, http_port=1, smtp_port=1, time_scale=time_scale, name=shown(config))
    except PlanError as error:
        return [], [*problems, *error.problems]
    return [*known.remarks, *copy.remarks], problems


def _templates(config: Path) -> list[str]:
    """What is no regular file of the templates that an Alertmanager configuration names."""
    file = read(config, [])
    named = (file.data.get("templates") or []) if file and isinstance(file.data, dict) else []
    problems = []
    for i, pattern in enumerate(named if isinstance(named, list) else []):
        try:
            found = matching(config.parent, str(pattern))
        except ValueError:
            continue  # Alertmanager takes a pattern that nothing matches
        place = f"{file.place(('templates', i))}: templates[{i}]"
        problems += [f"{place}: {shown(path)}: {why}" for path in found if (why := regular(path))]
    return problems


def _nothing_live(plan: Plan, refused: Mapping[str, Sequence[str]]) -> str:
    """Why no alert of the plan could be delivered; empty where one can, or where its replay is said to be enough."""
    rules = [fact for fact in plan.rule_facts if not fact.always]
    if any(want.proof == "replay" for experiment in plan.experiments for want in experiment.contract.alerts):
        return ""
    if not rules or any(str(rule.alert) not in refused for rule in rules):
        return ""
    file, first = read(plan.path, []), rules[0]
    place = file.place(("time_scale",)) if file else shown(plan.path)
    why = f"no alert rule has a live copy, so nobody can be notified of any; {first.place}: {first.alert}: "
    remedy = "lower time_scale, rewrite the rules, or say `proof: replay` in the contracts"
    return f"{place}: time_scale: {why}{'; '.join(refused[str(first.alert)])}; {remedy}"
