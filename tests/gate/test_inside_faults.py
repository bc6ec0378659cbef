"""A fault inside the server's process in a whole gate: the service is started for it, and for nothing after it."""

import pytest
from small_project import leftovers

from harness.history import History

pytestmark = [pytest.mark.gate, pytest.mark.timeout(280, func_only=True)]


def test_a_stalled_event_loop_is_found_by_liveness_and_what_takes_its_place_is_started_alike(project):
    patient = {"starved": "9s", "neighbours": 1, "repeats": 0, "patience": "0s"}
    project.plan(["loop-stalled"], checks=["contracts"], for_s=3, **patient)
    done = project.harness("gate")
    assert done.returncode in (0, 1, 3), done.stdout + done.stderr
    history, results = History.read(project.run), project.results()
    planned = [(e.detail["edge"], e.outcome, e.detail["problem"]) for e in history.of("run", "planned-start")]
    assert planned == [("begin", "ok", "")], "no experiment follows that wants it as before"
    starts = [e.detail.get("added") for e in history.of("stack", "start")]
    assert starts == [None, ["PYTHONPATH"], ["PYTHONPATH"]]
    window = history.phase("loop-stalled")
    restarts = [e.at for e in history.of("stack", "restart") if e.detail["component"] == "server"]
    assert [window.start <= at <= window.end for at in restarts] == [False]
    assert [e.detail["cause"] for e in history.of("probe", "restart")] == ["liveness"]
    [witness] = [e.detail["evidence"] for e in history.of("fault", "inside") if e.detail["edge"] == "witness"]
    assert "event loops stalled: 1" in witness
    for subject in (("injected", "loop-stalled: injected"), ("probes", "loop-stalled: probes"), ("starts", "start-up")):
        assert results[subject]["verdict"] == "PASS", results[subject]
    assert "1 fault witnessed" in results["injected", "loop-stalled: injected"]["reason"]
    assert "1 start" in results["starts", "start-up"]["reason"], "the one that was as service.yaml says"
    assert not leftovers(project.folder)
