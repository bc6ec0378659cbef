"""Rules of one name are told apart by their labels."""

import pytest

from harness.alert import Alert, alerts

PAGE = {"severity": "page"}


@pytest.mark.parametrize(
    ("rules", "labels", "owner"),
    [
        ([("A", {})], {"job": "x"}, 0),
        ([("A", PAGE), ("A", {"severity": "ticket"})], PAGE | {"job": "x"}, 0),
        ([("A", PAGE), ("A", {"severity": "ticket"})], {"severity": "ticket"}, 1),
        ([("A", PAGE), ("A", {"severity": "ticket"})], {"severity": "info"}, None),
        ([("A", PAGE), ("A", {})], PAGE, 0),
        ([("A", PAGE), ("A", {})], {"job": "x"}, 1),
        ([("A", PAGE), ("B", PAGE)], PAGE, 0),
        ([("A", {"severity": "{{ $labels.s }}"})], PAGE, 0),
        ([("A", {"severity": "{{ $labels.s }}"}), ("A", PAGE)], {"severity": "low"}, 0),
        ([("A", {"severity": ""})], {}, 0),
    ],
)
def test_an_alert_comes_from_the_rule_whose_labels_it_has(rules, labels, owner):
    owners = [i for i, alert in enumerate(alerts(rules)) if alert.owns(labels | {"alertname": "A"})]
    assert owners == ([] if owner is None else [owner])


def test_its_text_is_the_name_and_the_labels_only_where_the_name_is_not_enough():
    assert [str(alert) for alert in alerts([("A", PAGE), ("A", {}), ("B", PAGE)])] == ['A{severity="page"}', "A{}", "B"]
    assert alerts([("A", PAGE), ("A", PAGE)])[0] == Alert("A", (("severity", "page"),))
    assert str(alerts([("A", PAGE), ("A", PAGE)])[0]) == "A"
