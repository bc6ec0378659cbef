import os

import pytest
import yaml
from recording import PROMTOOL, RULES

from harness.errors import PlanError
from harness.rules.expression import always_fires, longest_window_s, metrics_used
from harness.rules.rulefile import check_with_promtool, dump, groups, load, recordings


def test_a_rule_is_read_whole():
    rule = next(rule for rule in load([RULES]) if rule.name == "ModelAccuracyDrop")
    assert (rule.expr, rule.for_s, rule.keep_firing_for_s) == ("ml_model_accuracy < 0.85", 300, 300)
    assert (rule.labels, rule.group, rule.interval_s) == ({"severity": "high"}, "model.rules", 30)
    assert RULES.read_text().splitlines()[rule.line - 1].strip() == "- alert: ModelAccuracyDrop"


def test_recordings_are_read_apart():
    assert [record.name for record in recordings([RULES])] == ["job:http_requests:error_ratio5m"]


def test_scalars_are_the_text_in_the_file(tmp_path):
    file = tmp_path / "rules.yaml"
    file.write_text("groups: [{name: 1, rules: [{alert: A, expr: x, labels: {version: 1.10, on: yes}}]}]")
    assert load([file])[0].labels == {"version": "1.10", "on": "yes"}


def test_aliases_and_merges_are_followed(tmp_path):
    file = tmp_path / "rules.yaml"
    file.write_text(
        "groups: [{name: g, rules: [&a {alert: A, expr: x > 0, labels: {team: ml}}, {<<: *a, alert: B}, *a]}]"
    )
    assert [(rule.name, rule.labels) for rule in load([file])] == [(name, {"team": "ml"}) for name in "ABA"]


def test_every_problem_is_listed_with_its_place(tmp_path):
    file = tmp_path / "rules.yaml"
    file.write_text(
        """groups:
- name: g
  interval: 5
  rules:
  - alert: A
    expr: rate(x[5m]
  - alert: B
    for: 2 minutes
    exp: x
  - alert: C
    record: c
    expr: x
  - record: d
    expr: x
    for: 5m
  - just a text
"""
    )
    with pytest.raises(PlanError) as caught:
        load([file, tmp_path / "none.yaml"])
    places = [problem.removeprefix(str(tmp_path)) for problem in caught.value.problems]
    assert [place.split(": ")[0] for place in places] == [
        "/rules.yaml:2",
        "/rules.yaml:5",
        "/rules.yaml:7",
        "/rules.yaml:7",
        "/rules.yaml:7",
        "/rules.yaml:10",
        "/rules.yaml:13",
        "/rules.yaml:2",
        "/none.yaml",
    ]


def write(path, text):
    path.write_text(text)
    return path


# What promtool takes, each with the alerts and labels that are in it.
TAKEN = {
    "words of YAML 1.1 and numbers": (
        "groups: [{name: on, rules: [{alert: 010, expr: 1, labels: {a: yes, b: 2020-01-01, c: 1:30, d: 0x1F}}]}]",
        {"010": {"a": "yes", "b": "2020-01-01", "c": "1:30", "d": "0x1F"}},
    ),
    "null for what may be left out": (
        "groups: [{name: g, interval: ~, rules: [{alert: A, expr: x, for: null, labels: ~, annotations: }]}]",
        {"A": {}},
    ),
    "a label without a value": (
        "groups: [{name: g, rules: [{alert: A, expr: x, labels: {a: , b: ~}}]}]",
        {"A": {"a": "", "b": ""}},
    ),
    "tags": (
        "groups: [{name: g, rules: [{alert: !!str 5, expr: x, labels: {a: !!int 5, b: !x y}}]}]",
        {"5": {"a": "5", "b": "y"}},
    ),
    "a number in hexadecimal": ("groups: [{name: g, limit: 0x10, rules: [{alert: A, expr: x}]}]", {"A": {}}),
    "an anchor of another group": (
        "groups: [{name: g, rules: &r [{alert: A, expr: x, labels: &l {a: b}}]}, {name: h, rules: *r}]",
        {"A": {"a": "b"}},
    ),
    "merge keys, of which the own win": (
        "groups: [{name: g, rules: [&a {alert: A, expr: x, labels: {a: b}}, {<<: [*a], alert: B, labels: {c: d}}]}]",
        {"A": {"a": "b"}, "B": {"c": "d"}},
    ),
    "UTF-16": ("\ufeffgroups: [{name: \u00e9, rules: [{alert: A b, expr: x}]}]", {"A b": {}}),
    "JSON with tabs": ('{\n\t"groups": [\n\t\t{"name": "g", "rules": [{"alert": "A", "expr": "x"}]}]}', {"A": {}}),
}


@pytest.mark.parametrize(("text", "labels"), TAKEN.values(), ids=TAKEN)
def test_what_promtool_takes_is_read_and_written_again(tmp_path, text, labels):
    file = tmp_path / "rules.yaml"
    file.write_text(text, encoding="utf-16" if text[0] == "\ufeff" else "utf-8")
    again = write(tmp_path / "again.yaml", dump((group, [raw for raw, _ in rules]) for group, rules in groups(file)))
    for path in (file, again):
        assert {rule.name: rule.labels for rule in load([path])} == labels
        assert check_with_promtool(PROMTOOL, [path]) == []


