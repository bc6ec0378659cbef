"""Whatever is to be written is written: the standard library's JSON where it has one, else text; times as RFC 3339."""

import dataclasses
import datetime
import enum
import json
import uuid
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_server.telemetry.encoding import dumps, rfc3339

TEXT = st.text(st.characters())  # halves of characters too
KEYS = TEXT | st.integers() | st.booleans() | st.none()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT | st.binary()
    | st.uuids() | st.decimals(),
    lambda inside: st.lists(inside) | st.dictionaries(KEYS, inside) | st.tuples(inside, inside),
)  # fmt: skip


class Named(enum.StrEnum):
    ONE = "one"


@dataclasses.dataclass
class Pair:
    a: int


@given(VALUES)
def test_it_means_what_the_standard_librarys_means(value):
    assert json.loads(dumps(value)) == json.loads(json.dumps(value, default=str))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Named.ONE, "one"), (np.float64(0.5), 0.5), (np.float32(0.5), 0.5), (np.int64(3), 3), (1 << 70, 1 << 70),
        ("\ud800", "\ud800"), ({1: 2}, {"1": 2}), (Path("/x"), "/x"), (ValueError("x"), "x"), (Pair(1), {"a": 1}),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"), ([1 << 70, Path("/x")], [1 << 70, "/x"]),
        (datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), "2026-01-02T00:00:00+00:00"),
    ],
)  # fmt: skip
def test_what_json_does_not_have(value, written):
    assert json.loads(dumps({"x": value})) == {"x": written}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float64("nan")])
def test_no_number_is_null_as_json_has_none(value):
    assert dumps([value]) == b"[null]"


def test_it_is_one_line():
    assert dumps({"a": "x\ny\u2028", "b": [1, 2.5, None]}) == '{"a":"x\\ny\u2028","b":[1,2.5,null]}'.encode()


@pytest.mark.parametrize(
    ("at", "written"),
    [
        (0.0, "1970-01-01T00:00:00.000000Z"),
        (-0.5, "1969-12-31T23:59:59.500000Z"),
        (1_800_000_000.25, "2027-01-15T08:00:00.250000Z"),
        (951_782_400.0, "2000-02-29T00:00:00.000000Z"),
    ],
)
def test_a_time_is_rfc_3339_in_utc_to_the_microsecond(at, written):
    assert rfc3339(at) == written
