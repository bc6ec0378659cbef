"""Terminates TLS in front of a service that it starts and ends with, as a sidecar does.

    python terminate.py --port 8443 --to 8000 --certificate tls.pem --key tls.key -- COMMAND ...

A certificate that is replaced is taken up within a quarter of a second: new connections get the new one, and those
that are quiet are closed, as when nginx is reloaded.
"""

import argparse
import asyncio
import signal
import ssl
import sys
from contextlib import suppress
from pathlib import Path

LOOK_S, QUIET_S = 0.25, 0.05


class Connection:
    """A client's connection and the service's, joined."""

    def __init__(self) -> None:
        self.answered_at: float | None = None  # when the service last sent something, if nobody sent anything since

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        self.writer = writer
        with suppress(OSError, asyncio.IncompleteReadError):
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
            ways = (self.pump(reader, there_writer, False), self.pump(there_reader, writer, True))
            _, left = await asyncio.wait(map(asyncio.ensure_future, ways), return_when=asyncio.FIRST_COMPLETED)
            for way in left:
                way.cancel()
            there_writer.close()
        writer.close()

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                self.answered_at = asyncio.get_running_loop().time() if answers else None
                writer.write(data)
                await writer.drain()

    def is_quiet(self, now: float) -> bool:
        return self.answered_at is not None and now - self.answered_at > QUIET_S


async def follow(context: ssl.SSLContext, certificate: Path, key: Path, connections: set[Connection]) -> None:
    """Take up the certificate whenever its file changes."""
    seen, old = certificate.stat(), set()
    while True:
        await asyncio.sleep(LOOK_S)
        with suppress(OSError, ssl.SSLError):  # it is being changed
            if (found := certificate.stat()).st_mtime_ns != seen.st_mtime_ns:
                context.load_cert_chain(certificate, key)
                seen, old = found, set(connections)
        now = asyncio.get_running_loop().time()
        for connection in old & connections:
            if connection.is_quiet(now):
                connection.writer.close()


async def main(options: argparse.Namespace) -> int:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.certificate, options.key)
    connections: set[Connection] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(connection := Connection())
        try:
            await connection.join(reader, writer, options.to)
        finally:
            connections.discard(connection)

    loop = asyncio.get_running_loop()
    service = await asyncio.create_subprocess_exec(*options.command)
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, service.send_signal, signum)
    loop.set_exception_handler(lambda *_: None)  # handshakes that fail
    await asyncio.start_server(accept, "127.0.0.1", options.port, ssl=context, backlog=1024)
    following = loop.create_task(follow(context, options.certificate, options.key, connections))
    code = await service.wait()
    following.cancel()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--to", type=int, required=True, help="the port of the service")
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("command", nargs="+", help="how the service is started")
    sys.exit(asyncio.run(main(parser.parse_args())))
