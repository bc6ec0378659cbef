"""An alert is a rule with its labels, and its way to a receiver is its own: as the service's files say them."""

import pytest
from pydantic import ValidationError

from harness.checks import AlertCoverage, AlertDelivered, Contracts
from harness.checks.view import ClientExpectation, Contract, ProbeExpectation, View
from harness.plan.watched import read_watched
from harness.plan.ways import ways

SERVICE = """name: svc
start: {command: "serve {port}"}
probes: {readiness: {path: /}}
slos: slos.yaml
monitoring:
  job: svc
  rules: [rules.yaml]
  alertmanager: am.yaml
"""
ROUTES = """route:
  receiver: default
  group_wait: 10s
  group_interval: 10s
  routes:
  - matchers: [severity = critical]
    receiver: pager
    group_wait: 5m                     # let a flapping thing settle before anybody is woken
    group_interval: 15m
receivers:
- name: default
- name: pager
  pagerduty_configs: [{routing_key: k}]
  slack_configs: [{channel: "#a"}, {channel: "#b", send_resolved: true}]
"""
OF_ONE_NAME = """groups:
- name: a
  rules:
  - {alert: Errors, expr: errors > 9, labels: {severity: critical, team: a}}
  - {alert: Errors, expr: errors > 1, labels: {severity: medium}}
  - {alert: Down, expr: up == 0, labels: {severity: critical}}
"""


@pytest.fixture
def service(tmp_path, monkeypatch):
    """Reads a service of these files."""
    monkeypatch.chdir(tmp_path)

    def read(rules, routes=ROUTES, more=""):
        (tmp_path / "rules.yaml").write_text(rules)
        (tmp_path / "am.yaml").write_text(routes)
        (tmp_path / "slos.yaml").write_text("slos: {availability: {target: 99%}}")
        (tmp_path / "service.yaml").write_text(SERVICE + more)
        problems = []
        watched = read_watched(tmp_path / "service.yaml", problems)
        assert watched and not problems, problems
        return watched

    return read


def contract(*alerts):
    wanted = [{"receiver": "pager", "fires_within": "2m", **alert} for alert in alerts]
    probes, clients = {"server": ProbeExpectation(restart="never")}, {"errors_at_most": "1%", "recovered_within": "5s"}
    return Contract(alerts=wanted, probes=probes, clients=ClientExpectation(**clients))


def checks(watched, *alerts):
    """The checks that a contract about these alerts stands for."""
    promised = contract(*alerts)
    view = View(rules=watched.rule_facts, contracts=(("x", promised),), **ways(watched, promised.alerts))
    return [c for c in Contracts.from_plan(None, view) if c.alert]


def delivered(watched, *alerts):
    return [c for c in checks(watched, *alerts) if isinstance(c, AlertDelivered)]


def test_each_rule_of_a_name_has_its_own_place_and_proofs(service):
    watched = service(OF_ONE_NAME)
    found = checks(watched, *({"alert": "Errors", "severity": severity} for severity in ("critical", "medium")))
    both = ['Errors{severity="critical", team="a"}', 'Errors{severity="medium"}']
    assert [str(check.alert) for check in found] == [both[0], both[0], both[1], both[1]]
    assert [check.place for check in found[1:3]] == ["rules.yaml:4", "rules.yaml:5"]
    assert [str(fact.alert) for fact in watched.rule_facts] == [*both, "Down"]


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"alert": "Errors", "severity": "low"}, r"Errors is to be low, but its rule says Errors{.*} \(rules.yaml:4\)"),
        ({"alert": "Down", "severity": "page"}, r"Down is to be page, but its rule says critical \(rules.yaml:6\)"),
        ({"alert": "Downn", "severity": "page"}, "no rule is called Downn; did you mean Down?"),
        (
            {"alert": "Errors", "severity": "critical", "labels": {"team": "b"}},
            r'no rule Errors has team="b"; there is Errors{severity="critical", team="a"} \(rules.yaml:4\) and',
        ),
    ],
)
def test_a_contract_about_no_rule_says_which_there_are(service, wanted, why):
    with pytest.raises(ValueError, match=why):
        checks(service(OF_ONE_NAME), wanted)


