"""What comes before a request is one: heads that are too large, too slow or not HTTP are refused as problems too."""

from __future__ import annotations

import asyncio
import functools
import http
import json
import random
import time
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from model_server import errors as problems
from model_server.errors import BadInput, Problem
from model_server.http.alarm import Alarm
from model_server.http.direct import Call, Target, target

LINGER_S = 2.0


@functools.lru_cache(1)  # they change once a second
def _written(headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with bounds on a request's head and trailers, and on how long a connection may be silent."""

    def __init__(
        self, *args, max_head_bytes: int, head_within_s: float, refused: Callable[[Problem, str, str], None],
        call: Callable[[BoundedProtocol, Target], Call], came: Callable[[], None], **kwargs,
    ):  # fmt: skip
        """`refused` is told of each refusal: the problem, the sender's address, the request id given. `call` makes the
        requests for inference, which are answered here. `came` is told that a connection is there."""
        super().__init__(*args, **kwargs)
        self._max_head_bytes, self._head_within_s, self._tell = max_head_bytes, head_within_s, refused
        self._call, self._came = call, came
        self._calls: set[Call] = set()  # not answered yet: one begun, and those behind it
        self._in_head, self._has_body, self._refused = False, False, False
        self._draining: asyncio.Task | None = None
        self._data_bytes = 0  # of the piece that is being read
        self._parsed_bytes = 0  # taken in since the last thing that came of them: a head, or a piece of a body
        self._late, self._silence = Alarm(self.loop), Alarm(self.loop)
        self.deadline = Alarm(self.loop)  # of the request for inference that is being answered
        self._too_large = BadInput(431, "head_too_large", f"at most {max_head_bytes} bytes of request line and headers")

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self._came()
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        for alarm in (self._late, self._silence, self.deadline):
            alarm.close()
        self._leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._has_body, self._data_bytes = False, len(data)
        super().data_received(data)
        if self._refused:
            return
        self._parsed_bytes = 0 if self._has_body else self._parsed_bytes + len(data)
        if self._parsed_bytes > self._max_head_bytes:
            self._refuse(self._too_large)
        elif not self._late.on and (self._in_head or self._is_answered_early()):
            late = self._on_late if self._in_head else self.transport.close
            self._late.set(time.monotonic() + self._head_within_s, late)

    def on_message_begin(self) -> None:
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._in_head, self._parsed_bytes = True, 0

    def on_headers_complete(self) -> None:
        self._in_head, self._has_body = False, True
        self._late.clear()
        if self._parsed_bytes + self._data_bytes > self._max_head_bytes < self._head_bytes():
            raise self._too_large  # the parser stops and calls for the answer below
        at = target(self.url)
        if at is None:
            self._for_the_application()
            return
        before, self.cycle = self.cycle, self._call(self, at)
        self._calls.add(self.cycle)
        if before is None or before.response_complete:
            self.cycle.begin()
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, None))

    def on_body(self, body: bytes) -> None:
        self._has_body = True
        if type(self.cycle) is Call:
            self.cycle.add(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._has_body = True
        if type(self.cycle) is not Call:
            super().on_message_complete()
            return
        was_answered = self.cycle.response_complete
        self.cycle.complete()
        if was_answered:  # and the rest of its body has come now
            self._late.clear()
            if not self._silence.on:
                self._await_request()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._await_request()

    @property
    def date(self) -> bytes:
        """The headers that every answer has."""
        return _written(tuple(self.server_state.default_headers))

    def answered(self, call: Call) -> None:
        """A request for inference is: go on, but not faster than answers are read."""
        self._calls.discard(call)
        if not self.flow.write_paused:
            self.on_response_complete()
        elif self._draining is None or self._draining.done():
            self.flow.pause_reading()
            self._draining = self.loop.create_task(self._drain())

    def hang_up(self, unread: bool) -> None:
        """Close, after an answer; while bytes are `unread` that would throw it away, so only once it can be read."""
        if not unread:
            self.transport.close()
            return
        self._refused = True
        self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(LINGER_S, self.transport.close)

    def _for_the_application(self) -> None:
        """Go the usual way with the request whose head is read."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()  # which makes much that inference needs nothing of
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        super().on_headers_complete()

    def _await_request(self) -> None:
        """Close, unless something comes in time."""
        self._silence.set(time.monotonic() + self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        self._silence.clear()

    async def _drain(self) -> None:
        await self.flow.drain()
        self.on_response_complete()

    def _start_asgi_task(self, cycle, app) -> None:
        if type(cycle) is Call:
            self.loop.call_soon(cycle.begin)  # not at once: thousands that are refused would begin within each other
        else:
            super()._start_asgi_task(cycle, app)

    def _is_answered_early(self) -> bool:
        """Whether the rest of the body of a request that is answered is still to come."""
        return type(self.cycle) is Call and self.cycle.response_complete and self.cycle.more_body

    def _leave(self) -> None:
        """Nobody is there for what is being answered, or waits to be."""
        for call in self._calls:
            call.left()
        self._calls.clear()
        if self.cycle is not None and type(self.cycle) is not Call and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn for whatever its parser refuses."""
        if self._head_bytes() > self._max_head_bytes:
            self._refuse(self._too_large)
        else:
            self._refuse(BadInput(400, "not_http", "this is not an HTTP request"))

    def _head_bytes(self) -> int:
        headers = self.headers or ()
        return len(getattr(self, "url", b"")) + sum(len(name) + len(value) + 4 for name, value in headers)

    def _on_late(self) -> None:
        self._refuse(BadInput(408, "slow_head", f"the headers did not come within {self._head_within_s:g} s"))

    def _refuse(self, problem: BadInput) -> None:
        """Answer, and close once that can have been read: to close while bytes come in would throw it away.

        A request that is being answered on this connection ends with it.
        """
        self._late.clear()
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._leave()
        request_id = f"{random.getrandbits(128):032x}"
        self._tell(problem, self.client[0] if self.client else "", request_id)
        told = json.dumps(problems.body(problem, request_id)).encode()
        self.transport.write(
            f"HTTP/1.1 {problem.status} {http.HTTPStatus(problem.status).phrase}\r\n"
            f"content-type: {problems.MEDIA_TYPE}\r\ncontent-length: {len(told)}\r\n"
            f"x-request-id: {request_id}\r\nconnection: close\r\n\r\n".encode()
            + told
        )
        self.hang_up(unread=True)
