"""How what is kept of a request is written: its JSON, and its times."""

from __future__ import annotations

import datetime
import functools
import json
from typing import Any

import orjson


def dumps(value: Any) -> bytes:
    """JSON without blanks, in UTF-8, of anything: what JSON does not have is text; null for what is no number."""
    try:
        return orjson.dumps(value, str, orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError:  # half a character, an integer beyond 64 bits, a key that is no text
        return json.dumps(value, default=str, separators=(",", ":")).encode()


def rfc3339(at: float) -> str:
    """A time in seconds since the epoch as RFC 3339, UTC, to the microsecond."""
    seconds, microseconds = divmod(round(at * 1e6), 1_000_000)
    return f"{_second(seconds)}.{microseconds:06}Z"


@functools.lru_cache(maxsize=8)  # most times that are written are of now
def _second(at: int) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
