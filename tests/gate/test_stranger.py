"""A fault and a check that a stranger added to the harness, and checks that need no code, in one real gate."""

import os

import pytest
import yaml
from small_project import HERE, Project
from strangers import strangers_checkout

pytestmark = [pytest.mark.gate, pytest.mark.timeout(280, func_only=True)]

UP = 'count(up{job="pneumonia-detector"} == 1)'
CHECKS = [
    "contracts",
    {"throughput": {"at_least": 10}},
    {"promql": {"query": UP, "at_least": 1}},
    {"promql": {"query": UP, "below": 1, "phase": "grow"}},
    {"promql": {"query": "no_such_metric", "below": 1}},
    {"command": ["test", "-s"]},  # with the run's folder behind it
    {"command": ["sh", "-c", "test -s $0/events.jsonl && echo looked at $0 && exit 3"]},
]


def test_a_strangers_fault_and_check_run_in_a_gate(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("project"))
    project.without_slow_rules()
    checkout = strangers_checkout(tmp_path_factory.mktemp("checkout"))
    experiment = yaml.safe_load((project.folder / "experiments/sham.yaml").read_text())
    experiment["method"][0]["provider"] |= {"func": "grow", "arguments": {"size": 1000}}
    experiment["method"][0]["pauses"] = {"after": 2}
    (project.folder / "experiments/grow.yaml").write_text(yaml.safe_dump(experiment))
    project.plan(["grow"], checks=CHECKS, for_s=3, starved="9s", neighbours=1, repeats=0, patience="0s")
    path = os.pathsep.join([str(checkout), str(HERE), str(HERE.parents[1])])
    done = project.harness("gate", PYTHONPATH=path)
    assert done.returncode == 1, done.stdout + done.stderr
    found = {key: r["verdict"] for key, r in project.results().items()}
    run = project.results()["injected", "grow: injected"]
    assert run["verdict"] == "PASS" and "1 fault witnessed" in run["reason"], run
    assert found["throughput", "steady: throughput"] == "PASS"
    assert found["promql", f"steady: {UP}"] == "PASS" and found["promql", f"grow: {UP}"] == "FAIL"
    assert found["promql", "steady: no_such_metric"] == "INCONCLUSIVE"
    commands = {subject: verdict for (kind, subject), verdict in found.items() if kind == "command"}
    assert sorted(commands.values()) == ["INCONCLUSIVE", "PASS"], commands
    again = project.harness("check", str(project.run), PYTHONPATH=path)
    assert again.returncode == 1 and {key: r["verdict"] for key, r in project.results().items()} == found
