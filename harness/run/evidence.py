"""Stores what a run leaves behind while its Prometheus is up, replays it, and judges a stored run from its folder."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.checks import AlertDelivered, AlertFires, Check, judge_all
from harness.checks.alert_coverage import coverage, statuses
from harness.checks.effect import effect
from harness.errors import EvidenceError, HarnessError, PlanError, UsageError
from harness.eventlog import Log, events_of
from harness.history import HELD, History, Replay, Window, write_series
from harness.plan.experiments import STEADY
from harness.plan.plan import Plan
from harness.plan.stored import stored_checks
from harness.rules.replay import AT_ONCE, metrics_read, replay, replay_held, unanswered, without_data
from harness.rules.rulefile import load
from harness.run.phases import BASELINE_S
from harness.run.seal import SEAL, broken
from harness.stack.stack import Stack
from harness.stack.tools import Tools
from harness.units import duration
from harness.verdict import NotApplicable, Result, Verdict
from harness.watch import metrics, scrapes

REST_S = 900.0  # of production that a held replay goes on for after its last bound: three of the slowest evaluations
RERUN = "run it again; what was cut off proves nothing, and says nothing against the service"


@dataclass(frozen=True)
class Judged:
    """A stored run, judged."""

    run: Path
    results: tuple[Result, ...]
    alerts: Mapping[str, Mapping[str, Any]]  # as checks.alert_coverage.statuses gives them
    coverage: Mapping[str, Mapping[str, int]]
    history: History
    experiments: tuple[str, ...]
    sealed: bool  # and as it was sealed
    remarks: tuple[str, ...] = ()  # what a reader should know that changes no verdict
    not_applicable: tuple[NotApplicable, ...] = ()


def store_samples(plan: Plan, stack: Stack) -> None:
    """Store what Prometheus recorded since the run began, and its own snapshot. Raises StackError."""
    run = stack.run
    began = min((e.at for e in History.read(run).of("run", "started")), default=time.time())
    series = metrics.recorded(stack.prometheus_url, plan.service.monitoring.job, Window(began, time.time()))
    write_series(run / "samples.jsonl.gz", series)
    (run / "types.json").write_text(json.dumps(metrics.types(stack.prometheus_url)))
    shutil.move(metrics.snapshot(stack.prometheus_url, run / "prometheus" / "data"), run / "snapshot")


def note_dropped(run: Path, log: Log) -> None:
    """An event for each time that Prometheus dropped samples of a scrape, by its own log."""
    began = min((e.at for e in events_of(run) if (e.source, e.name) == ("run", "started")), default=0.0)
    for e in scrapes.dropped(run / "logs" / "prometheus.log", began):
        log.event(e.source, e.name, e.outcome, at=e.at, **e.detail)


def replay_all(plan: Plan, run: Path, tools: Tools, log: Log) -> None:
    """Store what the unmodified rules make of each experiment's record; what cannot be replayed is an event, and the
    reason why its alerts have no answer."""
    history = History.read(run)
    alerts, read = [str(rule.alert) for rule in load(plan.rules)], metrics_read(plan.rules)
    held_too = [check for check in plan.checks if isinstance(check, AlertFires) and check.held_s is not None]
    inhibiting = {
        (c.experiment, str(c.alert)): [str(alert) for alert, _ in c.inhibiting]
        for c in plan.checks
        if isinstance(c, AlertDelivered) and c.posted
    }
    monitoring = plan.service.monitoring
    about = {
        "promtool": tools.promtool,
        "time_scale": plan.gate.time_scale,
        "scrape_s": plan.scrape_s,
        "production_scrape_s": monitoring.scrape_interval,
        "evaluation_s": monitoring.evaluation_interval,
        "job": monitoring.job,
        "types": json.loads((run / "types.json").read_text()),
    }
    stretches = {
        name: found for name in (STEADY, *(e.name for e in plan.experiments)) if (found := _stretch(history, name))
    }

    def replayed(name: str) -> tuple[dict[str, Replay], dict[str, Replay], str]:
        """What a phase was replayed to, the same of faults that are held, and why it could not be."""
        window, fault = stretches[name]
        here, problem = {**about, "window": window, "fault": fault}, ""
        try:
            found = replay(history.series, plan.rules, workdir=run / "replay" / name, **here)
        except HarnessError as error:
            problem = str(error)
            found = dict.fromkeys(alerts, unanswered(f"{name} could not be replayed: {problem}"))
        sources = {alert: by for (experiment, alert), by in inhibiting.items() if experiment == name}
        more = _held(history, plan.rules, name, [c for c in held_too if c.experiment == name], sources, run, here)
        found |= {alert: _with_inhibitors(found[alert], by, found) for alert, by in sources.items() if alert in found}
        return found, more, problem

    replays: dict[str, Any] = {}
    held: dict[str, Any] = {}
    with ThreadPoolExecutor(AT_ONCE) as several:
        try:
            answers = list(several.map(replayed, stretches))
        except BaseException:
            several.shutdown(wait=False, cancel_futures=True)
            raise
    for name, (found, more, problem) in zip(stretches, answers, strict=True):
        if problem:
            log.event("run", "replay", "fail", phase=name, problem=problem)
        blind = without_data(history.series, plan.rules, stretches[name][0])
        for each, kept in ((found, replays), (more, held)):
            kept[name] = {
                alert: list(one._replace(blind=sorted(blind.get(alert, ())), reads=sorted(read.get(alert, ()))))
                for alert, one in each.items()
            }
    for stored, file in ((held, run / HELD), (replays, run / "replays.json")):
        scratch = file.with_suffix(".new")
        scratch.write_text(json.dumps(stored, indent=1))
        scratch.rename(file)


def _held(
    history: History, rules: Sequence[Path], name: str, checks: Sequence[AlertFires],
    sources: Mapping[str, Sequence[str]], run: Path, about: dict[str, Any],
) -> dict[str, Replay]:  # fmt: skip
    """What the rules of some checks make of an experiment's fault held for as long as each of them says. sources: the
    alerts that may inhibit one."""
    seen, found = effect(history, name), {}
    asked: dict[tuple, list[AlertFires]] = {}
    for check in checks:
        asked.setdefault((check.held_s, check.growing), []).append(check)
    for n, ((held_s, growing), mine) in enumerate(asked.items()):
        only = [str(check.alert) for check in mine]
        rest_s = max((check.resolves_within_s + REST_S for check in mine if check.resolves_within_s), default=0.0)
        try:
            if seen is None or seen.gone is None:
                raise HarnessError("its fault is not recorded to have ended")
            asked_too = {source for alert in only for source in sources.get(alert, ())}
            held = replay_held(
                history.series, rules, held_s=held_s, rest_s=rest_s, gone=seen.gone, over=seen.over, growing=growing,
                only={*only, *asked_too}, workdir=run / "replay" / name / f"held-{n}", **about,
            )  # fmt: skip
            found |= {alert: _with_inhibitors(held[alert], sources.get(alert, ()), held) for alert in only}
        except HarnessError as error:
            why = f"the fault of {name} could not be held for {duration(held_s)}: {error}"
            found |= dict.fromkeys(only, unanswered(why))
    return found


def _with_inhibitors(one: Replay, by: Sequence[str], found: Mapping[str, Replay]) -> Replay:
    """An alert's replay, and which of those that may inhibit it fire meanwhile."""
    firing = [(name, found[name]) for name in by if name in found and found[name].firing_s is not None]
    known = [
        {"alert": name, "labels": list(other.labels), "firing_s": other.firing_s, "last_firing_s": other.last_firing_s}
        for name, other in firing
        if one.firing_s is not None and other.last_firing_s >= one.firing_s and other.firing_s <= one.last_firing_s
    ]
    return one._replace(inhibitors=known)


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
    """Judge a stored run by the checks stored with it. Raises UsageError if the folder is no run's, EvidenceError if
    what it holds is damaged, missing or not as it was sealed.

    A run that did not end gets no verdict: it was cut off, which is not the service's doing.
    """
    sealed = verified(run)
    try:
        history = History.read(run)
        if not sealed and any(e.detail.get("sealed") for e in history.of("run", "ended")):
            raise EvidenceError(
                f"{run / SEAL}: is missing: the run was cut off before it was sealed, or it was removed"
            )
        checks, facts, plan = stored_checks(run)
        results = judge_all(checks, history)
        if not history.ended:
            results = without_verdicts(history, checks, results)
        remarks = tuple(dict.fromkeys(remark for result in results for remark in result.remarks))
        results = [result for result in results if result.judges]
        rules = [(str(fact.alert), fact.severity) for fact in facts]
        lacking = tuple(
            NotApplicable(**{**each, "alerts": tuple(each["alerts"])}) for each in plan.get("not_applicable", ())
        )
        elsewhere = [str(fact.alert) for fact in facts if not fact.applicable]
        not_run = [(alert, each.why) for each in lacking for alert in each.alerts]
        found = statuses(results, history, rules, elsewhere, not_run)
        names = tuple(plan["experiments"])
        return Judged(run, tuple(results), found, coverage(found), history, names, sealed, remarks, lacking)
    except PlanError as error:
        raise EvidenceError("; ".join(error.problems)) from error
    except HarnessError:
        raise
    except Exception as error:
        if sealed:
            raise
        raise EvidenceError(f"{run}: holds what no run writes: {type(error).__name__}: {error}") from error


