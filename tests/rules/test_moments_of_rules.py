"""Which metrics rules use as moments, how the clock is moved, and what the replay makes of ages and ends."""

import math
from pathlib import Path

import pytest
from recording import FAULT, T0, at, replayed, series, up

from harness.rules.moments import moments, reads_clock, with_clock
from harness.rules.rulefile import AlertRule, RecordingRule

USES = {
    "time() - x > 300": {"x"},
    "x - time() < 86400 * 7": {"x"},
    "(time() - x) / 3600 > 24": {"x"},
    "time() * 1000 - x > 60000": {"x"},
    "time() - x / 1000 > 60": {"x"},
    "x / 1000 + 3600 < time()": {"x"},
    "x < time() - 86400": {"x"},
    "x <= bool (time() + 3600)": {"x"},
    "timestamp(up) - x > 60": {"x"},
    "vector(time()) - on (job) group_left max by (job) (x) > 60": {"x"},
    "time() - max_over_time(x[1h]) > 60": {"x"},
    "time() - max_over_time(max by (job) (x)[1h:1m] offset 5m) > 60": {"x"},
    "time() - (x > 0) > 60": {"x"},
    "time() - (x or y) > 60": {"x", "y"},
    "time() - (x and on () y) > 60": {"x"},
    "time() - label_replace(x, 'a', 'b', 'c', 'd') > 60": {"x"},
    "time() - x * on (i) group_left (n) y > 60": {"x", "y"},  # a join with what is 1; no value of y is a moment
    "absent(y) or time() - x > 60": {"x"},
    'time() - {__name__="x", job="j"} > 60': {"x"},
    "x - y > 60 and time() - x > 9": {"x", "y"},
    "hour(x) < 8": {"x"},
    "time() - rate(x[5m]) > 60": set(),
    "vector(time() - 60) > 0": set(),
    "hour() > 8 and x > 2": set(),
    "y * 2 > 5": set(),
    "y > 5 and on () vector(time()) > 9": set(),
    "(time() - x) > y": {"x"},
    "time() % 86400 > y": set(),
    "sum by (time) (x) > on (timestamp) y": set(),
    "changes(x[5m]) > 2": set(),
}


@pytest.mark.parametrize("expr, used", USES.items(), ids=USES)
def test_a_moment_is_known_by_its_use(expr, used):
    assert moments([AlertRule("A", expr)]) == used


def test_also_through_recordings_whichever_reads_the_clock():
    rules = [
        AlertRule("Old", "now - last:seen > 60"),
        AlertRule("Age", "age > 60"),
        AlertRule("Uses", "process_start_time_seconds > 0"),
        RecordingRule("now", "time()"),
        RecordingRule("last:seen", "max by (job) (seen)"),
        RecordingRule("age", "time() - started"),
    ]
    assert moments(rules) == {"now", "last:seen", "seen", "started"}


CLOCKS = {
    "time() - x": "(time() + 9.5) - x",
    "time ( ) # time()\n- x": "(time ( ) + 9.5) # time()\n- x",
    "-time()^2": "-(time() + 9.5)^2",
    'x{a="time()"} > time()': 'x{a="time()"} > (time() + 9.5)',
    "sum by (time) (timestamp) > on (timestamp) time": "sum by (time) (timestamp) > on (timestamp) time",
    "max_over_time(timestamp(up)[5m:1m])": "max_over_time((timestamp(up) + 9.5)[5m:1m])",
    "timestamp(up{a=')'} offset 5m) > scalar(x)": "(timestamp(up{a=')'} offset 5m) + 9.5) > scalar(x)",
    "vector(time())": "vector((time() + 9.5))",
    "timestamp(timestamp((up)))": "(timestamp((timestamp((up)) + 9.5)) + 9.5)",
}


@pytest.mark.parametrize("expr, moved", CLOCKS.items(), ids=CLOCKS)
def test_only_the_clock_is_moved(expr, moved):
    assert with_clock(expr, "9.5") == moved


