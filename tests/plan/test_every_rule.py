"""What the files show of every rule before it fires: each seeded mistake is found, at its line, and the bundled files
have none."""

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from harness.plan.plan import load
from harness.plan.relabelling import relabelled
from harness.plan.routes import sent_alerts
from harness.plan.static import static
from harness.plan.texts import sections
from harness.plan.watched import read_watched
from harness.rules.labels import carried
from harness.run.preflight import preflight
from harness.run.texts import texts_wrong
from harness.stack.routing import read as read_routing
from harness.stack.spec import Relabelling
from harness.stack.tools import find

ROOT = Path(__file__).parents[2]
ROUTES = "monitoring/alertmanager.yaml"
RULES = "monitoring/rules"
FOUND = ("misrouted", "silenced", "texts")


@pytest.fixture
def service(tmp_path, monkeypatch):
    """The bundled service's files, where they may be spoilt."""
    (tmp_path / "service").mkdir()
    shutil.copy(ROOT / "model_server/service.yaml", tmp_path / "service")
    shutil.copytree(ROOT / "model_server/monitoring", tmp_path / "service/monitoring")
    shutil.copytree(ROOT / "model_server/weights", tmp_path / "service/weights")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "service"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bundled service, read once."""
    home = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("whole"))
    try:
        shutil.copytree(ROOT / "model_server/monitoring", "service/monitoring")
        shutil.copytree(ROOT / "model_server/weights", "service/weights")
        shutil.copytree(ROOT / "docs", "docs")
        shutil.copy(ROOT / "model_server/service.yaml", "service")
        return read_watched(Path("service/service.yaml").absolute(), [])
    finally:
        os.chdir(home)


def found(service, whole=None) -> dict:
    """What is found in the files; only the routes are read again where the service is given as it was `whole`."""
    problems = []
    if whole is None:
        watched = read_watched(service / "service.yaml", problems)
    else:
        watched = replace(whole, routing=read_routing(service / ROUTES, problems))
    assert not problems
    return {name: some for name, some in static(watched).items() if name in FOUND and some}


def spoil(service, file, old, new):
    text = (service / file).read_text()
    assert old in text, f"{old} is not in {file}"
    (service / file).write_text(text.replace(old, new, 1))


def test_the_bundled_files_have_no_mistake(service):
    assert found(service) == {}


HIGH = "- matchers: [severity = high]\n      receiver: slack-alerts"
SYMPTOMS = "equal: [cluster, service, instance]"
PAGED = "  - source_matchers: [severity = critical, slo"
NEW = "  - source_matchers: [{}]\n    target_matchers: [{}]\n    equal: [{}]\n"
SPOILT = {  # (file, old, new, as what it is found, words, as what else)
    "a severity goes elsewhere": (
        ROUTES, HIGH, HIGH.replace("slack-alerts", "default"), "misrouted",
        "ServiceNotReady, of severity high, goes to default (the route of service/monitoring/alertmanager.yaml:20), "
        "where monitoring.severities says slack-alerts",
    ),
    "a matcher is misspelt": (
        ROUTES, "[severity = critical]", "[severity = critcal]", "misrouted",
        "ServiceDown, of severity critical, goes to default",
    ),
    "a route stands before the others": (
        ROUTES, "  routes:\n    - matchers", "  routes:\n    - matchers: [service = pneumonia-detector]\n"
        "      receiver: default\n    - matchers", "misrouted", "ServiceDown, of severity critical, goes to default",
    ),
    "a route goes on": (
        ROUTES, "    - matchers: [severity = low]", "    - matchers: [severity = low]\n      receiver: pagerduty\n"
        "      continue: true\n    - matchers: [severity = low]", "misrouted", "ScrapeSlow, of severity low, goes to "
        "pagerduty (the route of", "texts",
    ),
    "a receiver has no integration": (
        ROUTES, "    email_configs:\n      - to: pneumonia-detector-team@example.org\n        send_resolved: true\n",
        "", "misrouted", "which has no integration, so nobody is notified",
    ),
    "a rule of an unknown severity": (
        f"{RULES}/storage.yaml", "severity: high", "severity: hihg", "misrouted", "DatabaseDown has severity hihg, and "
        "monitoring.severities says of none such who gets it; did you mean high?",
    ),
    "a rule without a severity": (
        f"{RULES}/storage.yaml", "severity: high, ", "", "misrouted", "DatabaseDown has no severity",
    ),
    "a route for one store": (
        ROUTES, HIGH, "- matchers: [store = archive]\n      receiver: default\n    " + HIGH, "", "",
    ),
    "a route for any store": (
        ROUTES, HIGH, '- matchers: [store =~ ".+"]\n      receiver: default\n    ' + HIGH, "misrouted",
        "StorageErrors, of severity high, goes to default",
    ),
    "an attack is a symptom": (
        ROUTES, '"ServiceNotReady|', '"AuthenticationAttack|ServiceNotReady|', "silenced",
        "ServiceDown (critical) would silence AuthenticationAttack (high), service/monitoring/rules/security.yaml:5: "
        "the second has another cause",
    ),
    "a pattern of symptoms": (ROUTES, "|ScrapeSlow", "|ScrapeSlow|.*Lost", "silenced", "silence RecordsLost (high)"),
    "one instance silences all": (
        ROUTES, SYMPTOMS, "equal: [cluster, service]", "silenced", "the first is about one instance, and would silence "
        "the second on every other one",
    ),
    "nothing is equal": (
        ROUTES, "    equal: [cluster, service]\n  - source_matchers: [alertname = ServiceDown, instance !=",
        "  - source_matchers: [alertname = ServiceDown, instance !=", "silenced", "no label in `equal` says",
    ),
    "critical silences whatever is less": (
        ROUTES, PAGED, NEW.format("severity = critical", 'severity != "critical"', "service") + PAGED, "silenced",
        "more: the second has another cause, as far as anybody says: they have no more in common than service",
    ),
    "the less severe silences the more severe": (
        ROUTES, PAGED, NEW.format("severity = high, slo != ''", "severity = critical", "service, slo") + PAGED,
        "silenced", "the first is less severe than the second",
    ),
    "an objective no longer in equal": (
        ROUTES, "equal: [cluster, service, slo]", "equal: [cluster, service]", "silenced", "would silence LatencyBurn",
    ),
    "the watchdog silences": (
        ROUTES, PAGED, NEW.format("alertname = Watchdog", "severity = high", "service") + PAGED, "silenced",
        "the first always fires, so nobody is ever notified",
    ),
    "a symptom is misspelt": (
        ROUTES, "ServiceNotReady|", "ServiceNotRedy|", "silenced",
        "it names ServiceNotRedy, and no rule is called so; did you mean ServiceNotReady?",
    ),
    "an equal label is misspelt": (
        ROUTES, SYMPTOMS, "equal: [cluster, servce, instance]", "silenced", "`equal` names servce, which no alert has",
    ),
    "a runbook's section is not there": (
        f"{RULES}/storage.yaml", "runbook.md#databasedown", "runbook.md#database-down", "texts", "leads to a section "
        "#database-down that docs/runbook.md does not have; did you mean databasedown?",
    ),
    "a runbook is not there": (
        f"{RULES}/storage.yaml", "runbook.md#databasedown", "runbooks.md#databasedown", "texts", "which is not there",
    ),
    "a label that the expression drops": (
        f"{RULES}/storage.yaml", "{{ $value | humanize }} records", "{{ $labels.instance }}: {{ $value }} records",
        "texts", "RecordsLost: description shows the label instance, which its expression does not give, so nothing",
    ),
    "a label that the rule adds": (
        f"{RULES}/storage.yaml", "{{ $value | humanize }} records", "{{ $labels.severity }}: {{ $value }} records",
        "texts", "what the rule itself adds is not among $labels",
    ),
    "a label of one part of the expression": (
        f"{RULES}/service.yaml", "{{ if $labels.instance }}{{", "{{ if 1 }}{{", "texts",
        "ServiceDown: description shows the label instance, which its expression does not give where it fires",
    ),
    "an annotation is missing": (
        f"{RULES}/storage.yaml", "          runbook_url: https://git.example.org/pneumonia-detector/blob/main/docs/"
        "runbook.md#databasedown\n", "", "texts",
        "DatabaseDown has no annotation runbook_url, which text of slack-alerts",
    ),
    "a summary is missing": (
        f"{RULES}/storage.yaml", '          summary: "The database does not answer"\n', "", "texts",
        "DatabaseDown has no summary, as 45 of 46 rules have",
    ),
    "a summary is empty": (
        f"{RULES}/storage.yaml", '"The database does not answer"', '""', "texts", "DatabaseDown: its summary is empty",
    ),
    "a receiver shows what rules do not say": (
        ROUTES, ".Annotations.description", ".Annotations.descripton", "texts",
        "has no annotation descripton, which text",
    ),
    "a group label that is none": (
        ROUTES, "{{ .CommonLabels.alertname }}", "{{ .GroupLabels.job }}", "texts",
        "shows the group label job, and the route of service/monitoring/alertmanager.yaml:20 groups "
        "by alertname, cluster and service",
    ),
    "a severity that PagerDuty refuses": (
        ROUTES, "severity: \"{{ .CommonLabels.severity }}\"", "severity: page", "texts", "severity would be page",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_each_mistake_is_found_at_its_line_and_nothing_else(service, whole, name):
    file, old, new, where, words, *also = SPOILT[name]
    spoil(service, file, old, new)
    wrong = found(service, whole if file == ROUTES else None)
    assert set(wrong) == ({where, *also} if where else set()), wrong
    assert not where or any(words in each.said for each in wrong[where]), wrong
    assert all(each.place.startswith("service/monitoring/") and each.remedy for each in wrong.get(where, ()))


def test_what_service_yaml_says_of_routes_must_be_known(service):
    spoil(service, "service.yaml", "critical: pagerduty, high: slack-alerts", "critical: pagerdty, high: [slack, team]")
    spoil(service, "service.yaml", "ServiceDown: [ServiceNotReady", "ServiceDown: [ServiceNotRedy")
    spoil(service, "service.yaml", "../docs}", f"../dcs, git.example.org: ../docs, http://x/: {300 * 'n'}}}")
    problems = []
    assert read_watched(service / "service.yaml", problems) is None
    said = "\n".join(problems)
    assert "monitoring.severities.critical: service/monitoring/alertmanager.yaml has no receiver and no kind of" in said
    assert "did you mean pagerduty?" in said and "no kind of integration team" in said
    assert (
        "monitoring.may_inhibit.ServiceDown[0]: no rule is called ServiceNotRedy; did you mean ServiceNotReady?" in said
    )
    assert "dcs: no such file or folder" in said and "git.example.org: must be the beginning of a URL" in said
    assert all(problem.startswith("service/service.yaml:") for problem in problems) and len(problems) == 6


def test_a_severity_may_be_of_a_kind_of_integration_or_for_nobody(service):
    spoil(service, "service.yaml", "critical: pagerduty, high: slack-alerts", "critical: [pagerduty], high: slack")
    spoil(service, "service.yaml", "low: default", "low: []")
    (only,) = found(service).values()
    assert {each.said.partition(",")[0] for each in only} >= {"ScrapeSlow", "TracesDropped"}
    assert all("where monitoring.severities says nobody" in each.said for each in only)


def test_alerts_are_relabelled_before_they_are_routed(service):
    file = service / "service.yaml"
    whole = yaml.safe_load(file.read_text())
    step = {"source_labels": ["severity"], "regex": "high", "target_label": "severity", "replacement": "low"}
    whole["monitoring"]["alert_relabel_configs"] = [
        step,
        {"source_labels": ["slo"], "regex": "latency", "action": "drop"},
    ]
    file.write_text(yaml.safe_dump(whole, sort_keys=False))
    said = [each.said for each in found(service)["misrouted"]]
    assert said and all(each.endswith("is dropped before it is sent") for each in said)


@pytest.mark.parametrize(
    ("step", "labels", "made"),
    [
        ({"regex": "a(.)", "action": "labelmap", "replacement": "b$1"}, {"a1": "x"}, {"a1": "x", "b1": "x"}),
        ({"regex": "a", "action": "labeldrop"}, {"a": "x", "b": "y"}, {"b": "y"}),
        ({"regex": "a", "action": "labelkeep"}, {"a": "x", "b": "y"}, {"a": "x"}),
        ({"source_labels": ["a"], "regex": "y", "action": "keep"}, {"a": "x"}, None),
        ({"source_labels": ["a"], "target_label": "b", "action": "uppercase"}, {"a": "x"}, {"a": "x", "b": "X"}),
        ({"source_labels": ["a", "b"], "regex": "(.);(.)", "target_label": "c", "replacement": "${2}$1"},
         {"a": "x", "b": "y"}, {"a": "x", "b": "y", "c": "yx"}),
        ({"target_label": "a", "replacement": ""}, {"a": "x"}, {}),
        ({"source_labels": ["a"], "target_label": "b", "action": "dropequal"}, {"a": "x", "b": "x"}, None),
    ],
)  # fmt: skip
def test_relabelling(step, labels, made):
    assert relabelled(labels, [Relabelling(**step)]) == made


@pytest.mark.parametrize(
    ("expr", "has", "has_not", "known"),
    [
        ('up{job="a"} == 0', "job instance x", "", {"job": "a"}),
        ('sum by (job) (rate(x{job="a"}[5m])) > 0', "job", "instance", {"job": "a"}),
        ("sum without (instance) (x)", "job", "instance", {}),
        ("sum(x)", "", "job instance", {}),
        ("topk(3, x)", "instance", "", {}),
        ('absent(up{job="a", b=~"c"})', "job", "b instance", {"job": "a"}),
        ("x / on (job) y", "job", "instance", {}),
        ("x * on (job) group_left (team) y", "job instance team", "", {}),
        ("sum by (a) (x) * on (a) group_left (team) y", "a team", "b", {}),
        ("x / ignoring (b) y", "a", "b", {}),
        ("sum by (a) (x) / sum by (a) (y)", "a", "b", {}),
        ('label_replace(sum(x), "dst", "v", "", "")', "dst", "a", {}),
        ("histogram_quantile(0.9, sum by (le, a) (x_bucket))", "a", "le", {}),
        ("vector(1)", "", "a", {}),
        ("quantile_over_time(1 - 0.1, x[5m])", "a", "", {}),
        ("clamp_max(sum by (a) (x), scalar(y))", "a", "b", {}),
        ("sum by (a) (x) and on () y", "a", "b", {}),
        ('count_values("v", x)', "v", "a", {}),
        ("time() - max by (a) (x) > 3", "a", "b", {}),
        ("max_over_time((sum by (a) (x))[5m:1m])", "a", "b", {}),
    ],
)
def test_the_labels_that_an_expression_carries(expr, has, has_not, known):
    (of,) = carried(expr)
    assert [name for name in has.split() if not of.may_have(name)] == []
    assert [name for name in has_not.split() if of.may_have(name)] == []
    assert known.items() <= of.known.items()


def test_each_side_of_or_is_a_result_of_its_own_and_equal_ones_are_one():
    assert [of.may_have("a") for of in carried("sum by (a) (x) or sum(x) or sum by (a) (x)")] == [True, False]


def test_anchors_are_those_of_github():
    text = "# A `code` & more!\n## A [link](x)\ntext\nTitle\n=====\n```\n# no heading\n```\n### Über_uns-2\n## A link\n"
    assert list(sections(text)) == ["a-code--more", "a-link", "title", "über_uns-2", "a-link-1"]


def test_every_rule_goes_where_amtool_says(service):
    watched = read_watched(service / "service.yaml", [])
    for one in sent_alerts(watched)[::6]:
        for labels in one.labels:
            words = [f"{name}={value}" for name, value in labels.items()]
            argv = [find().amtool, "config", "routes", "test", f"--config.file={service / ROUTES}", *words]
            said = subprocess.run(argv, capture_output=True, text=True, timeout=30).stdout.split()
            assert said == [route.receiver for route in watched.routing.routes(labels)]


@pytest.fixture
def gate(service):
    """A plan of the service."""
    for name in ("gate.yaml", "experiments", "scenarios"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, service.parent / name)
    gate = service.parent / "gate.yaml"
    gate.write_text(gate.read_text().replace("model_server/service.yaml", "service/service.yaml"))
    return gate


def test_alertmanager_itself_fills_in_the_texts_of_every_receiver(service, gate):
    assert texts_wrong(load(gate), find()) == []
    severity = "{{ if eq .CommonLabels.severity `critical` }}page{{ else }}info{{ end }}"
    spoil(service, ROUTES, 'severity: "{{ .CommonLabels.severity }}"', f'severity: "{severity}"')
    spoil(service, ROUTES, "{{ .Status | toUpper }}", "{{ .Status | toUppr }}")
    spoil(service, ROUTES, "{{ range .Alerts }}{{ .Annotations", "{{ range .Alerts }}{{ .Annotation")
    spoil(service, ROUTES, "- to: pneumonia", '- headers: {Subject: "{{ template `ours` . }}"}\n        to: pneumonia')
    first, third, fourth, second = texts_wrong(load(gate), find())
    assert "severity of pagerduty (pagerduty) would be page for an alert of severity critical; PagerD" in second.said
    assert (
        'headers of email (email) cannot be filled in, so nothing is sent: template: :1:12: executing ""' in first.said
    )
    assert "title of slack-alerts (slack) cannot be filled in" in third.said and '"toUppr" not defined' in third.said
    assert "text of slack-alerts (slack) cannot be" in fourth.said and "can't evaluate field Annotation" in fourth.said
    assert all(
        each.place.startswith("service/monitoring/alertmanager.yaml:") for each in (first, second, third, fourth)
    )


def test_prometheus_itself_fills_in_the_texts_of_every_rule(service, gate):
    storage = f"{RULES}/storage.yaml"
    spoil(service, storage, "{{ $labels.instance }} has had", "{{ $labels.instance | humanize }} has had")
    spoil(service, storage, "{{ $value | humanize }} records", "{{ printf `%d` $value }} records")
    spoil(service, storage, "runbook.md#storageerrors", "runbook.md#{{ $labels.job }}")
    plan = load(gate)
    wrong = texts_wrong(plan, find())
    assert [each.said.partition(":")[0] for each in wrong] == ["DatabaseDown", "RecordsLost", "StorageErrors"]
    assert "a template that failed: 'error expanding template: " in wrong[0].said
    assert "a figure in a format that is not its own: '%!d(float64=1)'" in wrong[1].said
    assert "leads to a section #pneumonia-detector" in wrong[2].said
    assert all(each.place.startswith("service/monitoring/rules/storage.yaml:") for each in wrong)
    (check,) = [c for c in preflight(plan, find())[0].checks if c.kind == "messages"]
    assert check.found == tuple(wrong)


def test_each_rule_is_promised_by_an_experiment():
    files = [*ROOT.glob("experiments/*.yaml"), *ROOT.glob("docs/examples/*/experiments/*.yaml")]
    contracts = [yaml.safe_load(file.read_text())["extensions"][0].get("expect", {}) for file in files]
    promised = {alert["alert"] for contract in contracts for alert in contract.get("alerts", ())}
    groups = [
        g for f in ROOT.glob("model_server/monitoring/rules/*.yaml") for g in yaml.safe_load(f.read_text())["groups"]
    ]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    assert alerts - promised == {"Watchdog"}, "which fires always; the check `watchdog` has it"
