"""Request bodies, bounded: each in size and in time, and all that are held at once in bytes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request

from model_server.problems import RETRY, BadInput, Problem


class Bodies:
    """Reads bodies; `held_bytes` are those of requests that are not answered yet."""

    def __init__(self, max_bytes: int, max_held_bytes: int):
        self._max, self._max_held = max_bytes, max_held_bytes
        self.held_bytes = 0

    @contextlib.asynccontextmanager
    async def read(self, request: Request, until: float) -> AsyncIterator[bytes]:
        """The whole body, come before `until` (monotonic seconds); it counts as held until the block ends.

        Raises BadInput when it is too large, empty or compressed, Problem when it is late, its sender goes away, or
        too much is held already.
        """
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise BadInput(415, "encoded_body", "compressed bodies are not taken; send it without Content-Encoding")
        declared = request.headers.get("content-length", "0")
        if declared.isdigit() and int(declared[:20]) > self._max:
            raise self._too_large()
        chunks: list[bytes] = []
        try:
            await self._receive(request, until, chunks)
            if not chunks:
                raise BadInput(422, "empty_body", "the body is empty")
            yield b"".join(chunks)
        finally:
            self.held_bytes -= sum(map(len, chunks))

    async def _receive(self, request: Request, until: float, chunks: list[bytes]) -> None:
        size = 0
        try:
            async with asyncio.timeout(until - time.monotonic()):
                async for chunk in request.stream():
                    if not chunk:
                        continue
                    chunks.append(chunk)
                    size += len(chunk)
                    self.held_bytes += len(chunk)
                    if size > self._max:
                        raise self._too_large()
                    if self.held_bytes > self._max_held:
                        raise Problem(503, "too_many_bodies", "too many bodies are arriving at once", RETRY)
        except TimeoutError:
            raise Problem(408, "slow_body", "the body did not come in time", {"Connection": "close"}) from None
        except ClientDisconnect:
            raise Problem(400, "disconnected", "the client went away") from None

    def _too_large(self) -> BadInput:
        return BadInput(413, "body_too_large", f"at most {self._max} bytes are taken")
