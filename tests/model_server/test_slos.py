"""What is generated: the same bytes from the same sources, and other rules from other objectives."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from model_server.monitoring import burn, generate

RUNBOOK = generate.RUNBOOK
SLOS = yaml.safe_load((generate.HERE / "slos.yaml").read_text())


def changed(objective: str, **values) -> dict:
    return {"slos": SLOS["slos"] | {objective: SLOS["slos"][objective] | values}}


def alerts(slos: dict) -> dict[str, dict]:
    groups = burn.rules(slos)["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


@pytest.mark.parametrize("path", generate.files(), ids=str)
def test_generating_again_changes_nothing(path):
    again = "run: python -m model_server.monitoring.generate"
    assert (generate.HERE / path).read_text() == generate.files()[path], again


def test_the_address_of_the_runbook_is_said_once(monkeypatch):
    before = generate.files()
    monkeypatch.setattr(generate, "RUNBOOK", "https://wiki.example.net/runbook")
    after = generate.files()
    changed = {path for path in before if before[path] != after[path]}
    assert changed >= {Path("rules/service.yaml"), Path("rules/slos.yaml"), Path("kubernetes/prometheus-rules.yaml")}
    for path in changed:
        assert "git.example.org" not in after[path]
        assert after[path].replace("https://wiki.example.net/runbook", "RUNBOOK") == before[path].replace(
            RUNBOOK, "RUNBOOK"
        )


def test_no_generated_file_is_left_over():
    made = {generate.HERE / path for path in generate.files()}
    assert set((generate.HERE / "dashboards").iterdir()) <= made


def test_the_command_says_in_one_line_what_is_wrong(tmp_path):
    """Run on a copy, where the objectives are broken."""
    folder = tmp_path / "model_server/monitoring"
    subprocess.run(["cp", "-r", generate.HERE.parent, tmp_path], check=True)
    slos = folder / "slos.yaml"
    slos.write_text(slos.read_text().replace("99.9%", "lots"))
    rules = (folder / "rules/slos.yaml").read_bytes()
    command = [sys.executable, "-m", "model_server.monitoring.generate"]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.splitlines() == [
        "slos.yaml: availability: 'lots' is no share between 0% and 100%"
    ]
    assert (folder / "rules/slos.yaml").read_bytes() == rules


def test_another_target_is_another_threshold():
    at_99 = alerts(changed("error_rate", target="1%"))
    assert "> 0.0144\n" in alerts(SLOS)["ErrorRateBurn1h"]["expr"]
    assert "> 0.144\n" in at_99["ErrorRateBurn1h"]["expr"]
    assert "at most 1% of requests fail" in at_99["ErrorRateBurn1h"]["annotations"]["description"]
    assert at_99["LatencyBurn1h"] == alerts(SLOS)["LatencyBurn1h"]


def test_another_bound_reads_another_bucket():
    assert 'le="1.0"' in alerts(changed("latency", target="1s"))["LatencyBurn1h"]["expr"]
    assert 'le="0.5"' in alerts(SLOS)["LatencyBurn1h"]["expr"]


def test_an_alert_that_could_never_fire_is_not_made():
    """At 90 % a tenth may be bad: 14.4 times that would be more than everything."""
    made = alerts(changed("latency", percentile=90))
    assert "LatencyBurn1h" not in made and "LatencyBurn6h" in made


@pytest.mark.parametrize(
    ("objective", "values", "problem"),
    [
        (
            "latency",
            {"target": "400ms"},
            "no bucket of http_request_duration_seconds ends at 400ms; they end at 0.005, ",
        ),
        ("latency", {"target": "fast"}, "'fast' is no time"),
        ("latency", {"percentile": 100}, "'100%' is no share"),
        ("error_rate", {"target": 0.001}, "0.001 is no share"),
        ("error_rate", {"target": "100%"}, "'100%' is no share"),
        ("availability", {"target": "0%"}, "'0%' is no share"),
    ],
)
def test_an_objective_that_makes_no_sense_is_refused_with_its_name(objective, values, problem):
    with pytest.raises(ValueError, match=f"slos.yaml: {objective}: ") as error:
        burn.rules(changed(objective, **values))
    assert problem in str(error.value)


def test_an_unknown_objective_is_refused():
    with pytest.raises(ValueError, match="freshness: no such objective"):
        burn.rules({"slos": {"freshness": {"target": "1h"}}})
