"""Request bodies, bounded: each in size and in time, and all that are held at once in bytes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request

from model_server.errors import LEFT, RETRY, BadInput, Problem
from model_server.telemetry.correlation import Headers, header


def slow() -> BadInput:
    """What is told when a body does not come in time."""
    return BadInput(408, "slow_body", "the body did not come in time", {"Connection": "close"})


def gone() -> Problem:
    """What is noted when a sender goes away in the middle of a body."""
    return Problem(LEFT, "disconnected", "the client went away")


class Bodies:
    """The bounds of all bodies together; `held_bytes` are those of requests that are not answered yet."""

    def __init__(self, max_bytes: int, max_held_bytes: int):
        self.max_bytes, self.max_held_bytes = max_bytes, max_held_bytes
        self.held_bytes = 0

    def expect(self, headers: Headers) -> Body:
        """The body that comes after a head. Raises BadInput when it will be too large, or is compressed."""
        if (header(headers, b"content-encoding") or "identity").lower() != "identity":
            raise BadInput(415, "encoded_body", "compressed bodies are not taken; send it without Content-Encoding")
        declared = header(headers, b"content-length") or "0"
        if declared.isdigit() and int(declared[:20]) > self.max_bytes:
            raise self.too_large()
        return Body(self)

    def too_large(self) -> BadInput:
        return BadInput(413, "body_too_large", f"at most {self.max_bytes} bytes are taken")

    @contextlib.asynccontextmanager
    async def read(self, request: Request, until: float) -> AsyncIterator[bytes]:
        """The whole body, come before `until` (monotonic seconds); it counts as held until the block ends.

        Raises BadInput when it is too large, empty, compressed or not framed as HTTP says, Problem when it is late, its
        sender goes away, or too much is held already.
        """
        body = self.expect(request.scope["headers"])
        try:
            try:
                async with asyncio.timeout(until - time.monotonic()):
                    async for piece in request.stream():
                        body.add(piece)
            except TimeoutError:
                raise slow() from None
            except ClientDisconnect:
                raise request.scope["extensions"]["connection"].fault or gone() from None
            yield body.whole()
        finally:
            body.release()


class Body:
    """A body on its way in. What has come counts as held until it is released; it is kept in one piece, so that it
    takes no more memory than that, however small the pieces were in which it came."""

    __slots__ = ("_bodies", "_content")

    def __init__(self, bodies: Bodies):
        self._bodies = bodies
        self._content: bytearray | bytes = bytearray()

    @property
    def size(self) -> int:
        """Bytes that have come."""
        return len(self._content)

    def add(self, piece: bytes) -> None:
        """A piece more. Raises BadInput when the body is too large, Problem when all bodies together are."""
        bodies = self._bodies
        self._content += piece
        bodies.held_bytes += len(piece)
        if len(self._content) > bodies.max_bytes:
            raise bodies.too_large()
        if bodies.held_bytes > bodies.max_held_bytes:
            raise Problem(503, "too_many_bodies", "too many bodies are arriving at once", RETRY)

    def whole(self) -> bytes:
        """All of it; nothing is added after that. Raises BadInput when there is nothing."""
        if not self._content:
            raise BadInput(422, "empty_body", "the body is empty")
        self._content = bytes(self._content)
        return self._content

    def release(self) -> None:
        """It is held no more."""
        self._bodies.held_bytes -= len(self._content)
        self._content = b""
