"""JSON for what is written with every request: orjson's, fifteen times as fast as the standard library's."""

from __future__ import annotations

import json
from typing import Any

import orjson

# To `_plain`, as the standard library has nothing of its own for them either, or another thing.
TO_PLAIN = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS


def dumps(value: Any) -> bytes:
    """JSON without blanks, in UTF-8, of all that `json.dumps(value, default=str)` takes; null for what is no number."""
    try:
        return orjson.dumps(value, _plain, TO_PLAIN)
    except orjson.JSONEncodeError:  # half a character, an integer beyond 64 bits, a key that is no text
        return json.dumps(value, default=str, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    """What the standard library makes of a value that orjson leaves: a tuple with names, a float of NumPy's, a time."""
    return json.loads(json.dumps(value, default=str))
