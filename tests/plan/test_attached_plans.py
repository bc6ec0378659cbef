"""Plans for a service that runs already: what its control cannot do is said when the plan is read."""

import shutil
from pathlib import Path

import pytest
import yaml

from harness.errors import PlanError
from harness.plan import plan as planning

EXAMPLE = Path(__file__).parents[2] / "docs/examples/container"
OBSERVED = {"control": "none"}


@pytest.fixture
def project(tmp_path, monkeypatch):
    shutil.copytree(EXAMPLE, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "DOCKER_HOST"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def load(project, gate=None, only=(), allow_faults=False, **service):
    """The plan with these keys in service.yaml and gate.yaml; None leaves one out."""
    for name, changes in (("service.yaml", service), ("gate.yaml", gate or {})):
        content = {**yaml.safe_load((project / name).read_text()), **changes}
        (project / name).write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))
    return planning.load(project / "gate.yaml", only=only, allow_faults=allow_faults)


def action(project, func, **arguments):
    """An experiment `tried` that does one thing."""
    content = yaml.safe_load((project / "experiments/sham.yaml").read_text())
    content["method"][0]["provider"] |= {"func": func, "arguments": arguments}
    (project / "experiments/tried.yaml").write_text(yaml.safe_dump(content))
    return {"experiments": ["tried"]}


def problems(project, *given, **changes):
    with pytest.raises(PlanError) as refused:
        load(project, *given, **changes)
    return refused.value.problems


def test_what_is_only_observed_is_refused_experiment_by_experiment(project):
    found = problems(project, **OBSERVED)
    assert len(found) == 2
    assert "experiments/crash.yaml:14" in found[0] and "kill has to kill server, and it is only observed" in found[0]
    assert "give it control: `pid_file`, `container`, `compose` or `kubernetes`, or leave it out" in found[0]
    assert "experiments/hang.yaml:14" in found[1] and "pause has to pause server" in found[1]


def test_what_takes_no_control_is_not(project):
    plan = load(project, {"experiments": ["sham", "scrape-lost"], "blast_radius": None}, **OBSERVED)
    assert plan.links == ("scrape",)
    kinds = {check.kind for check in plan.checks}
    assert "starts" not in kinds and [c.subject for c in plan.checks if c.kind == "growth_of"] == [
        "steady: growth of series"
    ]


SURGE = {"scenario": "shoppers.py", "arrivals": "poisson:90/s:seed=1", "for_s": 2, "witness_query": "vector(1)"}
PID_FILE = {"pid_file": "shop.pid"}
RESTARTED = {**PID_FILE, "restarted_by": "systemd"}
CONTAINER = {"container": "shop"}
CLUSTER = {"kubernetes": {"namespace": "shop", "selector": "app=shop", "context": "staging"}}
COULD = {
    "pods that are deleted": (CLUSTER, "kill", {"times": 2}),
    "pods that are asked to end": (CLUSTER, "stop", {}),
    "no pods": (CLUSTER, "scale", {"replicas": 0}),
    "a surge": ("none", "surge", SURGE),
    "the clients' link": ("none", "network", {"link": "clients", "toxic": "down"}),
    "a pause": (PID_FILE, "pause", {}),
    "a kill": (RESTARTED, "kill", {}),
    "a child": (PID_FILE, "kill", {"child": True}),
    "processor time": (PID_FILE, "cpu_limit", {"cores": 0.1}),
    "descriptors": (PID_FILE, "descriptor_limit", {}),
    "memory": (PID_FILE, "memory_full", {"filled": 0.9}),
    "a container that stays down": (CONTAINER, "kill", {}),
    "a container's limits": (CONTAINER, "cpu_limit", {"cores": 0.1}),
    "a restart": ({**CONTAINER, "restarted_by": "harness"}, "rollout", {}),
    "a stop": (CONTAINER, "stop", {}),
    "what watches it": ("none", "kill", {"component": "prometheus"}),
    "a receiver": ("none", "receiver_failing", {"integration": "pagerduty"}),
}
CANNOT = {
    "pods do not pause": (CLUSTER, "pause", {}, "give it control: `pid_file`, `container` or `compose`, or leave"),
    "a container is one": (CONTAINER, "scale", {"replicas": 0}, "change the number of pods of server"),
    "how would it show": (CLUSTER, "scale", {"replicas": 1}, "witness_query: is missing"),
    "nobody starts it again": (PID_FILE, "kill", {}, "nobody is said to start it again; say restarted_by"),
    "nor after a stop": (PID_FILE, "stop", {}, "nobody is said to start it again"),
    "nor where memory is short": (PID_FILE, "memory_full", {"filled": 1.5}, "nobody is said to start it again"),
    "again and again": (CONTAINER, "kill", {"times": 3}, "waits for server to be started anew; say restarted_by"),
    "a child in a container": (
        CONTAINER, "kill", {"child": True}, "processes of server on this machine, and its control is container",
    ),
    "memory of a container": (CONTAINER, "memory_full", {"filled": 0.9}, "give it control: `pid_file`"),
    "its files": (
        CONTAINER, "file", {"path": "x", "becomes": "missing", "witness_query": "up"}, "have the harness start it",
    ),
    "its start": (RESTARTED, "rollout", {"environment": {"A": "b"}}, "have the harness start it"),
    "a restart by somebody else": (CONTAINER, "rollout", {}, "say `restarted_by: harness` in its control"),
    "a link that it has not": ("none", "network", {"link": "collector", "toxic": "down"}, "no link collector"),
}  # fmt: skip


