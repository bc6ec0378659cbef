"""A TCP proxy that stands between two parties and spoils their connections when told to, as Toxiproxy does.

    python -m harness.stack.proxy PORT

It is told by Toxiproxy's HTTP API on loopback (proxy_api.py), so Toxiproxy's clients can drive it, and a real Toxiproxy
can take its place. What there is to do to a connection is in toxics.py and http_faults.py. A connection without toxics
costs one read and one write a piece, into one buffer for all; what waits for a toxic, or for a slow reader, is bounded,
and its sender is then not read from. Ends on SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress

from harness.stack.toxics import STREAMS, End, Stage, Toxic, stage

LOOPBACK = "127.0.0.1"
BACKLOG = 4096
READ_BYTES = 1 << 20  # at most, at once
WAITING_BYTES = 1 << 20  # of one direction of a connection, in its toxics; above it nothing more is read
UNSENT_BYTES = 256 * 1024  # the same for what the other end does not take
CONNECT_S = 30.0
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset
KEEPS_VIEWS = sys.version_info >= (3, 12)  # a transport keeps what it cannot send at once, and copies nothing


class Buffer:
    """Where all connections read into: what is read is passed on, or copied, before the next one reads."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Leave the old one to whoever still sends from it."""
        self.bytes = bytearray(READ_BYTES)
        self.view = memoryview(self.bytes)


class Side(asyncio.BufferedProtocol):
    """One of the two sockets of a connection: what comes here goes into `out`."""

    def __init__(self, buffer: Buffer):
        self._buffer = buffer
        self.transport: asyncio.Transport | None = None
        self.out: Flow | None = None
        self.lost = False
        self._resumed: asyncio.Future | None = None  # while the other end takes nothing
        self._holds: set[str] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(high=UNSENT_BYTES)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer.bytes

    def buffer_updated(self, nbytes: int) -> None:
        self.out.feed(self._buffer, nbytes)

    def eof_received(self) -> bool:
        self.out.feed_end("eof")
        return True  # the other direction stays open

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self.resume_writing()
        if self.out is not None:
            self.out.feed_end("reset")

    def pause_writing(self) -> None:
        self._resumed = self._resumed or asyncio.get_running_loop().create_future()
        if self.out is not None:
            self.out.connection.other(self).hold("unsent", True)

    def resume_writing(self) -> None:
        waiting, self._resumed = self._resumed, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
        if self.out is not None:
            self.out.connection.other(self).hold("unsent", False)

    async def send(self, data: bytes) -> None:
        """Send, once the other end takes something."""
        while self._resumed is not None and not self.lost:
            await self._resumed
        if not self.lost and not self.transport.is_closing():
            self.transport.write(data)

    def hold(self, why: str, on: bool) -> None:
        """Read nothing while there is a reason not to."""
        (self._holds.add if on else self._holds.discard)(why)
        if not self.transport.is_closing():
            (self.transport.pause_reading if self._holds else self.transport.resume_reading)()

    def finish(self) -> None:
        """Send no more."""
        if not self.lost and not self.transport.is_closing():
            with suppress(OSError):  # the other end is gone
                self.transport.write_eof()

    def close(self) -> None:
        self.transport.close()

    def reset(self) -> None:
        if self.lost:
            return
        with suppress(OSError):
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.transport.abort()


class Last(Stage):
    """The end of a chain: the other socket."""

    def __init__(self, flow: Flow):
        self.over, self._flow = False, flow

    async def take(self, data: bytes, at: float) -> None:
        await self._flow.sink.send(data)

    async def finish(self, how: End, at: float) -> None:
        self._flow.ended(how)


