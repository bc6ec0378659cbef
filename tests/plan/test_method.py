"""What an experiment's method cannot do, or would do otherwise than it says, is said before it runs."""

from types import SimpleNamespace

import pytest
import yaml

from harness.alert import Alert
from harness.checks.view import RuleFact
from harness.plan.experiments import read_experiment

TELEMETRY = SimpleNamespace(traces=None)
HTTP = SimpleNamespace(scheme="http")
SERVICE = SimpleNamespace(
    replica_names=("server",), dependencies={"database": SimpleNamespace(is_component=True, takes_port=False)},
    attached=False, controls={}, telemetry=TELEMETRY, requests=HTTP, metrics=HTTP,
)  # fmt: skip
INSIDE = {"fault": "loop_stalled", "witness_query": "up"}


def act(func, arguments=None, **more):
    provider = {"type": "python", "module": "harness.chaos.actions", "func": func, "arguments": arguments or {}}
    return {"type": "action", "name": func, "provider": provider, **more}


def pause(after):
    return {"pauses": {"after": after}}


HEAL, KILL, PAUSE = act("heal"), act("kill"), act("pause", **pause(3))
GOODPUT = {
    "type": "probe", "name": "goodput", "tolerance": True,
    "provider": {"type": "python", "module": "harness.chaos.probes", "func": "goodput"},
}  # fmt: skip
THEIRS = {"type": "action", "name": "theirs", "provider": {"type": "process", "path": "true"}}
EXPECT = {
    "alerts": [], "probes": {"server": {"restart": "never"}}, "start": {"environment": {"PYTHONPATH": "."}},
    "clients": {"errors_at_most": "1%", "recovered_within": "5s"},
}  # fmt: skip
WHOLE = {
    "title": "t",
    "description": "d",
    "steady-state-hypothesis": {"title": "well", "probes": [GOODPUT]},
    "method": [KILL],
    "rollbacks": [HEAL],
    "extensions": [{"name": "harness", "expect": EXPECT}],
}


def problems_of(tmp_path, content, facts=()):
    file, problems = tmp_path / "e.yaml", []
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    read_experiment(file, facts, problems, SERVICE)
    assert all("e.yaml:" in problem for problem in problems)
    return [problem.partition(": ")[2] for problem in problems]


def method(*steps, **more):
    return {**WHOLE, "method": list(steps), **more}


