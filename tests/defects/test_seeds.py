"""Seeds in a project: what each kind changes, and that the project's own files stay as they are."""

import pytest
import yaml
from defect import Gate, Patch, Seed, Setting
from seeds import apply, planned, source
from small_project import ROOT

RULES = "service/monitoring/rules/storage.yaml"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with a seed of each kind."""
    seeds = [
        Seed(patch=(Patch(file=RULES, find="< 1e9", replace="< 1e3"),)),
        Seed(patch=(Patch(file="model_server/http/bodies.py", find="TIMEOUT = ", replace="NO_TIMEOUT = "),)),
        Seed(
            patch=(
                Patch(
                    file="experiments/new.yaml", copy_of="experiments/sham.yaml", find="func: sham", replace="func: x"
                ),
            )
        ),
        Seed(set=(Setting(file="service/service.yaml", path=("probes", "startup", "failureThreshold"), value=3),)),
        Seed(server="uncounted-5xx"),
        Seed(server="slow-inference"),
    ]
    gate = Gate(experiments=("sham",), for_s=9, arrivals={"constant": "20/s"})
    return planned(tmp_path_factory.mktemp("project"), gate, seeds, starved="9s")


def test_each_seed_is_in_the_project_and_nowhere_else(project):
    for file, text in ((RULES, "< 1e3"), ("model_server/http/bodies.py", "NO_TIMEOUT = ")):
        assert text in (project.folder / file).read_text() and text not in source(file).read_text()
    assert "func: x" in (project.folder / "experiments/new.yaml").read_text()
    assert "func: sham" in (project.folder / "experiments/sham.yaml").read_text()
    assert not (project.folder / "harness").exists(), "only what is patched is copied"
    service = yaml.safe_load((project.folder / "service/service.yaml").read_text())
    assert service["probes"]["startup"]["failureThreshold"] == 3
    assert "seeded_server.py uncounted-5xx,slow-inference --port {port}" in service["start"]["command"]


def test_the_plan_is_that_of_the_gate(project):
    plan = yaml.safe_load((project.folder / "gate.yaml").read_text())
    assert plan["load"]["arrivals"] == {"constant": "20/s"} and plan["load"]["for"] == "9s"
    assert plan["experiments"] == ["sham"] and plan["generator"]["starved"] == "9s"
    groups = yaml.safe_load((project.folder / RULES).read_text())["groups"]
    assert [group["name"] for group in groups] == ["storage"], "those that look back for days are left out"


def test_text_that_is_not_there_once_is_an_error_with_the_file(project):
    for find in ("no such text", "service"):
        with pytest.raises(AssertionError, match=r"service\.yaml has \d+ times"):
            apply(project, [Seed(patch=(Patch(file="service/service.yaml", find=find, replace="x"),))])


def test_a_name_in_the_project_is_that_of_a_file_here():
    assert source("service/service.yaml") == ROOT / "model_server/service.yaml"
    assert source("harness/history.py") == ROOT / "harness/history.py"
