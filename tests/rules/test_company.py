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


@pytest.mark.parametrize("begins", [FAULT, LATER])
def test_in_company_each_alert_has_the_times_that_it_has_alone(tmp_path, begins):
    (rules := tmp_path / "rules.yaml").write_text(RULES)
    alone_s = {"keys": [*KEYS, *NO_SPANS], "spans": [*NO_KEYS, *SPANS], "both": [*KEYS, *SPANS]}
    found = {
        name: replayed(up(), *record, workdir=tmp_path / name, rules=rules, fault=(begins, 100))
        for name, record in alone_s.items()
    }
    assert found["both"]["KeysStale"] == found["keys"]["KeysStale"]
    both, other = found["both"]["KeysStale"], found["spans"]["KeysStale"]
    assert both.firing_s is not None or both.fired_before, "or it is on when the other's fault begins"
    assert other.firing_s is None and not other.fired_before
    for alert in ("SpansDropped", "SpansDroppedForHours"):
        assert found["both"][alert] == found["spans"][alert]
        assert found["both"][alert].pending_s is not None and found["keys"][alert].pending_s is None
