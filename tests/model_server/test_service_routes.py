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
    """A real Alertmanager with the production routes and inhibitions, and receivers that go nowhere."""
    folder = tmp_path_factory.mktemp("alertmanager")
    config = yaml.safe_load(CONFIG.read_text())
    config = {
        "route": config["route"],
        "receivers": [{"name": receiver["name"]} for receiver in config["receivers"]],
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


def about(name: str, instance: str = "") -> dict[str, str]:
    """The labels of a firing alert; without an instance it is about the whole service."""
    labels = next(r["labels"] for r in RULES if r["alert"] == name)
    return {"alertname": name, "job": "pneumonia-detector", **labels} | ({"instance": instance} if instance else {})


def fire(client, firing: list[dict[str, str]]) -> None:
    """Exactly these alerts fire; what fired before is over."""
    over = {"startsAt": "2019-01-01T00:00:00Z", "endsAt": "2020-01-01T00:00:00Z"}
    before = [{"labels": alert["labels"]} | over for alert in client.get("/alerts").json()]
    client.post("/alerts", json=before).raise_for_status()
    eventually(lambda: client.get("/alerts").json() == [])
    client.post("/alerts", json=[{"labels": labels} for labels in firing]).raise_for_status()
    eventually(lambda: len(client.get("/alerts").json()) == len(firing))
    time.sleep(1)  # each source of silence is noted on its own


def silenced(client, firing: list[dict[str, str]]) -> set[tuple[str, str]]:
    """(alert, instance) of which nobody is told while all of these fire."""
    fire(client, firing)
    found = [alert["labels"] for alert in client.get("/alerts").json() if alert["status"]["inhibitedBy"]]
    return {(labels["alertname"], labels.get("instance", "")) for labels in found}


ALL = {rule["alert"] for rule in RULES}
OF_OBJECTIVES = {rule["alert"] for rule in RULES if "slo" in rule["labels"]}
OF_THE_SERVICE = {"HighErrorRatio", "HighLatencyP95", "QueueShedding", "AvailabilityBurn6h"}
OF_AN_INSTANCE = {
    "ServiceNotReady", "HighErrorRate", "InferenceStalled", "QueueSaturated", "EventLoopLag", "MetricsIncomplete",
    "ScrapeSlow",
}  # fmt: skip
OTHERS = ALL - OF_THE_SERVICE - OF_AN_INSTANCE - OF_OBJECTIVES - {"ServiceDown"}
SYMPTOMS = [
    *(about(name, instance) for name in OF_AN_INSTANCE for instance in ("a", "b")),
    *(about(name) for name in OF_THE_SERVICE),
]


def test_an_alert_is_about_an_instance_or_the_service_as_its_expression_says():
    told = {r["alert"]: bool(re.search(r"by \(job(, le)?\)", r["expr"])) for r in RULES if "alert" in r}
    assert {told[name] for name in OF_THE_SERVICE} == {True} and {told[name] for name in OF_AN_INSTANCE} == {False}


def test_one_of_two_instances_that_is_down_silences_its_own_symptoms_and_nothing_else(alertmanager):
    firing = [about("ServiceDown", "a"), *SYMPTOMS, *(about(name) for name in OTHERS)]
    assert silenced(alertmanager, firing) == {(name, "a") for name in OF_AN_INSTANCE}


def test_two_instances_that_are_down_are_a_service_that_is_down(alertmanager):
    """All symptoms are silenced, and the single instances with them: it is one page."""
    down = [about("ServiceDown", instance) for instance in ("", "a", "b")]
    found = silenced(alertmanager, [*down, *SYMPTOMS, *(about(name) for name in OTHERS | {"AvailabilityBurn1h"})])
    each = {(name, instance) for name in {*OF_AN_INSTANCE, "ServiceDown"} for instance in ("a", "b")}
    assert found == each | {(name, "") for name in OF_THE_SERVICE}


def test_the_only_instance_that_is_down_is_a_service_that_is_down(alertmanager):
    symptoms = [labels for labels in SYMPTOMS if labels.get("instance") != "b"]
    found = silenced(alertmanager, [about("ServiceDown"), about("ServiceDown", "a"), *symptoms])
    each = {(name, "a") for name in {*OF_AN_INSTANCE, "ServiceDown"}}
    assert found == each | {(name, "") for name in OF_THE_SERVICE}


def test_a_service_without_any_target_silences_what_its_past_still_raises(alertmanager):
    assert silenced(alertmanager, [about("ServiceDown"), *SYMPTOMS]) >= {(name, "") for name in OF_THE_SERVICE}


def test_the_whole_service_is_another_incident_than_one_instance(alertmanager):
    """Whoever has taken the page about one instance is woken again when the other one goes."""
    fire(alertmanager, [about("ServiceDown", instance) for instance in ("", "a", "b")])
    groups = [g for g in alertmanager.get("/alerts/groups").json() if g["receiver"]["name"] == "pagerduty"]
    told = [{alert["labels"].get("instance", "") for alert in group["alerts"]} for group in groups]
    assert sorted(told, key=len) == [{""}, {"a", "b"}]


def test_a_page_about_an_objective_silences_the_tickets_about_the_same(alertmanager):
    firing = ALL - {"ServiceDown"}
    errors = {"ErrorRateBurn6h", "ErrorRateBurn1d", "ErrorRateBurn3d"}
    expected = {(name, "") for name in errors | {"AvailabilityBurn6h", "LatencyBurn1d", "LatencyBurn3d"}}
    assert silenced(alertmanager, [about(name) for name in firing]) == expected
    firing -= {"ErrorRateBurn1h", "ErrorRateBurn6h"}
    assert silenced(alertmanager, [about(name) for name in firing]) == expected - {(name, "") for name in errors}


def test_what_a_cause_silences_exists():
    told = [name for rule in yaml.safe_load(CONFIG.read_text())["inhibit_rules"] for name in rule["target_matchers"]]
    named = {name for said in told if said.startswith("alertname") for name in re.findall(r"\w+", said)[1:]}
    assert named == OF_THE_SERVICE | OF_AN_INSTANCE | {"ServiceDown"}
