"""The gate goes red: defects sown into the service, its monitoring, the experiment and the generator, each found for
the right reason by the whole gate with its real parts; and without them the same gate passes."""

import os
import subprocess
import sys
import urllib.request

import pytest
from small_project import HERE, leftovers

from harness.history import History

pytestmark = [pytest.mark.gate, pytest.mark.timeout(280, func_only=True)]

SEEDED = f"{sys.executable} {HERE}/seeded_server.py"
STARTED_BY = "python -m model_server --port"
RULES, ROUTES = "service/monitoring/rules/service.yaml", "service/monitoring/alertmanager.yaml"


# A defect must be found on a machine that is busy with something else, too: there a late generator is no excuse here.
BUSY = {"starved": "9s", "neighbours": 1, "repeats": 0, "patience": "0s"}


def verdicts(project):
    return {key: r["verdict"] for key, r in project.results().items() if r["verdict"] != "PASS"}


@pytest.mark.calm
@pytest.mark.timeout(500, func_only=True)
def test_without_a_defect_the_gate_passes_and_its_run_can_be_judged_again(whole_project, pushgateway):
    project = whole_project
    project.plan(["server-crash", "overload"])
    done = project.harness("gate", "--push-to", pushgateway, timeout_s=480)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("PASS") and not leftovers(project.folder)
    told = urllib.request.urlopen(f"{pushgateway}/metrics").read().decode()
    assert 'service="pneumonia-detector",verdict="pass"} 1' in told, told
    first = (project.run / "results.json").read_bytes()
    again = project.harness("check", str(project.run))
    assert again.returncode == 0 and (project.run / "results.json").read_bytes() == first


def test_three_defects_under_overload_are_each_named(project):
    """A threshold times 1000, readiness hard-wired to 200, and 5xx that nobody counts."""
    project.plan(["overload"], **BUSY)
    project.replace(RULES, "[2m])) > 5", "[2m])) > 5000")
    project.replace("service/service.yaml", STARTED_BY, f"{SEEDED} ready-hard-wired,uncounted-5xx --port")
    done = project.harness("gate")
    assert done.returncode == 1, done.stdout + done.stderr
    found = project.results()
    for subject in ("overload: QueueShedding", "overload: HighErrorRate"):
        assert found["alert_fires", subject]["verdict"] == "FAIL"
        assert "never fired" in found["alert_fires", subject]["reason"]
    probes = found["probes", "overload: probes"]
    assert probes["verdict"] == "FAIL" and "traffic" in probes["reason"]
    assert found["injected", "overload: injected"]["verdict"] == "PASS"


def test_a_renamed_receiver_is_misrouting(project):
    project.plan(["server-crash"], **BUSY)
    project.replace(ROUTES, "pagerduty", "pager-duty")
    project.replace(ROUTES, "pager-duty_", "pagerduty_")  # the kind of receiver keeps its name
    done = project.harness("gate", "--push-to", "http://127.0.0.1:9")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "127.0.0.1:9 does not take the metrics" in done.stderr and "harness push gate runs/" in done.stderr
    found = project.results()
    delivered = found["alert_delivered", "server-crash: ServiceDown to pagerduty"]
    assert delivered["verdict"] == "FAIL" and "pager-duty" in delivered["reason"]


def test_a_resolved_notification_that_never_comes_is_missed(project):
    project.plan(["server-crash"], **BUSY)
    project.replace(ROUTES, "send_resolved: true", "send_resolved: false")
    done = project.harness("gate")
    assert done.returncode == 1, done.stdout + done.stderr
    delivered = project.results()["alert_delivered", "server-crash: ServiceDown to pagerduty"]
    assert delivered["verdict"] == "FAIL" and "send_resolved" in delivered["reason"] + delivered["remedy"]


def test_600_ms_added_to_inference_break_the_latency_slo(project):
    project.plan(**BUSY)
    project.replace("service/service.yaml", STARTED_BY, f"{SEEDED} slow-inference --port")
    done = project.harness("gate")
    assert done.returncode == 1, done.stdout + done.stderr
    latency = project.results()["latency", "steady: latency p95"]
    assert latency["verdict"] == "FAIL" and latency["measured"] > 600


@pytest.mark.calm  # for they would have the processors of what is tested beside this
def test_what_is_slow_while_others_have_the_processors_is_inconclusive(project):
    project.plan(**BUSY | {"neighbours": 0.2})
    project.replace("service/service.yaml", STARTED_BY, f"{SEEDED} slow-inference --port")
    spin = "import time\nend = time.monotonic() + 250\nwhile time.monotonic() < end: pass"
    neighbours = [subprocess.Popen([sys.executable, "-c", spin]) for _ in os.sched_getaffinity(0)]
    try:
        done = project.harness("gate")
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()
    assert done.returncode == 3, done.stdout + done.stderr
    latency = project.results()["latency", "steady: latency p95"]
    assert latency["verdict"] == "INCONCLUSIVE" and latency["measured"] > 600
    assert "in steady other processes had" in latency["reason"] and "generator.neighbours" in latency["remedy"]


@pytest.mark.calm
def test_a_fault_whose_action_silently_does_nothing_is_inconclusive(project):
    project.plan(["server-crash"])
    project.replace("experiments/server-crash.yaml", "harness.chaos.actions, func: kill", "silent_actions, func: kill")
    done = project.harness("gate")
    assert done.returncode == 3, done.stdout + done.stderr
    assert set(verdicts(project).values()) == {"INCONCLUSIVE"}
    assert ("injected", "server-crash: injected") in verdicts(project)
    assert "witness" in project.results()["injected", "server-crash: injected"]["reason"]


@pytest.mark.calm
def test_a_generator_that_cannot_keep_its_schedule_is_inconclusive(project):
    project.plan(scenario="scenarios/blocked.py", checks=["quiet"], repeats=0, patience="0s")
    (project.folder / "scenarios/blocked.py").write_text((HERE / "blocked_generator.py").read_text())
    done = project.harness("gate")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "late" in project.results()["recorded", "the record"]["reason"]


def test_a_server_that_keeps_dying_is_an_error_that_quotes_it_and_leaves_nothing(project):
    project.plan()
    project.replace("service/service.yaml", STARTED_BY, f"{sys.executable} -c 'raise SystemExit(9)' --port")
    done = project.harness("gate")
    assert done.returncode == 70 and "server exited with 9" in done.stderr, done.stderr
    assert not leftovers(project.folder)
    assert History.read(project.run).of("run", "started")
