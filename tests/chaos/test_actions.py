"""The actions made from the table of faults, as Chaos Toolkit sees them; and a fault that a stranger adds."""

import inspect
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
import yaml
from chaoslib.exceptions import InvalidActivity
from chaoslib.experiment import ensure_experiment_is_valid, run_experiment
from chaoslib.loader import load_experiment
from strangers import STRANGER, strangers_checkout

from harness.chaos import actions, runner
from harness.chaos.actions import EXPERIMENT
from harness.faults import FAULTS, Fault
from harness.history import History
from harness.stack.stack import ENV
from harness.stack.undo import Undo

ROOT = Path(__file__).parents[2]


def experiment(func, **arguments):
    python = {"type": "python", "module": "harness.chaos.actions"}
    return {
        "title": "t",
        "description": "d",
        "method": [{"type": "action", "name": func, "provider": {**python, "func": func, "arguments": arguments}}],
        "rollbacks": [{"type": "action", "name": "heal", "provider": {**python, "func": "heal"}}],
    }


@pytest.mark.parametrize(
    ("kind", "signature"),
    [
        (
            "inside",
            "(*, fault: str, witness_query: str, arguments: dict[str, typing.Any] = {}, component: str = 'server', "
            "lease_s: float = 60) -> str",
        ),
        (
            "kill",
            "(*, component: str = 'server', again_for_s: float = 0, times: int = 1, lives_s: float = 1.0, "
            "at_once: bool = False, child: bool = False, lease_s: float = 60) -> str",
        ),
        ("pause", "(*, component: str = 'server', lease_s: float = 60) -> str"),
        ("sham", "(*, component: str = 'server', lease_s: float = 60) -> str"),
        (
            "surge",
            "(*, scenario: str, arrivals: str, for_s: float, witness_query: str, lease_s: float = 120) -> str",
        ),
    ],
)
def test_an_action_has_the_parameters_of_its_fault_and_a_lease(kind, signature):
    act = getattr(actions, kind)
    assert str(inspect.signature(act)) == signature
    assert act.__name__ == kind and act.__doc__ == FAULTS[kind].__doc__


def test_actions_can_be_imported_by_name_and_nothing_else_can():
    from harness.chaos.actions import heal, pause

    assert inspect.isfunction(pause) and inspect.isfunction(heal)
    with pytest.raises(ImportError, match="pausse"):
        exec("from harness.chaos.actions import pausse")


@pytest.mark.parametrize(
    ("func", "arguments", "says"),
    [
        ("pause", {"componet": "server"}, "argument 'componet' is not part of the function signature"),
        ("pause", {"process": "server"}, "argument 'process' is not part"),
        ("surge", {"scenario": "s.py", "arrivals": "a", "for_s": 1}, "required argument 'witness_query' is missing"),
        ("pausse", {}, "does not expose a function called 'pausse'"),
        ("heal", {"lease_s": 1}, "argument 'lease_s' is not part"),
    ],
)
def test_chaos_toolkit_rejects_what_no_action_takes(func, arguments, says):
    with pytest.raises(InvalidActivity, match=says):
        ensure_experiment_is_valid(experiment(func, **arguments))


@pytest.mark.parametrize("file", sorted(ROOT.glob("experiments/*.yaml")), ids=lambda file: file.stem)
def test_chaos_toolkit_accepts_the_bundled_experiments(file):
    ensure_experiment_is_valid(load_experiment(str(file)))


# -- a fault that a stranger adds: one file, one line of the table, one table of tests ----------------------------

FILE = (STRANGER / "grow.py").read_text()
CASES = [
    pytest.param({"size": 10}, "balloon with 10 bytes", id="of one size"),
    pytest.param(
        {"size": 20, "name": "other", "lease_s": 9}, "other with 20 bytes", id="of another name, under another lease"
    ),
]


@pytest.fixture
def added(monkeypatch):
    """The fault in this process."""
    module = type(sys)("harness.faults.grow")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(FILE, vars(module))
    monkeypatch.setitem(FAULTS, "grow", module.Grow)


def edges(stack):
    return [(e.detail["edge"], e.outcome) for e in History.read(stack.run).of("fault")]


@pytest.mark.parametrize(("arguments", "evidence"), CASES)
def test_it_is_an_action_with_witness_and_undo(arguments, evidence, added, stack, monkeypatch):
    monkeypatch.setenv(ENV, str(stack.run))
    assert str(inspect.signature(actions.grow)) == "(*, size: int, name: str = 'balloon', lease_s: float = 5) -> str"
    before = {p.name for p in stack.run.iterdir()}
    ensure_experiment_is_valid(content := experiment("grow", **arguments))
    journal = run_experiment(content, settings=runner.SETTINGS)
    assert [r["status"] for r in journal["run"] + journal["rollbacks"]] == ["succeeded"] * 2
    assert edges(stack) == [("start", "ok"), ("witness", "ok"), ("stop", "ok")]
    assert evidence in History.read(stack.run).of("fault")[1].detail["evidence"]
    assert {p.name for p in stack.run.iterdir()} - before <= {"events.jsonl", "ledger.jsonl"}
    with pytest.raises(InvalidActivity, match="argument 'nmae' is not part"):
        ensure_experiment_is_valid(experiment("grow", size=1, nmae="x"))


def test_heal_leaves_to_an_experiment_at_the_same_time_what_is_its_own(stack, monkeypatch):
    monkeypatch.setenv(ENV, str(stack.run))
    for name in ("mine", "theirs"):
        (stack.run / name).touch()
        stack.ledger.add("file", name, {}, {}, [Undo("remove", {"path": str(stack.run / name)})], 60)
    monkeypatch.setenv(actions.BESIDE, "theirs,others")
    assert actions.heal() == ["file"]
    assert [e.experiment for e in stack.ledger.open()] == ["theirs"] and (stack.run / "theirs").exists()
    monkeypatch.setenv(actions.BESIDE, "")
    assert actions.heal() == ["file"] and not (stack.run / "theirs").exists()


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    return strangers_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.mark.parametrize(("arguments", "evidence"), CASES)
def test_an_experiment_file_names_it_in_a_process_of_its_own(arguments, evidence, changed, stack):
    file, journal = changed / "experiment.yaml", stack.run / "journals" / "grow.json"
    file.write_text(yaml.safe_dump(experiment("grow", **arguments)))
    env = {**os.environ, "PYTHONPATH": str(changed), ENV: str(stack.run), EXPERIMENT: "grow"}
    chaos = Path(sys.executable).with_name("chaos")
    validate = [chaos, "--no-version-check", "--no-log-file", "validate", str(file)]
    for argv in (validate, runner.command(file, journal)):
        done = subprocess.run(argv, env=env, cwd=changed, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
    activities = json.loads(journal.read_text())
    assert [r["status"] for r in activities["run"] + activities["rollbacks"]] == ["succeeded"] * 2
    assert edges(stack) == [("start", "ok"), ("witness", "ok"), ("stop", "ok")]
    assert evidence in History.read(stack.run).of("fault")[1].detail["evidence"]


def test_parameters_may_have_defaults_that_are_made_anew():
    @dataclass(frozen=True)
    class Listing(Fault):
        names: list[str] = field(default_factory=lambda: ["a"])
        kind: ClassVar[str] = "listing"

    assert (
        str(inspect.signature(actions.action(Listing))) == "(*, names: list[str] = ['a'], lease_s: float = 60) -> str"
    )
