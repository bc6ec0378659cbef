"""A stored plan of an older version is read as the present one; one of a newer version is refused by its number."""

import shutil
from pathlib import Path

import pytest
import yaml

from harness.alert import Alert
from harness.checks import (
    CHECKS,
    AlertCoverage,
    AlertDelivered,
    Audited,
    BaselineAlerts,
    BaselineFigures,
    BaselineMetrics,
    Clocks,
    Command,
    Detection,
    GrowthOf,
    LatencyAfter,
    LeftBehind,
    Logged,
    Messages,
    MetricsTrue,
    Predictions,
    ProbeDecisions,
    Promql,
    Quiet,
    Routes,
    RuleData,
    Scrape,
    Stalls,
    Starts,
    Stops,
    Stored,
    Traced,
    WatchdogUnbroken,
)
from harness.checks.check import Check
from harness.errors import PlanError
from harness.plan import stored

VERSION_1 = Path(__file__).with_name("stored_by_version_1.yaml")
BOUNDS = {"fires_within_s", "resolves_within_s", "delivery_s"}  # of version 2: with the route's waits they were judged
SINCE_2 = {
    Promql,
    Command,
    Detection,
    Stalls,
    GrowthOf,
    LeftBehind,
    LatencyAfter,
    Routes,
    Messages,
    RuleData,
    BaselineAlerts,
    BaselineFigures,
    BaselineMetrics,
    Predictions,
    Logged,
    Audited,
    Stored,
    Traced,
    MetricsTrue,
    Scrape,
    Clocks,
    Starts,
    Stops,
}


@pytest.fixture
def run(tmp_path):
    shutil.copy(VERSION_1, tmp_path / "plan.yaml")
    return tmp_path


def edited(run, edit):
    plan = yaml.safe_load((run / "plan.yaml").read_text())
    edit(plan)
    (run / "plan.yaml").write_text(yaml.safe_dump(plan, sort_keys=False))
    return run


def test_every_check_of_version_1_is_read_with_all_its_figures(run):
    checks, facts, plan = stored.stored_checks(run)
    assert {type(c) for c in checks} == {c for c in CHECKS.values() if issubclass(c, Check)} - SINCE_2
    moved = {"watchdog": {"watchdog"}, "probes": {"process"}, "alert_coverage": {"contracts", "quiet", "watchdog"}}
    moved |= {"alert_fires": {"alert"}, "alert_delivered": {"alert", *BOUNDS}}
    for check, entry in zip(checks, plan["checks"], strict=True):
        new = stored.stored(check)
        gone = moved.get(check.kind, set())
        assert {k: v for k, v in entry.items() if k not in gone} == {
            k: v for k, v in new.items() if k in entry.keys() - gone
        }
    (watchdog,) = [c for c in checks if isinstance(c, WatchdogUnbroken)]
    assert [c.component for c in checks if isinstance(c, ProbeDecisions)] == ["server"]
    assert watchdog.alert == "Watchdog" and watchdog.phases == ("steady", "server-crash")
    assert all(fact.applicable for fact in facts)
    (delivered,) = [c for c in checks if isinstance(c, AlertDelivered)]
    assert (delivered.notified_within_s, delivered.resolved_notified_within_s) == (120 + 10 + 120, 120 + 10 + 120)
    assert delivered.resolution_s == 0, "a time was in its bound or not, however near it was"
    assert {str(delivered.alert), str(facts[0].alert)} == {"ServiceDown", "GpuErrors"}


def test_a_coverage_of_version_1_that_went_by_checks_of_its_own_names_the_harness_it_needs(run):
    edited(run, lambda plan: plan["checks"].remove(next(c for c in plan["checks"] if c["check"] == "quiet")))
    with pytest.raises(PlanError, match="checks that the plan does not have; use the harness of commit d1a8ee5"):
        stored.stored_checks(run)


def test_what_this_version_stores_says_so_and_is_read_as_it_is(run):
    checks, _, _ = stored.stored_checks(run)
    told_apart = Alert("Errors", (("severity", "page"),), ((("severity", "ticket"),),))
    checks = (
        *checks,
        Quiet("steady", ("Errors",), shared=(told_apart,)),
        AlertDelivered("x", told_apart, "page", "phone", 60),
    )
    entries = [stored._plain(stored.stored(c)) for c in checks]
    edited(run, lambda plan: plan.update(version=stored.VERSION, checks=entries))
    again, _, _ = stored.stored_checks(run)
    assert again == tuple(checks) and any(isinstance(c, AlertCoverage) for c in again)
    assert again[-1].alert.others == told_apart.others, "which equality does not show"


def test_a_check_of_version_2_is_read_with_the_bounds_it_was_judged_by(run):
    entry = {
        "check": "alert_delivered", "experiment": "hang", "alert": "Down", "severity": "critical", "receiver": "phone",
        "fires_within_s": 120.0, "resolves_within_s": 300.0, "delivery_s": 2.0, "refused": [], "place": "r.yaml:1",
        "group_wait_s": 10.0, "group_interval_s": 30.0, "proof": "both",
    }  # fmt: skip
    edited(run, lambda plan: plan.update(version=2, checks=[entry], time_scale=60))
    (check,), _, _ = stored.stored_checks(run)
    assert (check.alert, check.integrations, check.resolution_s) == (Alert("Down"), (), 0.0)
    assert (check.notified_within_s, check.resolved_notified_within_s) == (120 + 10 + 120, 300 + 30 + 120)


def test_a_plan_of_a_newer_version_is_refused_by_its_number(run):
    edited(run, lambda plan: plan.update(version=4))
    with pytest.raises(PlanError, match=r"plan\.yaml:\d+: version: the plan is of version 4, and this harness reads"):
        stored.stored_checks(run)


def test_a_check_that_this_harness_does_not_know_is_named_with_its_line(run):
    edited(run, lambda plan: plan["checks"].append({"check": "astrology"}))
    with pytest.raises(PlanError, match=r"plan\.yaml:\d+: checks\[\d+\]: this harness cannot judge it: 'astrology'"):
        stored.stored_checks(run)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "version: 2", "{version: 2, checks: 5, rules: []}", "{version: 2, checks: []}", "text"],
)
def test_what_is_no_stored_plan_is_refused_as_such(tmp_path, text):
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(PlanError, match=r"plan\.yaml:1: is not a stored plan: .*must be a"):
        stored.stored_checks(tmp_path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{version: 2, checks: [5], rules: []}", r"checks\[0\]: this harness cannot judge it"),
        ("{version: 2, checks: [{check: slos}], rules: []}", r"checks\[0\]: this harness cannot judge it: slos stands"),
        ("{version: 2, checks: [], rules: [5]}", r"rules\[0\]: this harness cannot judge by it"),
    ],
)
def test_an_entry_that_cannot_be_read_is_named(tmp_path, text, complaint):
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(PlanError, match=complaint):
        stored.stored_checks(tmp_path)