def test_where_name_and_severity_are_those_of_several_rules_the_contract_says_labels(service):
    watched = service(OF_ONE_NAME.replace("severity: medium", "severity: critical, team: b"))
    about = {"alert": "Errors", "severity": "critical"}
    with pytest.raises(ValueError, match=r"one of Errors.*rules.yaml:4\) and Errors.*rules.yaml:5\); say `labels:`"):
        checks(watched, about)
    (first, _, _) = watched.rule_facts
    same = service(OF_ONE_NAME.replace("severity: medium", "severity: critical, team: a"))
    assert delivered(same, about)[0].place == first.place, "rules of the same labels are one alert"
    (check,) = delivered(watched, about | {"labels": {"team": "b"}})
    assert (str(check.alert), check.place) == ('Errors{severity="critical", team="b"}', "rules.yaml:5")


def test_the_bounds_on_notifications_are_the_contracts_alone(service):
    about = {"alert": "Down", "severity": "critical"}
    wanted = [
        about,
        about | {"resolves_within": "3m"},
        about | {"notified_within": "9m", "resolved_notified_within": "1h"},
    ]
    found = delivered(service(OF_ONE_NAME), *wanted)
    bounds = [(check.notified_within_s, check.resolved_notified_within_s) for check in found]
    assert bounds == [(180, None), (180, 240), (540, 3600)]


def test_an_alert_knows_the_waits_of_its_own_route_and_all_integrations_of_its_receiver(service):
    (check,) = delivered(service(OF_ONE_NAME), {"alert": "Down", "severity": "critical"})
    assert (check.route, check.group_wait_s, check.group_interval_s) == ("am.yaml:6", 300, 900)
    assert check.integrations == (("pagerduty", True), ("slack[0]", False), ("slack[1]", True))
    elsewhere = {"alert": "Errors", "severity": "medium"}
    assert delivered(service(OF_ONE_NAME), elsewhere)[0].route == "", "it never comes to the pager"


def test_an_alert_knows_what_may_inhibit_it(service):
    inhibits = "inhibit_rules:\n- {source_matchers: [alertname = Down], target_matchers: [alertname = Errors]}\n"
    (check,) = delivered(service(OF_ONE_NAME, ROUTES + inhibits), {"alert": "Errors", "severity": "critical"})
    assert [(str(alert), place) for alert, place in check.inhibiting] == [("Down", "am.yaml:16")]


def test_labels_of_the_group_are_labels_of_the_rule_that_wins(service):
    rules = """groups:
- name: service
  labels: {severity: critical, team: imaging}
  rules:
  - {alert: Down, expr: up == 0, for: 1m}
  - {alert: Slow, expr: vector(1), labels: {severity: low}}
"""
    watched = service(rules)
    assert [fact.severity for fact in watched.rule_facts] == ["critical", "low"]
    (check,) = delivered(watched, {"alert": "Down", "severity": "critical", "labels": {"team": "imaging"}})
    assert check.route == "am.yaml:6"


WORDS = """groups:
- name: a
  rules:
  - {alert: Errors, expr: errors > 9, labels: {severity: page}}
  - {alert: Errors, expr: errors > 1, labels: {severity: ticket}}
  - {alert: Watchdog, expr: vector(1)}
  - {alert: Odd, expr: vector(1), labels: {severity: no}}
  - alert: Disk
    expr: disk > 0.85
    labels: {severity: '{{ if gt $value 0.9 }}critical{{ else }}high{{ end }}'}
"""


def test_a_severity_is_any_text_of_the_rules_and_of_a_template_the_value_expected(service):
    wanted = [("Errors", "page"), ("Errors", "ticket"), ("Watchdog", "none"), ("Odd", "no"), ("Disk", "critical")]
    found = delivered(service(WORDS), *({"alert": alert, "severity": severity} for alert, severity in wanted))
    assert [(check.severity, check.templated, check.route != "") for check in found] == [
        ("page", False, False), ("ticket", False, False), ("none", False, False), ("no", False, False),
        ("critical", True, True),
    ]  # fmt: skip


