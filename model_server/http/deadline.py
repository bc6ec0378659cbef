"""How long a request may take: what its sender says, up to what the service allows."""

from __future__ import annotations

import time

from starlette.datastructures import Headers

from model_server.errors import BadInput
from model_server.http.bodies import combined

HEADER = "X-Request-Timeout-Ms"


def expiry(headers: Headers, at_most_s: float) -> float:
    """When (monotonic seconds) the answer of a request that begins now is worth nothing any more, by what its header
    says, if it has one. Raises BadInput."""
    if (told := combined(headers, HEADER)) is None:
        return time.monotonic() + at_most_s
    if not (told.isascii() and told.isdigit() and len(told) <= 9 and int(told) > 0):
        raise BadInput(400, "bad_timeout", f"{HEADER} is not a number of milliseconds from 1 to 999999999")
    return time.monotonic() + min(at_most_s, int(told) / 1000)
