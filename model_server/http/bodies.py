"""Request bodies, bounded: each in size and in time, and all that are held at once in bytes."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from starlette.datastructures import Headers
from starlette.requests import Request

from model_server.errors import LEFT, RETRY, BadInput, Problem

TIMEOUT = "X-Request-Timeout-Ms"  # how long its sender waits for the answer, up to what the service allows


def gone() -> Problem:
    """What is noted when a sender goes away in the middle of a body."""
    return Problem(LEFT, "disconnected", "the client went away")


class Bodies:
    """The bounds of all bodies together; `held_bytes` are those of requests that are not answered yet."""

    def __init__(self, max_bytes: int, max_held_bytes: int, deadline_s: float):
        self._max_bytes, self._max_held_bytes, self._deadline_s = max_bytes, max_held_bytes, deadline_s
        self.held_bytes = 0

    @contextlib.asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[tuple[bytes, float]]:
        """The whole body, and until when (monotonic seconds) the block has to end; so long the body counts as held.

        Raises BadInput when it is too large, empty, late, compressed or not framed as HTTP says, or no time is named;
        Problem when its sender goes away or too much is held already; TimeoutError when the block is late.
        """
        until = time.monotonic() + self._allowed_s(combined(request.headers, TIMEOUT))
        self._check_head(request.headers)
        # In one piece it takes no more memory than its bytes, however small the pieces are in which it comes.
        content, more = bytearray(), True
        try:
            async with asyncio.timeout(until - time.monotonic()):  # one for both: a timer costs as much as a route
                while more:
                    message = await request.receive()
                    if message["type"] == "http.disconnect":
                        raise request.scope["extensions"]["connection"].fault or gone()
                    piece, more = message["body"], message["more_body"]
                    content += piece
                    self.held_bytes += len(piece)
                    self._check(len(content))
                if not content:
                    raise BadInput(422, "empty_body", "the body is empty")
                yield bytes(content), until
        except TimeoutError:
            if not more:
                raise
            raise BadInput(408, "slow_body", "the body did not come in time", {"Connection": "close"}) from None
        finally:
            self.held_bytes -= len(content)

    def _allowed_s(self, told: str | None) -> float:
        if told is None:
            return self._deadline_s
        if not (told.isascii() and told.isdigit() and len(told) <= 9 and int(told) > 0):
            raise BadInput(400, "bad_timeout", f"{TIMEOUT} is not a number of milliseconds from 1 to 999999999")
        return min(self._deadline_s, int(told) / 1000)

    def _check_head(self, headers: Headers) -> None:
        codings = (combined(headers, "content-encoding") or "").lower().split(",")
        if {coding.strip() for coding in codings} - {"", "identity"}:
            raise BadInput(415, "encoded_body", "compressed bodies are not taken; send it without Content-Encoding")
        self._check(int(headers.get("content-length", "0")))  # which h11 has looked at

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise BadInput(413, "body_too_large", f"at most {self._max_bytes} bytes are taken")
        if self.held_bytes > self._max_held_bytes:
            raise Problem(503, "too_many_bodies", "too many bodies are arriving at once", RETRY)


def combined(headers: Headers, name: str) -> str | None:
    """The value of a header, those of one that is repeated in a list (RFC 9110, 5.3); None where there is none."""
    return ", ".join(values) if (values := headers.getlist(name)) else None