def test_what_prometheus_writes_of_alerts_has_the_clock_of_the_test():
    assert reads_clock("time() - x > 5") and not reads_clock("x > 5")
    assert not reads_clock("time() - ALERTS_FOR_STATE > 600")


def ages(tmp_path: Path, **exprs: str) -> Path:
    file = tmp_path / "rules.yaml"
    rules = "".join(f"  - {{alert: {name}, expr: '{expr}'}}\n" for name, expr in exprs.items())
    file.write_text(f"groups:\n- name: g\n  rules:\n{rules}")
    return file


def fires_at_age(limit_s: float, age_s: float) -> float:
    """When the age first passes the limit, in production seconds after the fault, of an age when the record began."""
    return math.floor((limit_s - age_s) / 15 + 1) * 15 - FAULT * 15


DAY = 86400


@pytest.mark.parametrize("unit, as_unit", [(1, "time()"), (1000, "time() * 1000"), (1e9, "time() * 1e9")])
@pytest.mark.parametrize("known", [True, False], ids=["among its types", "without a type"])
def test_an_age_is_productions_and_grows_as_the_record_passes(tmp_path, unit, as_unit, known):
    """A backup that is a day old 20 production minutes into the record, however it is written."""
    age_s = DAY - 1200 + 0.18
    file = ages(
        tmp_path,
        Age=f"{as_unit} - last_backup > {DAY * unit}",
        Hours=f"({as_unit} - max by (job) (last_backup)) / {3600 * unit} > 24",
        Guarded=f"last_backup > 0 and {as_unit} - last_backup > {DAY * unit}",
        Before=f"max_over_time(last_backup[1h]) < {as_unit} - {DAY * unit}",
        Never="last_backup == 0",
        Later=f"{as_unit} - last_backup > {2 * DAY * unit}",
        Ahead="last_backup > " + as_unit,
    )
    types = {"last_backup": "gauge"} if known else {}
    backup = series("last_backup", lambda k: (at(0) - age_s) * unit)
    found = replayed(up(), backup, workdir=tmp_path, rules=file, types=types)
    expected = fires_at_age(DAY, age_s)
    assert {name: found[name].firing_s for name in found} == {
        **dict.fromkeys(("Age", "Hours", "Guarded", "Before"), expected),
        **dict.fromkeys(("Never", "Later", "Ahead")),
    }
    assert not any(one.fired_before for one in found.values())


def test_an_end_to_come_draws_nearer_as_the_record_passes(tmp_path):
    """Of two certificates one is renewed; of two leases, each renewed for 5 min, one no longer is."""
    ends = [
        series("not_after", lambda k: at(0) + 7 * DAY + 1500, n="old"),
        series("not_after", lambda k: at(0) + 7 * DAY + (1500 if k < FAULT else 9 * DAY), n="renewed"),
        series("lease_until", lambda k: at(k) + 300, n="kept"),
        series("lease_until", lambda k: at(min(k, FAULT)) + 300, n="lost"),
    ]
    file = ages(
        tmp_path,
        Old=f'not_after{{n="old"}} - time() < {DAY} * 7',
        Renewed=f'not_after{{n="renewed"}} - time() < {DAY} * 7',
        Kept='lease_until{n="kept"} - time() < 290',
        Lost='lease_until{n="lost"} <= time()',
    )
    found = replayed(up(), *ends, workdir=tmp_path, rules=file)
    assert found["Old"].firing_s == 1500 + 15 - FAULT * 15
    assert found["Lost"].firing_s == 300
    assert (found["Renewed"].firing_s, found["Kept"].firing_s) == (None, None)
    assert not any(one.fired_before for one in found.values())


def test_never_is_as_long_ago_as_in_production(tmp_path):
    file = ages(tmp_path, Never="last_success == 0", Old="time() - last_success > 86400", NotYet="last_success > 0")
    found = replayed(up(), series("last_success", lambda k: 0 if k < 80 else at(k) - 1), workdir=tmp_path, rules=file)
    assert [found[name].fired_before for name in ("Never", "Old", "NotYet")] == [True, True, False]
    assert found["NotYet"].firing_s == (80 - FAULT) * 15
    assert found["Never"].last_firing_s == found["Old"].last_firing_s == (79 - FAULT) * 15