WRONG = {
    "no baseline": ({k: v for k, v in WHOLE.items() if k[:6] != "steady"}, "steady-state-hypothesis: has no probe, so"),
    "a baseline that looks at nothing": (
        {**WHOLE, "steady-state-hypothesis": {"title": "well", "probes": []}}, "steady-state-hypothesis: has no probe"
    ),
    "an empty method": (method(), "method: has no action, so nothing would be broken"),
    "a method that only looks": (method(GOODPUT), "method: has no action, so nothing would be broken"),
    "no rollbacks": ({k: v for k, v in WHOLE.items() if k != "rollbacks"}, "rollbacks: nothing undoes kill; add {type"),
    "empty rollbacks": (method(PAUSE, rollbacks=[]), "rollbacks: nothing undoes pause; add"),
    "a fault after the only heal": (method(PAUSE, HEAL, PAUSE, rollbacks=[]), "rollbacks: nothing undoes pause; add"),
    "undone before it is done": (method(HEAL, PAUSE), "method[0]: undoes what has not begun; move it behind the fault"),
    "longer than its lease": (
        method(act("pause", {"lease_s": 10}, **pause(10))),
        "method[0].provider.arguments.lease_s: 10 s are over before the method undoes it, 10 s after it began at the",
    ),
    "longer than the lease that it has by default": (
        method(act("pause", **pause(45)), {**GOODPUT, "pauses": {"before": 10, "after": 10}}),
        "method[0].provider.arguments.lease_s: 60 s are over before the method undoes it, 65 s after",
    ),
    "longer by what it does itself": (
        method(act("kill", {"again_for_s": 50, "lease_s": 55}, **pause(6))), "lease_s: 55 s are over before"
    ),
    "longer by what comes after it": (
        method(PAUSE, act("send", {"scenario": "s.py", "arrivals": "constant:1/s", "for_s": 58})),
        "method[0].provider.arguments.lease_s: 60 s are over before the method undoes it, 61 s after",
    ),
    "ended by another": (
        method(PAUSE, KILL), "method[1]: replaces the process of server, and so ends pause of method[0]; undo that by"
    ),
    "ended by a release": (method(PAUSE, act("rollout")), "method[1]: replaces the process of server, and so ends"),
    "two inside one component": (
        method(act("inside", INSIDE), act("clock", {"by_s": 60})), "method[1]: cannot begin while inside of"
    ),
    "two receivers": (method(act("receiver_failing"), act("receiver_failing")), "method[1]: cannot begin while"),
    "a pause below zero": (method(act("pause", **pause(-1))), "method[0].pauses.after: must be a number of"),
    "a pause for ever": (method(act("pause", **pause(float("inf")))), "method[0].pauses.after: must be a number of"),
    "a pause that is none": (method(act("pause", **pause(True))), "method[0].pauses.after: must be a number of"),
    "a pause with a unit": (method(act("pause", **pause("3s"))), "pause must be a number"),
    "a pause elsewhere": (method(act("pause", pauses={"aftr": 3})), "method[0].pauses.aftr: unknown key; a pause is"),
    "a pause misspelt": (method(act("pause", pause={"after": 3})), "method[0].pause: unknown key; did you mean pauses"),
    "the background misspelt": (method(act("pause", backgroud=True)), "method[0].backgroud: unknown key; did you mean"),
    "rollbacks misspelt": ({**WHOLE, "rollback": [HEAL]} | {"rollbacks": [HEAL]}, ""),
    "rollbacks misspelt and missing": (
        {"rollback" if k == "rollbacks" else k: v for k, v in WHOLE.items()},
        "rollback: unknown key; did you mean rollbacks?",
    ),
    "a reference to nothing": (method(KILL, {"ref": "nothing"}), "referenced activity 'nothing' could not be found"),
    "a variable that is not there": (
        {**WHOLE, "configuration": {"x": {"type": "env", "key": "NO_SUCH_VARIABLE"}}}, "NO_SUCH_VARIABLE"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "complaint"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_one_line_with_its_place(tmp_path, content, complaint):
    found = problems_of(tmp_path, content)
    assert any(complaint in problem for problem in found) if complaint else found == [], found


RIGHT = {
    "a kill": WHOLE,
    "a pause within its lease": method(act("pause", **pause(59))),
    "a long one with a long lease": method(act("pause", {"lease_s": 100}, **pause(90))),
    "a lease from outside": method(act("pause", {"lease_s": "${lease}"}, **pause(90)), configuration={"lease": 9}),
    "healed in the method alone": method(PAUSE, HEAL, rollbacks=[]),
    "healed by a reference": method(PAUSE, HEAL, {"ref": "heal"}, rollbacks=[{"ref": "heal"}]),
    "two in turn, healed between": method(act("inside", INSIDE), HEAL, act("clock", {"by_s": 60})),
    "a killed dependency beside a paused server": method(PAUSE, act("kill", {"component": "database"})),
    "a killed worker of a paused server": method(PAUSE, act("kill", {"child": True})),
    "a kill and another": method(KILL, act("stop")),
    "one in the background": method(act("pause", background=True, **pause(90)), HEAL),
    "somebody else's alone": method(THEIRS, rollbacks=[]),
    "healed after somebody else's": method(THEIRS, HEAL),
    "a pause by configuration": method(act("pause", pauses={"after": "${after}"}), configuration={"after": 3}),
    "controls": {**WHOLE, "controls": [{"name": "x", "provider": {"type": "python", "module": "json"}}]},
    "keys of somebody else's": {**WHOLE, "contributions": {"reliability": "high"}, "runtime": {}, "tags": ["a"]},
}


@pytest.mark.parametrize("content", RIGHT.values(), ids=RIGHT)
def test_what_may_be_meant_is_left_alone(tmp_path, content):
    assert problems_of(tmp_path, content) == []


SLOW = RuleFact(Alert("Slow"), "high", "rules.yaml:4", for_s=600, keeps_s=300)
BOUNDS = {
    "fires before it may": ({"fires_within": "4m"}, "fires_within: cannot be met: its rule waits, by `for`, for 10"),
    "notified before it fires": ({"notified_within": "9m"}, "notified_within: cannot be met: its rule waits, by `for`"),
    "resolves while it is kept": (
        {"resolves_within": "2m"}, "resolves_within: cannot be met: its rule goes on firing, by `keep_firing_for`"
    ),
    "told so before": ({"resolved_notified_within": "4m"}, "resolved_notified_within: cannot be met: its rule goes on"),
    "in no time": ({"fires_within": "0s"}, "fires_within: cannot be met: its rule waits"),
    "all that it may": ({"fires_within": "10m", "resolves_within": "5m"}, ""),
    "no bound on its end": ({"resolves_within": None}, ""),
}  # fmt: skip


@pytest.mark.parametrize(("bounds", "complaint"), BOUNDS.values(), ids=BOUNDS)
def test_a_bound_that_no_arithmetic_can_meet_is_a_mistake(tmp_path, bounds, complaint):
    whole = {"fires_within": "15m", "resolves_within": "8m"} | bounds
    alert = {"alert": "Slow", "severity": "high", "receiver": "x", **{k: v for k, v in whole.items() if v is not None}}
    content = {**WHOLE, "extensions": [{"name": "harness", "expect": {**EXPECT, "alerts": [alert]}}]}
    found = problems_of(tmp_path, content, [SLOW])
    assert found == [] if not complaint else [complaint in one and "rules.yaml:4" in one for one in found] == [True]
    quick = problems_of(tmp_path, content, [RuleFact(Alert("Slow"), "high", "rules.yaml:4")])
    assert len(quick) == (bounds == {"fires_within": "0s"})


def test_all_that_is_wrong_with_a_file_comes_at_once(tmp_path):
    wrong = method(HEAL, act("pause", **pause(90)), act("stop", **pause(-3)), rollbacks=[])
    found = problems_of(tmp_path, {k: v for k, v in wrong.items() if k[:6] != "steady"})
    places = sorted(one.partition(": ")[0] for one in found)
    assert places == [
        "method[0]", "method[1].provider.arguments.lease_s", "method[2]", "method[2].pauses.after", "rollbacks",
        "steady-state-hypothesis",
    ]  # fmt: skip
