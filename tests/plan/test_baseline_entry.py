"""The baseline is in every gate, and an entry of gate.yaml takes its place."""

from pathlib import Path

import pytest
from five import with_five

from harness.errors import PlanError
from harness.plan.plan import load

ROOT = Path(__file__).parents[2]


@pytest.fixture
def planned(tmp_path):
    for name in ("model_server", "scenarios", "experiments"):
        (tmp_path / name).symlink_to(ROOT / name)

    def of(*entries, more=""):
        text = with_five((ROOT / "gate.yaml").read_text()).replace("- quiet ", "\n".join([*entries, "- quiet "]), 1)
        (tmp_path / "gate.yaml").write_text(text + more)
        return load(tmp_path / "gate.yaml")

    return of


def parts(plan):
    found = [check for check in plan.checks if check.kind.startswith("baseline_")]
    return len(found), {check.mode for check in found}


def test_it_is_in_every_gate_and_an_entry_takes_its_place(planned):
    every = planned()
    assert parts(every) == (13, {"fail"}), "figures and alerts of six phases, and the metrics"
    assert every.gate.history == ".harness/history.sqlite"
    assert parts(planned("- baseline: report", more="history: kept/runs.sqlite\n")) == (13, {"report"})
    assert parts(planned("- baseline: {mode: report, last: 30}")) == (13, {"report"})
    assert {c.last for c in planned("- baseline: {last: 30}").checks if c.kind == "baseline_alerts"} == {30}


WRONG = {
    "- baseline: reprot": "gate.yaml:11: checks[2].baseline.mode: input should be 'fail' or 'report'; got 'reprot'",
    "- baseline: {last: 3}": "checks[2].baseline.last: input should be greater than or equal to 5; got 3",
    "- baseline: {worst: 3}": "checks[2].baseline.worst: ",
    "- baseline: [report]": "checks[2].baseline: must be a mapping; got ['report']",
}


@pytest.mark.parametrize("entry", WRONG)
def test_a_mistake_is_named_with_its_line(planned, entry):
    with pytest.raises(PlanError) as refused:
        planned(entry)
    assert WRONG[entry] in str(refused.value), refused.value


def test_a_history_must_be_named(planned):
    with pytest.raises(PlanError, match=r"gate\.yaml:\d+: history: string should have at least 1 character"):
        planned(more="history: ''\n")


@pytest.mark.parametrize("name", ["postgresql://gate:secret@db/runs", "sqlite:///runs.sqlite", '"a\\nb"'])
def test_a_history_is_the_path_of_a_file(planned, name):
    with pytest.raises(
        PlanError, match=r"gate\.yaml:\d+: history: must be the path of a file, like \.harness"
    ) as refused:
        planned(more=f"history: {name}\n")
    assert "secret" not in str(refused.value)
