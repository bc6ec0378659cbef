"""A moment's text is what `datetime` makes of it, to the last microsecond."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_server.telemetry.moments import rfc3339


def by_datetime(at: float) -> str:
    moment = datetime.datetime.fromtimestamp(at, datetime.UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


@given(st.floats(-2e9, 4e9))
def test_any_moment(at):
    assert rfc3339(at) == by_datetime(at)


@given(st.integers(-(10**9), 4 * 10**9), st.integers(0, 2_000_000))
def test_halves_of_microseconds_are_rounded_alike(second, halves):
    at = second + halves / 2e6
    assert rfc3339(at) == by_datetime(at)


@pytest.mark.parametrize("at", [0.0, -0.0, -0.0000001, 0.9999999, 1_800_000_000.9999997, 951_782_400.0])
def test_edges(at):
    assert rfc3339(at) == by_datetime(at)
