"""`harness doctor` says what this host can do, and ends with 2 where the plan needs more."""

import json
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.faults import FAULTS, needs

GATE = str(Path(__file__).parents[2] / "gate.yaml")


@pytest.mark.parametrize("there", [True, False])
def test_each_fault_is_said_to_be_possible_or_what_it_lacks(capsys, monkeypatch, there):
    found = needs.Found(there, "/usr/bin/cc" if there else "there is no cc")
    monkeypatch.setitem(needs.NEEDS, "compiler", needs.Need("a C compiler", lambda: found, "apt-get install gcc"))
    monkeypatch.setattr(FAULTS["kill"], "needs", ("compiler",))
    code = main(["doctor", "--gate", GATE, "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["faults"].keys() == FAULTS.keys() and said["host"].keys() == needs.NEEDS.keys()
    assert said["faults"]["kill"]["applicable"] is there
    assert ("server-crash" in said["plan"]["experiments"]) is there
    assert code == (2 if said["plan"]["problems"] else 0) and (there or code == 2)
    main(["doctor", "--gate", GATE])
    text = capsys.readouterr().out
    assert ("kill          NOT-APPLICABLE: lacks compiler (there is no cc) → apt-get install gcc" in text) is not there


def test_a_plan_that_cannot_be_read_is_2_and_the_host_is_said_all_the_same(capsys, tmp_path):
    assert main(["doctor", "--gate", str(tmp_path / "gate.yaml")]) == 2
    text = capsys.readouterr().out
    assert "no such file" in text and "can be injected here" in text
