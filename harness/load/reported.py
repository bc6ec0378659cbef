"""How a request ended, by what a client that is not ours says of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.history import Outcome

NOT_CONNECTED = {
    "NewConnectionError", "ConnectTimeout", "ConnectTimeoutError", "ConnectionRefusedError", "gaierror",
}  # fmt: skip
NO_HTTP = {"BadStatusLine", "HTTPParseError", "LineTooLong"}


class CutOff(Exception):
    """The run ended, and the response did not come within the time that is left to it then."""


class Abandoned(Exception):
    """The run ended, and its user with it."""


def outcome(status: int, exception: Any) -> Outcome:
    """How a request ended, by its status and by what the locustfile made of it."""
    if exception is None:
        return Outcome.OK
    if status >= 400:
        return Outcome.REFUSED_BY_SERVICE
    if status:
        return Outcome.UNSERVED  # a complete answer, and the locustfile calls it a failure
    causes = list(_causes(exception))
    names = {type(cause).__name__ for cause in causes}
    if "Abandoned" in names:
        return Outcome.ABANDONED
    if "CutOff" in names:
        return Outcome.TIMEOUT
    if NOT_CONNECTED & names:
        return Outcome.CONNECT_FAILED
    if any(isinstance(cause, TimeoutError) or "Timeout" in type(cause).__name__ for cause in causes):
        return Outcome.TIMEOUT
    if NO_HTTP & names:
        return Outcome.GARBAGE
    return Outcome.BROKEN


def _causes(error: Any, deep: int = 6) -> Iterator[Any]:
    """An exception and those in it."""
    if isinstance(error, BaseException) and deep:
        yield error
        for inner in (*error.args, getattr(error, "reason", None), error.__cause__, error.__context__):
            yield from _causes(inner, deep - 1)