def test_a_heartbeat_is_as_old_in_the_repeated_baseline_as_in_the_record(tmp_path):
    """Set at every fourth scrape, until the fault."""
    file = ages(
        tmp_path,
        Late="time() - heartbeat > 60",
        Ever="max_over_time((time() - heartbeat)[1h:15s]) > 60",
        Early="min_over_time((time() - heartbeat)[1h:15s]) < 0",
        Still="changes(heartbeat[5m]) == 0",
    )
    beat = series("heartbeat", lambda k: at(min(k // 4 * 4, FAULT)))
    found = replayed(up(), beat, workdir=tmp_path, rules=file)
    assert (found["Late"].firing_s, found["Ever"].firing_s, found["Early"].firing_s) == (75, 75, None)
    assert 285 <= found["Still"].firing_s <= 300 and not any(one.fired_before for one in found.values())


def test_a_start_is_a_moment_and_a_change(tmp_path):
    """It started twice in the fault. A service that the gate did not start is as old as it is."""
    starts = [
        series("process_start_time_seconds", lambda k: T0 - 9 if k < 60 else at(59) if k < 80 else at(79), n="ours"),
        series("process_start_time_seconds", lambda k: T0 - 3 * DAY, n="theirs"),
    ]
    file = ages(
        tmp_path,
        Restarts='changes(process_start_time_seconds{n="ours"}[15m]) > 1',
        Young="time() - process_start_time_seconds < 60",
        Old=f'time() - process_start_time_seconds{{n="theirs"}} > 3 * {DAY} + 1200',
        Ever='changes(process_start_time_seconds{n="theirs"}[1h]) > 0',
    )
    found = replayed(up(), *starts, workdir=tmp_path, rules=file)
    assert found["Restarts"].firing_s == (80 - FAULT) * 15
    assert (found["Young"].firing_s, found["Young"].last_firing_s) == ((60 - FAULT) * 15, (82 - FAULT) * 15)
    assert found["Old"].firing_s == 1200 - FAULT * 15 and found["Ever"].firing_s is None
    assert not any(one.fired_before for one in found.values())


def test_through_recordings_of_another_interval(tmp_path):
    file = tmp_path / "rules.yaml"
    file.write_text(
        "groups:\n"
        "- {name: r, interval: 1m, rules: [{record: age, expr: 'time() - max(last_backup)'}]}\n"
        "- {name: n, rules: [{record: now, expr: 'vector(time())'}, {record: last, expr: 'max(last_backup)'}]}\n"
        "- {name: a, rules: [{alert: Age, expr: 'age > 86400'}, {alert: Now, expr: 'now - last > 86400'}]}\n"
    )
    found = replayed(up(), series("last_backup", lambda k: at(0) - DAY + 1200), workdir=tmp_path, rules=file)
    assert 600 < found["Age"].firing_s <= 600 + 60 + 30
    assert 600 < found["Now"].firing_s <= 600 + 30


def test_an_end_that_never_comes_is_never(tmp_path):
    file = ages(tmp_path, Never="not_after == Inf", Soon="not_after - time() < 600", None_="not_after != not_after")
    ends = [
        series("not_after", lambda k: math.inf if k < 60 else at(k) + 500, n="a"),
        series("not_after", lambda k: math.nan, n="b"),
        series("not_after", lambda k: math.inf, n="c"),
    ]
    found = replayed(up(), *ends, workdir=tmp_path, rules=file)
    assert found["Soon"].firing_s == (60 - FAULT) * 15
    assert found["Never"].fired_before and found["None_"].fired_before


def test_bytes_that_look_like_a_time_and_meet_no_clock_stay(tmp_path):
    file = ages(tmp_path, Full="memory_bytes > 1700000020", Age="time() - up > 1e12")
    memory = series("memory_bytes", lambda k: T0 + (30 if k > FAULT else 10))
    found = replayed(up(), memory, workdir=tmp_path, rules=file)
    assert (found["Full"].firing_s, found["Full"].fired_before) == (15, False)