class Flow:
    """One direction of a connection, through its toxics."""

    def __init__(self, connection: Joined, source: Side, sink: Side, toxics: Iterable[Toxic]):
        self.connection, self.source, self.sink = connection, source, sink
        self.done = False  # that the source has ended was passed on
        self._fed: End | None = None
        self._waiting: deque[tuple[float, bytes | End]] = deque()
        self._bytes = 0
        self._pump: asyncio.Task | None = None
        self._last = Last(self)
        self.stages: list[Stage] = []
        for toxic in toxics:
            self.add(toxic)

    def feed(self, buffer: Buffer, nbytes: int) -> None:
        """What has just been read."""
        if self._pump is None and not self.stages:
            transport = self.sink.transport
            if not transport.is_closing():
                transport.write(buffer.view[:nbytes])
                if KEEPS_VIEWS and transport.get_write_buffer_size():
                    buffer.renew()
            return
        self._bytes += nbytes
        self._put(bytes(buffer.view[:nbytes]))
        if self._bytes > WAITING_BYTES:
            self.source.hold("waiting", True)

    def feed_end(self, how: End) -> None:
        """The source sends no more: by its end, or, perhaps after that, by a reset, or because we closed it."""
        if self._fed == "reset" or (how == self._fed):
            return
        self._fed = how
        if self._pump is None and not self.stages:
            self.ended(how)
        else:
            self._put(how)

    def ended(self, how: End) -> None:
        """Pass an end on to the sink."""
        self.done = True
        if how == "reset":
            self.connection.over(self)
            return
        self.sink.finish()
        if self.connection.back(self).done:
            self.connection.close()

    def add(self, toxic: Toxic) -> None:
        """A toxic joins, as the last."""
        self.stages.append(stage(toxic, self.connection))
        self._link()
        self.stages[-1].begin()

    def update(self, toxic: Toxic) -> None:
        """A toxic is another one from now on."""
        for i, old in enumerate(self.stages):
            if old.toxic is toxic:
                new = self.stages[i] = stage(toxic, self.connection)
                old.leave()
                self._link()
                old.next = new
                new.begin()

    def remove(self, toxic: Toxic) -> None:
        """A toxic goes; what it held back is passed on."""
        for old in [s for s in self.stages if s.toxic is toxic]:
            self.stages.remove(old)
            self._link()
            old.leave()
            old.removed()

    def drop(self) -> None:
        """The connection is over."""
        for one in self.stages:
            one.leave()
        if self._pump is not None:
            self._pump.cancel()

    def _link(self) -> None:
        after = self._last
        for one in reversed(self.stages):
            one.next, after = after, one

    def _put(self, item: bytes | End) -> None:
        loop = asyncio.get_running_loop()
        self._waiting.append((loop.time(), item))
        if self._pump is None:
            self._pump = loop.create_task(self._run())

    async def _run(self) -> None:
        while self._waiting:
            at, item = self._waiting.popleft()
            first = self.stages[0] if self.stages else self._last
            if isinstance(item, str):
                await first.finish(item, at)
                continue
            await first.take(item, at)
            self._bytes -= len(item)
            if self._bytes <= WAITING_BYTES // 2:
                self.source.hold("waiting", False)
        self._pump = None


class Joined:
    """A client's connection and the one to the server, joined."""

    def __init__(self, proxy: Proxy, client: Side, server: Side):
        self._proxy, self.client, self.server = proxy, client, server
        self._over = False
        self.flows: dict[str, Flow] = {}
        for stream, source, sink in (("upstream", client, server), ("downstream", server, client)):
            toxics = [t for t in proxy.toxics.values() if t.stream == stream]
            self.flows[stream] = source.out = Flow(self, source, sink, toxics)
        proxy.connections.add(self)

    def other(self, side: Side) -> Side:
        return self.server if side is self.client else self.client

    def back(self, flow: Flow) -> Flow:
        """The other direction."""
        return self.flows[STREAMS[flow is self.flows["upstream"]]]

    def over(self, flow: Flow) -> None:
        """A side is gone: so is the other one, as abruptly, but after what we closed ourselves."""
        self._end(flow.sink.close if self._over else flow.sink.reset)

    def close(self) -> None:
        self._end(self.client.close, self.server.close)

    def reset(self) -> None:
        self._end(self.client.reset, self.server.reset)

    def _end(self, *how: Callable[[], None]) -> None:
        self._over = True
        self._proxy.connections.discard(self)
        for flow in self.flows.values():
            flow.drop()
        for one in how:
            one()


