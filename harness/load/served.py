"""Whether a complete response serves its request: its status, and the class in it where that of the input is known."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable

from harness.history import Outcome
from harness.load import content
from harness.load.request import Request, Response

Found = int | tuple[int, float] | None  # the class in a response, or it and its probability; below 0 or None: none
Reader = Callable[[Response], Found]
NOTHING = (-1, math.nan)

NO_CLASS, NOT_KEPT = "no readable class", "no class in what is kept of so long a response"
UNKNOWN_CODING = "a Content-Encoding that the generator cannot undo"
EXCERPT = 120  # characters
LARGEST = 3e38  # of the numbers that a row can hold as a probability
OK = Outcome.OK  # looked up once, for each response needs it
_SECRET_NAMES = re.compile(r"(?i)auth|key|token|cookie|secret|passw")
_RANDOM = re.compile(r"(?=[\w+/=.~-]*\d)(?=[\w+/=.~-]*[A-Za-z])[\w+/=.~-]{20,}")
_QUERY = re.compile(r"[?#][^\s\"'<>]+|(?<=://)[^\s/\"'<>@]+@")


def plain(request: Request, response: Response) -> bool:
    """Whether a complete response is what it seems, unless there is a class to be read in it: most are."""
    return not (response.status >= 300 or request.expect_status) and b"content-encoding" not in response.head.lower()


def judged(request: Request, response: Response, read: Reader | None) -> tuple[Response, int, float]:
    """A complete response with its content decoded and its final outcome; the class in it, -1 without, and the
    probability, nan without. Where `read` raises, there is none; but what is a mistake of the scenario, whatever the
    response, is raised on."""
    unread = ""
    if not plain(request, response):
        response = _by_status(request, response)
        try:
            response = content.decoded(response)
        except content.NotDecoded:
            unread = UNKNOWN_CODING
        except content.BrokenEncoding as broken:
            if response.outcome == OK:
                response = response._replace(outcome=Outcome.UNSERVED, error=f"broken {broken}")
        if response.outcome != OK:
            return response, *NOTHING
    if read is None:
        return response, *NOTHING
    (found, probability), why = (NOTHING, "") if unread else _class_in(response, read)
    if found < 0 and request.expected >= 0 and response.status < 300:
        unread = unread or (NOT_KEPT if response.cut else "")
        outcome = Outcome.NOT_READ if unread else Outcome.UNSERVED
        response = response._replace(outcome=outcome, error=unread or NO_CLASS + why)
    return response, found, probability


def _by_status(request: Request, response: Response) -> Response:
    """The same, good or bad by its status and those that the request expects."""
    if request.expect_status and response.status < 500:
        if response.status in request.expect_status:
            return response._replace(outcome=OK, error="")
        return response._replace(outcome=Outcome.UNEXPECTED_STATUS, error=f"status {response.status}")
    if 300 <= response.status < 400:
        return response._replace(outcome=Outcome.UNSERVED, error=f"status {response.status}")
    return response


def _class_in(response: Response, read: Reader) -> tuple[tuple[int, float], str]:
    """The class and its probability, or NOTHING and what reading them raised."""
    try:
        found = read(response)
        label, probability = found if isinstance(found, tuple) else (found, math.nan)
        return (NOTHING if label is None or label < 0 else (label, _kept(float(probability)))), ""
    except (NameError, ImportError):
        raise
    except Exception as error:
        own = (response, getattr(read, "__self__", response))
        if isinstance(error, AttributeError) and any(error.obj is one for one in own):
            raise
        return NOTHING, f" ({type(error).__name__})"


def _kept(probability: float) -> float:
    """As a row can hold it: what is too large for that is infinite."""
    return probability if not abs(probability) > LARGEST else math.copysign(math.inf, probability)


def excerpt(request: Request, response: Response, secrets: Iterable[str] = ()) -> str:
    """The begin of what came instead of an answer, as one line and without secrets."""
    if 300 <= response.status < 400 and (location := content.field(response, b"location")):
        said = b"to " + location
    elif response.outcome == Outcome.NOT_READ and (codings := content.field(response, b"content-encoding")):
        said = b"Content-Encoding: " + codings
    else:
        said = response.body
    text = said[: 8 * EXCERPT].decode("utf-8", "replace")
    own = [value for name, value in request.headers if _SECRET_NAMES.search(name)]
    for secret in sorted({part for value in (*secrets, *own) for part in (value, *value.split())}, key=len)[::-1]:
        if len(secret) > 3:
            text = text.replace(secret, "***")
    text = _RANDOM.sub("***", _QUERY.sub("***", text))
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return (text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…") or "(empty)"