MORE_THAN_PROMETHEUS = {
    "labels of a group": """groups:
- name: g
  labels: {team: a, severity: page}
  rules:
  - {alert: A, expr: x, labels: {severity: low}}

  - {alert: B, expr: x, annotations: {a: "{{ wrong }}"}}
""",
    "a resource of Kubernetes": """kind: PrometheusRule
spec:
  groups:
  - name: g
    partial_response_strategy: abort
    labels: {team: a}
    rules: [{alert: A, expr: x, labels: {severity: low}}]
  - name: g2
    rules:
    - {alert: B, expr: x, annotations: {a: "{{ wrong }}"}, labels: {team: a, severity: page}}
""",
    "a list of resources": """kind: List
items:
- {kind: Service}
- {kind: PrometheusRule, spec: {groups: [{name: g, rules: [{alert: A, expr: x, labels: {team: a, severity: low}}]}]}}
- {kind: PrometheusRule, spec: }
- {kind: PrometheusRule, spec: {groups: [{name: g, rules: [

     {alert: B, expr: x, annotations: {a: "{{ wrong }}"}, labels: {team: a, severity: page}}]}]}}
""",
    "several documents": """---
---
groups: [{name: g, rules: [{alert: A, expr: x, labels: {team: a, severity: low}}]}]
---
groups:
- {name: g, rules: [
    {alert: B, expr: x, annotations: {a: "{{ wrong }}"}, labels: {team: a, severity: page}}]}
""",
}


@pytest.mark.parametrize("text", MORE_THAN_PROMETHEUS.values(), ids=MORE_THAN_PROMETHEUS)
def test_what_only_a_newer_prometheus_or_kubernetes_takes_is_read_as_they_do(tmp_path, text):
    file = write(tmp_path / "rules.yaml", text)
    labels = {"A": {"team": "a", "severity": "low"}, "B": {"team": "a", "severity": "page"}}
    assert {rule.name: rule.labels for rule in load([file])} == labels
    line = next(n for n, row in enumerate(text.splitlines(), 1) if "wrong" in row)
    (problem,) = check_with_promtool(PROMTOOL, [file])
    assert problem.startswith(f"{file}:{line}: group ") and "wrong" in problem, "it stands where it stands in the file"
    write(file, text.replace("{{ wrong }}", "{{ $value }}"))
    assert check_with_promtool(PROMTOOL, [file]) == []
    again = write(tmp_path / "again.yaml", dump((group, [raw for raw, _ in rules]) for group, rules in groups(file)))
    assert {rule.name: rule.labels for rule in load([again])} == labels and check_with_promtool(PROMTOOL, [again]) == []


def test_rules_of_one_name_are_told_apart_across_files(tmp_path):
    text = "groups: [{name: g, labels: {severity: page}, rules: [{alert: A, expr: x}]}]"
    files = [write(tmp_path / "1.yaml", text), write(tmp_path / "2.yaml", text.replace("page", "low"))]
    assert [str(rule.alert) for rule in load(files)] == ['A{severity="page"}', 'A{severity="low"}']


