"""Burn-rate rules from objectives: the bundled service's are those that are stored, and other services have theirs."""

import re
from pathlib import Path

import promql_parser as promql
import pytest
import yaml

from harness.cli.main import main
from harness.rules.burn import selector
from model_server.telemetry.metrics import LATENCY_S

MONITORING = Path(__file__).parents[2] / "model_server/monitoring"
RUNBOOK = "https://git.example.org/pneumonia-detector/blob/main/docs/runbook.md"
BUNDLED = [
    "--service", str(MONITORING.parent / "service.yaml"), "--buckets", ",".join(map(str, LATENCY_S)),
    "--latency-of", 'endpoint=~"/predict|/v2/models/.+/infer"', "--runbook", RUNBOOK,
]  # fmt: skip
SLOS = yaml.safe_load((MONITORING / "slos.yaml").read_text())["slos"]
STRANGER = {"error_rate": {"target": "1%"}, "latency": {"target": "2s", "percentile": 99}}
NAMED = ["--job", "shop", "--requests", "requests_total", "--status", "code", "--duration", "request_seconds"]


@pytest.fixture
def made(tmp_path, capsys):
    """Runs the command on objectives; gives its exit code and what it wrote."""

    def made(slos: dict, *options: str):
        file = tmp_path / "slos.yaml"
        file.write_text(yaml.safe_dump({"slos": slos}))
        return main(["slos", "rules", str(file), *options]), capsys.readouterr()

    return made


def alerts(text: str) -> dict[str, dict]:
    return {rule["alert"]: rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"] if "for" in rule}


def test_the_rules_of_the_bundled_service_are_those_that_are_stored(made):
    code, said = made(SLOS, *BUNDLED)
    again = "write model_server/monitoring/rules/slos.yaml anew by the command in docs/runbook.md"
    assert (code, said.err) == (0, "") and said.out == (MONITORING / "rules/slos.yaml").read_text(), again


def test_another_target_is_another_threshold(made):
    before, after = (alerts(made(SLOS | {"error_rate": {"target": t}}, *BUNDLED)[1].out) for t in ("0.1%", "1%"))
    assert "> 0.0144\n" in before["ErrorRateBurn1h"]["expr"] and "> 0.144\n" in after["ErrorRateBurn1h"]["expr"]
    assert "at most 1% of requests fail" in after["ErrorRateBurn1h"]["annotations"]["description"]
    assert after["LatencyBurn1h"] == before["LatencyBurn1h"]


def test_an_alert_that_could_never_fire_is_not_made(made):
    """At 90 % a tenth may be bad: 14.4 times that would be more than everything."""
    rules = alerts(made(SLOS | {"latency": {"target": "500ms", "percentile": 90}}, *BUNDLED)[1].out)
    assert "LatencyBurn1h" not in rules and "LatencyBurn6h" in rules


def test_another_service_names_its_own_metrics(made):
    """Without a service.yaml. Its bucket of 2 s may be written 2 or 2.0, as its client of Prometheus does it."""
    code, said = made(STRANGER, *NAMED)
    rules = alerts(said.out)
    assert code == 0 and "not checked; give the bounds by --buckets" in said.err
    assert 'rate(requests_total{job="shop", code=~"5.."}[1h])' in rules["ErrorRateBurn1h"]["expr"]
    assert 'request_seconds_bucket{job="shop", le=~"2|2.0"}' in rules["LatencyBurn1h"]["expr"]
    assert rules["LatencyBurn1h"]["labels"]["service"] == "shop"
    assert not [name for name in rules if name.startswith("Availability")]


def test_a_service_file_gives_labels_and_units(made, tmp_path):
    service = yaml.safe_load((MONITORING.parent / "service.yaml").read_text())
    service["telemetry"] = {"metrics": {"duration": {"name": "took", "unit": "ms", "labels": {"route": ["/a", "/b"]}}}}
    file = tmp_path / "service.yaml"
    file.write_text(yaml.safe_dump(service))
    code, said = made({"latency": STRANGER["latency"]}, "--service", str(file), "--buckets", "500,2000")
    assert code == 0, said.err
    expr = alerts(said.out)["LatencyBurn1h"]["expr"]
    assert 'took_bucket{job="pneumonia-detector", route=~"/a|/b", le=~"2000|2000.0"}' in expr


@pytest.mark.parametrize(
    ("slos", "options", "says"),
    [
        (STRANGER, [], "no job is named"),
        (STRANGER, ["--job", 'a"b'], "--job must have no quotation marks"),
        (STRANGER, [*NAMED, "--latency-of", "route=/a"], "the expression of LatencyBurn1h would be no PromQL: "),
        (STRANGER, ["--job", 'a"b', "--buckets", "fast", "--requests", "-"], "--requests is no name"),
        (STRANGER, ["--job", "shop", "--requests", "r"], "slos.yaml:6: latency: nothing names what measures it; name"),
        (STRANGER, ["--job", "shop", "--requests", "a-b"], "--requests is no name of a metric"),
        (STRANGER, [*NAMED, "--buckets", "0.5,1"], "ends at its target; choose one of 0.5, 1, or add a bucket"),
        (STRANGER, [*NAMED, "--buckets", "fast"], "--buckets must be numbers"),
        (STRANGER | {"error_rate": {"target": "0%"}}, NAMED, "slos.yaml:"),
        (STRANGER | {"error_rate": {"target": "lots"}}, NAMED, "slos.yaml:3: slos.error_rate.target: "),
        ({"freshness": {"target": "1h"}}, NAMED, "slos.yaml:2: slos.freshness: "),
        (STRANGER, [*NAMED, "--service", "nowhere.yaml"], "nowhere.yaml: no such file"),
    ],
)
def test_what_cannot_be_used_ends_with_2_and_says_why(made, slos, options, says):
    code, said = made(slos, *options)
    assert code == 2 and says in said.err and "Traceback" not in said.err and not said.out, said.err


def test_everything_wrong_is_said_at_once(made):
    said = made(STRANGER, "--job", 'a"b', "--buckets", "fast", "--requests", "a-b")[1].err
    assert all(f"--{option} " in said for option in ("job", "buckets", "requests")), said
    said = made(STRANGER, "--job", "shop")[1].err
    assert "--duration, or" in said and "--requests, or" in said and "remark" not in said, said


@pytest.mark.parametrize(
    ("values", "matcher"),
    [
        (["/a"], 'route="/a"'),
        (['a"b'], r'route="a\"b"'),
        (["/a.b", "/c/{id}"], r'route=~"/a\\.b|/c/\\{id\\}"'),
        (["a|b", "c\\d"], r'route=~"a\\|b|c\\\\d"'),
    ],
)
def test_labels_are_selected_by_the_values_that_they_have(values, matcher):
    """Not by patterns: a dot or a brace of a path stands for itself. Prometheus' own parser reads it."""
    assert selector("shop", {"route": values}) == f'job="shop", {matcher}'
    (read,) = [m for m in promql.parse(f'x{{job="shop", {matcher}}}').matchers.matchers if m.name == "route"]
    assert len(values) > 1 or read.value == values[0]
    assert all(re.fullmatch(read.value, value) for value in values if len(values) > 1)


def test_help_has_an_example(capsys):
    with pytest.raises(SystemExit):
        main(["slos", "rules", "--help"])
    assert "example: harness slos rules" in " ".join(capsys.readouterr().out.split())
