"""What uvicorn leaves open: at every state a connection is bounded in time, in bytes held and in work done at once, and
what never became a request is refused as a problem, like all else."""

import asyncio
import heapq
import resource
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import h11
import orjson
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from model_server.errors import MEDIA_TYPE, TITLES, BadInput, Problem, body
from model_server.http.framing import CLOSE, BoundedConnection, misfit
from model_server.settings import Settings

CUT_OFF_AFTER_S = 30.0  # a client that does not read what it asked for, or does not close when it was told to
IDLE_WITHIN_S = 30.0  # a connection without a complete request is closed
EVENTS_AT_ONCE = 100  # of one connection, before the others have their turn: about a millisecond
PROBES_AFTER_S = (0.1, 0.1, 0.8)  # the wait before each


@dataclass(slots=True, eq=False)
class Client:
    """Who sent a request, as far as its application may care: scope["extensions"]["connection"]."""

    _conn: BoundedConnection
    _cycle: RequestResponseCycle
    came: float  # when its head was there, in seconds of `time.perf_counter()`; its application begins later

    @property
    def gone(self) -> bool:
        """Whether nobody waits for the answer any more: the client has left, or was answered."""
        return self._cycle.disconnected or self._cycle.response_complete

    @property
    def fault(self) -> Problem | None:
        """What was wrong with the body where `receive` said http.disconnect; None: the client has left."""
        return self._conn.fault

    async def receive(self) -> Message:
        message = await self._cycle.receive() if self.fault is None else None
        return message if self.fault is None else {"type": "http.disconnect"}


class StagedTransport:
    """A transport that closes in stages (RFC 9112, 9.6): it says that no more comes, and takes what still does until
    its client closes. To close at once while bytes are unread would take the answer from the client."""

    def __init__(self, wire: asyncio.Transport, loop: asyncio.AbstractEventLoop):
        self._wire, self._loop, self._closing = wire, loop, False
        self._cut: asyncio.TimerHandle | None = None
        self.held = False  # reads nothing, whoever resumes it
        self.write, self.pause_reading, self.abort = wire.write, wire.pause_reading, wire.abort
        self.get_extra_info, self.get_write_buffer_size = wire.get_extra_info, wire.get_write_buffer_size

    def is_closing(self) -> bool:
        return self._closing or self._wire.is_closing()

    def resume_reading(self) -> None:
        if not self.held:
            self._wire.resume_reading()

    def close(self) -> None:
        if not self.is_closing():
            self._closing, self.held = True, False
            self.cut_off_later()
            self._wire.write_eof()
            self._wire.resume_reading()

    def cut_off_later(self) -> None:
        """Give the client some time to do its part."""
        self._cut = self._cut or self._loop.call_later(CUT_OFF_AFTER_S, self.abort)

    def cut_off_never(self) -> None:
        """The client did its part, or has gone."""
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None


