"""Arguments of the harness' own actions: every mistake in every file at once, with its place, before anything runs."""

import json
from types import SimpleNamespace

import pytest
import yaml

from harness.chaos import actions
from harness.errors import FaultError
from harness.faults import FAULTS
from harness.plan.arguments import mistakes
from harness.plan.experiments import read_experiment
from harness.plan.yamlfile import read
from harness.stack.stack import ENV

CONTRACT = """
steady-state-hypothesis:
  title: well
  probes: [{type: probe, name: well, tolerance: 0, provider: {type: process, path: "true"}}]
rollbacks:
- {type: action, name: heal, provider: {type: python, module: harness.chaos.actions, func: heal}}
extensions:
- name: harness
  expect:
    alerts: []
    probes: {server: {restart: never}}
    clients: {errors_at_most: 1%, recovered_within: 5s}
"""
SERVICE = SimpleNamespace(
    replica_names=("server",), dependencies={}, attached=False, controls={}, telemetry=SimpleNamespace(traces=None),
    requests=SimpleNamespace(scheme="http"), metrics=SimpleNamespace(scheme="http"),
)  # fmt: skip


def said(tmp_path, func, arguments, more="", module="harness.chaos.actions"):
    """What is said of one action, without its place; each is of the line that the action is on."""
    file = tmp_path / "e.yaml"
    file.write_text(
        f"title: t\ndescription: d\n{more}method:\n- type: action\n  name: a\n"
        f"  provider: {{type: python, module: {module}, func: {func}, arguments: {arguments}}}\n{CONTRACT}"
    )
    problems = []
    read_experiment(file, [], problems, SERVICE)
    at = 6 + more.count("\n")
    assert all(f"e.yaml:{at}: method[0].provider." in problem for problem in problems), problems
    return [problem.partition("method[0].provider.")[2] for problem in problems]


WRONG = {
    "a misspelt argument": ("pause", "{componet: server}", "arguments.componet: unknown key; did you mean component?"),
    "a misspelt action": ("pausse", "{}", "func: there is no action pausse; did you mean pause?"),
    "no action but something imported": ("inject", "{}", "func: there is no action inject"),
    "a probe's name": ("goodput", "{}", "func: there is no action goodput"),
    "no arguments but a list": ("pause", "[server]", "arguments: must be a mapping of arguments; got ['server']"),
    "nothing for arguments": ("pause", "", "arguments: must be a mapping of arguments; got None"),
    "one that is missing": ("clock", "{}", "arguments.by_s: is missing"),
    "text for a number": ("kill", "{lives_s: soon}", "arguments.lives_s: must be a number, without a unit; YAML reads"),
    "a unit": ("kill", "{lives_s: 30s}", "arguments.lives_s: must be a number, without a unit; YAML reads '30s'"),
    "a power without its point": (
        "kill",
        "{lives_s: 1e3}",
        "arguments.lives_s: must be a number, without a unit; YAML reads '1e3' as",
    ),
    "yes for a number": ("kill", "{times: yes}", "arguments.times: must be a number, not true"),
    "on for a name": ("pause", "{component: on}", "arguments.component: must be text: put it in quotes, or YAML reads"),
    "a number for a name": ("pause", "{component: 1:30}", "must be text: put it in quotes, or YAML reads it as 90"),
    "nothing": (
        "pause",
        "{component: }",
        "arguments.component: must be text: put it in quotes, or YAML reads it as null",
    ),
    "a broken number of times": ("kill", "{times: 1.5}", "arguments.times: input should be a valid integer; got 1.5"),
    "not a number": ("kill", "{lives_s: .nan}", "arguments.lives_s: input should be a finite number; got nan"),
    "for ever": ("kill", "{again_for_s: .inf}", "arguments.again_for_s: input should be a finite number; got inf"),
    "a lease for ever": ("pause", "{lease_s: .inf}", "arguments.lease_s: input should be a finite number; got inf"),
    "no lease": ("pause", "{lease_s: 0}", "arguments.lease_s: must be a number of seconds above 0; got 0"),
    "a date": ("pause", "{component: 2026-01-01}", "arguments.component: input should be a valid string; got datetime"),
    "a negative number": ("kill", "{again_for_s: -1}", "arguments.again_for_s: must be 0 or more; got -1"),
    "a huge number": ("kill", "{times: 1000000000}", "arguments.times: must be from 1 to 20; got 1000000000"),
    "none of the choices": ("database", "{url: x, becomes: lokced}", "arguments.becomes: input should be 'locked' or"),
    "another in a list": (
        "processor_hog",
        "{processes: 1, for_s: 1, cpus: [a]}",
        "arguments.cpus[0]: must be a whole number",
    ),
    "no component": ("pause", "{component: sever}", "arguments.component: no component is called sever; did you mean"),
    "no link": (
        "network",
        "{link: clinets, toxic: down}",
        "arguments.link: the service has no link clinets; did you m",
    ),
    "no PromQL": ("read_only", "{witness_query: 'up =='}", "arguments.witness_query: is no PromQL: "),
    "an empty query": ("read_only", "{witness_query: ''}", "arguments.witness_query: is no PromQL: "),
    "a scale below zero": ("scale", "{replicas: -1, witness_query: up}", "arguments.replicas: must be from 0 to 1000"),
    "a scale that nothing shows": ("scale", "{replicas: 2}", "arguments.witness_query: is missing: how does it show"),
    "arrivals of no kind": (
        "surge",
        "{scenario: x, arrivals: 'posson:9/s', for_s: 1, witness_query: up}",
        "arguments.arrivals: must be one of",
    ),
    "of the file's own configuration": ("kill", "{times: '${times}'}", "arguments.times: must be from 1 to 20; got 99"),
}