def verified(run: Path) -> bool:
    """Whether all is as it was sealed; False without a seal. Raises UsageError if the folder is no run's, and
    EvidenceError, which names what was changed and, where that shows, the line."""
    if not any(os.path.lexists(run / name) for name in (SEAL, "events.jsonl", "plan.yaml", "environment.json")):
        raise UsageError(f"{run}: not a run's folder; `ls runs/` shows the stored runs")
    if not (run / SEAL).exists():
        return False
    if changes := broken(run):
        try:
            History.read(run)
        except EvidenceError as damage:
            changes += f" ({damage})"
        raise EvidenceError(f"{run}: {changes}")
    return True


def without_verdicts(history: History, checks: Sequence[Check], results: Sequence[Result]) -> list[Result]:
    """The results of a run that did not end: how far it came, and what was found in the phases that were over by then,
    none of it a verdict."""
    kept = [Result("ended", "the run", Verdict.INCONCLUSIVE, f"the run did not end: {how_far(history)}", remedy=RERUN)]
    for check, result in zip(checks, results, strict=True):
        reason = "the run did not end"
        if check.about and all(_is_over(history, phase) for phase in check.about):
            reason += f"; what was seen until then: {result.reason}"
        nothing = {"verdict": Verdict.INCONCLUSIVE, "status": "", "timings": {}, "remedy": ""}
        kept.append(replace(result, reason=reason, **nothing))
    return kept


def how_far(history: History) -> str:
    """How far a run came that did not end, in a few words."""
    begun = [e.detail.get("phase") for e in history.of("run", "phase") if e.detail.get("edge") == "begin"]
    if begun:
        came = f"it was {'over with' if _is_over(history, begun[-1]) else 'in'} {begun[-1]}"
    elif history.of("stack", "ready"):
        came = "its stack was up, and no phase had begun"
    else:
        came = "its stack was not up yet"
    last = datetime.fromtimestamp(history.events[-1].at, UTC) if history.events else None
    return came + (f"; its last event is of {last:%H:%M:%S} UTC" if last else "")


def _is_over(history: History, phase: str) -> bool:
    """Whether a phase was over by itself. That of an experiment ends by an event also when it is cut off, but only one
    that is over has read the ledger."""
    window = history.phase(phase)
    if window is None:
        return False
    read = [e for e in history.of("run", "ledger", window) if e.detail.get("experiment") == phase]
    return phase == STEADY or bool(read)
