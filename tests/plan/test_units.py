"""Quantities with their units: what is read, and what is refused with the form that was expected."""

import pytest

from harness.plan.units import duration, rate, share

READ = [
    (duration, "1m30s", 90),
    (duration, "500ms", 0.5),
    (share, "99.9%", 0.999),
    (share, 0.2, 0.2),
    (share, "0.2", 0.2),
]
READ += [(rate, "60/s", 60), (rate, " 0.5 / s", 0.5)]
REFUSED = [(duration, "4", "with its unit"), (duration, 4, "with its unit"), (share, "100", "100% for per cent")]
REFUSED += [(share, "much", "a share like"), (share, True, "a share like")]
REFUSED += [(rate, text, "a rate above 0 with its unit, like 60/s") for text in ("60", 60, "0/s", "-1/s", "60/m")]


@pytest.mark.parametrize(("unit", "text", "value"), READ)
def test_a_quantity_is_read(unit, text, value):
    assert unit(text) == pytest.approx(value)


@pytest.mark.parametrize(("unit", "text", "why"), REFUSED)
def test_a_quantity_without_its_unit_or_out_of_bounds_is_refused(unit, text, why):
    with pytest.raises(ValueError, match=why):
        unit(text)
