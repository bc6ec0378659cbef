from pathlib import Path

import pytest
from recording import FAULT, PROMTOOL, RULES, SCALE, SCRAPE_S, T0, at, replayed, series, since_fault, up

from harness.errors import HarnessError
from harness.history import Window
from harness.rules import compress as module
from harness.rules.compress import compress, refusals, verify_equivalent
from harness.rules.durations import scale_duration
from harness.rules.replay import replay
from harness.rules.rulefile import AlertRule, RecordingRule, check_with_promtool, load

SERVICE_RULES = sorted(Path(__file__).parents[2].glob("model_server/monitoring/rules/*.yaml"))

COMPRESSIBLE = [
    "up == 0",
    "vector(1)",
    'absent(up{job="server"})',
    "rate(errors_total[5m]) > 0.1",
    "sum(rate(a[5m])) / sum(rate(b[5m])) > 0.05",
    "histogram_quantile(0.95, sum by (le) (rate(x_bucket[5m]))) > 0.5",
    "avg_over_time(queue[5m]) > 10 and on () count_over_time(queue[5m]) > 3",
    "max_over_time(rate(x[5m])[1h:1m]) > 3",
    "increase(x[5m]) > 0",
    "(sum(increase(x[5m])) or vector(0)) > 0",
    "0 < changes(start_time[15m])",
    "sum(increase(bad[1h])) / sum(increase(all[1h])) > 0.01",
    "histogram_quantile(0.95, sum by (le) (increase(x_bucket[5m]))) > 0.5",
    "increase(a[5m]) > 0.05 * increase(b[5m])",
    "delta(queue[5m]) > bool 0",
    "deriv(memory[1h]) > 1000",
    "rate(x[1m10s]) > 1",
    "resets(process_uptime_seconds[5m]) > 0",
    "count(process_uptime_seconds) < 3",
    "x > 10 unless ALERTS",
]
REFUSED = {
    "increase(x[5m]) > 100": "increase() depends on how much happens",
    "sum(increase(x[5m])) + 1 > 0": "increase() depends",
    "clamp_min(increase(x[5m]), 1) > 0": "increase() depends",
    "increase(a[5m]) > rate(b[5m])": "increase() depends",
    "1 / increase(a[5m]) < 0.1": "increase() depends",
    "quantile_over_time(0.9, increase(x[1m])[1h:]) > 2": "increase() depends",
    "changes(start_time[15m]) > 2": "changes() depends",
    "resets(x[1h]) >= 3": "resets() depends",
    "delta(queue[5m]) > 10": "delta() depends",
    "time() - process_start_time_seconds < 60": "time() reads the wall clock",
    "process_uptime_seconds < 60": "process_uptime_seconds counts the time since a start, which runs as fast in",
    "sysUpTime / 100 < 300": "sysUpTime counts the time since",
    "rate(a[5m]) > 0.1 and increase(a[5m]) > 10": "increase() depends",
    "time() - last_success > 300": "time() reads the wall clock",
    "timestamp(x) > 0": "timestamp() reads",
    "x > 1 and on () hour() > 8": "hour() reads",
    "predict_linear(free[1h], 4 * 3600) < 0": "literal number of seconds",
    "absent_over_time(up[10m])": "start-up or scrape gap",
    "x @ 1700000000 > 1": "a fixed moment",
    "rate(x[45s]) > 1": "45s holds 3 scrapes; at least 4",
    "rate(x[5m:7ms]) > 1": "cannot be divided by 60",
    "rate(x[6h]) > 1": "looks back 6h, which is 360 s here",
}


def alert(expr: str, **more: float) -> AlertRule:
    return AlertRule("A", expr, **more)


@pytest.mark.parametrize("expr", COMPRESSIBLE)
def test_nothing_is_refused_needlessly(expr):
    assert refusals(alert(expr), 60, 15, 15) == []


@pytest.mark.parametrize("expr, reason", REFUSED.items(), ids=REFUSED)
def test_what_would_not_be_equivalent_is_refused_with_one_reason(expr, reason):
    (refusal,) = refusals(alert(expr), 60, 15, 15)
    assert reason in refusal