def test_coverage_takes_the_words_of_the_rules(service):
    view = View(rules=service(WORDS).rule_facts)
    made = AlertCoverage.from_plan({"page": "100%", "template": "50%", "none": "0%"}, view)
    assert [(check.severity, check.at_least) for check in made] == [("page", 1.0), ("template", 0.5), ("none", 0.0)]
    with pytest.raises(
        ValidationError, match="no severity of a rule is called urgent; known: no, none, page, template, tic"
    ):
        AlertCoverage.from_plan({"urgent": "100%"}, view)


CLUSTERS = ROUTES.replace("[severity = critical]", "[cluster = prod, severity = critical]")


def test_what_prometheus_adds_on_the_way_out_decides_where_an_alert_goes(service):
    down = {"alert": "Down", "severity": "critical"}
    assert delivered(service(OF_ONE_NAME, CLUSTERS), down)[0].route == "", "without the label it goes to nobody"
    for key in ("external_labels", "target_labels"):
        watched = service(OF_ONE_NAME, CLUSTERS, f"  {key}: {{cluster: prod}}\n")
        assert delivered(watched, down)[0].route == "am.yaml:6"


@pytest.mark.parametrize(
    ("more", "of_errors", "of_down"),
    [
        ("external_labels: {cluster: prod}", (), ()),
        ("external_labels: {severity: x}", (), ()),  # they all have one already
        ("external_labels: {team: x}", ("team",), ()),  # by which the critical rule of Errors is told from the other
        ("alert_relabel_configs: [{action: labeldrop, regex: replica}]", (), ()),
        ("alert_relabel_configs: [{action: labeldrop, regex: 'sev.*'}]", ("severity",), ("severity",)),
        (
            "alert_relabel_configs: [{action: labeldrop, regex: '(?P<'}]",
            ALL := ("alertname", "severity", "team"),
            ALL[:2],
        ),
        ("alert_relabel_configs: [{action: labelkeep, regex: 'alertname|severity'}]", ("team",), ()),
        ("alert_relabel_configs: [{action: labelmap, regex: 'x(.*)'}]", ALL, ALL[:2]),
        ("alert_relabel_configs: [{source_labels: [a], target_label: alertname}]", ("alertname",), ("alertname",)),
        ("alert_relabel_configs: [{source_labels: [a], target_label: '$1'}]", ALL, ALL[:2]),
        ("alert_relabel_configs: [{source_labels: [a], regex: b, action: drop}]", (), ()),
    ],
)
def test_labels_by_which_alerts_are_known_and_that_may_be_changed_on_the_way_are_known(
    service, more, of_errors, of_down
):
    wanted = {"alert": "Errors", "severity": "medium"}, {"alert": "Down", "severity": "critical"}
    found = delivered(service(OF_ONE_NAME, more=f"  {more}\n"), *wanted)
    assert [check.rewritten for check in found] == [of_errors, of_down]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("external_labels: {clus-ter: x}", "should match pattern"),
        (
            "external_labels: {cluster: 010}",
            "service.yaml:9: monitoring.external_labels.cluster: must be text: put it in quotes, or YAML reads it as",
        ),
        ("target_labels: {job: x}", "job: the job is monitoring.job"),
        ("alert_relabel_configs: [{action: replace}]", "replace needs a target_label"),
        ("alert_relabel_configs: [{action: hashmod, target_label: x}]", "hashmod needs a modulus of 1 or more"),
        ("alert_relabel_configs: [{regx: x}]", "unknown key; did you mean regex?"),
        ("needs: {gpu: ['Errors{severity=\"x\"}']}", 'no rule Errors has severity="x"; there is Errors{sev'),
    ],
)
def test_a_mistake_in_what_prometheus_adds_has_its_line(service, tmp_path, more, why):
    service(OF_ONE_NAME)
    (tmp_path / "service.yaml").write_text(SERVICE + f"  {more}\n")
    problems = []
    assert read_watched(tmp_path / "service.yaml", problems) is None
    assert any(why in problem and problem.startswith("service.yaml:9: ") for problem in problems), problems
