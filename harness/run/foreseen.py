"""What an earlier run shows of the rules before the next one: a rule that can match nothing is named early."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.checks import RuleData
from harness.errors import EvidenceError
from harness.eventlog import events_of
from harness.history import History
from harness.plan.plan import Plan
from harness.verdict import Verdict


def foreseen(plan: Plan, runs: Path) -> Iterator[str]:
    """A line, where the rules as they are now read what the latest whole run of the service did not have. It changes no
    verdict: the service may have changed as well."""
    check = next((check for check in plan.checks if isinstance(check, RuleData)), None)
    earlier = _latest(runs, plan.service.name) if check else None
    if earlier is None:
        return
    try:
        result = check.judge(History.read(earlier))
    except Exception:  # an earlier run, of whatever version, ends no run that comes after it
        return
    if result.verdict is Verdict.FAIL:
        yield f"{result.place}: in the series of the run before, {earlier.name}, {result.reason}"


def _latest(runs: Path, service: str) -> Path | None:
    """The folder of the latest run of a service that came to its end."""
    for run in sorted((path for path in runs.glob("*T*Z-*") if path.is_dir()), reverse=True):
        try:
            history = History(events=events_of(run))
        except EvidenceError:
            continue
        if history.of("run", "ended") and history.setting("service") == service:
            return run
    return None