class Entrance(Side):
    """A client's connection, joined to one to the server once that is there."""

    def __init__(self, proxy: Proxy):
        super().__init__(proxy.buffer)
        self._proxy = proxy

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # Soon and not now: in older asyncio (Python 3.11.2) reading starts after this call, paused or not.
        asyncio.get_running_loop().call_soon(transport.pause_reading)
        self._joining = asyncio.ensure_future(self._join())

    async def _join(self) -> None:
        loop, (host, port) = asyncio.get_running_loop(), address(self._proxy.upstream)
        try:
            connecting = loop.create_connection(lambda: Exit(self._proxy, self), host, port)
            await asyncio.wait_for(connecting, CONNECT_S)
        except (OSError, TimeoutError) as error:
            print(f"proxy: {self._proxy.name}: {self._proxy.upstream}: {error}", file=sys.stderr, flush=True)
            self.close()


class Exit(Side):
    """The connection to the server, which may speak first: the two are joined before anything is read."""

    def __init__(self, proxy: Proxy, client: Entrance):
        super().__init__(proxy.buffer)
        self._proxy, self._client = proxy, client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._client.transport.is_closing() or not self._proxy.enabled:
            transport.abort()
            self._client.close()
        else:
            Joined(self._proxy, self._client, self)
            self._client.transport.resume_reading()


class Proxy:
    """An address that leads to another one, its toxics and its connections."""

    def __init__(self, name: str, listen: str, upstream: str):
        self.name, self.listen, self.upstream = name, listen, upstream
        self.enabled = False
        self.toxics: dict[str, Toxic] = {}
        self.connections: set[Joined] = set()
        self.buffer = BUFFER
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. Raises OSError; nothing to do where it does."""
        if self.enabled:
            return
        host, port = address(self.listen)
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Entrance(self), host, port, backlog=BACKLOG
        )
        self.listen = "{}:{}".format(*self._server.sockets[0].getsockname()[:2])
        self.enabled = True

    async def stop(self) -> None:
        """Listen no more, and end all connections."""
        if not self.enabled:
            return
        self.enabled = False
        self._server.close()
        for connection in list(self.connections):
            connection.close()

    def add(self, toxic: Toxic) -> None:
        self.toxics[toxic.name] = toxic
        for flow in self._flows(toxic):
            flow.add(toxic)

    def update(self, toxic: Toxic) -> None:
        for flow in self._flows(toxic):
            flow.update(toxic)

    def remove(self, toxic: Toxic) -> None:
        del self.toxics[toxic.name]
        for flow in self._flows(toxic):
            flow.remove(toxic)

    def _flows(self, toxic: Toxic) -> list[Flow]:
        return [connection.flows[toxic.stream] for connection in list(self.connections)]


BUFFER = Buffer()


def address(text: str) -> tuple[str, int]:
    """HOST:PORT; without a host as Go has it, everywhere. Raises ValueError."""
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise ValueError(f"address {text}: missing port in address")
    return host.strip("[]") or "0.0.0.0", int(port)


async def serve(port: int) -> None:
    """Obey the API on a port of loopback until asked to end. Raises OSError."""
    from harness.stack.proxy_api import Api

    loop, over = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    async with await asyncio.start_server(Api().answer, LOOPBACK, port):
        await over.wait()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m harness.stack.proxy", description=__doc__.partition("\n")[0])
    parser.add_argument("port", type=int, help="of its control, on loopback")
    try:
        asyncio.run(serve(parser.parse_args().port))
    except OSError as error:
        print(f"proxy: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
