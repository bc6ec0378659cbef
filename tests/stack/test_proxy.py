"""The proxy between real sockets: what each toxic does to a connection, and what goes when the toxic does."""

import asyncio
import gzip
import http.client
import json
import resource
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.stack.http_faults import Reader, spoiled
from harness.stack.process import free_ports
from tests.stack.proxies import proxy_process

METRICS = b'# HELP up_x one\n# TYPE up_x gauge\nup_x{a="b"} 1\nup_x_total 3\nup_x 2\n'
RENAMED = METRICS.replace(b"up_x ", b"up_x_renamed ").replace(b"up_x{", b"up_x_renamed{")


@pytest.fixture(scope="module")
def control(tmp_path_factory):
    with proxy_process(tmp_path_factory.mktemp("proxy")) as port:
        yield port


def ask(control, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", control, timeout=5)
    connection.request(method, path, None if body is None else json.dumps(body))
    response = connection.getresponse()
    text = response.read()
    return response.status, json.loads(text) if text.startswith((b"{", b"[")) else text.decode()


@contextmanager
def proxied(control, upstream, *toxics, name="it"):
    """A proxy before an address, with toxics; gives its address."""
    status, made = ask(control, "POST", "/proxies", {"name": name, "listen": "127.0.0.1:0", "upstream": upstream})
    assert status == 201
    host, port = made["listen"].split(":")
    try:
        for toxic in toxics:
            assert ask(control, "POST", f"/proxies/{name}/toxics", toxic)[0] == 200
        yield host, int(port)
    finally:
        ask(control, "DELETE", f"/proxies/{name}")


@pytest.fixture
def echo():
    """A server that gives back what it gets, and ends when its client does; its address."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve(connection):
        with connection:
            try:
                while data := connection.recv(1 << 16):
                    connection.sendall(data)
            except OSError:
                pass

    def accept():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"127.0.0.1:{server.getsockname()[1]}"
    server.close()


@pytest.fixture(scope="module")
def site():
    """A web server: /metrics, compressed, /chunks in chunks, else a page; its address."""

    class Site(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.send_response(200)
            if self.path == "/chunks":
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n")
                return
            body = gzip.compress(METRICS) if self.path == "/metrics" else b"x" * 1000
            if self.path == "/metrics":
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, args=(3600,), daemon=True).start()
    return f"127.0.0.1:{server.server_port}"


def toxic(type, stream="downstream", toxicity=1.0, **attributes):
    return {"name": type, "type": type, "stream": stream, "toxicity": toxicity, "attributes": attributes}


def connect(at):
    connection = socket.create_connection(at, 5)
    connection.settimeout(5)
    return connection


def exchange(connection, data):
    connection.sendall(data)
    return receive(connection, len(data))


def receive(connection, n):
    got = b""
    while len(got) < n and (part := connection.recv(n - len(got))):
        got += part
    return got


def how_it_ends(connection):
    """What a reader sees, and how the connection then ended."""
    got = b""
    try:
        while part := connection.recv(1 << 16):
            got += part
    except ConnectionResetError:
        return got, "reset"
    except TimeoutError:
        return got, "open"
    return got, "eof"


def test_without_a_toxic_all_bytes_come_and_a_half_close_is_passed_on(control, echo):
    data = bytes(range(256)) * 40_000
    with proxied(control, echo) as at, connect(at) as connection:
        threading.Thread(target=lambda: (connection.sendall(data), connection.shutdown(socket.SHUT_WR))).start()
        assert how_it_ends(connection) == (data, "eof")


def test_nobody_at_the_upstream_ends_the_connection(control):
    with proxied(control, f"127.0.0.1:{free_ports(1)[0]}") as at, connect(at) as connection:
        assert how_it_ends(connection)[1] == "eof"


def test_latency_delays_each_way_and_goes_with_its_toxic(control, echo):
    with proxied(control, echo, toxic("latency", latency=150)) as at, connect(at) as connection:
        began = time.monotonic()
        assert exchange(connection, b"a") == b"a" and time.monotonic() - began >= 0.15
        assert ask(control, "POST", "/proxies/it/toxics/latency", {"attributes": {"latency": 60_000}})[0] == 200
        connection.sendall(b"held")
        time.sleep(0.05)
        assert ask(control, "DELETE", "/proxies/it/toxics/latency")[0] == 204
        assert receive(connection, 4) == b"held"


def test_pieces_under_a_latency_do_not_wait_for_each_other(control, echo):
    with proxied(control, echo, toxic("latency", latency=300)) as at, connect(at) as connection:
        began = time.monotonic()
        for _ in range(10):
            connection.sendall(b"x")
            time.sleep(0.01)
        receive(connection, 10)
        assert time.monotonic() - began < 1.5  # ten one after the other would take 3 s


def test_bandwidth_is_kilobytes_a_second(control, echo):
    with proxied(control, echo, toxic("bandwidth", rate=100)) as at, connect(at) as connection:
        began = time.monotonic()
        exchange(connection, b"x" * 30_000)
        assert time.monotonic() - began >= 0.25


def test_slow_close_comes_late(control, echo):
    with proxied(control, echo, toxic("slow_close", delay=200)) as at, connect(at) as connection:
        exchange(connection, b"a")
        began = time.monotonic()
        connection.shutdown(socket.SHUT_WR)
        assert how_it_ends(connection) == (b"", "eof") and time.monotonic() - began >= 0.2


def test_a_timeout_swallows_and_then_closes_and_a_black_hole_closes_when_it_goes(control, echo):
    with proxied(control, echo, toxic("timeout", timeout=100)) as at, connect(at) as connection:
        connection.sendall(b"a")
        assert how_it_ends(connection) == (b"", "eof")
    with proxied(control, echo, toxic("timeout", timeout=0)) as at, connect(at) as connection:
        connection.sendall(b"a")
        connection.settimeout(0.2)
        assert how_it_ends(connection) == (b"", "open")
        ask(control, "DELETE", "/proxies/it/toxics/timeout")
        connection.settimeout(5)
        assert how_it_ends(connection) == (b"", "eof")


@pytest.mark.parametrize(
    ("one", "seen"),
    [
        (toxic("reset_peer", timeout=0), (b"", "reset")),
        (toxic("limit_data", bytes=3), (b"abc", "eof")),
        (toxic("reset_data", bytes=3), (b"abc", "reset")),
    ],
)
def test_connections_that_are_cut(one, seen, control, echo):
    with proxied(control, echo, one) as at, connect(at) as connection:
        connection.sendall(b"abcdef")
        assert how_it_ends(connection) == seen


def test_sliced_bytes_are_the_same_bytes(control, echo):
    one = toxic("slicer", average_size=50, size_variation=20, delay=10)
    with proxied(control, echo, one) as at, connect(at) as connection:
        data = bytes(range(250)) * 8
        assert exchange(connection, data) == data


def test_corrupt_bytes_are_as_many_and_some_differ(control, echo):
    with proxied(control, echo, toxic("corrupt", every=100)) as at, connect(at) as connection:
        got = exchange(connection, b"\0" * 10_000)
        assert len(got) == 10_000 and 99 <= len(got) - got.count(0) <= 100


def test_a_half_open_connection_stays_though_its_server_is_gone_until_the_toxic_goes(control):
    server = socket.create_server(("127.0.0.1", 0))
    upstream = f"127.0.0.1:{server.getsockname()[1]}"
    with proxied(control, upstream, toxic("half_open")) as at, connect(at) as connection:
        there, _ = server.accept()
        there.close()
        connection.settimeout(0.2)
        for _ in range(3):
            connection.sendall(b"into the void")
        assert how_it_ends(connection) == (b"", "open")
        ask(control, "DELETE", "/proxies/it/toxics/half_open")
        connection.settimeout(5)
        assert how_it_ends(connection)[1] == "reset"
    server.close()


def test_a_reset_of_one_side_is_one_for_the_other(control):
    server = socket.create_server(("127.0.0.1", 0))
    with proxied(control, f"127.0.0.1:{server.getsockname()[1]}") as at, connect(at) as connection:
        there, _ = server.accept()
        connection.sendall(b"a")
        there.recv(1)
        there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        there.close()
        assert how_it_ends(connection)[1] == "reset"
    server.close()


def test_toxicity_is_a_share_of_the_connections(control, echo):
    with proxied(control, echo, toxic("reset_peer", toxicity=0.5, timeout=0)) as at:
        ends = []
        for _ in range(40):
            with connect(at) as connection:
                connection.sendall(b"a")
                connection.shutdown(socket.SHUT_WR)
                ends.append(how_it_ends(connection)[1])
    assert {"eof", "reset"} == set(ends)


def test_a_proxy_that_is_down_refuses_and_ends_what_it_had(control, echo):
    with proxied(control, echo) as at:
        connection = connect(at)
        exchange(connection, b"a")
        assert ask(control, "POST", "/proxies/it", {"enabled": False})[1]["enabled"] is False
        assert how_it_ends(connection)[1] == "eof"
        with pytest.raises(ConnectionRefusedError):
            connect(at)
        assert ask(control, "POST", "/proxies/it", {"enabled": True})[1]["listen"] == "{}:{}".format(*at)
        with connect(at) as connection:
            assert exchange(connection, b"b") == b"b"


def test_what_a_slow_reader_leaves_is_not_read_without_bound(control):
    server = socket.create_server(("127.0.0.1", 0))
    upstream = f"127.0.0.1:{server.getsockname()[1]}"
    for toxics in ((), (toxic("latency", "upstream", latency=1),)):
        with proxied(control, upstream, *toxics) as at, connect(at) as connection:
            there, _ = server.accept()
            connection.setblocking(False)
            sent, until = 0, time.monotonic() + 0.5
            while time.monotonic() < until and sent < 64 << 20:
                try:
                    sent += connection.send(b"x" * 65536)
                except BlockingIOError:
                    time.sleep(0.01)
            assert sent < 32 << 20  # the kernel's buffers of four sockets, and ours
            there.close()
    server.close()


def test_a_thousand_connections_at_once(control, echo):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))

    async def one(at):
        reader, writer = await asyncio.open_connection(*at)
        writer.write(b"ping")
        got = await reader.readexactly(4)
        writer.close()
        return got

    async def many(at):
        return await asyncio.gather(*(one(at) for _ in range(1000)))

    with proxied(control, echo, toxic("latency", latency=20)) as at:
        assert asyncio.run(many(at)) == [b"ping"] * 1000


# -- HTTP --------------------------------------------------------------------------------------------------------


def get(at, path="/"):
    connection = http.client.HTTPConnection(*at, timeout=5)
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read()


def test_responses_are_given_on_otherwise(control, site):
    with proxied(control, site, toxic("http", what="status", status=502)) as at:
        assert get(at) == (502, b"502 of the proxy\n") and get(at, "/chunks")[0] == 502
    cut = pytest.raises(http.client.IncompleteRead, match="500 bytes read")
    with proxied(control, site, toxic("http", what="truncated")) as at, cut:
        get(at)
    with proxied(control, site, toxic("http", what="delay", delay=100)) as at:
        began = time.monotonic()
        assert get(at) == (200, b"x" * 1000) and get(at, "/chunks") == (200, b"firstsecond")
        assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize(
    ("one", "seen"),
    [
        (toxic("http", what="empty"), b""),
        (toxic("http", what="renamed", series="up_x"), RENAMED),
        (toxic("http", what="malformed"), b'this is { no "exposition'),
        (toxic("http", what="exploded", series="up_x", values=2), b'up_x{a="b",exploded="1"} 1\n'),
    ],
)  # fmt: skip
def test_metrics_are_spoiled(one, seen, control, site):
    with proxied(control, site, one) as at:
        status, body = get(at, "/metrics")
        assert status == 200 and (body == seen if one["attributes"]["what"] in ("empty", "renamed") else seen in body)


def test_a_series_without_labels_explodes_too():
    assert b'up_x{exploded="0"} 2\n' in spoiled(METRICS, "exploded", "up_x", "", "exploded", 1)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=1\r\nbody\r\n0\r\nTrailer: 1\r\n\r\n",
    ],
)
def test_a_response_is_read_whatever_its_pieces(raw):
    for cut in range(1, len(raw)):
        reader = Reader()
        found = [*reader.feed(raw[:cut]), *reader.feed(raw[cut:] + raw)]
        assert [(one.raw, one.body) for one in found] == [(raw, b"body")] * 2
    reader = Reader()
    assert reader.feed(b"rest of an older one") == [b"rest of an older one"]
    assert reader.feed(b"HTTP/1.0 200 OK\r\n\r\nto the end") == [] and reader.last().body == b"to the end"


def test_the_control_is_on_loopback_alone_and_no_page_of_a_browser_reaches_it(control):
    listening = [
        line.split()[1]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[1].endswith(f":{control:04X}")
    ]
    assert listening == [f"0100007F:{control:04X}"]
    connection = http.client.HTTPConnection("127.0.0.1", control)
    connection.request("GET", "/version", headers={"User-Agent": "Mozilla/5.0"})
    assert connection.getresponse().status == 403
