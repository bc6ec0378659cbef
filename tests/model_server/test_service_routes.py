"""Each severity goes to the receiver the guide names, and every receiver is told when it is over."""

import subprocess
from pathlib import Path

import pytest
import yaml

CONFIG = Path(__file__).parents[2] / "model_server/monitoring/alertmanager.yaml"
ROUTES = {"critical": "pagerduty", "high": "slack-alerts", "medium": "email", "low": "default", "unheard-of": "default"}


def routes(config: Path, severity: str, receiver: str) -> int:
    command = ["amtool", "config", "routes", "test", f"--config.file={config}", f"--verify.receivers={receiver}"]
    return subprocess.run([*command, f"severity={severity}"], capture_output=True).returncode


def test_amtool_accepts_the_configuration():
    subprocess.run(["amtool", "check-config", CONFIG], check=True, capture_output=True)


@pytest.mark.parametrize(("severity", "receiver"), ROUTES.items())
def test_a_severity_goes_to_its_receiver(severity, receiver):
    assert routes(CONFIG, severity, receiver) == 0


def test_a_route_to_the_wrong_receiver_is_noticed(tmp_path):
    wrong = tmp_path / "alertmanager.yaml"
    wrong.write_text(CONFIG.read_text().replace("severity = critical", "severity = crit"))
    assert routes(wrong, "critical", "pagerduty") != 0


def test_every_receiver_is_told_when_it_is_over():
    for receiver in yaml.safe_load(CONFIG.read_text())["receivers"]:
        for kind, integrations in receiver.items():
            if kind.endswith("_configs"):
                assert all(i.get("send_resolved") is True for i in integrations), receiver["name"]


def test_grouping_and_timing_are_the_guides():
    route = yaml.safe_load(CONFIG.read_text())["route"]
    assert route["group_by"] == ["alertname", "cluster", "service"]
    assert (route["group_wait"], route["group_interval"], route["repeat_interval"]) == ("10s", "10s", "1h")
