"""Pods: deleted, made anew, scaled and scaled back, by the official client against a stand-in for the API."""

import shutil
import time
from pathlib import Path

import pytest
import yaml
from kubernetes import client
from stand_in_cluster import MANIFESTS, Cluster
from steered import wait

from harness.errors import FaultError, StackError
from harness.faults.inject import end_all, inject
from harness.faults.kill import Kill
from harness.faults.scale import Scale
from harness.faults.stop import Stop
from harness.plan import plan as planning
from harness.run.attachable import unlike
from harness.stack import ledger
from harness.stack.attached import Attached, arguments
from harness.stack.spec import ControlSpec
from harness.stack.stack import Stack

ROOT = Path(__file__).parents[2]


@pytest.fixture
def cluster(tmp_path):
    it = Cluster(tmp_path)
    yield it
    it.close()
    assert it.wrong == []


def controlled(cluster, **changes):
    about = {"namespace": "shop", "selector": "app=shop", "context": "staging", "kubeconfig": str(cluster.kubeconfig)}
    return ControlSpec(kubernetes=about | changes)


@pytest.fixture
def stack(tmp_path, cluster):
    run = tmp_path / "run"
    run.mkdir()
    return Stack(run, "shop", "", "", "", 60.0, grace_s=1.0, controls={"server": arguments(controlled(cluster))})


def test_pods_are_deleted_and_their_controller_makes_others(cluster, stack):
    component = Attached("server", stack.run, controlled(cluster))
    assert wait(lambda: component.look() or component.alive())
    before, generation = set(cluster.pods), component.generation
    inject(Kill(), stack, "kill", 30, 0.1)
    assert not before & set(cluster.pods)
    assert wait(lambda: len(cluster.pods) == 2 and (component.look() or component.alive()))
    assert wait(lambda: component.look() or component.generation == generation + 1)
    time.sleep(2 * cluster.ready_after_s)
    component.look()
    assert component.generation == generation + 1  # of both pods, whichever is ready first
    assert end_all(stack, by="heal") == ["kill"]
    inject(Stop(), stack, "stop", 30, 0.1)
    end_all(stack, by="heal")


def test_a_pod_that_took_the_place_of_another_is_spared(cluster, stack):
    control = stack.control("server")
    found = control.found()
    name, (uid, since) = next(iter(cluster.pods.items()))
    cluster.pods = {name: (f"not-{uid}", since)}
    assert control.kill(found) is False and name in cluster.pods


def test_a_deployment_is_scaled_and_back_also_by_the_watchdog(cluster, stack):
    scale = Scale(0)
    inject(scale, stack, "scale", 30, 0.1)
    assert cluster.pods == {} and cluster.replicas == 0
    undone, _, failed = ledger.heal(stack.run)
    assert ([entry.kind for entry in undone], failed, cluster.replicas) == (["scale"], [], 2)
    with pytest.raises(FaultError, match="shop has 2 replicas already"):
        inject(Scale(2, witness_query="up"), stack, "scale", 30)
    inject(scale, stack, "scale", 30, 0.1)
    cluster.uid = "another"  # made anew meanwhile: it has its own number
    assert end_all(stack, by="heal") == ["scale"] and cluster.replicas == 0


@pytest.mark.parametrize(
    ("verb", "says"),
    [("get", "status 403; it may not: give it a Role with pods: get, list, delete"), ("delete", "delete pod .* 403")],
)
def test_rights_that_are_missing(verb, says, cluster, stack):
    cluster.forbid = {verb}
    with pytest.raises((StackError, FaultError), match=says):
        inject(Kill(), stack, "kill", 30, 0.1)
    assert len(cluster.pods) == 2


def test_pods_that_nobody_makes_anew_are_not_deleted(cluster, stack):
    cluster.owned = False
    with pytest.raises(StackError, match=r"nobody makes pod .* anew; have a Deployment or StatefulSet make it"):
        inject(Kill(), stack, "kill", 30)
    assert len(cluster.pods) == 2


WRONG = {
    "no such context": ({"context": "production"}, "context production, .*kubectl config get-contexts"),
    "no such label": ({"selector": "app=other"}, "there are no pods app=other of namespace shop"),
    "no such namespace": ({"namespace": "other"}, "status 404; there is none; is it the right namespace and context"),
    "no kubeconfig": ({"kubeconfig": "/nonexistent/config"}, "kubectl config get-contexts"),
    "not in a cluster": ({"context": "in-cluster"}, "context in-cluster"),
}


@pytest.mark.parametrize(("changes", "says"), WRONG.values(), ids=WRONG)
def test_a_cluster_that_is_not_as_said(changes, says, cluster, stack):
    about = arguments(controlled(cluster, **changes))
    with pytest.raises(StackError, match=says):
        Stack(stack.run, "shop", "", "", "", 60.0, controls={"server": about}).control("server").found()


def test_credentials_that_have_expired_and_an_api_that_is_gone(cluster, stack):
    cluster.kubeconfig.write_text(cluster.kubeconfig.read_text().replace("t0ken", "old"))
    with pytest.raises(StackError, match="status 401; who asks is not known there: its credentials have expired"):
        stack.control("server").found()
    cluster.close()
    with pytest.raises(StackError, match=r"no answer .* does kubectl reach it"):
        stack.control("server").found()


def test_the_probes_of_the_pods_are_held_against_those_that_are_said(cluster, tmp_path, monkeypatch):
    shutil.copytree(ROOT / "docs/examples/container", tmp_path / "plan")
    monkeypatch.chdir(tmp_path / "plan")
    service = yaml.safe_load(Path("service.yaml").read_text())
    service["control"] = controlled(cluster).model_dump(exclude_unset=True)
    Path("service.yaml").write_text(yaml.safe_dump(service))
    assert sorted(unlike(planning.load(Path("gate.yaml"), only=["sham"]))) == [
        "service.yaml: probes.liveness: server has it in this file alone, not in the pods",
        "service.yaml: probes.readiness: failureThreshold is 1, and 3 in the pods",
        "service.yaml: probes.readiness: path is /ready, and /healthz in the pods",
        "service.yaml: probes.readiness: periodSeconds is 1, and 5 in the pods",
        "service.yaml: probes.startup: server has it in the pods alone",
    ]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda one: one["kind"])
def test_the_manifests_of_a_gate_are_as_the_models_have_them(manifest):
    """No key is lost: what the model does not know the API would refuse."""
    model = getattr(client, f"V1{manifest['kind']}").from_dict(manifest)
    assert client.ApiClient().sanitize_for_serialization(model) == manifest
