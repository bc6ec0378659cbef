from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.rules.compress import verify_equivalent
from harness.rules.durations import scale_promql
from harness.units import prometheus_duration, prometheus_seconds

HOSTILE = {
    "a plain range": ("rate(x[5m])", "rate(x[30s])"),
    "a range in a string stays": ('x{a="[5m]", b="offset 5m"}', 'x{a="[5m]", b="offset 5m"}'),
    "an escaped quote does not end a string": (r'x{a="\"[5m]"}[5m]', r'x{a="\"[5m]"}[30s]'),
    "a single-quoted string": ("x{a='[5m]'}[5m]", "x{a='[5m]'}[30s]"),
    "a raw string may hold a backslash": (r"x{a=`\[5m]`}[5m]", r"x{a=`\[5m]`}[30s]"),
    "a comment stays": ("x # [5m] offset 1h\n[5m]", "x # [5m] offset 1h\n[30s]"),
    "offset as a label's name": (
        'sum by (offset) (x{offset="5m"} offset 5m)',
        'sum by (offset) (x{offset="5m"} offset 30s)',
    ),
    "offset as a metric's name": ("offset offset 5m", "offset offset 30s"),
    "a negative offset": ("x offset -5m", "x offset -30s"),
    "an offset after a comment and a line": ("x OFFSET # 1h\n 10m", "x OFFSET # 1h\n 1m"),
    "a metric ending in offset": ("clock_offset > 5", "clock_offset > 5"),
    "milliseconds": ("x[500ms]", "x[50ms]"),
    "a duration that is rounded to the millisecond": ("x[1003ms]", "x[100ms]"),
    "a compound duration": ("x[1h30m]", "x[9m]"),
    "a subquery with a step": ("max_over_time(rate(x[5m])[1h:1m])", "max_over_time(rate(x[30s])[6m:6s])"),
    "a subquery without a step": ("max_over_time(x[1h:])", "max_over_time(x[6m:])"),
    "white space in brackets": ("x[ 1h : 30s ]", "x[ 6m : 3s ]"),
    "a recording's name with colons": ("job:x:rate5m[10m]", "job:x:rate5m[1m]"),
    "numbers that look a little like durations": ("x > 0x1F + 1e3 + .5 + 1e-5", "x > 0x1F + 1e3 + .5 + 1e-5"),
    "a metric named like a duration with a colon": (":5m:rate[5m]", ":5m:rate[30s]"),
}


@pytest.mark.parametrize("expr, scaled", HOSTILE.values(), ids=HOSTILE)
def test_only_durations_are_divided(expr, scaled):
    assert scale_promql(expr, 10) == scaled
    assert verify_equivalent(expr, scaled, 10) == []


@pytest.mark.parametrize(
    "expr, reason",
    [
        ("x[300]", "only plain durations"),
        ("x offset 300", "only a plain duration"),
        ("x[5m + 1m]", "only plain durations"),
        ("x > 5m", "takes no duration"),
        ("x[1.5h]", "only plain durations"),
        ("x[100ms]", "not a whole number of milliseconds"),
    ],
)
def test_what_cannot_be_divided_is_refused(expr, reason):
    with pytest.raises(ValueError, match=reason):
        scale_promql(expr, 7)


WHOLE_MS = st.integers(0, 10 * 365 * 86_400_000)


@settings(deadline=None)
@given(WHOLE_MS)
@example(17_179_869_177)  # half a year's float is no longer exact to a nanosecond
def test_a_printed_duration_reads_back_as_itself(ms):
    assert round(prometheus_seconds(prometheus_duration(ms / 1000)) * 1000) == ms


@settings(deadline=None)
@given(st.lists(st.integers(1, 10**7), min_size=3, max_size=3), st.integers(1, 60))
def test_scaling_down_and_up_again_changes_nothing(ms, k):
    window, step, offset = (prometheus_duration(Fraction(n * k, 1000)) for n in ms)
    expr = f'max_over_time(rate(x{{a="[{window}]"}}[{window}])[{window}:{step}] offset {offset}) # {offset}'
    smaller = scale_promql(expr, k)
    assert scale_promql(smaller, Fraction(1, k)) == expr
    assert verify_equivalent(expr, smaller, k) == []


@pytest.mark.parametrize(
    "text, seconds",
    [("5m", 300), ("1h30m", 5400), ("250ms", 0.25), ("1d", 86400), ("2w", 14 * 86400), ("1y", 365 * 86400), ("0", 0)],
)
def test_durations_are_read(text, seconds):
    assert prometheus_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5 m", "-5m", "1.5h", "30s5m", "5min", "٥m"])
def test_what_prometheus_does_not_read_is_an_error(text):
    with pytest.raises(ValueError, match="not a Prometheus duration"):
        prometheus_seconds(text)


@pytest.mark.parametrize(
    "seconds, text",
    [(0, "0s"), (90, "1m30s"), (0.25, "250ms"), (90 * 86400, "90d"), (14 * 86400, "2w"), (5400, "1h30m")],
)
def test_durations_are_written_as_prometheus_writes_them(seconds, text):
    assert prometheus_duration(seconds) == text


@pytest.mark.parametrize("seconds", [-1, 0.0005, 1 / 3])
def test_less_than_a_millisecond_cannot_be_written(seconds):
    with pytest.raises(ValueError, match="whole number of milliseconds"):
        prometheus_duration(seconds)
