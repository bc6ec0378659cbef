"""Compose and Kubernetes files: what they mount exists, what they promise equals what the gate judged by."""

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
OURS = ("model-server", "model-server-canary")  # of the compose file, built from one image
CLOSING_S = 9  # what is queued is written: keys, records, audit log, storage and its looks, traces, log lines


def read(argv=(), **environ: str) -> settings.Settings:
    """Settings as a process with this environment reads them."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        return settings.read(list(argv))


def configured() -> settings.Settings:
    """As the manifest has it, but for what only the cluster knows."""
    told = {name: one["value"] for name, one in ENVIRONMENT.items() if "value" in one}
    return read(CONTAINER["command"][3:], **told)


def mounts():
    for name, service in COMPOSE["services"].items():
        for volume in service.get("volumes", ()):
            yield name, volume.split(":")[0]


@pytest.mark.parametrize(("service", "source"), list(mounts()))
def test_what_is_mounted_exists(service, source):
    assert (MONITORING / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]


def test_images_have_versions():
    images = [service["image"] for service in COMPOSE["services"].values() if "image" in service]
    assert len(images) == len(COMPOSE["services"]) - len(OURS)
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
    scraped = yaml.safe_load((MONITORING / "compose/prometheus.yaml").read_text())["scrape_configs"][0]
    [found] = scraped["dns_sd_configs"]
    assert tuple(found["names"]) == OURS
    named = {host for text in texts for host in re.findall(r"(?:https?://|[\"\[])([a-z-]+):\d+", text)} - {"localhost"}
    assert {"prometheus", "alertmanager", "jaeger", "elasticsearch"} <= named
    assert named | {*OURS} <= COMPOSE["services"].keys()


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
    said = read(command[3:])
    assert (said.host, said.port) == ("0.0.0.0", 8000)


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


def test_start_up_may_take_as_long_as_in_the_gate():
    startup = CONTAINER["startupProbe"]
    assert f"{startup['periodSeconds'] * startup['failureThreshold']}s" == SERVICE["start"]["ready_within"]


def test_asked_to_stop_it_goes_on_answering_as_long_as_in_the_gate_and_longer_than_readiness_takes():
    [in_the_gate] = re.findall(r"--stop-after-s (\S+)", SERVICE["start"]["command"])
    readiness = CONTAINER["readinessProbe"]
    assert configured().stop_after_s == float(in_the_gate)
    assert configured().stop_after_s > readiness["periodSeconds"] * readiness["failureThreshold"]


def test_whoever_ends_it_waits_for_all_that_its_end_takes():
    sleep, before_s = CONTAINER["lifecycle"]["preStop"]["exec"]["command"]
    assert sleep == "sleep"
    ends = [(float(before_s), configured(), STATEFUL["template"]["spec"]["terminationGracePeriodSeconds"])]
    for name in OURS:
        service = COMPOSE["services"][name]
        ends.append((0.0, read(**service["environment"]), float(service["stop_grace_period"].removesuffix("s"))))
    for before_s, said, grace_s in ends:
        assert before_s + said.stop_after_s + said.deadline_s + 1 + CLOSING_S <= grace_s


def test_no_drained_node_and_no_lost_one_takes_more_than_one_replica_with_it():
    labels, budget = STATEFUL["template"]["metadata"]["labels"], KUBERNETES["disruption-budget"]["spec"]
    spread = STATEFUL["template"]["spec"]["topologySpreadConstraints"]
    assert budget["maxUnavailable"] == 1 < STATEFUL["replicas"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    assert {one["topologyKey"] for one in spread} == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    for one in spread:
        assert one["maxSkew"] == 1 and one["labelSelector"]["matchLabels"].items() <= labels.items()


def test_the_canary_is_another_deployment_of_another_configuration_and_shares_nothing_that_is_written():
    stable, canary = (COMPOSE["services"][name] for name in OURS)
    assert "profiles" not in stable and canary["profiles"] == ["canary"]
    for key in ("ports", "volumes"):
        assert not {*stable[key]} & {*canary[key]}, key
    differ = read(**stable["environment"]).model_dump().items() ^ read(**canary["environment"]).model_dump().items()
    assert {name for name, _ in differ} > {"deployment"}


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
    said = read(CONTAINER["command"][3:], **{one["name"]: one["value"] for one in container["env"]})
    assert said.device == "cuda"
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
    assert read(MODEL_SERVER_DATABASE=told).database.startswith("postgresql://")


def test_the_audit_log_outlives_its_pod():
    folder = read(CONTAINER["command"][3:]).state_dir
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
    assert speaks(read(**environ))
    assert all(speaks(read(**COMPOSE["services"][name]["environment"])) for name in OURS)


def speaks(said: settings.Settings) -> bool:
    default = settings.Settings()
    return said.commit != default.commit and said.deployment != default.deployment


@pytest.mark.parametrize("name", [*ENVIRONMENT, *COMPOSE["services"][OURS[1]]["environment"]])
def test_every_variable_is_one_that_the_server_reads(name):
    known = {settings.PREFIX + field.upper() for field in settings.Settings.model_fields}
    assert name in known | {"OTEL_EXPORTER_OTLP_ENDPOINT"}
