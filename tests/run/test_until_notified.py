"""A phase goes on until every receiver that is to be notified of an alert's end was."""

import json

import pytest

from harness.alert import Alert
from harness.checks import AlertDelivered
from harness.run.phases import all_notified

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