class BoundedProtocol(H11Protocol):
    """uvicorn's protocol for HTTP/1.1. A connection is closed when no whole head came for IDLE_WITHIN_S, or for the
    deadline of a request once a part of one did, or after an answer that did not wait for the body. Of too many those
    go first that wait for their clients. `refused` is told of each refusal: the problem, the address, the request id.
    """

    def __init__(self, *args, settings: Settings, refused: Callable[[Problem, str, str], None], **kwargs):
        super().__init__(*args, **kwargs)
        self.conn = BoundedConnection(settings.max_head_bytes)
        self.timeout_keep_alive = IDLE_WITHIN_S
        self._head_within_s, self._tell, self._in_head = settings.deadline_s, refused, False
        self._max_connections = min(settings.max_connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        self._app, self.app = self.app, self._serve

    @property
    def _busy(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _waits(self) -> bool:
        """Whether it is its client's turn: to ask, to read, or to close."""
        return not self._busy or self.flow.write_paused

    @property
    def _until(self) -> float:
        """When its time to ask is over; 0 where it has to read or to close."""
        return self.timeout_keep_alive_task.when() if self.timeout_keep_alive_task else 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(StagedTransport(transport, self.loop))
        self._await_head(self.timeout_keep_alive)
        if len(self.connections) > self._max_connections:
            waiting = [one for one in self.connections if one is not self and one._waits]
            for one in heapq.nsmallest(1 + self._max_connections // 10, waiting, lambda one: one._until):
                one.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self.transport.cut_off_never()
        self.app = self._app  # else the collector would have to find this

    def data_received(self, data: bytes) -> None:
        if self.conn.fault is None and not self.transport.is_closing():
            self.conn.receive_data(data)
            self.handle_events()

    def eof_received(self) -> bool:
        """Whether to stay: a client that sends no more may be waiting for its answer."""
        if not self.conn.ended:
            self.conn.receive_data(b"")
            self.handle_events()
            if self._busy:
                self.loop.call_later(PROBES_AFTER_S[0], self._probe, PROBES_AFTER_S[1:])
        return self._busy

    def handle_events(self) -> None:
        if self.transport.is_closing():
            return
        self.conn.budget = EVENTS_AT_ONCE
        before, now = self.cycle, time.perf_counter()
        super().handle_events()
        if self.cycle is not before:
            self._came = now
        state = self.conn.their_state
        if not self.conn.budget:
            if not self.transport.held:
                self.transport.held = True
                self.transport.pause_reading()
                self.loop.call_soon(self._go_on)
        elif state is not h11.IDLE:
            self._in_head = False
            if state is h11.CLOSED and not self._busy:
                self.transport.close()
        elif not self._in_head and self.conn.trailing_data[0]:
            self._in_head = True
            self._await_head(min(self._head_within_s, self.timeout_keep_alive_task.when() - self.loop.time()))

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():  # a body that nobody reads now
            self._await_head(min(self._head_within_s, self.timeout_keep_alive))

    def _go_on(self) -> None:
        self.transport.held = False
        if not self.flow.read_paused:
            self.transport.resume_reading()
        self.handle_events()

    def _await_head(self, within_s: float) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(within_s, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        if self.transport.is_closing():
            return
        if self._in_head:
            self._refuse(BadInput(408, "slow_head", "the headers did not come in time", CLOSE))
        else:
            self.transport.abort()  # with what the client has not read of its last answer

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn when h11 does not understand what came."""
        if self._busy:
            self.cycle.message_event.set()  # the application hears of it, and answers
        elif self.conn.our_state is h11.IDLE:
            self._refuse(self.conn.fault)
        else:  # the rest of a body that nobody read
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.cut_off_later()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self.transport.cut_off_never()

    def shutdown(self) -> None:
        if self._busy:
            self.cycle.keep_alive = False
        else:
            self.transport.close() if self.transport.get_write_buffer_size() else self.transport.abort()

    def _should_upgrade(self) -> bool:
        return False  # RFC 9110, 7.8: an upgrade that is not taken is ignored

    def _probe(self, waits: tuple[float, ...]) -> None:
        """Send an interim answer to a client that sends no more. One that has gone refuses it, and the next fails."""
        waits_for_answer = self._busy and not self.transport.is_closing() and self.conn.our_state is h11.SEND_RESPONSE
        if waits_for_answer and self.scope["http_version"] != "1.0":  # which knows no interim answers
            interim = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
            self.transport.write(self.conn.send(interim))
            if waits:
                self.loop.call_later(waits[0], self._probe, waits[1:])

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = Client(self.conn, self.cycle, self._came)
        scope["extensions"] = {"connection": client}
        try:
            if (problem := misfit(scope)) is None:
                await self._app(scope, client.receive, send)
            else:
                await self._told(problem)(scope, client.receive, send)
        finally:
            del scope["extensions"]  # which lead back to the scope

    def _refuse(self, problem: Problem) -> None:
        """Answer what never became a request."""
        told = self._told(problem)
        headers, reason = self.server_state.default_headers + told.raw_headers, TITLES[problem.status]
        answer = h11.Response(status_code=problem.status, headers=headers, reason=reason)
        for event in (answer, h11.Data(data=told.body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))
        self.transport.close()

    def _told(self, problem: Problem) -> Response:
        """What a client is told that is refused here; `refused` knows of it."""
        request_id = uuid.uuid4().hex
        self._tell(problem, self.client[0] if self.client else "", request_id)
        headers = {"X-Request-ID": request_id, **CLOSE}
        return Response(orjson.dumps(body(problem, request_id)), problem.status, headers, MEDIA_TYPE)
