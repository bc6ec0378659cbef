"""Two faults in one window: each alert is what it is alone, where its rule reads nothing that the other one moves."""

import pytest
from recording import FAULT, replayed, series, since_fault, up

RULES = """
groups:
- name: g
  rules:
  - {alert: KeysStale, expr: 'keys_age > 60 or rate(keys_failures_total[5m]) > 0.5', for: 1m}
  - {alert: SpansDropped, expr: 'rate(spans_dropped_total[5m]) > 0', for: 5m}
  - {alert: SpansDroppedForHours, expr: 'rate(spans_dropped_total[6h]) > 0.001', for: 15m}
"""
LATER = FAULT + 12  # the faults of one window do not begin and end at the same moment
KEYS = [
    series("keys_age", lambda k: 5 * since_fault(k, 70)),
    series("keys_failures_total", lambda k: since_fault(k, 70)),
]
SPANS = [series("spans_dropped_total", lambda k: 3.0 * max(0, min(k, 90) - LATER))]
NO_KEYS = [series("keys_age", lambda k: 0), series("keys_failures_total", lambda k: 0)]
NO_SPANS = [series("spans_dropped_total", lambda k: 0)]


OF_EACH = {"keys": (FAULT, ["KeysStale"]), "spans": (LATER, ["SpansDropped", "SpansDroppedForHours"])}


@pytest.mark.parametrize(
    ("alone", "begins", "alerts"), [(name, *of_it) for name, of_it in OF_EACH.items()], ids=OF_EACH
)
def test_in_company_each_alert_has_the_times_that_it_has_alone(tmp_path, alone, begins, alerts):
    """By the phase of its own experiment, in whose baseline the fault of the other may have begun already."""
    (rules := tmp_path / "rules.yaml").write_text(RULES)
    records = {"keys": [*KEYS, *NO_SPANS], "spans": [*NO_KEYS, *SPANS], "both": [*KEYS, *SPANS]}
    found = {
        name: replayed(up(), *record, workdir=tmp_path / name, rules=rules, fault=(begins, 100))
        for name, record in records.items()
    }
    [other] = records.keys() - {alone, "both"}
    for alert in alerts:
        assert found["both"][alert] == found[alone][alert]
        assert found["both"][alert].pending_s is not None and found[other][alert].pending_s is None
    assert found["both"][alerts[0]].firing_s is not None