@pytest.mark.parametrize(
    "time_scale, scrape_s, reason",
    [(61, 15, "1 to 60 times, not 61"), (0, 15, "not 0"), (60, 5, "every 5 s of production is every 0.0833 s here")],
)
def test_time_beyond_what_prometheus_keeps_up_with_is_refused(time_scale, scrape_s, reason):
    (refusal,) = refusals(alert("up == 0"), time_scale, scrape_s, 15)
    assert reason in refusal


def test_waits_that_do_not_divide_are_refused():
    (refusal,) = refusals(alert("up == 0", for_s=0.1), 60, 15, 15)
    assert "100ms / 60" in refusal


def test_waits_that_divide_to_the_millisecond_are_rounded():
    assert refusals(alert("up == 0", for_s=10), 60, 15, 15) == []
    assert scale_duration("10s", 60) == "167ms"


def test_a_recorded_count_is_refused_because_whoever_reads_it_cannot_know():
    record = RecordingRule("job:errors:increase5m", "sum by (job) (increase(errors_total[5m]))")
    assert "increase() depends" in refusals(record, 60, 15, 15)[0]


@pytest.mark.parametrize(
    "copy, difference",
    [
        ("rate(a[5s]) > 1", ""),
        ("rate(a[6s]) > 1", "not in the ratio 60"),
        ("rate(a[5s1ms]) > 1", "not in the ratio 60"),
        ("rate(a[5s]) > 2", "more than durations"),
        ("rate(a[5s]) >= 1", "more than durations"),
        ("rate(b[5s]) > 1", "more than durations"),
        ("irate(a[5s]) > 1", "more than durations"),
        ('rate(a{b="c"}[5s]) > 1', "more than durations"),
        ("rate(a[5s] offset 1s) > 1", "more than durations"),
    ],
)
def test_a_copy_that_differs_is_told_from_one_that_does_not(copy, difference):
    assert difference in "".join(verify_equivalent("rate(a[5m]) > 1", copy, 60))
    assert bool(difference) == bool(verify_equivalent("rate(a[5m]) > 1", copy, 60))


def test_the_copy_holds_every_other_rule_unmodified_but_for_durations(tmp_path):
    text, refused = compress([RULES], 60, 15, 15)
    copy = tmp_path / "compressed.yaml"
    copy.write_text(text)
    assert check_with_promtool(PROMTOOL, [copy]) == []
    assert refused.keys() == {"ManyErrors", "RestartLoop", "JustStarted"}
    originals = {rule.name: rule for rule in load([RULES])}
    for rule in load([copy]):
        original = originals[rule.name]
        assert (rule.labels, rule.annotations) == (original.labels, original.annotations)
        assert (rule.for_s * 60, rule.keep_firing_for_s * 60) == (original.for_s, original.keep_firing_for_s)
        assert (rule.interval_s or 0) * 60 == (original.interval_s or 0)
        assert verify_equivalent(original.expr, rule.expr, 60) == []
    assert {rule.name for rule in load([copy])} | refused.keys() == originals.keys()


def test_a_rule_is_refused_with_the_recording_it_reads(tmp_path):
    file = tmp_path / "rules.yaml"
    file.write_text(
        "groups: [{name: g, rules: [{record: 'a:increase', expr: 'increase(a[5m])'},"
        " {record: 'b:sum', expr: 'sum(a:increase)'}, {alert: C, expr: 'b:sum > 0'}, {alert: D, expr: up == 0}]}]"
    )
    text, refused = compress([file], 60, 15, 15)
    assert refused["b:sum"] == ["it reads a:increase, which cannot be compressed"]
    assert refused["C"] == ["it reads b:sum, which cannot be compressed"]
    assert "alert: D" in text and "alert: C" not in text


