"""One address for several replicas, as a Kubernetes Service is: each new connection goes to the next one in traffic.

    python -m harness.stack.frontdoor PORT

A process of its own, so that what the harness does delays no request. It listens on loopback and reads on its standard
input, a JSON list a line, which addresses, HOST:PORT, are in traffic now. A connection stays with its replica whatever
happens to the list; one that comes while the list is empty, or whose replica does not accept it, is reset, and is not
tried on another: a Service does not either. Ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from harness.stack.process import Child

LOOPBACK = "127.0.0.1"
BACKLOG = 1024
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset


class FrontDoor:
    """The harness' side of it: which replicas are in traffic."""

    def __init__(self, port: int, spawn: Callable[..., Child]):
        self.port = port
        self.child = spawn(
            "frontdoor", [sys.executable, "-m", "harness.stack.frontdoor", str(port)], stdin=subprocess.PIPE
        )
        self._lock = threading.Lock()
        self._in_traffic: list[str] = []

    def put(self, address: str, on: bool) -> None:
        """Take a replica, by its HOST:PORT, into traffic or out of it."""
        with self._lock:
            self._in_traffic = [a for a in self._in_traffic if a != address] + ([address] if on else [])
            with suppress(OSError, ValueError):  # it has ended, which is seen by whoever checks the children
                self.child.popen.stdin.write((json.dumps(self._in_traffic) + "\n").encode())
                self.child.popen.stdin.flush()


class Half(asyncio.Protocol):
    """One of the two connections that are joined: what comes here goes out there."""

    def __init__(self, other: Half | None = None) -> None:
        self.transport: asyncio.Transport | None = None
        self.other = other
        self.ended = False  # nothing more comes here

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        if self.other is not None:
            self.other.other = self

    def data_received(self, data: bytes) -> None:
        self.other.transport.write(data)

    def pause_writing(self) -> None:
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.other.transport.resume_reading()

    def eof_received(self) -> bool:
        self.ended = True
        if self.other.ended:
            self.transport.close()
            self.other.transport.close()
        else:
            self.other.transport.write_eof()
        return True  # the other direction stays open

    def connection_lost(self, error: Exception | None) -> None:
        if self.other is not None and not self.other.transport.is_closing():
            reset(self.other.transport) if error else self.other.transport.close()


class Entrance(Half):
    """A client's connection, joined to the next replica's."""

    def __init__(self, door: Door) -> None:
        super().__init__()
        self._door = door

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # Soon and not now: in older asyncio (Python 3.11.2) reading starts after this call, paused or not.
        asyncio.get_running_loop().call_soon(transport.pause_reading)
        self._joining = asyncio.ensure_future(self._join(self._door.following()))

    async def _join(self, address: str | None) -> None:
        try:
            if address is None:
                raise ConnectionRefusedError
            host, _, port = address.rpartition(":")
            joining = asyncio.get_running_loop().create_connection(lambda: Half(self), host.strip("[]"), int(port))
            there, _ = await joining
        except OSError:
            return reset(self.transport)
        if self.transport.is_closing():
            there.close()
        else:
            self.transport.resume_reading()


class Door:
    """Which replica is next."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self._turn = 0

    def following(self) -> str | None:
        if not self.addresses:
            return None
        self._turn += 1
        return self.addresses[self._turn % len(self.addresses)]


def reset(transport: asyncio.Transport) -> None:
    """Close a connection so that its other end sees a reset."""
    connection = transport.get_extra_info("socket")
    with suppress(OSError):  # it is closed
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    transport.abort()


async def serve(port: int) -> None:
    """Forward until standard input ends."""
    door, loop = Door(), asyncio.get_running_loop()
    lists = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lists), sys.stdin)
    await loop.create_server(lambda: Entrance(door), LOOPBACK, port, backlog=BACKLOG)
    while line := await lists.readline():
        door.addresses = json.loads(line)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
