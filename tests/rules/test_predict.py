import pytest
from recording import RULES, replayed, series, since_fault, up

from harness.rules.predict import detection_bounds
from harness.rules.rulefile import AlertRule, RecordingRule, load, recordings


@pytest.mark.parametrize(
    "rule, bounds",
    [
        (AlertRule("A", "up == 0", for_s=60), (60, 90)),
        (AlertRule("A", "up == 0"), (0, 30)),
        (AlertRule("A", "up == 0", for_s=50), (60, 90)),  # rounded up to evaluations
        (AlertRule("A", "up == 0", for_s=60, interval_s=60), (60, 135)),
        (AlertRule("A", "0.1 < rate(x[5m])", for_s=120), (120, 450)),
        (AlertRule("A", "rate(a[1h]) > 1 and rate(a[5m]) > 1"), (0, 3630)),
        (AlertRule("A", "absent(up)"), (0, 30)),
        (AlertRule("A", "job:rate5m > 1"), (0, 345)),
    ],
)
def test_bounds_follow_from_the_configuration(rule, bounds):
    known = RecordingRule("job:rate5m", "rate(x[5m])")
    assert detection_bounds(rule, 15, 15, records=[known]) == bounds


def test_the_group_wait_comes_on_top_and_slack_only_at_the_end():
    assert detection_bounds(AlertRule("A", "up == 0"), 15, 15, 10, slack_s=5) == (10, 45)


@pytest.mark.parametrize(
    "expr",
    [
        "vector(1)",
        "a > b",
        "a > 1 or b > 1",
        "a > 1 unless b",
        "time() - a > 60",
        "predict_linear(a[1h], 60) < 0",
        "delta(a[5m]) > 1",
        "changes(a[5m]) > 1",
        "a offset -5m > 1",
        "a @ 0 > 1",
        "unknown:recording > 1",
    ],
)
def test_what_the_form_does_not_tell_is_not_predicted(expr):
    assert detection_bounds(AlertRule("A", expr), 15, 15) is None


def test_replayed_step_faults_fire_within_their_bounds(tmp_path):
    found = replayed(
        series("up", lambda k: 1),
        series("http_requests_total", lambda k: 900 + 15 * k - 5 * since_fault(k), status="200"),
        series("http_requests_total", lambda k: 3 + 5 * since_fault(k), status="503"),
        series("http_request_duration_seconds_bucket", lambda k: 15 * k - 15 * since_fault(k), le="0.5"),
        series("http_request_duration_seconds_bucket", lambda k: 15 * k, le="1"),
        series("http_request_duration_seconds_bucket", lambda k: 15 * k, le="+Inf"),
        series("ml_model_accuracy", lambda k: 0.5 if since_fault(k) else 0.9),
        workdir=tmp_path / "errors",
    )
    found["ServiceDown"] = replayed(up(range(41, 160)), workdir=tmp_path / "down")["ServiceDown"]
    bounds = {r.name: detection_bounds(r, 15, 15, records=recordings([RULES])) for r in load([RULES])}
    measured = {name: r.firing_s for name, r in found.items() if r.firing_s is not None}
    assert len(measured) == 7
    for name, firing_s in measured.items():
        earliest_s, latest_s = bounds[name]
        assert earliest_s <= firing_s <= latest_s, name
