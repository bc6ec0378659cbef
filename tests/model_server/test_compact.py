"""Whatever the standard library takes is taken, and means the same."""

import datetime
import enum
import json
import uuid
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_server.telemetry import compact

TEXT = st.text(st.characters())  # halves of characters too
KEYS = TEXT | st.integers() | st.booleans() | st.none()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT | st.binary()
    | st.datetimes() | st.uuids() | st.decimals(),
    lambda inside: st.lists(inside) | st.dictionaries(KEYS, inside) | st.tuples(inside, inside),
)  # fmt: skip


class Pair(NamedTuple):
    a: int
    b: str


class Named(enum.StrEnum):
    ONE = "one"


@given(VALUES)
def test_it_means_what_the_standard_librarys_means(value):
    assert json.loads(compact.dumps(value)) == json.loads(json.dumps(value, default=str))


@pytest.mark.parametrize(
    "value",
    [
        Pair(1, "x"), Named.ONE, np.float64(0.5), np.float32(0.5), np.int64(3), 1 << 70, "\ud800", {1: 2}, {"a"},
        Path("/x"), uuid.UUID(int=1), ValueError("x"), datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
        {"a": [Pair(1 << 70, "\ud800")]},
    ],
)  # fmt: skip
def test_what_orjson_would_refuse_or_write_otherwise(value):
    assert json.loads(compact.dumps({"x": value})) == json.loads(json.dumps({"x": value}, default=str))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float64("nan")])
def test_no_number_is_null_as_json_has_none(value):
    assert compact.dumps([value]) == b"[null]"


def test_it_is_one_line():
    assert compact.dumps({"a": "x\ny\u2028", "b": [1, 2.5, None]}) == '{"a":"x\\ny\u2028","b":[1,2.5,null]}'.encode()
