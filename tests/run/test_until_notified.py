"""A phase goes on until every receiver that is to be notified of an alert's end was."""

import json

import pytest

from harness.alert import Alert
from harness.checks import AlertDelivered
from harness.checks.view import Contract
from harness.run.phases import all_notified, slowest_end_s

BY = (("pagerduty", True), ("slack", False))
PAGED = AlertDelivered("x", Alert("Down"), "critical", "pager", 60, 60, integrations=BY, group_by=("instance",))
FIRING, OVER = (2, "pager", "pagerduty", "firing", ["Down"], []), (3, "pager", "pagerduty", "resolved", ["Down"], [])


def of(instance, message):
    return (*message, "", [{"alertname": "Down", "instance": instance}])


@pytest.mark.parametrize(
    ("messages", "notified"),
    [
        ([of("a", FIRING), of("b", FIRING), of("b", OVER)], False),
        ([of("a", FIRING), of("b", FIRING), of("b", OVER), of("a", OVER)], True),
        ([of("a", FIRING), OVER], True),
        ([FIRING, of("a", OVER)], True),
        ([], True),
        ([FIRING], False),
        ([FIRING, OVER], True),
        ([OVER, FIRING], False),
        ([(2, "pager", "slack", "firing", ["Down"], [])], True),  # it sends no end
        ([(2, "mail", "email", "firing", ["Down"], [])], True),  # nobody expects it there
        ([(1, *FIRING[1:])], True),  # before the phase
        ([(2, "pager", "pagerduty", "firing", ["Other"], [])], True),
    ],
)
def test_until_when_a_phase_goes_on(tmp_path, messages, notified):
    file = tmp_path / "notifications.jsonl"
    file.write_text("".join(json.dumps(message) + "\n" for message in messages))
    assert all_notified(file, [PAGED], began=1.5) is notified


LIVE = {"alert": "Down", "severity": "critical", "receiver": "pager", "fires_within": "2m", "resolves_within": "5m"}
HELD = LIVE | {"alert": "Burn", "proof": "replay", "held": "6h", "resolves_within": "7h"}


@pytest.mark.parametrize(("alerts", "slowest_s"), [([], 0), ([LIVE], 360), ([LIVE, HELD], 360), ([HELD], 0)])
def test_no_phase_waits_for_what_only_a_held_fault_raises(alerts, slowest_s):
    about = {"probes": {"server": {"restart": "never"}}, "clients": {"errors_at_most": "1%", "recovered_within": "5s"}}
    assert slowest_end_s(Contract.model_validate({"alerts": alerts, **about})) == slowest_s
