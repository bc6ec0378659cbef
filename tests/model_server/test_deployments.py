"""Compose and Kubernetes files: what they mount exists, what they promise equals what the gate judged by."""

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from model_server import settings

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "model_server/monitoring"
COMPOSE = yaml.safe_load((MONITORING / "compose.yaml").read_text())
KUBERNETES = {path.stem: yaml.safe_load(path.read_text()) for path in (MONITORING / "kubernetes").glob("*.yaml")}
STATEFUL = KUBERNETES["statefulset"]["spec"]
CONTAINER = STATEFUL["template"]["spec"]["containers"][0]
ENVIRONMENT = {one["name"]: one for one in CONTAINER["env"]}
SERVICE = yaml.safe_load((ROOT / "model_server/service.yaml").read_text())


def mounts():
    for name, service in COMPOSE["services"].items():
        for volume in service.get("volumes", ()):
            yield name, volume.split(":")[0]


@pytest.mark.parametrize(("service", "source"), list(mounts()))
def test_what_is_mounted_exists(service, source):
    assert (MONITORING / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]


def test_images_have_versions():
    images = [service["image"] for service in COMPOSE["services"].values() if "image" in service]
    assert len(images) == len(COMPOSE["services"]) - 1  # ours is built
    assert all(re.fullmatch(r"[\w./-]+:v?\d+(\.\d+)+", image) for image in [*images, CONTAINER["image"]])


