"""Each severity goes to the receiver the guide names, causes silence their symptoms, and every receiver is told when it
is over."""

import contextlib
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import httpx
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


RULES = [
    rule
    for file in sorted(CONFIG.parent.glob("rules/*.yaml"))
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_alert_goes_where_its_severity_says(rule):
    labels = {"alertname": rule["alert"], **rule["labels"]}
    command = [
        "amtool",
        "config",
        "routes",
        "test",
        f"--config.file={CONFIG}",
        *(f"{k}={v}" for k, v in labels.items()),
    ]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert told == [ROUTES[labels["severity"]]]


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory):
    """A real Alertmanager with the production inhibitions and receivers that go nowhere."""
    folder = tmp_path_factory.mktemp("alertmanager")
    config = yaml.safe_load(CONFIG.read_text())
    config = {
        "route": {"receiver": "nobody"},
        "receivers": [{"name": "nobody"}],
        "inhibit_rules": config["inhibit_rules"],
    }
    (folder / "alertmanager.yaml").write_text(yaml.safe_dump(config))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    binary = next(filter(None, map(shutil.which, ("alertmanager", "prometheus-alertmanager"))))
    flags = [f"--config.file={folder}/alertmanager.yaml", f"--storage.path={folder}", "--cluster.listen-address="]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([binary, *flags, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v2", trust_env=False) as client:
            eventually(lambda: client.get("/status").status_code == 200)
            yield client
    finally:
        process.kill()
        process.wait()


def eventually(said, within_s=60):
    end = time.monotonic() + within_s
    while True:
        with contextlib.suppress(httpx.TransportError):
            if said():
                return
        assert time.monotonic() < end
        time.sleep(0.05)


def silenced(client, without: set[str]) -> set[str]:
    """Which alerts nobody is told of while all fire but some; what fired before is over."""
    alerts = [{"labels": {"alertname": r["alert"], **r["labels"]}} for r in RULES]
    over = {"startsAt": "2019-01-01T00:00:00Z", "endsAt": "2020-01-01T00:00:00Z"}
    client.post("/alerts", json=[alert | over for alert in alerts]).raise_for_status()
    eventually(lambda: client.get("/alerts").json() == [])
    firing = [alert for alert in alerts if alert["labels"]["alertname"] not in without]
    client.post("/alerts", json=firing).raise_for_status()
    eventually(lambda: len(client.get("/alerts").json()) == len(firing))
    eventually(lambda: any(a["status"]["inhibitedBy"] for a in client.get("/alerts").json()))
    time.sleep(0.5)  # each source is noted on its own
    return {a["labels"]["alertname"] for a in client.get("/alerts").json() if a["status"]["inhibitedBy"]}


OF_OBJECTIVES = {rule["alert"] for rule in RULES if "slo" in rule["labels"]}


def test_a_service_that_is_down_silences_its_symptoms_and_nothing_else(alertmanager):
    found = silenced(alertmanager, without=OF_OBJECTIVES - {"AvailabilityBurn6h", "AvailabilityBurn1h"})
    assert {"ServiceNotReady", "HighErrorRate", "HighErrorRatio", "HighLatencyP95", "QueueShedding"} <= found
    assert not found & {"ServiceDown", "Watchdog", "AvailabilityBurn1h"}
    assert not found & {"RecordsLost", "DiskFilling", "AuthenticationAttack", "RestartLoop", "ModelAccuracyDrop"}


def test_a_page_about_an_objective_silences_the_tickets_about_the_same(alertmanager):
    found = silenced(alertmanager, without={"ServiceDown"})
    errors = {"ErrorRateBurn6h", "ErrorRateBurn1d", "ErrorRateBurn3d"}
    assert found == errors | {"AvailabilityBurn6h", "LatencyBurn1d", "LatencyBurn3d"}
    assert silenced(alertmanager, without={"ServiceDown", "ErrorRateBurn1h", "ErrorRateBurn6h"}) == found - errors


def test_what_a_cause_silences_exists():
    config = yaml.safe_load(CONFIG.read_text())
    named = re.findall(r"\w+", config["inhibit_rules"][0]["target_matchers"][0].split("=~")[1])
    assert set(named) <= {rule["alert"] for rule in RULES}
