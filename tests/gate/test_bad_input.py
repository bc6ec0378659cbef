"""What the user got wrong is said in one clear line or list, with its exit code, and nothing is left running."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from small_project import leftovers

RULES, ROUTES = "service/monitoring/rules/service.yaml", "service/monitoring/alertmanager.yaml"


def told(project, *args, **env):
    """(exit code, what it said) of a command that must not leave anything running or break with a traceback."""
    done = project.harness(*args, timeout_s=60, **env)
    said = done.stdout + done.stderr
    assert "Traceback" not in said, said
    assert not leftovers(project.folder)
    return done.returncode, said


@pytest.fixture
def planned(project):
    project.plan(["sham"])
    return project


def test_rules_that_promtool_rejects(planned):
    planned.replace(RULES, "expr: vector(1)", "expr: vector(1")
    code, said = told(planned, "gate")
    assert code == 2 and "service.yaml" in said and "unclosed left parenthesis" in said, said


def test_routes_that_amtool_rejects(planned):
    planned.replace(ROUTES, "receiver: pagerduty", "receiver: nobody")
    code, said = told(planned, "gate")
    assert code == 2 and "alertmanager.yaml" in said and "nobody" in said, said


def test_several_mistakes_in_several_files_at_once(planned):
    planned.replace("gate.yaml", "45/s", "45")
    planned.replace("service/service.yaml", "/health/live", "http://live")
    code, said = told(planned, "gate")
    assert code == 2 and "2 problems" in said and "gate.yaml:" in said and "service.yaml:" in said, said


def test_no_plan_here(project):
    code, said = told(project, "gate")
    assert code == 2 and "gate.yaml: no such file" in said


def test_no_prometheus_to_be_had(planned):
    code, said = told(planned, "gate", PATH="/nowhere", HARNESS_TOOLS="")
    assert code == 70 and "prometheus" in said and "make tools" in said, said


def test_a_port_that_is_taken(planned):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = told(planned, "up", "--port", str(port))
    assert code == 2 and f"port {port} is taken" in said, said


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["check", "runs/nowhere"], "runs/nowhere"),
        (["load", "scenarios/steady.py"], "no stack is running here"),
        (["load", "scenarios/none.py"], "no scenario scenarios/none.py"),
        (["chaos", "experiments/sham.yaml"], "no stack is running here"),
        (["chaos", "experiments/none.yaml"], "no experiment experiments/none.yaml"),
        (["gate", "--only", "shame"], "did you mean sham"),
    ],
)
def test_what_is_not_there(planned, args, says):
    code, said = told(planned, *args)
    assert code == 2 and says in said, said


@pytest.mark.gate
@pytest.mark.calm
def test_up_load_and_chaos_work_together_and_ctrl_c_ends_them(project):
    project.plan(["sham"])
    up = subprocess.Popen(
        [sys.executable, "-m", "harness.cli", "up"], cwd=project.folder, stdout=subprocess.PIPE, text=True
    )
    try:
        said = ""
        while "Ctrl-C" not in said:
            line = up.stdout.readline()
            assert line, "up ended"
            said += line
        second = project.harness("up")
        assert second.returncode == 2 and "a stack is up here already" in second.stderr
        load = project.harness("load", "scenarios/steady.py", "--for", "4s", "--arrivals", "constant:40/s")
        believed = load.returncode == 0 or "sent late" in load.stdout  # on a busy machine it may not be
        assert believed and "160 requests" in load.stdout, load.stdout + load.stderr
        bad = project.harness("load", "scenarios/steady.py", "--for", "4")
        assert bad.returncode == 2 and "must be a duration with its unit" in bad.stderr
        both = project.harness(
            "load", "scenarios/steady.py", "--for", "2s", "--arrivals", "constant:40/s", "--processes", "2"
        )
        assert (both.returncode == 0 or "late" in both.stdout) and "80 requests" in both.stdout, (
            both.stdout + both.stderr
        )
        capacity = project.harness("capacity", "scenarios/steady.py", "--from", "60/s", "--most", "60/s", "--for", "4s")
        assert capacity.returncode == 3, capacity.stdout + capacity.stderr  # nothing broke: the capacity lies beyond
        assert "every SLO is kept at 60/s, the highest rate allowed" in capacity.stdout or "late" in capacity.stdout
        bad = project.harness("capacity", "scenarios/steady.py", "--from", "60", "--precision", "0")
        assert bad.returncode == 2 and "--from must be a rate above 0 with its unit, like 60/s" in bad.stderr
        chaos = project.harness("chaos", "experiments/sham.yaml")
        believed = chaos.returncode == 0 or "late" in chaos.stdout
        assert believed and "sham: injected" in chaos.stdout, chaos.stdout + chaos.stderr
    finally:
        os.kill(up.pid, signal.SIGINT)
        assert up.wait(30) == 130
    time.sleep(0.1)
    assert not leftovers(project.folder) and not (project.folder / "runs/up").exists()
