import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import recording
import yaml
from recording import FAULT, PROMTOOL, RULES, T0, at, replayed, series, since_fault, up

from harness.errors import HarnessError
from harness.history import Window
from harness.rules import promtool
from harness.rules import replay as module
from harness.rules.dependencies import Dependencies, entries
from harness.rules.replay import without_data
from harness.rules.rulefile import load
from harness.units import prometheus_seconds


def errors(per_scrape: float = 0.5, until: int = 160):
    """5xx at 2/s for the default: 0.5 a scrape of a quarter second."""
    return series("http_requests_total", lambda k: 3 + per_scrape * since_fault(k, until), status="503")


def rules(tmp_path: Path, *alerts: str) -> Path:
    file = tmp_path / "rules.yaml"
    file.write_text("groups:\n- name: g\n  rules:\n" + "".join(f"  - {{{alert}}}\n" for alert in alerts))
    return file


def until(said, within_s=30):
    end = time.monotonic() + within_s
    while not (answer := said()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return answer


def test_two_errors_a_second_are_known_after_150_seconds_and_forgotten_270_after_they_end(tmp_path):
    found = replayed(up(), errors(until=120), workdir=tmp_path, fault=(FAULT, 120))["HighErrorRate"]
    assert (found.pending_s, found.firing_s, found.fired_before) == (30, 150, False)
    assert found.last_firing_s - found.fault_end_s == 270
    assert (found.fault_end_s, found.ended_s) == (80 * 15, 119 * 15)


def test_a_count_in_a_window_is_right_too(tmp_path):
    assert replayed(up(), errors(), workdir=tmp_path)["ManyErrors"].firing_s == 60


def test_a_server_that_is_down_is_known_after_a_minute_and_its_other_series_are_stale(tmp_path):
    found = replayed(up(range(FAULT, 80)), errors(), workdir=tmp_path)
    down = found["ServiceDown"]
    assert (down.pending_s, down.firing_s, down.last_firing_s) == (0, 60, 39 * 15)
    values = next(line for line in (tmp_path / "reach-3600.test.yaml").read_text().splitlines() if " stale " in line)
    assert values.count("stale") == 40


def test_a_restart_is_a_reset_and_not_a_burst_of_errors(tmp_path):
    quiet = series("http_requests_total", lambda k: 5000 if k < 60 else 0, status="503")
    assert replayed(up(range(60, 70)), quiet, workdir=tmp_path)["HighErrorRate"].pending_s is None


def test_what_is_counted_after_a_restart_counts(tmp_path):
    again = series("http_requests_total", lambda k: 5000 if k < 60 else 0.5 * (k - 60), status="503")
    assert replayed(up(), again, workdir=tmp_path)["HighErrorRate"].firing_s == (60 - FAULT) * 15 + 150


def test_a_rule_with_a_thousandfold_threshold_never_fires(tmp_path):
    file = rules(tmp_path, "alert: A, expr: 'rate(http_requests_total{status=~\"5..\"}[5m]) > 100', for: 2m")
    found = replayed(up(), errors(), workdir=tmp_path, rules=file)["A"]
    assert (found.pending_s, found.firing_s, found.last_firing_s) == (None, None, None)


def test_time_between_fault_and_scrape_counts(tmp_path):
    found = replayed(up(), errors(), workdir=tmp_path, fault=(FAULT - 0.5, 160))["HighErrorRate"]
    assert found.firing_s == 157.5


def test_what_always_fires_did_so_before(tmp_path):
    watchdog = replayed(up(), workdir=tmp_path)["Watchdog"]
    assert (watchdog.fired_before, watchdog.firing_s) == (True, None)
    assert watchdog.last_firing_s == watchdog.ended_s


def test_what_fired_in_the_baseline_and_stopped_may_fire_anew(tmp_path):
    queue = series("queue", lambda k: 10 if 10 <= k < 20 or k >= 60 else 0)
    file = rules(tmp_path, "alert: Full, expr: queue > 5, for: 1m")
    found = replayed(up(), queue, workdir=tmp_path, rules=file)["Full"]
    assert (found.fired_before, found.firing_s) == (True, (60 - FAULT) * 15 + 60)


def test_a_rule_with_a_long_wait_that_was_true_all_along_is_not_laid_at_the_fault(tmp_path):
    file = rules(tmp_path, "alert: Full, expr: queue > 5, for: 30m")
    found = replayed(up(), series("queue", lambda k: 10), workdir=tmp_path, rules=file)["Full"]
    assert (found.fired_before, found.firing_s) == (True, None)


@pytest.mark.parametrize("window, over, firing_s", [("1h", 0.0101, 375), ("6h", 0.0101, 2190), ("7h", 0.00101, 255)])
def test_ratios_over_long_windows_are_warm(tmp_path, window, over, firing_s):
    """A tenth of all requests fails from the fault on: 0.0101 of them in the window after 0.101 of its length."""
    served = series("http_requests_total", lambda k: 100 * k - 10 * since_fault(k), status="200", until=240)
    failed = series("http_requests_total", lambda k: 10 * since_fault(k), status="503", until=240)
    ratio = f'sum(rate(http_requests_total{{status="503"}}[{window}])) / sum(rate(http_requests_total[{window}]))'
    file = rules(tmp_path, f"alert: Burn, expr: '{ratio} > {over}'", "alert: Down, expr: up == 0")
    found = replayed(up(until=240), served, failed, workdir=tmp_path, rules=file, until=240)
    assert (found["Burn"].firing_s, found["Burn"].fired_before, found["Down"].firing_s) == (firing_s, False, None)


def test_an_average_over_a_long_window_weighs_each_scrape_alike(tmp_path):
    """From 0 to 10 at the fault: 17 of the 1681 scrapes in 7 h pass a mean of 0.1."""
    file = rules(tmp_path, 'alert: Full, expr: "avg_over_time(queue[7h]) > 0.1"')
    queue = series("queue", lambda k: 10 if k >= FAULT else 0)
    assert replayed(up(), queue, workdir=tmp_path, rules=file)["Full"].firing_s == 16 * 15


@pytest.mark.parametrize(
    "alert, sparse",
    [
        ("expr: 'rate(http_requests_total[7h]) > 1e9'", True),
        ("expr: 'avg_over_time(http_requests_total[7h]) > 1e9'", False),
        ("expr: 'max_over_time(rate(http_requests_total[5m])[7h:]) > 1e9'", False),
        ("expr: 'a:rate > 1e9'", False),
    ],
)
def test_the_repeated_baseline_is_thinned_only_for_rules_that_need_the_ends_of_windows(tmp_path, alert, sparse):
    file = rules(tmp_path, "record: 'a:rate', expr: 'sum(rate(http_requests_total[7h]))'", f"alert: A, {alert}")
    assert replayed(up(), series("http_requests_total", float), workdir=tmp_path, rules=file)["A"].firing_s is None
    [asked] = tmp_path.glob("reach-86400*.test.yaml")
    assert ("_ _ _ _" in asked.read_text()) == sparse


def test_what_was_pending_before_the_fault_fires_no_sooner_than_its_wait_allows(tmp_path):
    found = replayed(up(range(FAULT - 2, 80)), workdir=tmp_path)["ServiceDown"]
    assert (found.firing_s, found.pending_before, found.sure_s) == (30, True, 60)
    found = replayed(up(range(FAULT, 80)), workdir=tmp_path)["ServiceDown"]
    assert (found.firing_s, found.pending_before, found.sure_s) == (60, False, 60)
    found = replayed(up([*range(FAULT - 9, FAULT - 7), *range(FAULT, 80)]), workdir=tmp_path)["ServiceDown"]
    assert (found.firing_s, found.pending_before) == (60, False), "it had been forgotten by then"


def test_two_rules_of_one_name_are_one_alert_however_far_each_looks_back(tmp_path):
    file = rules(
        tmp_path,
        "alert: Burn, expr: 'rate(http_requests_total[5m]) > 0.1', for: 2m",
        "alert: Burn, expr: 'rate(http_requests_total[7h]) > 1e9'",
    )
    found = replayed(up(), errors(), workdir=tmp_path, rules=file)["Burn"]
    assert (found.pending_s, found.firing_s, found.fired_before) == (30, 150, False)


def test_an_alert_that_reads_another_alert_is_asked_with_it(tmp_path):
    reads = 'rate(http_requests_total[7h]) > 0 and on () ALERTS{alertname="Down"}'
    file = rules(tmp_path, "alert: Down, expr: up == 0", f"alert: Both, expr: '{reads}'")
    requests = series("http_requests_total", float)._replace(labels={"__name__": "http_requests_total"})
    assert replayed(up(range(60, 90)), requests, workdir=tmp_path, rules=file)["Both"].firing_s == (60 - FAULT) * 15


def test_what_rules_made_live_is_not_taken_for_what_they_make_of_the_record(tmp_path):
    live = [
        series("job:http_requests:error_ratio5m", lambda k: 1),
        series("ALERTS", lambda k: 1, alertname="ServiceDown", alertstate="firing"),
    ]
    live = [s._replace(labels={k: v for k, v in s.labels.items() if k != "instance"}) for s in live]
    found = replayed(up(), errors(0), *live, workdir=tmp_path)
    assert (found["HighErrorRatio"].firing_s, found["HighErrorRatio"].fired_before) == (None, False)
    assert (found["ServiceDown"].firing_s, found["ServiceDown"].fired_before) == (None, False)


def test_rules_that_look_far_back_are_asked_apart_with_what_they_read(tmp_path):
    file = rules(
        tmp_path,
        "record: 'a:rate', expr: 'sum(rate(http_requests_total[6h]))'",
        "alert: Slow, expr: 'a:rate > 0', labels: {severity: 1.10}",
        "alert: Down, expr: up == 0",
    )
    found = replayed(up(), errors(), workdir=tmp_path, rules=file)
    assert found.keys() == {"Slow", "Down"}
    assert found["Slow"].firing_s is not None
    subset = tmp_path / "reach-86400.rules.yaml"
    assert not subset.exists()
    assert [r.labels for r in load([tmp_path / "reach-21600.rules.yaml"])] == [{"severity": "1.10"}]


def test_rules_of_one_name_are_told_apart_by_their_labels(tmp_path):
    """Also by labels that are hard to quote, and where one has all labels of another and more."""
    hard = "a \"b\" \\ c\nd 'é'"
    file = rules(
        tmp_path,
        "alert: Errors, expr: nothing > 50, labels: {severity: critical}",
        "alert: Errors, expr: 'rate(http_requests_total[5m]) > 0.1', labels: {severity: medium}",
        f"alert: Errors, expr: up == 0, labels: {{severity: medium, team: {json.dumps(hard)}}}",
        "alert: Errors, expr: up == 0, for: 1m, labels: {severity: '{{ $labels.job }}'}",
        "alert: Errors, expr: 'up == 2', labels: {team: a}",
    )
    found = replayed(up(range(FAULT + 40, 160)), errors(until=60), workdir=tmp_path, rules=file)
    names = [str(rule.alert) for rule in load([file])]
    assert list(found) == names and len(set(names)) == 5
    assert [one.firing_s for one in found.values()] == [None, 30, 600, 660, None]
    assert found[names[1]].last_firing_s < 600, "the more specific one's alerts are not its own"
    assert without_data([up()], [file], Window(T0, at(159))) == {
        names[0]: {"nothing"},
        names[1]: {"http_requests_total"},
    }


CHAIN = [
    "- {name: 'a \"quoted\" group', rules: [{alert: Share, expr: 'share > 0.05', for: 1m}]}",
    "- {name: two words, rules: [{record: share, expr: 'bad / all'}]}",
    "- {name: same, rules: [{record: bad, expr: 'sum(rate(http_requests_total{status=~\"5..\"}[5m]))'}]}",
    "- {name: same, rules: [{record: all, expr: 'sum(rate(http_requests_total[5m]))'}]}",
]


def test_groups_are_evaluated_in_one_order_whatever_file_they_are_in(tmp_path):
    """Each group sees what the one that it reads recorded a round earlier: two of them, 30 s, beside one group's."""
    record = [up(), series("http_requests_total", lambda k: 10 + 2.0 * k, status="200"), errors(until=120)]
    found = []
    for turn, order in enumerate([(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)]):
        files = [tmp_path / f"{turn}-{place}.yaml" for place in range(4)]
        for file, place in zip(files, order, strict=True):
            file.write_text(f"groups:\n{CHAIN[place]}\n")
        found.append(replayed(*record, workdir=tmp_path / f"{turn}", rules=files, fault=(FAULT, 120)))
    assert found[0] == found[1] == found[2]
    assert (found[0]["Share"].pending_s, found[0]["Share"].firing_s) == (105, 165)
    one = tmp_path / "one.yaml"
    inner = [line.partition("rules: [")[2].removesuffix("]}") for line in reversed(CHAIN)]
    one.write_text("groups:\n- name: one\n  rules:\n" + "".join(f"  - {rule}\n" for rule in inner))
    assert replayed(*record, workdir=tmp_path, rules=one)["Share"].firing_s == 135


def test_groups_that_read_each_other_and_slow_groups_have_one_order_too(tmp_path):
    """Of slow ones in the order of what they read: a sample of the round before would be too old to be read."""
    file = tmp_path / "rules.yaml"
    file.write_text(
        "groups:\n"
        "- {name: a, rules: [{record: a, expr: 'up or b'}, {alert: A, expr: 'a == 0'}]}\n"
        "- {name: b, rules: [{record: b, expr: 'a or up'}]}\n"
        "- {name: c, interval: 10m, rules: [{alert: C, expr: 'd == 0'}]}\n"
        "- {name: d, interval: 10m, rules: [{record: d, expr: up}]}\n"
    )
    found = [replayed(up(range(FAULT, 160)), workdir=tmp_path / str(n), rules=file) for n in range(4)]
    assert all(one == found[0] for one in found)
    assert found[0]["A"].firing_s == 0 and found[0]["C"].firing_s is not None


EVERY = [  # a recording's interval, its alert's and its wait -> how long after the first evaluation it fires
    ("5m", "15s", "0s", 15),  # read a scrape after it was made
    ("5m", "15s", "2m", 135),
    ("1m", "15s", "1m", 75),
    ("15s", "5m", "0s", 0),
    ("15s", "5m", "5m", 300),
]


@pytest.mark.parametrize("recorded, judged, wait, after_s", EVERY)
def test_a_recording_is_made_as_often_as_its_own_group_says(tmp_path, recorded, judged, wait, after_s):
    file = tmp_path / "rules.yaml"
    file.write_text(
        f"groups:\n- {{name: r, interval: {recorded}, rules: [{{record: 'up:last', expr: up}}]}}\n"
        f"- {{name: a, interval: {judged}, rules: [{{alert: Down, expr: 'up:last == 0 and up == 0', for: {wait}}}]}}\n"
    )
    found = replayed(up(range(FAULT + 1, 160)), workdir=tmp_path, rules=file)
    test = yaml.safe_load((tmp_path / "reach-3600.test.yaml").read_text())["tests"][0]
    slots = next(s["values"] for s in test["input_series"] if s["series"].startswith("up{")).split()
    broke_s = 15 * slots.index("0")
    slow_s = max(prometheus_seconds(recorded), prometheus_seconds(judged))
    first_s = -(-(broke_s + (15 if recorded == "15s" else 0)) // slow_s) * slow_s
    assert found["Down"].firing_s == first_s - broke_s + 15 + after_s  # it broke a scrape after the fault


def test_an_interval_on_no_grid_of_scrapes(tmp_path):
    file = tmp_path / "rules.yaml"
    file.write_text(
        "groups:\n- {name: r, interval: 20s, rules: [{record: 'up:last', expr: up}]}\n"
        "- {name: a, interval: 7s, rules: [{alert: Down, expr: 'up:last == 0'}]}\n"
    )
    found = replayed(up(range(FAULT + 1, 160)), workdir=tmp_path, rules=file)["Down"]
    assert 15 <= found.firing_s <= 15 + 20 + 15 + 7


def test_what_a_slow_recording_says_holds_until_it_is_made_again_or_no_more(tmp_path):
    """Counted over a window it has a sample an interval; when its series is gone, so is what it said."""
    file = tmp_path / "rules.yaml"
    file.write_text(
        "groups:\n"
        "- {name: r, interval: 1m, rules: [{record: 'queue:max', expr: 'max by (n) (queue)'}]}\n"
        "- {name: s, interval: 2m, rules: [{record: 'queue:last', expr: 'last_over_time(queue:max[2m])'}]}\n"
        "- name: a\n  rules:\n"
        "  - {alert: Many, expr: 'count_over_time(queue:max[10m]) > 11'}\n"
        "  - {alert: Few, expr: 'count_over_time(queue:max[10m]) < 10'}\n"
        "  - {alert: There, expr: 'queue:last > 0'}\n"
        '  - {alert: Both, expr: \'queue:last > 0 and on (n) ALERTS{alertname="Slow", alertstate="firing"}\'}\n'
        "- {name: b, interval: 1m, rules: [{alert: Slow, expr: 'queue > 0', for: 2m}]}\n"
    )
    queue = series("queue", lambda k: 3 if FAULT <= k < 100 else None, n='x "y" \\ z')
    found = replayed(up(), queue, workdir=tmp_path, rules=file)
    assert all(not one.problem for one in found.values())
    assert found["Many"].firing_s is None and found["Few"].firing_s is not None
    there, both = found["There"], found["Both"]
    assert 15 <= there.firing_s <= 3 * 60 + 30 and 0 <= there.last_firing_s - 60 * 15 <= 4 * 60 + 30
    assert 2 * 60 <= both.firing_s <= 4 * 60


def test_a_slow_ratio_without_requests_is_no_number_and_no_alert(tmp_path):
    file = tmp_path / "rules.yaml"
    file.write_text(
        "groups:\n"
        "- {name: r, interval: 1m, rules: [{record: ratio, expr: 'rate(a_total[5m]) / rate(b_total[5m])'}]}\n"
        "- {name: a, rules: [{alert: None_, expr: 'ratio != ratio'}, {alert: High, expr: 'ratio > 5'}]}\n"
    )
    still, later = (series(f"{n}_total", lambda k, n=n: since_fault(k) * (n == "a") * (k > 80)) for n in "ba")
    found = replayed(up(), still, later, workdir=tmp_path, rules=file)
    assert found["None_"].fired_before and (80 - FAULT) * 15 < found["High"].firing_s < (80 - FAULT) * 15 + 120


def test_intervals_that_read_each_other_in_a_circle_have_no_answer(tmp_path):
    file = tmp_path / "rules.yaml"
    file.write_text(
        "groups:\n"
        "- {name: r, interval: 1m, rules: [{record: a, expr: 'b or up'}]}\n"
        "- {name: s, interval: 2m, rules: [{record: b, expr: 'a or up'}]}\n"
        "- {name: a, rules: [{alert: Circle, expr: 'a == 0'}, {alert: Down, expr: 'up == 0'}]}\n"
    )
    found = replayed(up(range(FAULT, 160)), workdir=tmp_path, rules=file)
    assert "read each other" in found["Circle"].problem and found["Down"].firing_s == 0


def test_a_rule_is_evaluated_as_often_as_its_group_says(tmp_path):
    """Unless the record is too short to hold two such evaluations, and the rule could fire in it."""
    file = tmp_path / "rules.yaml"
    file.write_text("groups: [{name: g, interval: 5m, rules: [{alert: Down, expr: up == 0}]}]")
    down = range(FAULT + 1, 160)
    long = replayed(up(down), workdir=tmp_path / "long", rules=file)["Down"]
    assert long.firing_s > 15 and (long.last_firing_s - long.firing_s) % 300 == 0
    short = replayed(up(down), workdir=tmp_path / "short", rules=file, until=FAULT + 20, fault=(FAULT, FAULT + 19))
    assert short["Down"].firing_s == 15


def test_a_record_too_short_for_a_rule_of_a_slow_group_is_laid_to_end_with_an_evaluation(tmp_path):
    """Evaluated every 15 s over days, such rules would take minutes and could not fire in it either."""
    file = tmp_path / "rules.yaml"
    file.write_text("groups: [{name: g, interval: 5m, rules: [{alert: Down, expr: up == 0, for: 30m}]}]")
    down = range(FAULT + 1, 160)
    short = replayed(up(down), workdir=tmp_path, rules=file, until=FAULT + 20, fault=(FAULT, FAULT + 19))["Down"]
    assert (short.pending_s, short.firing_s, short.ended_s) == (285, None, 285)
    assert '"evaluation_interval": "5m"' in (tmp_path / "reach-3600.test.yaml").read_text()


def test_a_start_time_is_an_age_in_production_time(tmp_path):
    """Restarted two scrapes before it is seen again; the process before that one is older than the record."""
    start = series("process_start_time_seconds", lambda k: T0 - 9 if k < 80 else at(78))
    found = replayed(up(), start, workdir=tmp_path)["JustStarted"]
    assert (found.fired_before, found.firing_s) == (False, (80 - FAULT) * 15 + 15)  # its group is evaluated every 30 s
    assert found.last_firing_s == (78 - FAULT) * 15 + 105


def test_scrapes_that_are_missing_are_not_a_server_that_is_down(tmp_path):
    there = up()
    kept = [i for i in range(160) if not 60 <= i < 70]
    gap = there._replace(at=[there.at[i] for i in kept], value=[there.value[i] for i in kept])
    found = replayed(gap, errors(), workdir=tmp_path)
    assert found["ServiceDown"].pending_s is None
    assert found["MetricsMissing"].pending_s is None


def test_a_coarse_record_is_spread_over_the_grid(tmp_path):
    """Scraped every half second, K = 60: a sample every 30 s of production, on a grid of 15 s."""
    every_other = [s._replace(at=s.at[::2], value=s.value[::2]) for s in (up(), errors())]
    found = replayed(*every_other, workdir=tmp_path, scrape_s=0.5)
    assert found["HighErrorRate"].firing_s == pytest.approx(150, abs=30)


def test_without_the_target_there_is_nothing_to_replay(tmp_path):
    with pytest.raises(HarnessError, match="nothing to replay"):
        replayed(errors(), workdir=tmp_path)


BROKEN = {
    "many to many": ("expr: 'pair * on () queue > 0'", "many-to-many matching not allowed"),
    "too many samples": ("expr: 'sum_over_time(vector(1)[2h:500ms]) > 0'", "too many samples"),
    "one label set twice": ("expr: 'pair > 0', labels: {n: x}", "same labelset"),
    "more than its group's limit": ("expr: 'pair > 0'", "exceeded limit of 1 with 2 alerts"),
    "a label's template": ("expr: up, labels: {a: '{{ $nothing }}'}", "undefined variable"),
    "a function of a later Prometheus": ("expr: 'mad_over_time(up[5m]) > 0'", "mad_over_time"),
}


@pytest.mark.parametrize("broken, reason", BROKEN.values(), ids=BROKEN)
def test_a_rule_that_promtool_cannot_evaluate_costs_its_own_answer_only(tmp_path, broken, reason):
    """Whether promtool names it or reads nothing of the file, in a group of others and read by some of them."""
    file = rules(
        tmp_path,
        "alert: Down, expr: up == 0, for: 1m",
        f"alert: Broken, {broken}",
        "record: 'down:sum', expr: 'count(up == 0)'",
        "alert: Sum, expr: 'down:sum > 0'",
        "alert: Reads, expr: 'up == 0 and on () ALERTS{alertname=\"Broken\"}'",
    )
    if "limit" in reason:
        file.write_text(file.read_text().replace("- name: g\n", "- name: g\n  limit: 1\n"))
    pairs = [series("pair", lambda k: 1, n=n) for n in ("one", "two")]
    found = replayed(
        up(range(FAULT, 80)), *pairs, *(s._replace(labels={**s.labels, "__name__": "queue"}) for s in pairs),
        workdir=tmp_path, rules=file,
    )  # fmt: skip
    assert (found["Down"].firing_s, found["Sum"].firing_s) == (60, 0)
    assert found["Down"].problem == found["Sum"].problem == ""
    assert found["Broken"].problem.startswith("promtool could not evaluate it: ") and reason in found["Broken"].problem
    assert found["Broken"].firing_s is None
    assert reason in found["Reads"].problem


def test_a_recording_that_promtool_cannot_evaluate_costs_who_reads_it_and_nobody_else(tmp_path):
    recording = "record: 'bad:sum', expr: 'pair * on () pair'"
    pairs = [series("pair", lambda k: 1, n=n) for n in ("one", "two")]
    down = "alert: Down, expr: up == 0"
    (tmp_path / "unread").mkdir()
    unread = rules(tmp_path / "unread", recording, down)
    assert replayed(up(range(FAULT, 80)), *pairs, workdir=tmp_path / "unread", rules=unread)["Down"].firing_s == 0
    assert "bad:sum" not in (tmp_path / "unread" / "reach-3600.rules.yaml").read_text()
    read = rules(tmp_path, recording, "record: 'worse:sum', expr: 'bad:sum'", "alert: Bad, expr: 'worse:sum > 0'", down)
    together = read.read_text()
    slower = together.replace("  rules:", "  interval: 1m\n  rules:", 1)
    for text in (together, slower.replace("  - {alert: Bad", "- name: h\n  rules:\n  - {alert: Bad")):
        read.write_text(text)
        found = replayed(up(range(FAULT, 80)), *pairs, workdir=tmp_path, rules=read)
        assert (found["Down"].firing_s, found["Down"].problem) == (0, "")
        assert found["Bad"].problem.startswith("promtool could not evaluate bad:sum, which it reads: ")


def test_of_rules_of_one_name_the_broken_one_is_found(tmp_path):
    file = rules(
        tmp_path,
        "alert: Down, expr: up == 0, labels: {severity: page}",
        "alert: Down, expr: 'pair * on () pair > 0', labels: {severity: ticket}",
    )
    pairs = [series("pair", lambda k: 1, n=n) for n in ("one", "two")]
    found = replayed(up(range(FAULT, 80)), *pairs, workdir=tmp_path, rules=file)
    assert found['Down{severity="page"}'].firing_s == 0
    assert "many-to-many" in found['Down{severity="ticket"}'].problem


def test_a_rule_that_reads_everything_is_answered_or_fails_alone(tmp_path):
    many = [series("queue", lambda k: 1, until=44, n=str(n)) for n in range(400)]
    file = rules(
        tmp_path,
        "alert: Down, expr: up == 0",
        "alert: All, expr: 'count({__name__=~\".+\"}) > 300'",
        "alert: Most, expr: 'count(count_over_time({__name__=~\".+\"}[10m:])) > 300'",
    )
    found = replayed(up(range(FAULT, 44), until=44), *many, workdir=tmp_path, rules=file, fault=(FAULT, 43), until=44)
    assert (found["Down"].firing_s, found["All"].fired_before) == (0, True)
    assert "too many samples" in found["Most"].problem


@pytest.mark.parametrize(
    "does, reason", [("kill -9 $$", "signal 9"), ("exit 7", "ended with 7"), ("exec sleep 99", "no answer within")]
)
def test_a_promtool_that_ends_or_hangs_at_one_rule_costs_that_rule(tmp_path, monkeypatch, does, reason):
    if "sleep" in does:
        monkeypatch.setattr(module, "ANSWER_WITHIN_S", 1.0)
        monkeypatch.setattr(module, "ALONE_WITHIN_S", 4.0)
    fake = tmp_path / "promtool"
    fake.write_text(
        f'#!/bin/sh\nfile=$(sed -n \'s/^"\\(.*rules.yaml\\)"$/\\1/p\' "$3")\n'
        f'grep -q Bad "$file" && {does}\nexec {PROMTOOL} "$@"\n'
    )
    fake.chmod(0o755)
    monkeypatch.setattr(recording, "PROMTOOL", str(fake))
    names = [f"alert: {name}, expr: up == 0" for name in ("A", "B", "Bad", "C", "D")]
    found = replayed(up(range(FAULT, 80)), workdir=tmp_path / "work", rules=rules(tmp_path, *names))
    assert reason in found["Bad"].problem
    assert {name: one.firing_s for name, one in found.items() if not one.problem} == dict.fromkeys("ABCD", 0)


def test_a_promtool_that_is_not_there_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "PROMTOOL", str(tmp_path / "none"))
    monkeypatch.setattr(promtool.shutil, "which", lambda _: None)
    with pytest.raises(HarnessError, match="promtool cannot be started"):
        replayed(up(), workdir=tmp_path)


def test_alerts_without_their_data_are_named():
    seen = [up(), errors()]
    blind = without_data(seen, [RULES], Window(T0, at(159)))
    assert blind["ModelAccuracyDrop"] == {"ml_model_accuracy"}
    assert blind["HighLatencyP95"] == {"http_request_duration_seconds_bucket"}
    assert not {"Watchdog", "ServiceDown", "HighErrorRatio"} & blind.keys()
    assert without_data(seen, [RULES], Window(T0 - 9, T0))["HighErrorRatio"] == {"http_requests_total"}


def test_a_rule_reaches_as_far_back_as_what_it_reads_and_as_it_waits():
    depends = Dependencies(entries([RULES]))
    reach = {entry.rule.name: depends.reach_s(entry) for entry in depends.entries}
    assert reach["HighErrorRatio"] == 300 + 120
    assert reach["ErrorBudgetBurn"] == 3600
    assert reach["Watchdog"] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["INT", "KILL"])
