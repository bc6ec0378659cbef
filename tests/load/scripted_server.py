"""An HTTP server with a scripted, mostly faulty, response for each path; over real sockets, in threads of the test."""

import socket
import socketserver
import struct
import threading
import time
from contextlib import contextmanager

BODY = b'{"class": "PNEUMONIA"}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n" + BODY
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def head(status: str, *lines: str) -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status}", *lines, "", "")).encode()


# What goes over the wire, piece by piece; a number is a pause in seconds, CLOSE and RESET end the connection.
CLOSE, RESET = "close", "reset"
WAYS = {
    "/ok": [OK],
    "/slow": [0.02, OK],
    "/predict": [0.005, OK],
    "/chunked": [
        CHUNKED,
        b"5\r\n" + BODY[:5],
        b"\r\n11;ext=1\r\n" + BODY[5:],
        0.01,
        b"\r\n0\r\nTrailer: x\r\n\r\n",
    ],
    "/until-close": [b"HTTP/1.1 200 OK\r\n\r\n", BODY[:9], 0.01, BODY[9:], CLOSE],
    "/old": [b"HTTP/1.0 200 OK\r\nContent-Length: 22\r\n\r\n" + BODY],
    "/interim": [head("100 Continue"), 0.01, head("103 Early Hints", "Link: x"), OK],
    "/no-content": [head("204 No Content")],
    "/head": [head("200 OK", "Content-Length: 22")],
    "/not-found": [head("404 Not Found", "Content-Length: 0")],
    "/shed": [head("503 Service Unavailable", "Retry-After: 1", "Content-Length: 2"), b"no"],
    "/says-close": [head("200 OK", "Connection: close", "Content-Length: 2"), b"ok", CLOSE],
    "/closes-later": [OK, CLOSE],
    "/extra": [OK + b"and more"],
    "/twice": [OK + head("500 Oops", "Content-Length: 0")],
    "/close": [CLOSE],
    "/half-head": [OK[:20], CLOSE],
    "/half-body": [OK[:-4], CLOSE],
    "/half-chunk": [CHUNKED, b"5\r\nab", CLOSE],
    "/no-last-chunk": [CHUNKED, b"2\r\nab\r\n", CLOSE],
    "/only-interim": [head("100 Continue"), CLOSE],
    "/reset": [RESET],
    "/reset-in-body": [OK[:-4], 0.02, RESET],
    "/garbage": [b"\x16\x03\x01 what?\r\n\r\n", CLOSE],
    "/bad-chunk": [CHUNKED, b"zz\r\nab\r\n"],
    "/two-lengths": [head("200 OK", "Content-Length: 2", "Content-Length: 3"), b"ok"],
    "/silent": [60.0],
    "/drip": [piece for i in range(len(OK)) for piece in (OK[i : i + 1], 0.05)],
    "/drip-body": [OK[:-20], *(piece for i in range(20) for piece in (0.1, OK[-20 + i : len(OK) - 19 + i]))],
}


class ScriptedServer(socketserver.ThreadingTCPServer):
    """`connections`, `requests` and `waiting_most` (at once) count what it received, `clients`, `ids`, `bodies` and
    `heads` keep it; `stall` makes everything wait."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 512

    def __init__(self, ways=WAYS, address="127.0.0.1"):
        super().__init__((address, 0), _Handler)
        self.ways = ways
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.connections = self.requests = self.waiting = self.waiting_most = 0
        self.clients: set[str] = set()  # addresses
        self.ids: list[str] = []
        self.bodies: list[tuple[str, bytes]] = []
        self.heads: list[dict[str, str]] = []  # by lower-case names
        self.stalled_until = 0.0
        self.lock = threading.Lock()
        self.ended = threading.Event()

    def stall(self, for_s: float) -> None:
        self.stalled_until = time.monotonic() + for_s

    def handle_error(self, request, client_address):
        pass  # clients that go away are the point


class _Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self):
        server = self.server
        with server.lock:
            server.connections += 1
            server.clients.add(self.client_address[0])
        while line := self.rfile.readline():
            path, length, head = line.split()[1].decode(), 0, {}
            while (line := self.rfile.readline().strip()) != b"":
                name, _, value = line.decode().partition(": ")
                head[name.lower()] = value
                length = int(value) if name == "Content-Length" else length
                if name == "X-Request-ID":
                    server.ids.append(value)
            body = self.rfile.read(length)
            with server.lock:
                server.bodies.append((path, body))
                server.heads.append(head)
                server.requests += 1
                server.waiting += 1
                server.waiting_most = max(server.waiting_most, server.waiting)
            try:
                server.ended.wait(max(0.0, server.stalled_until - time.monotonic()))
                for piece in server.ways[path]:
                    if piece == CLOSE:
                        return
                    if piece == RESET:
                        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        self.request.close()
                        return
                    if isinstance(piece, float):
                        server.ended.wait(piece)
                    else:
                        self.request.sendall(piece)
            finally:
                with server.lock:
                    server.waiting -= 1


@contextmanager
def scripted_server(ways=WAYS, kind=ScriptedServer, address="127.0.0.1"):
    """A running server; gone when the block ends."""
    server = kind(ways, address)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
