"""Stores what a run leaves behind while its Prometheus is up, replays it, and judges a stored run from its folder."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.checks import judge_all
from harness.checks.alert_coverage import coverage, statuses
from harness.checks.effect import effect
from harness.errors import HarnessError
from harness.eventlog import Log
from harness.history import History, Window, write_series
from harness.plan.experiments import STEADY
from harness.plan.plan import Plan
from harness.plan.stored import stored_checks
from harness.rules.replay import replay, without_data
from harness.run.phases import BASELINE_S
from harness.stack.stack import Stack
from harness.stack.tools import Tools
from harness.verdict import Result
from harness.watch import metrics


@dataclass(frozen=True)
class Judged:
    """A stored run, judged."""

    run: Path
    results: tuple[Result, ...]
    alerts: Mapping[str, Mapping[str, Any]]  # as checks.alert_coverage.statuses gives them
    coverage: Mapping[str, Mapping[str, int]]
    history: History
    experiments: tuple[str, ...]


def store_samples(plan: Plan, stack: Stack) -> None:
    """Store what Prometheus recorded since the run began, and its own snapshot. Raises StackError."""
    run = stack.run
    began = min((e.at for e in History.read(run).of("run", "started")), default=time.time())
    series = metrics.recorded(stack.prometheus_url, plan.service.monitoring.job, Window(began, time.time()))
    write_series(run / "samples.jsonl.gz", series)
    (run / "types.json").write_text(json.dumps(metrics.types(stack.prometheus_url)))
    shutil.move(metrics.snapshot(stack.prometheus_url, run / "prometheus" / "data"), run / "snapshot")


def replay_all(plan: Plan, run: Path, tools: Tools, log: Log) -> None:
    """Store what the unmodified rules make of each experiment's record; what cannot be replayed is an event."""
    history = History.read(run)
    types = json.loads((run / "types.json").read_text())
    replays: dict[str, Any] = {}
    for name in (STEADY, *(e.name for e in plan.experiments)):
        stretch = _stretch(history, name)
        if stretch is None:
            continue
        window, fault = stretch
        try:
            found = replay(
                history.series,
                plan.rules,
                promtool=tools.promtool,
                time_scale=plan.gate.time_scale,
                scrape_s=plan.scrape_s,
                production_scrape_s=plan.service.monitoring.scrape_interval,
                evaluation_s=plan.service.monitoring.evaluation_interval,
                window=window,
                fault=fault,
                job=plan.service.monitoring.job,
                types=types,
                workdir=run / "replay" / name,
            )
        except HarnessError as error:
            log.event("run", "replay", "fail", phase=name, problem=str(error))
            continue
        blind = without_data(history.series, plan.rules, window)
        replays[name] = {alert: list(one._replace(blind=sorted(blind.get(alert, ())))) for alert, one in found.items()}
    scratch = run / "replays.new"
    scratch.write_text(json.dumps(replays, indent=1))
    scratch.rename(run / "replays.json")


def _stretch(history: History, phase: str) -> tuple[Window, Window] | None:
    """A phase, and the fault with its effect in it; the steady load counts as a fault that breaks nothing."""
    window = history.phase(phase)
    if window is None:
        return None
    if phase == STEADY:
        return window, Window(window.start + BASELINE_S, window.end)
    seen = effect(history, phase)
    return None if seen is None else (window, Window(seen.start, window.end if seen.over is None else seen.over))


def judge(run: Path) -> Judged:
    """Judge a stored run by the checks stored with it. Raises EvidenceError or PlanError if it cannot be read."""
    checks, facts, plan = stored_checks(run)
    history = History.read(run)
    results = tuple(judge_all(checks, history))
    rules = [(str(fact.alert), fact.severity) for fact in facts]
    found = statuses(results, history, rules, [str(fact.alert) for fact in facts if not fact.applicable])
    return Judged(run, results, found, coverage(found), history, tuple(plan["experiments"]))
