"""The production rules under promtool, and promtool under wrong rules: a test that tests nothing would show."""

import copy
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from model_server.http.app import document
from model_server.monitoring.generate import RUNBOOK

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
FOLDER = ROOT / "model_server/monitoring/rules"
RULES = {path.name: yaml.safe_load(path.read_text())["groups"] for path in sorted(FOLDER.glob("*.yaml"))}
GROUPS = {group["name"]: group for groups in RULES.values() for group in groups}
ALERTS = [rule for group in GROUPS.values() for rule in group["rules"] if "alert" in rule]
CASES = {  # the groups that each file of cases is about
    "service": ["service", "application.rules"],
    "model": ["model"],
    "model_shift": ["model:shift"],
    "storage": ["storage"],
    "trends": ["trends"],
    "security": ["security"],
    "gpu": ["gpu"],
    "telemetry": ["telemetry"],
    "slo_availability": ["slo:availability:1h", "slo:availability:6h"],
    "slo_error_rate": ["slo:error_rate:1h", "slo:error_rate:6h"],
    "slo_error_rate_slow": ["slo:error_rate:1d", "slo:error_rate:3d"],
    "slo_latency": ["slo:latency:1h", "slo:latency:6h"],
    "slo_latency_slow": ["slo:latency:1d", "slo:latency:3d"],
}
RECORDINGS = ["slo:recordings", "kpis"]  # the first is read by the second
FIRING = """'count by (alertname) (ALERTS{alertstate="firing", alertname!="Watchdog"})'"""
WRONG = {
    "never fires": {"expr": "vector(1) > 1000"},
    "always fires": {"expr": "vector(1)", "for": "0s"},
    "waits too long": {"for": "1000h"},
    "never resolves": {"keep_firing_for": "1000h"},
}


def groups(cases: str) -> list[dict]:
    return [GROUPS[name] for name in (RECORDINGS if cases == "kpis" else CASES[cases])]


def promtool(cases: str, variants: dict[str, list[dict]], folder: Path) -> dict[str, str]:
    """Puts the cases to variants of their rules; what promtool says of each, "" when it is content.

    A variant called after one alert is put only to the cases that name it, without the rules that these do not name:
    of those nothing is expected.
    """
    text = (HERE / f"{cases}_rules.test.yaml").read_text().replace("expr: FIRING", f"expr: {FIRING}")
    told = yaml.safe_load(text.replace("runbook_url: RUNBOOK", f"runbook_url: {RUNBOOK}"))
    files = {}
    for i, (name, wrong) in enumerate(variants.items()):
        of_one = name.split()[0] in {rule.get("alert") for group in wrong for rule in group["rules"]}
        about = [test for test in told["tests"] if not of_one or name.split()[0] in json.dumps(test)] or told["tests"]
        if of_one:
            named = json.dumps(about)
            wrong = [group | {"rules": [r for r in group["rules"] if r["alert"] in named]} for group in wrong]
        (folder / f"{i}.rules.yaml").write_text(json.dumps({"groups": wrong}))
        files[name] = folder / f"{i}.test.yaml"
        files[name].write_text(json.dumps(told | {"rule_files": [f"{i}.rules.yaml"], "tests": about}))
    argv = ["promtool", "test", "rules", *files.values()]
    done = subprocess.run(argv, cwd=folder, env={**os.environ, "GOGC": "400"}, capture_output=True, text=True)
    said = (done.stdout + done.stderr).split("Unit Testing:")[1:]
    assert len(said) == len(files), done.stdout + done.stderr
    found = {name: next(part for part in said if part.split()[0] == str(file)) for name, file in files.items()}
    return {name: "" if "SUCCESS" in text and "FAILED" not in text else text for name, text in found.items()}


def changed(cases: str, alert: str, **changes: str) -> list[dict]:
    """The groups of the cases with one alert changed."""
    wrong = copy.deepcopy(groups(cases))
    for group in wrong:
        group["rules"] = [rule | changes if rule.get("alert") == alert else rule for rule in group["rules"]]
    return wrong


@pytest.mark.parametrize("cases", CASES)
def test_every_rule_fires_when_it_should_and_stays_quiet_when_it_should(cases, tmp_path):
    assert promtool(cases, {"whole": groups(cases)}, tmp_path) == {"whole": ""}


@pytest.mark.parametrize("cases", CASES)
def test_a_wrong_rule_is_noticed(cases, tmp_path):
    """So every alert has a case in which it fires, one in which it is quiet, and one in which it is over."""
    alerts = [r["alert"] for group in groups(cases) for r in group["rules"] if r.get("alert", "Watchdog") != "Watchdog"]
    wrong = {f"{a} {how}": changed(cases, a, **changes) for a in alerts for how, changes in WRONG.items()}
    if cases == "service":
        wrong["Watchdog never fires"] = changed(cases, "Watchdog", **WRONG["never fires"])
    assert alerts and [name for name, said in promtool(cases, wrong, tmp_path).items() if not said] == []


