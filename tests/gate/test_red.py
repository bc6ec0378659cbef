"""The gate goes red: defects of tests/defects, each found for the right reason by the whole gate with its real parts,
or in the edited record of a good one; and without them the same gate passes."""

import dataclasses
import os
import urllib.request
from concurrent.futures import ProcessPoolExecutor

import pytest
from defect import read_all, union
from measure import finding
from seeds import GOOD_RUN, edited, planned, run
from small_project import leftovers

from harness.checks import Latency
from harness.checks.judging import judged
from harness.history import History
from harness.verdict import Verdict

pytestmark = [pytest.mark.gate, pytest.mark.timeout(280, func_only=True)]

SEEN, UNSEEN = read_all()
DEFECTS = {defect.name: defect for defect in SEEN}
EDITED = [defect for defect in (*SEEN, *UNSEEN) if defect.record and not defect.awaits]
PLAN = GOOD_RUN.model_copy(update={"every_rule": False})  # `make power` judges with the rules that look back for days
GOOD = []  # the run of the good gate


@pytest.mark.calm
@pytest.mark.timeout(500, func_only=True)
def test_without_a_defect_the_gate_passes_and_its_run_can_be_judged_again(tmp_path_factory, pushgateway):
    project = planned(tmp_path_factory.mktemp("good"), PLAN)
    done = project.harness("gate", "--push-to", pushgateway, timeout_s=480, background=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("PASS") and not leftovers(project.folder)
    told = urllib.request.urlopen(f"{pushgateway}/metrics").read().decode()
    assert 'service="pneumonia-detector",verdict="pass"} 1' in told, told
    first = (project.run / "results.json").read_bytes()
    assert (project.run / "seal.json").exists()
    again = project.harness("check", str(project.run))
    assert again.returncode == 0 and (project.run / "results.json").read_bytes() == first
    GOOD.append(project.run)


@pytest.fixture(scope="module")
def good_run(tmp_path_factory):
    """The run of the test before, or another one where that did not run."""
    if not GOOD:
        project = planned(tmp_path_factory.mktemp("good"), PLAN)
        done = project.harness("gate", timeout_s=480)
        assert done.returncode == 0, done.stdout + done.stderr
        GOOD.append(project.run)
    return GOOD[0]


@pytest.fixture(scope="module")
def judged_edits(request, good_run, tmp_path_factory):
    """What comes of each edit that a test of this session is about, by its name. As many as there are processors are
    judged at once: a stored run is judged alike however busy the machine is."""
    folder = tmp_path_factory.mktemp("edited")
    about = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    asked = dict.fromkeys(params["defect"].record for params in about if "defect" in params)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        yield {edit: pool.submit(edited, good_run, edit, folder / edit) for edit in asked}
        pool.shutdown(cancel_futures=True)


@pytest.mark.calm
@pytest.mark.timeout(500)
@pytest.mark.parametrize("defect", EDITED, ids=lambda d: d.name)
def test_the_edited_record_of_a_good_run_is_red_for_the_right_reason(defect, judged_edits):
    found = finding(defect, judged_edits[defect.record].result())
    assert not found.seen if defect.unseen else found.right, (found.missing, found.instead)


@pytest.mark.calm
def test_slow_answers_beside_others_that_use_the_processors_prove_nothing_of_the_service(good_run, tmp_path):
    assert edited(good_run, "answers-slow", tmp_path / "run").exit_code == 1
    history = History.read(tmp_path / "run")
    assert judged(Latency("steady", 95, 500), history).verdict is Verdict.FAIL
    again = judged(Latency("steady", 95, 500), dataclasses.replace(history, events=_crowded(history)))
    assert again.verdict is Verdict.INCONCLUSIVE and "in steady other processes had" in again.reason
    assert "generator.neighbours" in again.remedy


def _crowded(history):
    """The events of the run, had others used what was idle of the processors."""
    events = []
    for e in history.events:
        detail = dict(e.detail)
        if e.name == "phase":
            cpu = detail["cpu"]  # which the gate noted at each edge
            detail["cpu"] = {**cpu, "busy": cpu["busy"] + cpu["idle"], "idle": 0}
        if e.name == "started" and e.source == "run":
            detail["neighbours"] = 0.2
        events.append(e._replace(detail=detail))
    return events


def gate(folder, names, *args):
    """The project and the outcome of a gate with these defects, each of which must be found for the right reason."""
    defects = [DEFECTS[name] for name in names]
    plan = defects[0].gate
    for defect in defects[1:]:
        plan = union(plan, defect.gate)
    project, outcome = run(folder, plan, defects, *args)
    for defect in defects:
        found = finding(defect, outcome, [other for other in defects if other is not defect])
        assert found.right, (defect.name, found.missing, found.instead, outcome.said)
    assert not leftovers(project.folder)
    return project, outcome


def test_defects_of_rules_routes_probes_telemetry_and_an_action_are_each_named(tmp_path):
    names = (
        "silent-action", "threshold-times-1000", "ready-hard-wired", "uncounted-5xx", "misrouted-alert",
        "resolved-never-sent-to-the-pager",
    )  # fmt: skip
    _, outcome = gate(tmp_path, names, "--push-to", "http://127.0.0.1:9")
    assert outcome.exit_code == 1
    assert "127.0.0.1:9 does not take the metrics" in outcome.said and "harness push gate runs/" in outcome.said
    results = {(r["check"], r["subject"]): r for r in outcome.results}
    assert results["injected", "overload: injected"]["verdict"] == "PASS"


def test_a_server_that_keeps_dying_is_an_error_that_quotes_it_and_leaves_nothing(tmp_path):
    project, _ = gate(tmp_path, ["server-keeps-dying"])
    assert History.read(project.run).of("run", "started")
