"""Rules of one name are told apart by their labels."""

import pytest

from harness.alert import Alert, alerts, selector

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
        ([("A", {"severity": "{{ $labels.s }}"}), ("A", {})], PAGE, 0),
        ([("A", {"severity": "{{ $labels.s }}", "zone": "{{ $labels.z }}"}), ("A", {})], {"job": "x"}, (0, 1)),
    ],
)
def test_an_alert_comes_from_the_rule_whose_labels_it_has(rules, labels, owner):
    owners = [i for i, alert in enumerate(alerts(rules)) if alert.owns(labels | {"alertname": "A"})]
    assert owners == ([] if owner is None else [*owner] if isinstance(owner, tuple) else [owner])


def test_what_a_template_gives_may_be_what_another_rule_gives_as_text():
    by_template, page, ticket = alerts([("A", {"severity": "{{ $labels.s }}"}), ("A", PAGE), ("A", {"severity": "t"})])
    found = PAGE | {"alertname": "A"}
    assert (by_template.disputed(found), page.disputed(found), ticket.disputed(found)) == ((page,), (by_template,), ())
    assert by_template.disputed(found | {"severity": "other"}) == page.disputed({"alertname": "B"} | PAGE) == ()
    assert by_template.without_rivals().owns(found) and not by_template.owns(found)
    assert str(by_template.without_rivals()) == str(by_template) == str(page.disputed(found)[0])
    assert selector(str(by_template)) == ("A", {"severity": "{{...}}"})
    assert by_template != alerts([("A", {})])[0]


def test_its_text_is_the_name_and_the_labels_only_where_the_name_is_not_enough():
    assert [str(alert) for alert in alerts([("A", PAGE), ("A", {}), ("B", PAGE)])] == ['A{severity="page"}', "A{}", "B"]
    assert alerts([("A", PAGE), ("A", PAGE)])[0] == Alert("A", (("severity", "page"),))
    assert str(alerts([("A", PAGE), ("A", PAGE)])[0]) == "A"


@pytest.mark.parametrize(
    ("text", "name", "labels"),
    [
        ("Errors", "Errors", {}),
        ("Errors in a name; with more", "Errors in a name; with more", {}),
        ('Errors{severity="page"}', "Errors", PAGE),
        ('Errors { severity = "page" , team="a, \\"b\\"", }', "Errors", PAGE | {"team": 'a, "b"'}),
        ("Errors{}", "Errors", {}),
    ],
)
def test_a_text_may_say_labels_beside_the_name(text, name, labels):
    assert selector(text) == (name, labels)


def test_the_text_of_an_alert_is_one_that_means_it():
    odd = {"severity": 'a "quoted\\" one', "team": "Bücher, {x}"}
    assert selector(str(alerts([("A", odd), ("A", {})])[0])) == ("A", odd)


@pytest.mark.parametrize(
    "text", ["A{", "A{severity}", "A{severity=page}", 'A{severity="page"', '{severity="page"}', "A{,}"]
)
def test_a_text_that_means_no_labels_is_refused(text):
    with pytest.raises(ValueError, match="must be the name of a rule"):
        selector(text)
