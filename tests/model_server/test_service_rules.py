"""The production rules under promtool, and promtool under wrong rules: a test that tests nothing would show."""

import copy
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "model_server/monitoring/rules/service.yaml"
CASES = Path(__file__).parent / "service_rules.test.yaml"
GROUPS = yaml.safe_load(RULES.read_text())
ALERTS = [rule["alert"] for group in GROUPS["groups"] for rule in group["rules"]]


def promtool(groups: dict, folder: Path) -> subprocess.CompletedProcess:
    (folder / "rules.yaml").write_text(yaml.safe_dump(groups))
    (folder / "cases.yaml").write_text(CASES.read_text().replace("RULES", "rules.yaml"))
    return subprocess.run(["promtool", "test", "rules", "cases.yaml"], cwd=folder, capture_output=True, text=True)


def changed(alert: str, **changes: str) -> dict:
    groups = copy.deepcopy(GROUPS)
    for group in groups["groups"]:
        group["rules"] = [rule | changes if rule["alert"] == alert else rule for rule in group["rules"]]
    return groups


def test_every_rule_fires_when_it_should_and_stays_quiet_when_it_should(tmp_path):
    done = promtool(GROUPS, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_a_rule_that_never_fires_is_noticed(alert, tmp_path):
    assert promtool(changed(alert, expr="vector(1) > 1000"), tmp_path).returncode == 1


@pytest.mark.parametrize("alert", [a for a in ALERTS if a != "Watchdog"])
def test_a_rule_that_always_fires_is_noticed(alert, tmp_path):
    assert promtool(changed(alert, expr="vector(1)", **{"for": "0s"}), tmp_path).returncode == 1


@pytest.mark.parametrize("alert", [a for a in ALERTS if a != "Watchdog"])
def test_a_rule_that_waits_too_long_is_noticed(alert, tmp_path):
    assert promtool(changed(alert, **{"for": "2h"}), tmp_path).returncode == 1


def test_every_alert_has_a_known_severity_and_a_runbook_section_that_exists():
    sections = {
        "#" + title.strip().lower() for title in re.findall(r"^## (.+)$", (ROOT / "docs/runbook.md").read_text(), re.M)
    }
    for group in GROUPS["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in {"critical", "high", "medium", "low"}, rule["alert"]
            page, anchor = rule["annotations"]["runbook_url"].split("#")
            assert (ROOT / page).exists() and "#" + anchor in sections, rule["alert"]
            assert rule["annotations"]["summary"] and rule["annotations"]["description"], rule["alert"]


def test_no_rule_has_a_shape_that_time_compression_would_change():
    for alert, expr in ((r["alert"], r["expr"]) for g in GROUPS["groups"] for r in g["rules"]):
        assert not re.search(
            r"\b(increase|delta|idelta|changes|resets|predict_linear|deriv|time|timestamp)\s*\(", expr
        ), alert
