"""What the fault proxy costs: bytes a second through it for each second of its processor, and the latency it adds.

    python -m tests.bench.proxy

One proxy process on loopback. Throughput: 4 GiB one way through one connection, and through 64 at once, wall time and
time of the proxy's processor. Connections: 4,000 at once, each asked while all are open. Latency: 20,000 times 100
bytes there and back, one after the other, with the proxy between and without it.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import resource
import socket
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from tests.stack.proxies import proxy_process

PIECE = b"x" * (256 << 10)
TIMES = 20_000
CONNECTIONS = 4_000


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, proxy_process(Path(folder)) as control:
        sink, echo = served(swallow), served(give_back)
        through = {name: proxied(control, name, at) for name, at in (("sink", sink), ("echo", echo))}
        pid = proxy_pid(control)
        for toxics in ((), ("latency",)):
            for toxic in toxics:
                post(control, "/proxies/sink/toxics", {"type": toxic, "stream": "upstream", "attributes": {}})
            for connections in (1, 64):
                flood(through["sink"], connections, 4 << 30 if not toxics else 1 << 30, pid, toxics)
        many(proxied(control, "many", served_at_once()), CONNECTIONS, pid)
        for name, at in (("direct", echo), ("proxied", through["echo"])):
            took = round_trips(at)
            print(f"{name}: p50 {1e6 * took[TIMES // 2]:.0f} us, p99 {1e6 * took[TIMES * 99 // 100]:.0f} us")


def flood(at: tuple[str, int], connections: int, total: int, pid: int, toxics: tuple[str, ...]) -> None:
    """Send from a process of its own and say how fast the bytes came through."""
    began, cpu = time.monotonic(), processor_s(pid)
    child = os.fork()
    if child == 0:
        each = total // connections // len(PIECE)
        threads = [threading.Thread(target=send, args=(at, each)) for _ in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os._exit(0)
    os.waitpid(child, 0)
    wall, used = time.monotonic() - began, processor_s(pid) - cpu
    how = f" with a toxic ({', '.join(toxics)})" if toxics else ""
    print(f"{connections} connections{how}: {total / wall / 1e9:.2f} GB/s, {total / used / 1e9:.2f} GB/s a core")


def many(at: tuple[str, int], connections: int, pid: int) -> None:
    """Open them all, ask and answer over each while all are open, and say how long that took."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * connections + 100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    cpu = processor_s(pid)

    async def asked() -> tuple[float, float]:
        began = time.monotonic()
        opened = []
        for _ in range(0, connections, 100):  # as many as wait to be accepted
            opened += await asyncio.gather(*(asyncio.open_connection(*at) for _ in range(100)))
        all_open = time.monotonic()
        for _, writer in opened:
            writer.write(b"ping")
        answers = await asyncio.gather(*(reader.readexactly(4) for reader, _ in opened))
        assert answers == [b"ping"] * connections
        return all_open - began, time.monotonic() - all_open

    to_open, to_answer = asyncio.run(asked())
    held = f"opened in {to_open:.2f} s, an answer over each in {to_answer:.2f} s"
    print(f"{connections} connections at once: {held}, {processor_s(pid) - cpu:.2f} s of the proxy's processor")


def served_at_once() -> tuple[str, int]:
    """A server of thousands of connections in a process of its own; its address."""
    server = socket.create_server(("127.0.0.1", 0), backlog=1024)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(64):
            writer.write(data)

    async def serve() -> None:
        await (await asyncio.start_server(echo, sock=server)).serve_forever()

    if os.fork() == 0:
        ctypes.CDLL(None).prctl(1, 15)  # PR_SET_PDEATHSIG: it ends with us
        resource.setrlimit(resource.RLIMIT_NOFILE, (CONNECTIONS + 100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        asyncio.run(serve())
    return server.getsockname()


def send(at: tuple[str, int], pieces: int) -> None:
    with socket.create_connection(at) as connection:
        for _ in range(pieces):
            connection.sendall(PIECE)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)


def round_trips(at: tuple[str, int]) -> list[float]:
    took = []
    with socket.create_connection(at) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(TIMES):
            began = time.perf_counter()
            connection.sendall(b"x" * 100)
            connection.recv(100)
            took.append(time.perf_counter() - began)
    return sorted(took)


def served(serve) -> tuple[str, int]:
    """A server in a process of its own; its address."""
    server = socket.create_server(("127.0.0.1", 0), backlog=128)
    if os.fork() == 0:
        prctl = ctypes.CDLL(None).prctl
        prctl(1, 15)  # PR_SET_PDEATHSIG: it ends with us
        while True:
            connection, _ = server.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()
    return server.getsockname()


def swallow(connection: socket.socket) -> None:
    buffer = bytearray(1 << 20)
    while connection.recv_into(buffer):
        pass
    connection.close()


def give_back(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := connection.recv(4096):
        connection.sendall(data)
    connection.close()


def proxied(control: int, name: str, to: tuple[str, int]) -> tuple[str, int]:
    made = post(control, "/proxies", {"name": name, "listen": "127.0.0.1:0", "upstream": "{}:{}".format(*to)})
    host, port = made["listen"].split(":")
    return host, int(port)


def post(control: int, path: str, body: dict) -> dict:
    request = urllib.request.Request(f"http://127.0.0.1:{control}{path}", json.dumps(body).encode())
    return json.load(urllib.request.urlopen(request))


def proxy_pid(control: int) -> int:
    argv = f"harness.stack.proxy\0{control}".encode()
    return next(int(p.parent.name) for p in Path("/proc").glob("[0-9]*/cmdline") if argv in p.read_bytes())


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
