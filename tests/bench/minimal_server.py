"""The least that can answer: 200 to every head that ends, at the speed of uvloop. The same for every generator."""

from __future__ import annotations

import asyncio
import sys

import uvloop

BODY = b'{"class": "PNEUMONIA", "probability": 0.93}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


class Answers(asyncio.Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:
        self.write = transport.write

    def data_received(self, data: bytes) -> None:
        if heads := data.count(b"\r\n\r\n"):
            self.write(ANSWER * heads)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Answers, "127.0.0.1", port, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
