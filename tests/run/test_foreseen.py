"""What an earlier run shows of the rules before the next one begins."""

from types import SimpleNamespace

import pytest
import stored_run

from harness.checks import RuleData
from harness.checks.view import Read
from harness.run.foreseen import foreseen

SERVICE = "by-hand"  # of the stored run


def planned(metric: str, service: str = SERVICE):
    read = Read("rules.yaml:7", "Down", metric, metric, ())
    return SimpleNamespace(checks=(RuleData((read,), ""),), service=SimpleNamespace(name=service))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs, the later of which was cut off."""
    folder = tmp_path_factory.mktemp("runs")
    stored_run.write(folder / "20270115T080000Z-aaaa")
    stored_run.write(folder / "20270115T090000Z-bbbb", ended=False, sealed=False)
    return folder


def test_a_rule_that_can_match_nothing_is_named_before_the_run(runs):
    (line,) = foreseen(planned("ups"), runs)
    assert line.startswith("rules.yaml:7: in the series of the run before, 20270115T080000Z-aaaa, ")
    assert "did you mean up?" in line


def test_nothing_is_said_of_rules_that_match_or_without_such_a_run(runs, tmp_path):
    assert [*foreseen(planned("up"), runs)] == []
    assert [*foreseen(planned("ups", "another"), runs)] == []
    assert [*foreseen(planned("ups"), tmp_path)] == []
    (tmp_path / "20270115T080000Z-cccc").mkdir()
    (tmp_path / "20270115T080000Z-cccc/events.jsonl").write_text("{")
    assert [*foreseen(planned("ups"), tmp_path)] == []
