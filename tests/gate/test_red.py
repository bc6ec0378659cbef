"""The gate goes red: defects sown into the service, its monitoring, the experiment and the generator, each found for
the right reason by the whole gate with its real parts; and without them the same gate passes."""

import dataclasses
import sys
import urllib.request

import pytest
from small_project import HERE, leftovers

from harness.checks import Latency
from harness.checks.judging import judged
from harness.history import History
from harness.verdict import Verdict

pytestmark = [pytest.mark.gate, pytest.mark.timeout(280, func_only=True)]

SEEDED = f"{sys.executable} {HERE}/seeded_server.py"
STARTED_BY = "{python} -m model_server --port"
RULES, ROUTES = "service/monitoring/rules/service.yaml", "service/monitoring/alertmanager.yaml"


# A defect must be found on a machine that is busy with something else, too: there a late generator is no excuse here.
BUSY = {"starved": "9s", "neighbours": 1, "repeats": 0, "patience": "0s"}


@pytest.mark.calm
@pytest.mark.timeout(500, func_only=True)
def test_without_a_defect_the_gate_passes_and_its_run_can_be_judged_again(whole_project, pushgateway):
    project = whole_project
    project.plan(["server-crash", "overload"])
    done = project.harness("gate", "--push-to", pushgateway, timeout_s=480, background=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("PASS") and not leftovers(project.folder)
    told = urllib.request.urlopen(f"{pushgateway}/metrics").read().decode()
    assert 'service="pneumonia-detector",verdict="pass"} 1' in told, told
    first = (project.run / "results.json").read_bytes()
    assert (project.run / "seal.json").exists()
    again = project.harness("check", str(project.run))
    assert again.returncode == 0 and (project.run / "results.json").read_bytes() == first


def test_defects_of_one_experiment_are_each_named_and_another_without_a_fault_is_inconclusive(project):
    """Under overload: a threshold times 1000, readiness hard-wired to 200, and 5xx that nobody counts. Beside it an
    experiment whose action silently does nothing."""
    silent = (project.folder / "experiments/server-crash.yaml").read_text()
    silent = silent.replace("harness.chaos.actions, func: kill", "silent_actions, func: kill")
    (project.folder / "experiments/silent-crash.yaml").write_text(silent)
    project.plan(["silent-crash", "overload"], **BUSY)
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
    silent = {key: r for key, r in found.items() if key[1].startswith("silent-crash")}
    assert {r["verdict"] for r in silent.values()} == {"INCONCLUSIVE"}, "whatever was seen, it proves nothing"
    injected = silent["injected", "silent-crash: injected"]
    assert injected["verdict"] == "INCONCLUSIVE" and "witness" in injected["reason"]
    assert silent["alert_fires", "silent-crash: ServiceDown"]["verdict"] == "INCONCLUSIVE"


def test_a_misrouted_alert_and_a_missing_resolved_notification_are_each_named(project):
    """A route placed too early leads one alert to another receiver; the right receiver never hears of an end."""
    project.plan(["server-crash"], **BUSY)
    first = "    - matchers: [severity = critical]\n"
    early = "    - matchers: [alertname = AvailabilityBurn1h]\n      receiver: slack-alerts\n"
    project.replace(ROUTES, first, early + first)
    project.replace(ROUTES, "send_resolved: true", "send_resolved: false")
    done = project.harness("gate", "--push-to", "http://127.0.0.1:9")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "127.0.0.1:9 does not take the metrics" in done.stderr and "harness push gate runs/" in done.stderr
    found = project.results()
    misrouted = found["alert_delivered", "server-crash: AvailabilityBurn1h to pagerduty"]
    assert misrouted["verdict"] == "FAIL" and "slack-alerts" in misrouted["reason"]
    assert misrouted["status"] == "MISROUTED"
    unresolved = found["alert_delivered", "server-crash: ServiceDown to pagerduty"]
    assert unresolved["verdict"] == "FAIL" and "send_resolved" in unresolved["reason"] + unresolved["remedy"]


def test_600_ms_added_to_inference_break_the_latency_slo(project):
    project.plan(**BUSY)
    project.replace("service/service.yaml", STARTED_BY, f"{SEEDED} slow-inference --port")
    done = project.harness("gate")
    assert done.returncode == 1, done.stdout + done.stderr
    latency = project.results()["latency", "steady: latency p95"]
    assert latency["verdict"] == "FAIL" and latency["measured"] > 600
    crowded = dataclasses.replace(History.read(project.run), events=_crowded(project))
    again = judged(Latency("steady", 95, 500), crowded)
    assert again.verdict is Verdict.INCONCLUSIVE and "in steady other processes had" in again.reason
    assert "generator.neighbours" in again.remedy


def _crowded(project):
    """The events of the run, had others used what was idle of the processors."""
    events = []
    for e in History.read(project.run).events:
        detail = dict(e.detail)
        if e.name == "phase":
            cpu = detail["cpu"]  # which the gate noted at each edge
            detail["cpu"] = {**cpu, "busy": cpu["busy"] + cpu["idle"], "idle": 0}
        if e.name == "started" and e.source == "run":
            detail["neighbours"] = 0.2
        events.append(e._replace(detail=detail))
    return events


def test_a_server_that_keeps_dying_is_an_error_that_quotes_it_and_leaves_nothing(project):
    project.plan()
    project.replace("service/service.yaml", STARTED_BY, f"{sys.executable} -c 'raise SystemExit(9)' --port")
    done = project.harness("gate")
    assert done.returncode == 70 and "server exited with 9" in done.stderr, done.stderr
    assert not leftovers(project.folder)
    assert History.read(project.run).of("run", "started")
