"""Alerts that only a replay raises are posted to a real Alertmanager with the production routes, and judged there."""

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.alert import Alert
from harness.checks import AlertDelivered, AlertFires, judge_all
from harness.checks.view import severity_of
from harness.eventlog import Log, events_of
from harness.history import History, Notification, Replay
from harness.recordfile import records
from harness.rules.rulefile import load
from harness.run.deliveries import Posting, deliver, in_turns, postings
from harness.run.session import Session
from harness.stack.process import free_ports, spawn
from harness.stack.proxied import Proxied
from harness.stack.tools import find
from harness.stack.up import RELAY, Assembly, _receivers
from harness.verdict import Verdict

MONITORING = Path(__file__).parents[2] / "model_server/monitoring"
RULES = load(sorted((MONITORING / "rules").glob("*.yaml")))
K = 60


def raised(name, first_s, last_s, fault_end_s=6 * 3600.0, by=(), **labels):
    rule = next(rule for rule in RULES if rule.name == name)
    of_it = {"alertname": name, "job": "pneumonia-detector", **rule.labels, **labels}
    replay = Replay(None, first_s, last_s, last_s + 3600, fault_end_s, labels=[of_it])
    return replay._replace(
        inhibitors=[
            {"alert": n, "labels": list(r.labels), "firing_s": r.firing_s, "last_firing_s": r.last_firing_s}
            for n, r in by
        ]
    )


def expected(name, receiver, integration, within_s, over_within_s=9000.0, inhibited_by=()):
    severity = severity_of(next(rule for rule in RULES if rule.name == name).labels)
    return AlertDelivered(
        "slow", Alert(name, tuple(next(r.alert for r in RULES if r.name == name).labels)), severity, receiver, within_s,
        over_within_s, proof="replay", posted=True, integrations=((integration, True),), group_wait_s=10.0,
        group_interval_s=10.0, group_by=("alertname", "cluster", "service"),
        inhibiting=tuple((Alert(other), "am.yaml:1") for other in inhibited_by),
    )  # fmt: skip


BURN = raised("ErrorRateBurn6h", 3600.0, 18000.0)
DAY = raised("ErrorRateBurn1d", 7200.0, 30000.0, by=[("ErrorRateBurn6h", BURN)])
SILENCED = raised("LatencyBurn3d", 7200.0, 9000.0, by=[("LatencyBurn6h", raised("LatencyBurn6h", 100.0, 18000.0))])
CASES = {
    "ErrorRateBurn6h": (BURN, ("slack-alerts", "slack", 3900.0), Verdict.PASS, "after 1 h"),
    "ErrorRateBurn1d": (DAY, ("email", "email", 18300.0), Verdict.PASS, "ErrorRateBurn6h, which may inhibit it"),
    "LatencyBurn3d": (SILENCED, ("default", "webhook", 7500.0), Verdict.FAIL, "LatencyBurn6h inhibits it all the time"),
    "FeatureDrift": (
        raised("FeatureDrift", 1815.0, 5400.0, 5400.0, feature="mean", instance="a:1"),
        ("email", "email", 2100.0), Verdict.PASS, "after 30 min",
    ),
    "DiskAlmostFull": (
        raised("DiskAlmostFull", 300.0, 5400.0, 5400.0, instance="a:1"),
        ("pagerduty", "pagerduty", 600.0), Verdict.FAIL, "slack-alerts was notified, posted as the replay",
    ),
    "TracesDropped": (
        raised("TracesDropped", 600.0, 5400.0, 5400.0), ("default", "webhook", 900.0), Verdict.PASS, "after 10 min",
    ),
}  # fmt: skip
BY = {"ErrorRateBurn1d": ["ErrorRateBurn6h"], "LatencyBurn3d": ["LatencyBurn6h"]}
CHECKS = {name: expected(name, *to, inhibited_by=BY.get(name, ())) for name, (_, to, _, _) in CASES.items()}


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    log = Log(run / "events.jsonl")
    log.event("run", "started", time_scale=K, scrape_s=0.25, evaluation_s=0.25, job="pneumonia-detector")
    monitoring = SimpleNamespace(
        alertmanager=str(MONITORING / "alertmanager.yaml"), external_labels={"cluster": "a"}, alert_relabel_configs=[],
        evaluation_interval=15.0,
    )  # fmt: skip
    service = SimpleNamespace(monitoring=monitoring)
    fires = [AlertFires("slow", c.alert, c.severity, 1e6, held_s=21600.0) for c in CHECKS.values()]
    plan = SimpleNamespace(
        service=service, checks=(*CHECKS.values(), *fires), alerts=RULES, gate=SimpleNamespace(time_scale=K)
    )
    with ExitStack() as exits:
        ports = dict(zip(("alertmanager", RELAY), free_ports(2), strict=True))

        def child(name, argv):
            started = spawn(name, argv, run)
            exits.callback(started.end)
            return started

        assembly = SimpleNamespace(
            run=run, ports=ports, plan=SimpleNamespace(service=service, time_scale=K, workdir=run), tools=find(),
            exits=exits, children=[], monitoring=[], child=child, emit=log.event,
        )  # fmt: skip
        assembly.watcher = partial(Assembly.watcher, assembly)
        notifier = _receivers(assembly, Proxied((), child, run))
        live = SimpleNamespace(notifier=notifier, check=lambda: None)
        stack = SimpleNamespace(run=run, alertmanager_url=f"http://127.0.0.1:{ports['alertmanager']}")
        history = History(held={"slow": {str(CHECKS[name].alert): case[0] for name, case in CASES.items()}})
        began = time.monotonic()
        session = Session(None, stack, log, SimpleNamespace(show=lambda *a: None), live)
        session.plan = plan
        deliver(session, find(), history)
        took_s = time.monotonic() - began
    notifications = records(run / "notifications.jsonl", Notification)
    recorded = History(events=events_of(run), notifications=notifications, held=history.held)
    results = judge_all(list(CHECKS.values()), recorded)
    return dict(zip(CHECKS, results, strict=True)), recorded, took_s


@pytest.mark.parametrize("name", CASES)
def test_a_posted_alert_is_judged_as_one_that_fired_live(judged, name):
    _, _, verdict, says = CASES[name]
    result = judged[0][name]
    assert (result.verdict, says in result.reason) == (verdict, True), result.reason


def test_it_says_what_its_rule_says(judged):
    texts = [n.text for n in judged[1].notifications if "FeatureDrift" in n.alerts]
    assert any("The stability index of mean is" in text for text in texts), texts
    assert judged[2] < 60


def test_what_might_silence_another_by_chance_is_posted_in_another_turn():
    all_ = [Posting(CHECKS[name], case[0]) for name, case in CASES.items()]
    turns = [[p.check.alert.name for p in turn] for turn in in_turns(all_)]
    assert turns == [
        ["ErrorRateBurn6h", "LatencyBurn3d", "FeatureDrift", "DiskAlmostFull", "TracesDropped"],
        ["ErrorRateBurn1d"],
    ]


def test_what_did_not_fire_in_its_replay_is_not_posted_and_that_is_said():
    check = CHECKS["FeatureDrift"]
    plan = SimpleNamespace(checks=(check, AlertFires("slow", check.alert, "medium", 1e6, held_s=1.0)))
    silent = Replay(None, None, None, 1.0, 1.0)
    history = History(held={"slow": {str(check.alert): silent}})
    assert postings(plan, history) == []
    result = judge_all([check], history)[0]
    assert result.verdict is Verdict.INCONCLUSIVE and "did not fire in the replay" in result.reason
