"""How what is kept of a request is written: its JSON, and its times."""

import datetime
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
    told = datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="microseconds")
    return told.removesuffix("+00:00") + "Z"
