"""Alerts that do not fire are known from their expressions, and this is what promtool finds of their rules."""

import math

import pytest
from recording import FAULT, replayed, series, since_fault, up

from harness.alert import Alert
from harness.rules import replay as module
from harness.rules.dependencies import Dependencies, entries
from harness.rules.inactive import states, told_by_expression

TICKS = [0, 60, 120, 180, 240]  # the fault is first seen at 60
THERE = {  # when the expression gives something, the rule's wait -> when the alert is pending; None: it may fire
    "never": ((), 0, []),
    "too short for its wait": ((120, 240), 180, [120, 240]),
    "just long enough": ((120,), 120, None),
    "without a wait": ((240,), 0, None),
    "before the fault": ((0,), 600, None),
}


@pytest.mark.parametrize(("there", "for_s", "pending"), THERE.values(), ids=THERE)
def test_what_an_expression_gives_for_less_than_its_wait_pends_and_no_more(there, for_s, pending):
    found = states(Alert("Full", (("severity", "low"),)), set(there), TICKS, 60, for_s)
    if pending is None:
        assert found is None
        return
    assert list(found) == TICKS
    assert [at for at, samples in found.items() if samples] == pending
    assert all(labels["alertstate"] == "pending" for samples in found.values() for labels, _ in samples)


TOLD = {
    "{alert: A, expr: 'rate(a[7h] offset 5m) > 1'}": True,
    "{alert: A, expr: 'a > 1', for: 5m}": True,
    "{alert: A, expr: 'a > 1', keep_firing_for: 5m}": False,
    "{alert: A, expr: 'a offset -5m > 1'}": False,
    "{alert: A, expr: 'a @ end() > 1'}": False,
    "{alert: A, expr: '{job=\"a\"} > 1'}": False,
    "{alert: A, expr: 'b > 1'}": False,
    "{alert: A, expr: 'ALERTS{alertname=\"B\"} == 1'}": False,
}


@pytest.mark.parametrize(("rule", "told"), TOLD.items())
def test_a_rule_whose_state_is_more_than_its_expression_is_for_promtool(tmp_path, rule, told):
    file = tmp_path / "rules.yaml"
    others = "  - {record: b, expr: a}\n  - {alert: B, expr: a > 5}\n"
    file.write_text(f"groups:\n- name: g\n  rules:\n  - {rule}\n{others}")
    depends = Dependencies(entries([file]))
    entry = depends.entries[0]
    assert told_by_expression(entry, depends.reads[entry]) is told


def test_so_is_a_group_with_a_limit(tmp_path):
    file = tmp_path / "rules.yaml"
    file.write_text("groups: [{name: g, limit: 1, rules: [{alert: A, expr: a > 1}]}]")
    [entry] = entries([file])
    assert not told_by_expression(entry, ())


LONG = [
    f"{{alert: {name}{n}, expr: '{expr}', for: {wait}, labels: {{severity: '{{{{ $labels.job }}}}'}}}}"
    for n, wait in enumerate(("0s", "20m", "3h"))
    for name, expr in {
        "Down": "max_over_time(up[6h]) < 1",
        "DownNow": "up == 0 and max_over_time(up[7h]) > 0",
        "Errors": 'rate(http_requests_total{status="503"}[6h]) > 0.01',
        "Full": "avg_over_time(queue[8h]) > 5",
        "FullNow": "queue > 5 and max_over_time(queue[9h]) > 0",
        "Absent": "absent_over_time(nothing[6h]) and queue > 5",
        "Rate": "rate(http_requests_total[2d]) > 0.002 and queue > 5",
        "Wrong": "pair * on () pair > 0 and queue > 5",
    }.items()
]
RECORDS = {
    "nothing happens": [up(), series("queue", lambda k: 0)],
    "down for a while": [up(range(FAULT, 80)), series("queue", lambda k: 10 if k >= FAULT + 20 else 0)],
    "true all along": [up(), series("queue", lambda k: 10)],
    "true just before": [up([FAULT - 2, FAULT - 1]), series("queue", lambda k: 10 if FAULT - 3 < k < 90 else 0)],
}


@pytest.mark.parametrize("interval", ["1m", "5m"])
@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_the_answer_is_the_same_as_without_asking_for_expressions_first(tmp_path, monkeypatch, record, interval):
    file = tmp_path / "rules.yaml"
    file.write_text(f"groups:\n- name: g\n  interval: {interval}\n  rules:\n" + "".join(f"  - {one}\n" for one in LONG))
    errors = series("http_requests_total", lambda k: 3 + 0.5 * since_fault(k), status="503")
    first = replayed(*record, errors, workdir=tmp_path / "first", rules=file)
    assert list((tmp_path / "first").glob("*-first.test.yaml"))
    monkeypatch.setattr(module, "WORTH", math.inf)
    assert replayed(*record, errors, workdir=tmp_path / "whole", rules=file) == first
    assert any(one.firing_s is None and one.pending_s is not None for one in first.values()) or "nothing" in str(record)