def test_the_labels_of_a_group_are_in_the_copy_and_what_is_refused_is_told_apart_by_its_labels(tmp_path):
    file = tmp_path / "rules.yaml"
    file.write_text(
        "groups:\n- name: g\n  labels: {team: imaging}\n  rules:\n"
        "  - {alert: A, expr: up == 0, labels: {severity: page}}\n"
        "  - {alert: A, expr: time() - up > 300, labels: {severity: ticket}}\n"
    )
    text, refused = compress([file], SCALE, 15, 15)
    assert refused.keys() == {'A{severity="ticket", team="imaging"}'}
    (tmp_path / "copy.yaml").write_text(text)
    (copied,) = load([tmp_path / "copy.yaml"])
    assert copied.labels == {"severity": "page", "team": "imaging"}
    assert check_with_promtool(PROMTOOL, [tmp_path / "copy.yaml"]) == []


def test_groups_of_the_same_name_in_two_files_stay_apart(tmp_path):
    for name in ("one.yaml", "two.yaml"):
        (tmp_path / name).write_text("groups: [{name: g, limit: 5, rules: [{alert: A, expr: up == 0}]}]")
    text, _ = compress([tmp_path / "one.yaml", tmp_path / "two.yaml"], 60, 15, 15)
    (tmp_path / "copy.yaml").write_text(text)
    assert check_with_promtool(PROMTOOL, [tmp_path / "copy.yaml"]) == []
    assert len(load([tmp_path / "copy.yaml"])) == 2


@pytest.mark.parametrize(
    "breach", [lambda e, k: e, lambda e, k: e.replace("5m", "6s"), lambda e, k: e.replace("> 0.1", "> 100")]
)
def test_a_mistake_of_our_own_does_not_get_through(monkeypatch, breach):
    monkeypatch.setattr(module, "scale_promql", breach)
    with pytest.raises(HarnessError, match="not equivalent to the originals"):
        compress([RULES], 60, 15, 15)


def test_of_the_service_own_rules_only_trends_and_long_windows_are_refused():
    text, refused = compress(SERVICE_RULES, 60, 15, 15)
    slow = {f"{objective}Burn{window}" for objective in ("ErrorRate", "Latency") for window in ("6h", "1d", "3d")}
    alerts = {rule.name for rule in load(SERVICE_RULES)}
    assert refused.keys() & alerts == slow | {
        "AvailabilityBurn6h",
        "PositiveRateShift",
        "RestartLoop",
        "DiskFilling",
        "MemoryLeak",
    }
    assert text.count("alert:") == len(alerts) - len(refused.keys() & alerts)


def test_compressed_rules_on_the_record_fire_when_the_originals_do_on_the_stretched_one(tmp_path):
    record = [
        up(range(90, 100)),
        series("http_requests_total", lambda k: 900 + 15 * k, status="200"),
        series("http_requests_total", lambda k: 3 + 2 * since_fault(k, 80), status="503"),
        series("http_request_duration_seconds_bucket", lambda k: 15 * k - 15 * since_fault(k, 80), le="0.5"),
        series("http_request_duration_seconds_bucket", lambda k: 15 * k, le="1"),
        series("http_request_duration_seconds_bucket", lambda k: 15 * k, le="+Inf"),
        series("ml_model_accuracy", lambda k: 0.5 if since_fault(k) else 0.9),
    ]
    originals = replayed(*record, workdir=tmp_path / "production")
    text, refused = compress([RULES], SCALE, 15, 15)
    copy = tmp_path / "compressed.yaml"
    copy.write_text(text)
    copies = replay(
        record, [copy], promtool=PROMTOOL, time_scale=1, scrape_s=SCRAPE_S, production_scrape_s=SCRAPE_S,
        evaluation_s=SCRAPE_S, window=Window(T0, at(159) + 0.05), fault=Window(at(FAULT), at(160)), job="server",
        workdir=tmp_path / "gate",
    )  # fmt: skip
    assert copies.keys() == originals.keys() - refused.keys()

    def fired(found, name, scale):
        return [None if t is None else t * scale for t in (found[name].firing_s, found[name].last_firing_s)]

    assert {name: fired(copies, name, SCALE) for name in copies} == {name: fired(originals, name, 1) for name in copies}
    silent = {name for name in copies if copies[name].last_firing_s is None}
    assert silent == {"MetricsMissing"}
