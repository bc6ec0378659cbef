"""How long alerts took, part by part: which part was slow, and the median over the floor."""

from dataclasses import replace

import pytest
from handmade import SCALE, expect, fault, firing, history, notified, phase, replay, table

from harness.alert import Alert
from harness.checks import AlertDelivered, AlertFires, Detection, judge_all
from harness.checks.detection import detected
from harness.verdict import Verdict

PASS, INCONCLUSIVE, FAIL = Verdict
FIRES = AlertFires("hang", Alert("Down"), "critical", 600, predicted=(60.0, 90.0))
TOLD = AlertDelivered("hang", Alert("Down"), "critical", "pager", 600, group_wait_s=10.0, group_interval_s=10.0)
EVENTS = (phase("hang", 10, 60), fault("hang", 20, 30))


def seen(pending=15.0, fired=75.0, live=75.0, told=85.0):
    """Production seconds after the fault."""
    alert = replay(pending_s=pending, firing_s=fired, last_firing_s=645.0, ended_s=1800.0, fault_end_s=600.0)
    series = [firing("Down", (20 + live / SCALE, 31), severity="critical")]
    notifications = [notified(20 + told / SCALE, "pager", "firing", "Down")]
    return history(*EVENTS, series=series, notifications=notifications, replays={"hang": {"Down": alert}})


CASES = [
    (
        "all in time",
        Detection(),
        seen(),
        PASS,
        "1 alerts notified after 1.00 of their floor in the median, bound 1.2; each in its predicted",
    ),
    (
        "near the bound",
        Detection(),
        seen(told=101),
        PASS,
        "1.19",
    ),
    (
        "above it",
        Detection(),
        seen(told=110),
        FAIL,
        "1.29",
    ),
    (
        "a window that fills late",
        Detection(),
        seen(pending=60, fired=120, live=120, told=130),
        FAIL,
        "scrape and window: pending after 1 min, predicted w",
    ),
    (
        "a wait that begins anew",
        Detection(),
        seen(fired=135, live=135, told=145),
        FAIL,
        "for: 2 min from pending to firing, predicted 1 min",
    ),
    (
        "a live copy that is late",
        Detection(),
        seen(live=120, told=130),
        FAIL,
        "evaluation: fired live after 2 min, by its replay after 1 min 15 s",
    ),
    (
        "a slow way to the receiver",
        Detection(),
        seen(told=185),
        FAIL,
        "group_wait and integration: notified 1 min 40 s after its route had waited",
    ),
    (
        "nobody notified",
        Detection(),
        replace(seen(), notifications=()),
        INCONCLUSIVE,
        "no alert was both replayed and notified of",
    ),
]


@table(CASES)
def test_the_slow_part_is_named(check, record, verdict, says):
    expect(check, record, verdict, says, (FIRES, TOLD))


def test_an_alert_whose_form_predicts_nothing_has_its_times_all_the_same():
    checks = (replace(FIRES, predicted=None), TOLD)
    (one,) = detected(seen(), judge_all(checks, seen()))
    assert (one.pending_s, one.firing_s, one.predicted_s, one.floor_s, one.slow) == (15, 75, None, 85, "")
    assert one.notified_s == pytest.approx(85)
