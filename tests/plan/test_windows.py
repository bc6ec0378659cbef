"""Experiments take place at the same time only where their files show that their effects cannot meet."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from harness.alert import Alert
from harness.checks import Quiet
from harness.checks.view import Contract, RuleFact, View
from harness.plan.experiments import Experiment, _touches
from harness.plan.plan import load
from harness.plan.windows import apart, windows

ROOT = Path(__file__).parents[2]

CALM = {"restart": "never", "readiness": "ready"}
FACTS = [
    RuleFact(Alert(name), "high", "", reads=reads)
    for name, reads in {
        "Keys": ("keys_age",),
        "Spans": ("spans_dropped",),
        "Sure": ("confidence_sum",),
        "SureToo": ("confidence_sum", "up"),
    }.items()
]


def contract(*alerts, may_fire=(), errors="1%", probe=None, **more):
    wanted = [
        {"alert": name, "severity": "high", "receiver": "chat", "fires_within": "5m"} | more.pop("alert", {})
        for name in alerts
    ]
    return Contract.model_validate(
        {
            "alerts": wanted,
            "may_fire": may_fire,
            "probes": {"server": CALM | (probe or {})},
            "clients": {"errors_at_most": errors, "recovered_within": "5s"},
            **more,
        }
    )


def experiment(name, touches, promised, **more):
    return Experiment(name, Path(f"{name}.yaml"), promised, touches=touches and frozenset(touches), **more)


KEYS = experiment("keys", {"keys.json"}, contract("Keys"))
SPANS = experiment("spans", {"collector"}, contract("Spans"))
HELD = {"held": "6h", "proof": "replay"}
OTHERS = {
    "its effects cannot meet": (SPANS, ""),
    "nobody knows what it reaches": (replace(SPANS, touches=None), "may reach more"),
    "done to the same": (replace(SPANS, touches=frozenset({"keys.json", "collector"})), "both are done to keys.json"),
    "started otherwise": (replace(SPANS, environment={"A": "b"}), "started differently"),
    "restarts the service": (replace(SPANS, contract=contract("Spans", probe={"restart": "exit"})), "restart"),
    "takes it out of traffic": (replace(SPANS, contract=contract("Spans", probe={"readiness": "any"})), "traffic"),
    "disturbs clients": (replace(SPANS, contract=contract("Spans", errors="5%")), "clients"),
    "loses records": (replace(SPANS, contract=contract("Spans", may_lose=["logs"])), "recorded"),
    "keeps from scraping": (replace(SPANS, contract=contract("Spans", scrape_gap="5s")), "recorded"),
    "is held": (replace(SPANS, contract=contract("Spans", alert=HELD)), "held"),
    "must raise the same": (replace(SPANS, contract=contract("Spans", "Keys")), "must raise Keys, and"),
    "may raise the same": (replace(SPANS, contract=contract("Spans", may_fire=["Keys"])), "must raise Keys, and"),
}


@pytest.mark.parametrize(("other", "why"), OTHERS.values(), ids=OTHERS)
def test_why_two_experiments_take_place_one_after_the_other(other, why):
    for one, two in ((KEYS, other), (other, KEYS)):
        assert why in apart(one, two, FACTS) and bool(apart(one, two, FACTS)) == bool(why)


def test_alerts_that_read_the_same_metric_and_alerts_that_inhibit_keep_two_apart():
    sure, too = (experiment(n, {n}, contract(n)) for n in ("Sure", "SureToo"))
    assert apart(sure, too, FACTS) == "alerts of both read confidence_sum"
    assert "may inhibit Keys of keys" in apart(SPANS, KEYS, FACTS, {"Keys": frozenset({"Spans"})})


def test_only_neighbours_share_a_window_and_each_with_each():
    requests = experiment("requests", {"requests"}, contract("Sure"))
    crash = experiment("crash", None, contract("SureToo"))
    named = [[e.name for e in window] for window in windows([KEYS, SPANS, requests, crash, KEYS, KEYS], FACTS)]
    assert named == [["keys", "spans", "requests"], ["crash"], ["keys"], ["keys"]]


def test_those_that_want_one_start_may_share_a_window():
    one, other = (replace(e, environment={"A": "b"}, prepare=("make",)) for e in (KEYS, SPANS))
    assert apart(one, other, FACTS) == ""
    assert apart(one, replace(other, prepare=()), FACTS)


def action(func, module="harness.chaos.actions", **arguments):
    return {"type": "action", "provider": {"type": "python", "module": module, "func": func, "arguments": arguments}}


TOUCHED = {
    "requests": ([action("surge"), action("heal"), action("send"), {"type": "probe"}], {"requests"}),
    "a file": ([action("file", path="keys.json")], {"keys.json"}),
    "the collector": ([action("kill", component="collector")], {"collector"}),
    "the way to the collector": ([action("http", link="collector")], {"collector"}),
    "a GPU": ([action("gpu")], {"gpu"}),
    "the server": ([action("kill", component="server")], None),
    "whatever it likes": ([action("surge"), action("rollout")], None),
    "somebody else's action": ([action("surge", module="chaosother.actions")], None),
}


@pytest.mark.parametrize(("method", "touched"), TOUCHED.values(), ids=TOUCHED)
def test_what_the_actions_of_an_experiment_are_done_to(method, touched):
    assert _touches(method) == touched


def test_in_company_each_allows_what_the_others_may_raise_and_alone_it_does_not():
    contracts = (("keys", contract("Keys")), ("spans", contract("Spans", may_fire=["Sure"])), ("crash", contract()))
    phases = ("steady", "keys", "spans", "crash")
    alone = View(rules=tuple(FACTS), phases=phases, contracts=contracts)
    together = replace(alone, windows=(("keys", "spans"), ("crash",)))
    of_alone, of_both = ({c.phase: c.allowed for c in Quiet.from_plan(None, view)} for view in (alone, together))
    assert (of_alone["keys"], of_alone["spans"]) == ({"Keys"}, {"Spans", "Sure"})
    assert of_both["keys"] == of_both["spans"] == {"Keys", "Spans", "Sure"}
    assert of_alone["crash"] == of_both["crash"] == frozenset()


def test_the_bundled_profiles_take_every_experiment_and_share_what_they_can(monkeypatch):
    monkeypatch.chdir(ROOT)
    full = load(Path("gate.yaml"), profile="full")
    there = {path.stem for path in (ROOT / "experiments").glob("*.yaml")}
    assert {e.name for e in full.experiments} | {each.experiment for each in full.not_applicable} == there
    assert {name for window in full.windows for name in window} == {e.name for e in full.experiments}
    starts = [tuple(e.environment.items()) for e in full.experiments]
    changes = sum(bool(later) and later != before for before, later in pairwise(starts))
    assert changes == len({*starts} - {()}), "the service is started once for all that want it alike"
    together = [window for window in full.windows if len(window) > 1]
    assert ("faint-findings", "collector-refuses") in together
    assert full.resolved()["windows"] == [list(window) for window in full.windows]
