"""Quantities with their units: what is read, what is refused with the form that was expected, and what is written."""

import pytest

from harness.units import (
    count,
    duration,
    listed,
    parse_duration,
    parse_rate,
    parse_share,
    parse_size,
    percent,
    prometheus_seconds,
    size,
)

READ = [
    (parse_duration, "1m30s", 90),
    (parse_duration, "500ms", 0.5),
    (parse_share, "99.9%", 0.999),
    (parse_share, 0.2, 0.2),
    (parse_share, "0.2", 0.2),
]
READ += [(parse_size, "1 kB", 1000), (parse_size, "1.5MiB", 1.5 * 2**20), (parse_size, "0 B", 0)]
READ += [(parse_rate, "60/s", 60), (parse_rate, " 0.5 / s", 0.5)]
REFUSED = [(parse_duration, "4", "with its unit"), (parse_duration, 4, "with its unit")]
REFUSED += [(parse_share, "100", "100% for per cent"), (parse_share, "much", "a share like")]
REFUSED += [(parse_share, True, "a share like")]
REFUSED += [
    (parse_size, text, "a size with its unit, like 1 kB")
    for text in ("1", 1, "1 kb", "-1 kB", "1e3 B", "9" * 400 + " B")
]
REFUSED += [(parse_rate, text, "a rate above 0 with its unit, like 60/s") for text in ("60", 60, "0/s", "-1/s", "60/m")]
NINES = "9" * 400
REFUSED += [(parse_duration, text, "at most 100 years") for text in (f"{NINES}d", "99999999999h", "1" * 5000 + "ms")]
REFUSED += [(parse_rate, f"{NINES}/s", "a rate above 0"), (parse_share, NINES, "between 0 and 100 %")]
REFUSED += [(prometheus_seconds, text, "292 years") for text in ("99999999999y", f"{NINES}s", "9" * 5000 + "d", "293y")]


@pytest.mark.parametrize(("unit", "text", "value"), READ)
def test_a_quantity_is_read(unit, text, value):
    assert unit(text) == pytest.approx(value)


@pytest.mark.parametrize(("unit", "text", "why"), REFUSED)
def test_a_quantity_without_its_unit_or_out_of_bounds_is_refused(unit, text, why):
    with pytest.raises(ValueError, match=why):
        unit(text)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"), (0.0011, "1.1 ms"), (0.2124, "212 ms"), (0.9996, "1 s"), (1, "1 s"), (4.25, "4.2 s"), (20, "20 s"),
        (59.96, "1 min"), (60, "1 min"), (150, "2 min 30 s"), (3600, "1 h"), (3900, "1 h 5 min"), (-2, "-2 s"),
        (float("inf"), "for ever"),
    ],
)  # fmt: skip
def test_durations_are_written_as_people_say_them(seconds, said):
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("share", "said"), [(0.999, "99.9 %"), (0.15, "15 %"), (1, "100 %"), (0, "0 %"), (1 / 1800, "0.056 %")]
)
def test_shares_are_written_with_the_digits_they_need(share, said):
    assert percent(share) == said


@pytest.mark.parametrize(
    ("of_bytes", "said"),
    [(0, "0 B"), (-84.3, "-84.3 B"), (650, "0.7 kB"), (-1234, "-1.2 kB"), (354e6, "354 MB"), (1.25e9, "1.2 GB")],
)
def test_sizes_are_written_in_units_of_1000(of_bytes, said):
    assert size(of_bytes) == said


def test_counts_and_lists_read_as_sentences():
    assert [count(1, "request"), count(1800, "request")] == ["1 request", "1,800 requests"]
    assert [listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