@pytest.mark.parametrize(("control", "func", "arguments"), COULD.values(), ids=COULD)
def test_what_a_control_can_do(control, func, arguments, project):
    load(project, action(project, func, **arguments), control=control)


@pytest.mark.parametrize(("control", "func", "arguments", "says"), CANNOT.values(), ids=CANNOT)
def test_what_a_control_cannot_do(control, func, arguments, says, project):
    assert says in "\n".join(problems(project, action(project, func, **arguments), control=control))


def test_a_contract_that_has_it_started_anew(project):
    content = yaml.safe_load((project / "experiments/sham.yaml").read_text())
    content["extensions"][0]["expect"]["start"] = {"environment": {"SLOW": "1"}}
    (project / "experiments/tried.yaml").write_text(yaml.safe_dump(content))
    assert "this service runs already: leave it out" in problems(project, {"experiments": ["tried"]})[0]


def test_what_somebody_else_runs_is_not_broken_without_leave(project):
    found = problems(project, {"blast_radius": None})
    assert [one.partition(":")[0] for one in found] == ["experiments/crash.yaml", "experiments/hang.yaml"]
    assert "say --allow-faults, or `blast_radius: [127.0.0.1]` in gate.yaml" in found[0]
    load(project, allow_faults=True)
    assert "surge" in problems(project, action(project, "surge", **SURGE))[0]
    load(project, {"blast_radius": ["127.0.0.1"]})


def test_a_dependency_that_is_there_already(project):
    """It may be broken where somebody says so, also beside a service that the harness starts."""
    dependency = {"address": "127.0.0.1:5432", "control": CONTAINER}
    gate = {**action(project, "kill", component="database"), "blast_radius": None}
    started = {"url": None, "control": None, "start": {"command": "serve --port {port}"}}
    (found,) = problems(project, gate, dependencies={"database": dependency}, **started)
    assert found.startswith(
        "experiments/tried.yaml: kill: breaks what the harness did not start; if it may, say --allow"
    )
    load(project, {"blast_radius": ["127.0.0.1"]})
    (found,) = problems(project, dependencies={"database": {"address": "127.0.0.1:5432"}})
    assert "no component is called database" in found
    harness = {**dependency, "control": {**CONTAINER, "restarted_by": "harness"}}
    assert "which a dependency has none of" in problems(project, dependencies={"database": harness})[0]
    assert (
        "database"
        in problems(
            project,
            action(project, "pause", component="database"),
            dependencies={"database": {**dependency, "control": CLUSTER}},
        )[0]
    )


def test_a_search_for_its_capacity_overloads_it(project):
    load(project, {"experiments": ["sham"], "blast_radius": None})
    with pytest.raises(PlanError, match=r"gate\.yaml: loads a service .* more than it can serve; if it may, say"):
        planning.load(project / "gate.yaml", overloads=True)
    planning.load(project / "gate.yaml", overloads=True, allow_faults=True)


@pytest.mark.parametrize("allowed", [True, False])
def test_another_machine_is_loaded_only_where_the_plan_names_it(allowed, project):
    elsewhere = {"url": "https://shop.example.org", "control": "none"}
    quiet = {"experiments": ["sham"], "blast_radius": ["127.0.0.1"]}
    (found,) = problems(project, quiet, allow_faults=allowed, **elsewhere)
    assert "shop.example.org is not this machine" in found and "`blast_radius: [shop.example.org]`" in found
    plan = load(project, {"blast_radius": ["*.example.org"]})
    assert plan.service.requests.scheme == plan.service.metrics.scheme == "https"


