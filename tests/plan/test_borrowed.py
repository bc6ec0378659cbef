"""Experiments as they are: somebody else's file, its environment and its contract from the plan."""

import json

import pytest
import yaml

from harness.plan import plan as planning
from harness.plan.experiments import read_experiment
from harness.plan.gatefile import ExperimentSpec
from harness.run.phases import _file_of

THEIRS = {
    "version": "1.0.0",
    "title": "it stays up",
    "description": "somebody else's",
    "configuration": {"url": {"type": "env", "key": "SHOP_URL"}, "name": "cart"},
    "steady-state-hypothesis": {
        "title": "well",
        "probes": [
            {"type": "probe", "name": "answers", "tolerance": 200, "provider": {"type": "http", "url": "${url}"}}
        ],
    },
    "method": [
        {"type": "action", "name": "break it", "provider": {"type": "process", "path": "true", "arguments": "${name}"}}
    ],
    "rollbacks": [],
}
CONTRACT = {
    "probes": {"server": {"restart": "never", "readiness": "ready"}},
    "clients": {"errors_at_most": "1%", "recovered_within": "5s"},
    "alerts": [],
    "witness": {"http": "/"},
}
GIVEN = {"file": "theirs.json", "contract": "beside.yaml", "environment": {"SHOP_URL": "${SERVICE_URL}/shop"}}


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.delenv("SHOP_URL", raising=False)

    def reading(theirs=THEIRS, promises=CONTRACT, name="theirs.json", **given):
        (tmp_path / name).write_text(json.dumps(theirs))
        (tmp_path / "beside.yaml").write_text("# ours\n" + yaml.safe_dump(promises))
        problems = []
        spec = ExperimentSpec(**{**GIVEN, "file": name, **given})
        return read_experiment(tmp_path / name, [], problems, home=tmp_path, given=spec), problems

    return reading


def test_it_runs_with_what_the_plan_gives_and_its_file_is_not_touched(read, tmp_path):
    found, problems = read(configuration={"name": "till"})
    assert problems == [] and found.contract.witness.http == "/"
    made = json.loads(_file_of(found, tmp_path).read_text())
    assert made["configuration"] == {**THEIRS["configuration"], "name": "till"}
    assert made["extensions"] == [{"name": "harness", "expect": CONTRACT, "environment": GIVEN["environment"]}]
    assert {key: made[key] for key in ("method", "title")} == {key: THEIRS[key] for key in ("method", "title")}
    assert json.loads((tmp_path / "theirs.json").read_text()) == THEIRS
    assert (tmp_path / "given/theirs.json").stat().st_mode & 0o077 == 0


def using(provider):
    return {**THEIRS, "method": [{"type": "action", "name": "break it", "provider": provider}]}


SPRING = {"type": "python", "module": "chaosspring.actions", "func": "enable_chaosmonkey"}
SAYS = {
    "not set": (
        {"environment": {}},
        "theirs.json:1: configuration.url: the environment variable SHOP_URL is not set; give it in the plan: "
        "experiments: [{file: theirs.json, environment: {SHOP_URL: '${SERVICE_URL}'}}]",
    ),
    "no such address": (
        {"environment": {"SHOP_URL": "${SERVICE_URI}"}},
        "theirs.json: environment.SHOP_URL: no address of a run is called ${SERVICE_URI}; did you mean SERVICE_URL?",
    ),
    "an extension": (
        {"theirs": using(SPRING)},
        "theirs.json:1: method[0].provider: needs the module chaosspring, which is not installed; "
        "pip install chaostoolkit-spring",
    ),
    "a module of their own": (
        {"theirs": using({**SPRING, "module": "shop_chaos.break"})},
        "needs the module shop_chaos, which is not installed; install the package that brings it, or set PYTHONPATH",
    ),
    "a program": (
        {"theirs": using({"type": "process", "path": "kubectl-of-theirs"})},
        "method[0].provider: needs the program kubectl-of-theirs, which is not here",
    ),
    "of another tool": (
        {"theirs": {"apiVersion": "litmuschaos.io/v1alpha1", "kind": "ChaosEngine", "metadata": {"name": "x"}}},
        "is a Kubernetes object, ChaosEngine of litmuschaos.io/v1alpha1, and no experiment of the Chaos Toolkit",
    ),
    "no contract": ({"contract": None}, "name one with the contract: {file: ..., contract: beside.yaml}"),
    "no such contract": ({"contract": "beside.yml"}, "beside.yml: no such file"),
}


@pytest.mark.parametrize(("given", "says"), SAYS.values(), ids=SAYS)
def test_what_it_lacks_is_one_sentence(read, given, says):
    found, problems = read(**given)
    assert found is None and len(problems) == 1 and says in problems[0], problems


def test_a_mistake_in_the_contract_has_the_place_of_that_file(read):
    _, problems = read(promises={**CONTRACT, "proves": {}})
    assert problems and all("beside.yaml:" in problem for problem in problems), problems


def test_a_value_from_the_environment_may_be_given_as_configuration_or_have_a_default(read, monkeypatch):
    assert read(environment={}, configuration={"url": "http://127.0.0.1/"})[1] == []
    theirs = {**THEIRS, "configuration": {"url": {"type": "env", "key": "SHOP_URL", "default": "http://x/"}}}
    assert read({**theirs, "configuration": theirs["configuration"] | {"name": "cart"}}, environment={})[1] == []
    monkeypatch.setenv("SHOP_URL", "http://x/")
    assert read(environment={})[1] == []


def test_a_gate_file_names_it_by_either_form(tmp_path):
    gate = tmp_path / "gate.yaml"
    gate.write_text("experiments: [theirs, {file: a/b.json, environment: {N: 1}}, {fil: x}]\n")
    problems = []
    file = planning.read(gate, problems)
    assert planning._gate(file, None, problems) is None
    assert [p for p in problems if "experiments" in p] == [p for p in problems if "experiments[2]" in p], problems