def test_nothing_is_published_beyond_this_machine():
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.skipif(
    not shutil.which("docker") or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode != 0,
    reason="no docker compose here",
)
def test_docker_compose_accepts_the_file():
    command = ["docker", "compose", "-f", MONITORING / "compose.yaml", "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_prometheus_accepts_its_configuration_with_the_rules(tmp_path):
    config = (MONITORING / "compose/prometheus.yaml").read_text()
    assert "/etc/prometheus/rules/*.yaml" in config
    (tmp_path / "prometheus.yaml").write_text(config.replace("/etc/prometheus/rules", str(MONITORING / "rules")))
    done = subprocess.run(["promtool", "check", "config", tmp_path / "prometheus.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(list((MONITORING / 'rules').glob('*.yaml')))} rule files found" in done.stdout


def test_every_other_service_that_is_named_exists():
    """A name in an address is a service of the file."""
    texts = [
        (MONITORING / "compose.yaml").read_text(),
        *(p.read_text() for p in (MONITORING / "compose").glob("*.yaml")),
    ]
    named = {host for text in texts for host in re.findall(r"(?:https?://|[\"\[])([a-z-]+):\d+", text)} - {"localhost"}
    assert (
        {"prometheus", "alertmanager", "jaeger", "elasticsearch", "model-server"} <= named <= COMPOSE["services"].keys()
    )


def test_grafana_finds_the_dashboards_and_the_home_page():
    grafana = COMPOSE["services"]["grafana"]
    providers = yaml.safe_load((MONITORING / "compose/grafana-dashboards.yaml").read_text())["providers"]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert f"./dashboards:{home.parent}:ro" in grafana["volumes"] and providers[0]["options"]["path"] == str(
        home.parent
    )
    assert (MONITORING / "dashboards" / home.name).exists()


def flags():
    inline = COMPOSE["services"]["model-server"]["build"]["dockerfile_inline"]
    yield "compose", yaml.safe_load(inline.split("CMD ")[1])
    yield "kubernetes", [str(word) for word in CONTAINER["command"]]


@pytest.mark.parametrize(("where", "command"), list(flags()))
def test_the_server_takes_the_flags_it_is_started_with(where, command):
    assert command[:3] == ["python", "-m", "model_server"]
    read = settings.read(command[3:], {})
    assert (read.host, read.port) == ("0.0.0.0", 8000)


@pytest.mark.parametrize("probe", ["startup", "liveness", "readiness"])
def test_the_probes_are_those_the_gate_judged_by(probe):
    def told(spec: dict) -> dict:
        defaults = {"periodSeconds": 10, "timeoutSeconds": 1, "failureThreshold": 3, "successThreshold": 1}
        return defaults | {"initialDelaySeconds": 0, "terminationGracePeriodSeconds": None} | spec

    ours = CONTAINER[f"{probe}Probe"]
    path = ours["httpGet"]
    assert path["port"] in {port["name"] for port in CONTAINER["ports"]}
    rest = {key: value for key, value in ours.items() if key != "httpGet"}
    assert told({"path": path["path"], **rest}) == told(SERVICE["probes"][probe])


def test_the_series_get_the_job_that_the_rules_select_by():
    labels = STATEFUL["template"]["metadata"]["labels"]
    service, monitor = KUBERNETES["service"], KUBERNETES["service-monitor"]
    assert service["metadata"]["name"] == SERVICE["monitoring"]["job"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    endpoint = monitor["spec"]["endpoints"][0]
    assert endpoint["port"] == service["spec"]["ports"][0]["name"]
    assert (endpoint["path"], endpoint["interval"]) == (SERVICE["metrics"], SERVICE["monitoring"]["scrape_interval"])


def test_every_manifest_is_applied_and_no_other():
    assert set(KUBERNETES["kustomization"]["resources"]) == {
        f"{name}.yaml" for name in KUBERNETES if name != "kustomization"
    }


def test_on_gpu_nodes_each_replica_asks_for_a_gpu_and_starts_on_cuda_or_not_at_all():
    """What is laid over the manifests fits what it is laid over."""
    folder = MONITORING / "kubernetes-gpu"
    over = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert [(folder / path).resolve() for path in over["resources"]] == [(MONITORING / "kubernetes").resolve()]
    [patch] = [yaml.safe_load((folder / patch["path"]).read_text()) for patch in over["patches"]]
    base = KUBERNETES["statefulset"]
    assert (patch["kind"], patch["metadata"]["name"]) == (base["kind"], base["metadata"]["name"])
    [container] = patch["spec"]["template"]["spec"]["containers"]
    assert container["name"] == CONTAINER["name"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    read = settings.read(CONTAINER["command"][3:], {one["name"]: one["value"] for one in container["env"]})
    assert read.device == "cuda"
    [image] = over["images"]
    assert CONTAINER["image"].split(":")[0] == image["name"] and re.fullmatch(r"\d+(\.\d+)+-cuda", image["newTag"])


def test_every_volume_mounted_is_a_volume():
    volumes = {volume["name"] for volume in STATEFUL["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in CONTAINER["volumeMounts"]} == volumes | set(claims())


def claims() -> dict[str, dict]:
    return {claim["metadata"]["name"]: claim["spec"] for claim in STATEFUL["volumeClaimTemplates"]}


def test_all_replicas_share_one_database_whose_password_is_in_a_secret():
    """A label may come to another replica than the one that predicted."""
    assert STATEFUL["replicas"] > 1
    assert set(ENVIRONMENT["MODEL_SERVER_DATABASE"]) == {"name", "valueFrom"}
    assert set(ENVIRONMENT["MODEL_SERVER_DATABASE"]["valueFrom"]["secretKeyRef"]) == {"name", "key"}
    text = (MONITORING / "kubernetes/statefulset.yaml").read_text()
    [told] = re.findall(r"--from-literal=url=(\S+)", text)
    assert settings.read([], {"MODEL_SERVER_DATABASE": told}).database.startswith("postgresql://")


def test_the_audit_log_outlives_its_pod():
    folder = settings.read(CONTAINER["command"][3:], {}).state_dir
    [volume] = [mount["name"] for mount in CONTAINER["volumeMounts"] if mount["mountPath"] == folder]
    assert claims()[volume]["accessModes"] == ["ReadWriteOnce"]


def test_it_says_which_commit_runs_and_which_deployment_brought_it():
    """The release writes the commit, the cluster the deployment: a label that it gives the pods of each revision."""
    [given] = CONTAINER["envFrom"]
    made = {one["name"]: one["literals"] for one in KUBERNETES["kustomization"]["configMapGenerator"]}
    environ = dict(literal.split("=", 1) for literal in made[given["configMapRef"]["name"]])
    assert ENVIRONMENT["MODEL_SERVER_DEPLOYMENT"]["valueFrom"]["fieldRef"]["fieldPath"] == (
        "metadata.labels['controller-revision-hash']"
    )
    environ |= {"MODEL_SERVER_DEPLOYMENT": "pneumonia-detector-7c9f"}
    environ |= {name: one["value"] for name, one in ENVIRONMENT.items() if "value" in one}
    assert speaks(settings.read([], environ))
    assert speaks(settings.read([], COMPOSE["services"]["model-server"]["environment"]))


def speaks(read: settings.Settings) -> bool:
    default = settings.Settings()
    return read.commit != default.commit and read.deployment != default.deployment


@pytest.mark.parametrize("name", [*ENVIRONMENT, *COMPOSE["services"]["model-server"]["environment"]])
def test_every_variable_is_one_that_the_server_reads(name):
    known = {settings.PREFIX + field.name.upper() for field in dataclasses.fields(settings.Settings)}
    assert name in known | {"OTEL_EXPORTER_OTLP_ENDPOINT"}