@pytest.mark.parametrize(("func", "arguments", "complaint"), WRONG.values(), ids=WRONG)
def test_a_wrong_argument_is_one_line_with_its_place_and_remedy(tmp_path, func, arguments, complaint):
    [found] = said(tmp_path, func, arguments, "configuration: {times: 99}\n")
    assert found.startswith(complaint) or complaint in found


LINKS = {
    "no collector": ("http", "network", "{link: collector, toxic: down}", "the service has no link collector"),
    "TLS that no proxy can read": ("https", "http", "{link: clients, what: status}", "clients is TLS, in which the"),
    "TLS as bytes": ("https", "network", "{link: clients, toxic: down}", ""),
    "plain": ("http", "http", "{link: clients, what: status}", ""),
    "metrics over another link": ("http", "http", "{link: clients, what: malformed}", "its link must be scrape"),
    "another toxic's attribute": (
        "http", "network", "{link: clients, toxic: latency, attributes: {rate: 3}}", "latency has no attribute rate"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("scheme", "func", "arguments", "complaint"), LINKS.values(), ids=LINKS)
def test_a_link_is_held_against_the_service_before_the_run(tmp_path, monkeypatch, scheme, func, arguments, complaint):
    monkeypatch.setattr(SERVICE, "requests", SimpleNamespace(scheme=scheme))
    found = said(tmp_path, func, arguments)
    assert [complaint in one for one in found] == [True] * bool(complaint)


RIGHT = {
    "a whole number for a float": ("kill", "{lives_s: 30}"),
    "an anchor": ("kill", "{again_for_s: &s 2, lives_s: *s}"),
    "hexadecimal": ("kill", "{times: 0x2}"),
    "what only the environment says": ("kill", "{times: '${from_env}'}"),
    "a secret": ("pause", "{component: '${token}'}"),
    "an empty query that may be": ("network", "{link: clients, toxic: down, witness_query: ''}"),
    "no arguments": ("pause", "{}"),
}


@pytest.mark.parametrize(("func", "arguments"), RIGHT.values(), ids=RIGHT)
def test_what_may_be_right_is_left_to_the_run(tmp_path, func, arguments, monkeypatch):
    monkeypatch.setenv("TOKEN", "999")
    outside = "configuration: {from_env: {type: env, key: TOKEN}}\nsecrets: {s: {token: {type: env, key: TOKEN}}}\n"
    assert said(tmp_path, func, arguments, outside) == []


def test_a_misspelt_argument_hides_nothing_else_of_the_file(tmp_path):
    """Chaos Toolkit would say it alone, and without a line."""
    file, problems = tmp_path / "e.yaml", []
    provider = "{type: python, module: harness.chaos.actions, func: pause, arguments: {componet: server, lease_s: -1}}"
    text = f"title: t\ndescription: d\nmethod:\n- {{type: action, name: a, provider: {provider}}}\n{CONTRACT}"
    file.write_text(text.replace("restart: never", "restart: nevr"))
    read_experiment(file, [], problems, SERVICE)
    lines = [problem.partition(": ")[0].rpartition(":")[2] for problem in problems]
    assert lines == ["4", "4", "15"] and "probes.server.restart" in problems[2], problems


def test_all_mistakes_of_an_action_come_at_once_and_each_once(tmp_path):
    found = said(tmp_path, "kill", "{times: 0, again_for_s: x, lives_s: -1, child: true, nme: 1, lease_s: -1}")
    names = [one.removeprefix("arguments.").partition(":")[0] for one in found]
    assert sorted(names) == ["again_for_s", "lease_s", "lives_s", "nme", "times"], found


def test_the_hypothesis_and_the_rollbacks_are_read_too(tmp_path):
    ours = {"type": "python", "module": "harness.chaos.actions"}
    probes = [
        {"provider": {**ours, "module": "harness.chaos.probes", "func": "goodput", "arguments": {"over_s": "3s"}}}
    ]
    content = {
        "steady-state-hypothesis": {"probes": probes},
        "method": [{"provider": {**ours, "func": "send", "arguments": {"scenario": "x", "arrivals": 3, "for_s": "1"}}}],
        "rollbacks": [{"provider": {**ours, "func": "heal", "arguments": {"lease_s": 1}}}],
    }
    (tmp_path / "e.json").write_text(json.dumps(content, indent=1))
    found = list(mistakes(read(tmp_path / "e.json", []), None))
    places = [one.partition(": ")[2].partition(": ")[0] for one in found]
    assert places == [
        "steady-state-hypothesis.probes[0].provider.arguments.over_s",
        "method[0].provider.arguments.arrivals",
        "method[0].provider.arguments.for_s",
        "rollbacks[0].provider.arguments.lease_s",
    ]


FORMS = {
    "nothing": None, "a text": "x", "a list": [1], "no list of actions": {"method": {"a": 1}},
    "an action that is a text": {"method": ["x"]}, "a provider that is a text": {"method": [{"provider": "x"}]},
    "a hypothesis that is a list": {"steady-state-hypothesis": [1], "method": None},
    "an action without a name": {"method": [{"provider": {"module": "harness.chaos.actions"}}]},
    "a name that is none": {"method": [{"provider": {"module": "harness.chaos.actions", "func": [1]}}]},
    "a configuration that is a text": {
        "configuration": "x", "method": [{"provider": {"module": "harness.chaos.actions", "func": "pause"}}]
    },
}  # fmt: skip


@pytest.mark.parametrize("content", FORMS.values(), ids=FORMS)
def test_a_file_of_any_form_has_problems_and_no_traceback(tmp_path, content):
    file, problems = tmp_path / "e.yaml", []
    file.write_text(yaml.safe_dump(content))
    assert read_experiment(file, [], problems, SERVICE) is None and problems


@pytest.mark.parametrize("kind", FAULTS)
def test_every_fault_says_what_is_wrong_with_its_arguments_in_the_same_way(kind):
    """By `mistakes`: none refuses to be made, which would hide what else is wrong."""
    assert "__post_init__" not in vars(FAULTS[kind])
    assert list(getattr(actions, kind).mistakes({"no_such": 1})) == []


WHILE_IT_RUNS = {
    "of another type": ({"times": "2"}, r"kill: times: Input should be a valid integer; got '2'"),
    "not a number": (
        {"again_for_s": float("nan"), "lives_s": True},
        r"kill: again_for_s: .* got nan; lives_s: .* true",
    ),
    "out of bounds": ({"times": 0, "lives_s": -1}, r"kill: times: must be from 1 to 20; got 0; lives_s: must be 0 or"),
    "without a lease": ({"lease_s": float("inf")}, "kill: lease_s: Input should be a finite number"),
}


@pytest.mark.parametrize(("arguments", "why"), WHILE_IT_RUNS.values(), ids=WHILE_IT_RUNS)
def test_what_no_plan_could_know_is_refused_before_anything_is_done(arguments, why, tmp_path, monkeypatch):
    """Such as what Chaos Toolkit fills in from outside, or all in a run without a plan, by plain `chaos run`."""
    monkeypatch.setattr("harness.stack.stack.Stack.current", lambda: None)  # nothing is asked of it
    monkeypatch.delenv(ENV, raising=False)
    with pytest.raises(FaultError, match=why):
        actions.kill(**arguments)