def test_a_promtool_that_still_works_ends_with_us(tmp_path, number):
    promtool = tmp_path / "promtool"
    promtool.write_text(f'#!/bin/sh\nmkdir -p "$TMPDIR/storage"\necho $$ >> {tmp_path}/pids\nexec sleep 600\n')
    promtool.chmod(0o755)
    asks = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's & has us ignore it
        f"import recording as r; r.PROMTOOL = {str(promtool)!r}; r.replayed(r.up(), workdir=r.Path({str(tmp_path)!r}))"
    )
    paths = os.pathsep.join(map(str, (Path(__file__).parent, *Path(__file__).parents)))
    (elsewhere := tmp_path / "elsewhere").mkdir()
    env = {**os.environ, "PYTHONPATH": paths, "TMPDIR": str(elsewhere)}
    child = subprocess.Popen([sys.executable, "-c", asks], env=env, stderr=subprocess.PIPE)
    try:
        pids = until(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text().split())
        child.send_signal(number)
        child.communicate(timeout=60)  # which also waits for who else has its standard error
    finally:
        child.kill()
    assert child.returncode == (-number if number == signal.SIGKILL else -signal.SIGINT)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    assert not list(elsewhere.iterdir()), "what it leaves lies where we work"


@pytest.mark.parametrize(
    ("labels", "of_the_other"),
    [
        ("{severity: '{{ if gt $value 0.1 }}critical{{ else }}high{{ end }}'}", "{severity: critical}"),
        ("{severity: '{{ $labels.job }}'}", "{}"),
        ("{}", "{severity: page}"),
    ],
)
def test_rules_that_may_raise_the_same_alert_are_replayed_apart(tmp_path, labels, of_the_other):
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "groups:\n- name: a\n  rules:\n"
        f"  - {{alert: Errors, expr: 'errors > 0', labels: {labels}}}\n"
        f"  - {{alert: Errors, expr: 'gone > 0', labels: {of_the_other}}}\n"
    )
    errors = recording.series("errors", lambda k: float(recording.FAULT <= k < 120), severity="page")
    fired, silent = recording.replayed(
        recording.up(), errors, rules=rules, workdir=tmp_path, fault=(recording.FAULT, 120)
    ).values()
    assert (fired.firing_s, silent.firing_s, silent.problem) == (0.0, None, "")


def test_a_slow_recording_is_as_late_as_it_can_be_whenever_the_fault_began(tmp_path):
    """Where the fault falls between two evaluations, 5 min apart, is chance: so the verdict may not go by it."""
    (tmp_path / "rules.yaml").write_text(
        "groups:\n- {name: slow, interval: 5m, rules: [{record: 'a:b', expr: g}]}\n"
        "- {name: alerts, rules: [{alert: High, expr: 'a:b > 0'}]}\n"
    )
    found = set()
    for i, first in enumerate((40, 44, 48, 52, 56)):
        gauge = series("g", lambda k, first=first: float(first <= k < first + 60), until=150)
        (tmp_path / str(i)).mkdir()
        answers = replayed(
            up(until=150), gauge, rules=tmp_path / "rules.yaml", workdir=tmp_path / str(i), fault=(first, first + 60)
        )
        found.add(answers["High"].firing_s)
    assert found == {300}, found