def test_each_address_must_be_named(project):
    names = [f"http://10.0.0.{i}:8080" for i in (1, 2)]
    probes = {"server-1": {"restart": "never"}, "server-2": {"restart": "never"}}
    content = yaml.safe_load((project / "experiments/sham.yaml").read_text())
    content["extensions"][0]["expect"]["probes"] = probes
    (project / "experiments/sham.yaml").write_text(yaml.safe_dump(content))
    gate = {"experiments": ["sham"], "blast_radius": ["10.0.0.1"]}
    (found,) = problems(project, gate, url=None, control=None, instances=names)
    assert "10.0.0.2 is not this machine" in found
    plan = load(project, {"blast_radius": ["10.0.0.1", "10.0.0.2"]})
    assert plan.service.replica_names == ("server-1", "server-2")


@pytest.mark.parametrize("name", ["http://shop", "shop:80", "shop/x", "*", ""])
def test_what_is_no_host_to_name(name, project):
    assert "blast_radius[0]" in problems(project, {"blast_radius": [name]})[0]


MISTAKES = {
    "two places": ({"start": {"command": "serve {port}"}}, "either a start command, or the url or instances"),
    "no place": ({"url": None, "control": None}, "either a start command, or the url or instances"),
    "a control of what is started": (
        {"url": None, "start": {"command": "serve {port}"}}, "control is of what runs already",
    ),
    "a user": ({"url": "http://kim:secret@127.0.0.1"}, "url: must hold no user and no password"),
    "another scheme": ({"requests": {"scheme": "https"}}, "requests.scheme is https, and the url says http"),
    "another scheme of metrics": ({"metrics": {"scheme": "https"}}, "metrics.scheme is https"),
    "no replicas are started": ({"replicas": 3}, "replicas is 3, and 1 are named; leave it out"),
    "the same twice": ({"url": None, "control": None, "instances": 2 * ["http://127.0.0.1:1"]}, "must differ"),
    "a path of an instance": (
        {"url": None, "control": None, "instances": ["http://127.0.0.1:1/api"]}, "instances[0].url: must hold no path",
    ),
    "a control of all": ({"instances": ["http://127.0.0.1:1"]}, "control is that of each instance"),
    "two controls": ({"control": {**PID_FILE, **CONTAINER}}, "one of pid_file, container, compose and"),
    "pods by whom": (
        {"control": {**CLUSTER, "restarted_by": "harness"}}, "pods are made anew by their controller",
    ),
    "no context": (
        {"control": {"kubernetes": {"namespace": "x", "selector": "a=b"}}}, "control.kubernetes.context: is missing",
    ),
    "an engine alone": ({"control": {"engine": "unix://x"}}, "an engine goes with"),
    "nobody ends it": ({"control": {"restarted_by": "systemd"}}, "restarted_by goes with pid_file"),
    "how would it be started": ({"control": {**PID_FILE, "restarted_by": "harness"}}, "name who starts it again"),
    "an engine elsewhere": ({"control": {**CONTAINER, "engine": "tcp://10.0.0.1:2375"}}, "no engine of this machine"),
    "no kind of engine": ({"control": {**CONTAINER, "engine": "ssh://me@host"}}, "no engine of this machine"),
    "a compose file alone": ({"control": {"compose": "x.yaml"}}, "compose, a file, and service"),
    "a file that is not there": ({"control": {"compose": "x.yaml", "service": "shop"}}, "compose: no such file"),
    "a word": ({"control": "full"}, "control: must be a mapping"),
    "a probe by command": ({"probes": {"readiness": {"exec": {"command": ["true"]}}}}, "is run by whoever starts"),
    "what it prints": ({"telemetry": {"logs": {}}}, "say in which file it is: `file`"),
    "its spans": ({"telemetry": {"traces": {"environment": {"OTLP": "{otlp}"}}}}, "leave traces out"),
    "a file in {state}": ({"telemetry": {"audit": {"file": "{state}/audit"}}}, "is a folder of what the harness"),
    "a key in {state}": ({"requests": {"bearer": {"from_file": "{state}/key"}}}, "there is no start.prepare"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "says"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_where_it_is(changes, says, project):
    found = "\n".join(problems(project, **changes))
    assert says in found and "secret" not in found


def test_a_proxy_of_the_environment_is_refused_by_name(project, monkeypatch):
    gate = {"experiments": ["sham"], "blast_radius": ["shop.example.org"]}
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    (found,) = problems(project, gate, url="http://shop.example.org", control="none")
    assert "has a proxy for shop.example.org" in found and "add shop.example.org to NO_PROXY" in found
    monkeypatch.setenv("no_proxy", "example.org")
    load(project)
