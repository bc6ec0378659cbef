"""The manifests use options that the generator has."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from harness.history import ROW
from harness.load.arrivals import parse

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "docs" / "kubernetes" / "load.yaml"
PARTS = {f"{part['kind']}/{part['metadata']['name']}": part for part in yaml.safe_load_all(MANIFEST.read_text())}
JOBS = {name: part for name, part in PARTS.items() if part["kind"] == "Job"}


def container(job):
    return job["spec"]["template"]["spec"]["containers"][0]


def option(command, name):
    return command[command.index(name) + 1]


def test_the_master_waits_for_as_many_workers_as_there_are():
    master, worker = container(JOBS["Job/load-master"])["command"], JOBS["Job/load-worker"]["spec"]
    assert int(option(master, "--expect-workers")) == worker["parallelism"] == worker["completions"]


def test_workers_find_the_master_by_its_service():
    service = PARTS["Service/load-master"]
    worker = container(JOBS["Job/load-worker"])["command"]
    assert option(worker, "--master-host") == service["metadata"]["name"]
    labels = JOBS["Job/load-master"]["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert service["spec"]["ports"][0]["port"] == container(JOBS["Job/load-master"])["ports"][0]["containerPort"]


def test_the_rows_have_room():
    master = container(JOBS["Job/load-master"])["command"]
    requests = parse(option(master, "--arrivals")).rate_per_s * float(option(master, "--for"))
    room = JOBS["Job/load-master"]["spec"]["template"]["spec"]["volumes"][0]["emptyDir"]["sizeLimit"]
    assert requests * ROW.itemsize < int(room.removesuffix("Gi")) << 30


@pytest.mark.parametrize("name", JOBS)
def test_locust_and_the_scenario_understand_the_command(name):
    command = container(JOBS[name])["command"]
    assert (ROOT / option(command, "-f")).is_file()
    done = subprocess.run(
        [sys.executable, *command[1:], "--list"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and "Steady" in done.stdout + done.stderr, done.stderr