UNREADABLE = {
    "levels without an end": (
        "groups: " + 200_000 * "[",
        "1: cannot be read: lists and mappings are more than 100 deep",
    ),
    "a part that holds itself": ("groups: &g [*g]", "1: cannot be read: a part of it holds itself by an alias"),
    "a quote that is not closed": ("groups:\n- name: 'a\n", "2: not YAML: "),
    "no character": ('groups: [{name: "\\U0011ffff"}]', "1: not YAML: "),
    "a control character": ("groups: \0", "1: not YAML: "),
    "a key written twice": ("groups:\n- name: g\n  rules: []\n  name: h", "4: name: written twice (first on line 2)"),
    "a limit of no number": ("groups:\n- {name: g, limit: 1 2, rules: []}", "2: limit must be a whole number"),
    "an offset of no duration": ("groups:\n- {name: g, query_offset: 5, rules: []}", "2: query_offset: "),
    "a tag on a collection": ("groups: !x []", "1: not YAML: unknown tag !x"),
    "a key that is a list": ("groups: [{[a]: b}]", "1: not YAML: "),
    "groups that are none": ("groups: {}\nx: 1", "1: unknown key x (known: groups"),
    "rules that are aliases of billions": (
        "groups:\n- &a [x, x]\n" + "".join(f"- &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(25)),
        "17: cannot be read: it holds more than 100,000 values, each alias counted as all that it stands for",
    ),
}


@pytest.mark.parametrize(("text", "complaint"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_one_line(tmp_path, text, complaint):
    file = write(tmp_path / "rules.yaml", text)
    with pytest.raises(PlanError) as caught:
        load([file])
    assert any(problem.startswith(f"{file}:{complaint}") for problem in caught.value.problems), caught.value.problems
    assert all(len(problem) < 400 for problem in caught.value.problems)


def test_a_named_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "rules.yaml")
    for path in (tmp_path / "rules.yaml", tmp_path, "/dev/zero"):
        with pytest.raises(PlanError, match="name a regular file"):
            load([path])
        assert "name a regular file" in check_with_promtool(PROMTOOL, [path])[0]


@pytest.mark.parametrize(
    "text", ["groups: []", "groups: [{name: a, rules: []}]", "", "- x", "groups: [1]", "a: [", "group: []"]
)
def test_a_file_without_rules_is_a_problem(tmp_path, text):
    file = tmp_path / "rules.yaml"
    file.write_text(text)
    with pytest.raises(PlanError, match=r"rules\.yaml"):
        load([file])


def test_no_files_at_all_is_a_problem():
    with pytest.raises(PlanError, match="no rule files"):
        load([])


def test_promtool_finds_no_fault_with_good_rules():
    assert check_with_promtool(PROMTOOL, [RULES]) == []


def test_promtool_finds_what_only_it_can(tmp_path):
    file = tmp_path / "rules.yaml"
    file.write_text('groups: [{name: g, rules: [{alert: A, expr: x, annotations: {a: "{{ $nothing }}"}}]}]')
    assert load([file])
    (problem,) = check_with_promtool(PROMTOOL, [file])
    assert "undefined variable" in problem and str(file) in problem


def test_dumped_groups_are_the_same_rules(tmp_path):
    twice = [(group, [raw for raw, _ in rules]) for _ in range(2) for group, rules in groups(RULES)]
    (tmp_path / "twice.yaml").write_text(dump(twice))
    assert check_with_promtool(PROMTOOL, [tmp_path / "twice.yaml"]) == []

    def said(rules):
        return [(r.name, r.expr, r.for_s, r.keep_firing_for_s, r.labels, r.annotations, r.interval_s) for r in rules]

    assert said(load([tmp_path / "twice.yaml"])) == 2 * said(load([RULES]))


@pytest.mark.parametrize(
    "expr, metrics, window_s",
    [
        ("up == 0", {"up"}, 0),
        ("vector(1)", set(), 0),
        ('{__name__="a", b="c"} / d', {"a", "d"}, 0),
        ('{__name__=~"a.*"}', {"*"}, 0),
        ("sum(rate(a[5m])) / on() group_left() rate(b[1h] offset 10m)", {"a", "b"}, 4200),
        ("max_over_time(rate(a[5m])[1h:1m] offset 1d)", {"a"}, 86400 + 3900),
        ("topk(scalar(n), quantile_over_time(scalar(q), a[2m]))", {"n", "q", "a"}, 120),
        ("holt_winters(a[5m], 0.5, 0.5)", {"a"}, 300),
        ("a offset -5m", {"a"}, 0),
        (r"rate(a{path=~`/v\d+/\[5m]`}[5m])", {"a"}, 300),
    ],
)
def test_what_an_expression_uses_and_how_far_back_it_looks(expr, metrics, window_s):
    assert metrics_used(expr) == metrics
    assert longest_window_s(expr) == window_s


ALWAYS = (
    "vector(1)",
    "1",
    "0",
    "-1",
    "(vector(1))",
    "vector(time())",
    "vector(1) > 0",
    "1 == bool 2",
    "up or vector(1)",
)
AT_TIMES = (
    "up", "vector(1) > 1", "absent(nothing)", "vector(time()) > 0", "vector(1) and up", "vector(1) unless up",
    "up == 1", "1 / 0 > up", "not promql(", "sum(vector(1))",
)  # fmt: skip


@pytest.mark.parametrize("expr", [*ALWAYS, *AT_TIMES])
def test_an_alert_that_always_fires_is_known_by_its_form(expr):
    assert always_fires(expr) == (expr in ALWAYS)


DEEP = ["(" * 5000 + "1" + ")" * 5000, "-" * 50_000 + "up", "up" + " + up" * 5000, "abs(" * 3000, "up" + " or up" * 300]
WIDE = [
    "abs(" * 150 + "up" + ")" * 150,
    "up" + " or up" * 190,
    'up{a=~"' + "(x)|" * 500 + '"}',
    f"max(up, {500 * 'up, '}up)",
]


@pytest.mark.parametrize("expr", DEEP, ids=lambda expr: expr[:12])
def test_an_expression_so_deep_that_the_parser_would_end_the_process_is_a_problem(tmp_path, expr):
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": [{"alert": "A", "expr": expr}]}]}, width=10**6))
    with pytest.raises(PlanError, match="expr: it is more than 200 operators and brackets deep; split it by"):
        load([file])


@pytest.mark.parametrize("expr", WIDE, ids=lambda expr: expr[:12])
def test_an_expression_may_be_long(expr):
    try:
        metrics_used(expr)
    except ValueError as error:
        assert "deep" not in str(error)