def test_every_recording_has_the_value_it_should(tmp_path):
    assert promtool("kpis", {"whole": groups("kpis")}, tmp_path) == {"whole": ""}


@pytest.mark.parametrize("slo", [None, "availability", "latency", "error_rate"])
def test_a_wrong_recording_is_noticed(slo, tmp_path):
    """So each has a case that knows its value. Wrong are all at once: of the objective, or those of none."""
    wrong = copy.deepcopy(groups("kpis"))
    spoilt = [rule for group in wrong for rule in group["rules"] if rule.get("labels", {}).get("slo") == slo]
    for rule in spoilt:
        rule["expr"] = f"1.1 * ({rule['expr']})"
    said = promtool("kpis", {"wrong": wrong}, tmp_path)["wrong"]
    assert spoilt and [rule["record"] for rule in spoilt if not re.search(rf"expr: .*\b{rule['record']}\b", said)] == []


def test_every_recording_is_of_a_group_with_cases():
    assert set(RECORDINGS) == {name for name, group in GROUPS.items() for rule in group["rules"] if "record" in rule}


def test_every_alert_has_cases():
    covered = {rule["alert"] for cases in CASES for group in groups(cases) for rule in group["rules"]}
    assert covered == {rule["alert"] for rule in ALERTS}


def test_promtool_accepts_the_rules():
    done = subprocess.run(["promtool", "check", "rules", *FOLDER.glob("*.yaml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_names_are_unique():
    names = [rule["alert"] for rule in ALERTS]
    assert len(names) == len(set(names))


def test_every_alert_has_a_known_severity_a_text_and_a_runbook_section_of_its_own():
    sections = re.findall(r"^## (.+)$", (ROOT / "docs/runbook.md").read_text(), re.M)
    for rule in ALERTS:
        name, about = rule["alert"], rule["annotations"]
        assert rule["labels"]["severity"] in {"critical", "high", "medium", "low"}, name
        assert rule["labels"]["service"] == "pneumonia-detector", name
        assert about["runbook_url"] == f"{RUNBOOK}#{name.lower()}" and name in sections, name
        assert about["summary"] and about["description"], name
        assert "for" in rule or name == "Watchdog", name


def test_a_reader_of_slack_or_the_pager_can_follow_the_link_to_the_runbook():
    """Alertmanager sends the text as it is, so a path in this repository would lead nowhere."""
    assert re.fullmatch(r"https://[\w.-]+/\S*runbook\.md", RUNBOOK)
    receivers = {r["name"]: r for r in yaml.safe_load((FOLDER.parent / "alertmanager.yaml").read_text())["receivers"]}
    assert ".Annotations.runbook_url" in receivers["slack-alerts"]["slack_configs"][0]["text"]
    [link] = receivers["pagerduty"]["pagerduty_configs"][0]["links"]
    assert link["href"] == "{{ .CommonAnnotations.runbook_url }}"


def test_a_runbook_section_is_about_an_alert():
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs/runbook.md").read_text(), re.M)
    assert set(sections) == {rule["alert"] for rule in ALERTS}


def test_rules_select_metrics_that_the_service_documents():
    """Recordings may read each other; an alert reads none: it must be provable from what the service itself says."""
    documented = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/metrics.md").read_text(), re.M))
    of_prometheus = {"up", "scrape_duration_seconds", "scrape_timeout_seconds"}
    recorded = {rule["record"] for group in GROUPS.values() for rule in group["rules"] if "record" in rule}
    words = re.compile(r"\b([a-z][\w:]*)(?=\{|\[)|(?<![\w.\"])(container_\w+|ml_model_accuracy)")
    for group in GROUPS.values():
        for rule in group["rules"]:
            known = documented | of_prometheus | (recorded if "record" in rule else set())
            for found in words.findall(re.sub(r'"[^"]*"', '""', rule["expr"])):
                name = re.sub(r"_(bucket|sum|count)$", "", found[0] or found[1])
                assert name in known, rule["expr"]


def test_latency_is_that_of_predictions_by_whatever_protocol_and_of_nothing_else():
    paths = document()["paths"]
    predictions = {path for path in paths if path.endswith(("/predict", "/infer"))}
    assert len(predictions) == 3
    boards = [path.read_text().replace("\\", "") for path in FOLDER.parent.glob("dashboards/*.json")]
    texts = [rule["expr"] for group in GROUPS.values() for rule in group["rules"]] + boards
    measured = {found for text in texts for found in re.findall(r'endpoint=~?"([^"]+)"', text)}
    assert measured
    for pattern in measured:
        assert {path for path in paths if re.fullmatch(pattern, path)} == predictions, pattern
