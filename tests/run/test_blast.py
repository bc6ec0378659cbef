"""What a run is about to break is said before it, from the files alone: what, for how long, and how it is undone."""

from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from harness.faults import FAULTS
from harness.faults.fault import Fault
from harness.run.blast import blast

PACK = Path(__file__).parents[2] / "experiments"
OWN = {"type": "python", "module": "harness.chaos.actions"}


def said(tmp_path, *method):
    path = tmp_path / "it.yaml"
    path.write_text(yaml.safe_dump({"method": list(method)}))
    return list(blast([SimpleNamespace(name="it", path=path)]))


def act(func, after=0.0, **arguments):
    provider = {**OWN, "func": func, "arguments": arguments}
    return {"type": "action", "name": func, "provider": provider, "pauses": {"after": after}}


@pytest.mark.parametrize("kind", FAULTS)
def test_each_fault_says_what_it_touches_and_how_it_is_undone(kind):
    fault = FAULTS[kind]
    assert fault.undone != Fault.undone
    touched = fault.touches.format(
        component="server", **{f.name: f.name for f in fields(fault) if f.name != "component"}
    )
    assert touched.strip() and "None" not in fault.touches.format(
        **{**vars(fault), **{f.name: "" for f in fields(fault)}}
    )


def test_a_line_holds_target_duration_lease_and_undo(tmp_path):
    [line] = said(tmp_path, act("pause", 12, component="server-2", lease_s=30))
    undone = "undone: SIGCONT to the same processes; a container is unpaused"
    assert line == f"it: pause on server-2, for about 12 s (lease 30 s); {undone}"


def test_what_lasts_longer_than_the_pauses_counts_and_so_does_what_comes_after(tmp_path):
    surge = {"scenario": "s.py", "arrivals": "poisson:9/s", "for_s": 20, "witness_query": "up"}
    first, second = said(tmp_path, act("surge", 3, **surge), act("kill", 5))
    assert "the service, by poisson:9/s of s.py, for about 20 s (lease 2 min)" in first
    assert "kill on server, for about 5 s" in second
    [pause, _] = said(tmp_path, act("pause", 3), act("kill", 5))
    assert "for about 8 s" in pause


def test_an_action_of_somebody_else_is_undone_by_its_own_rollbacks_and_heal_is_none(tmp_path):
    foreign = {"type": "process", "path": "/usr/bin/tc"}
    [line] = said(tmp_path, {"type": "action", "name": "slow the net", "provider": foreign}, act("heal"))
    assert line == "it: slow the net (/usr/bin/tc), until it is over; undone by the experiment's own rollbacks"


def test_values_from_outside_are_not_read_and_break_nothing(tmp_path):
    outside = {"type": "env", "key": "LEASE"}
    [line] = said(tmp_path, act("kill", "${wait}", lease_s="${lease}", component=outside))
    assert "lease from outside" in line


def test_every_experiment_of_the_pack_says_it():
    for path in sorted(PACK.glob("*.yaml")):
        lines = list(blast([SimpleNamespace(name=path.stem, path=path)]))
        assert lines and all("undone" in line and "{component}" not in line for line in lines), path.stem
