"""One attempt of a probe, against real sockets and processes; the right values are those of kubernetes pkg/probe."""

import gzip
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from steered import wait

from harness.stack.attempt import Execution, ask
from harness.stack.process import end_all, free_ports, processes_of, spawn
from harness.stack.spec import Probe


@contextmanager
def serving(answer, hold_s=0.0, host="127.0.0.1", context=None, drip=False):
    """Answers each request with the bytes of answer(path) and holds the connection; gives its port and what it got."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener, got, over = socket.create_server((host, 0), family=family), [], threading.Event()

    def one(connection):
        with suppress(OSError), connection:
            connection = context.wrap_socket(connection, server_side=True) if context else connection
            request = b""
            while b"\r\n\r\n" not in request:
                if not (data := connection.recv(65536)):
                    return
                request += data
            got.append(request.decode())
            said = answer(request.split()[1].decode())
            for part in [bytes([b]) for b in said] if drip else [said]:
                connection.sendall(part)
                time.sleep(0.05 if drip else 0)
            over.wait(hold_s)

    def accept():
        with suppress(OSError):
            while True:
                threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1], got
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def plain(status, body=b"no", *headers):
    head = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {status} x\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def to(location, status=302):
    return plain(status, b"", f"Location: {location}")


def only(path, answer, other):
    """One answer for a path, another for all else."""
    return lambda asked: answer if asked == path else other


def chain(n):
    """n redirects, then 200."""
    return lambda path: OK if path == f"/{n}" else to(f"/{1 if path == '/health' else int(path[1:]) + 1}")


OK, NO = plain(200, b"ok"), plain(503, b"queue full")
IN_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n%b\r\n"
CHUNKED = IN_CHUNKS + b"2\r\nok\r\n0\r\n\r\n"
OF_100 = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
HELD = 3.0  # seconds that a connection stays open after its answer, beyond any timeout here
CASES = {  # answers by path, how long the connection stays open, success?, status, what is said
    "h07: sent on to a path that says 503": (only("/health/", NO, to("/health/", 307)), 0, False, 503, "queue full"),
    "h07: sent on to another host": (to("https://sso.example.org/login?token=s3cret"), 0, True, 302, "sso.example.org"),
    "h07: sent on to a path that says 200": (only("/health/", OK, to("/health/", 301)), 0, True, 200, ""),
    "h07: in a circle": (to("/health"), 0, False, 0, "stopped after 10 redirects"),
    "h07: whole, and left open": (OK, HELD, True, 200, ""),
    "h07: 204, and left open": (b"HTTP/1.1 204 No Content\r\n\r\n", HELD, True, 204, ""),
    "h07: 103 before 200": (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK, 0, True, 200, ""),
    "h07: chunked, whole, and left open": (CHUNKED % b"", HELD, True, 200, ""),
    "h07: less than Content-Length": (OF_100 + b"ok", 0, False, 0, "unexpected EOF"),
    "h07: 399": (plain(399), 0, True, 399, "a success with a warning"),
    "400 is the first failure": (plain(400, b"bad"), 0, False, 400, "bad"),
    "200 is the first success": (b"HTTP/1.1 199 x\r\n\r\n" + NO, 0, False, 503, ""),
    "304 has no body": (b"HTTP/1.1 304 x\r\nContent-Length: 9\r\n\r\n", HELD, True, 304, ""),
    "300 is not followed": (plain(300, b"", "Location: /other"), 0, True, 300, "with a warning"),
    "a redirect to nowhere": (plain(302, b""), 0, True, 302, "with a warning"),
    "303 and 308 are followed": (
        lambda path: {"/health": to("/b", 303), "/b": to("/c", 308)}.get(path, NO), 0, False, 503, "queue full",
    ),
    "relative without a slash": (
        lambda path: {"/health": to("deep/x"), "/deep/x": to("y"), "/deep/y": OK}.get(path, NO), 0, True, 200, "",
    ),
    "relative with a question": (only("/health?a=1", OK, to("?a=1")), 0, True, 200, ""),
    "a Location with a space and a fragment": (only("/a%20b", OK, to("/a b#c")), 0, True, 200, ""),
    "nine redirects": (chain(9), 0, True, 200, ""),
    "ten redirects": (chain(10), 0, False, 0, "stopped after 10 redirects"),
    "another name of this host": (to("http://localhost:1/"), 0, True, 302, "another host, localhost"),
    "to what is no address": (to("http://[bad/"), 0, False, 0, "no address"),
    "to no http": (to("ftp://127.0.0.1/x"), 0, False, 0, "another kind than http: ftp"),
    "a redirect whose body is cut": (
        only("/b", OK, b"HTTP/1.1 302 x\r\nLocation: /b\r\nContent-Length: 9\r\n\r\n"), HELD, True, 200, "",
    ),
    "100 and 103 before 200": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\n\r\n" + OK, HELD, True, 200, ""),
    "1xx without end": (b"HTTP/1.1 103 x\r\n\r\n" * 6 + OK, 0, False, 0, "too many 1xx"),
    "101": (b"HTTP/1.1 101 x\r\nUpgrade: x\r\n\r\n", 0, False, 0, ""),
    "chunks cut short": (IN_CHUNKS % b"" + b"5\r\nok", 0, False, 0, "unexpected EOF"),
    "no last chunk": (IN_CHUNKS % b"" + b"2\r\nok\r\n", 0, False, 0, "unexpected EOF"),
    "chunks with a trailer": (IN_CHUNKS % b"" + b"2;a=b\r\nok\r\n0\r\nX: y\r\n\r\n", HELD, True, 200, ""),
    "chunks of no size": (IN_CHUNKS % b"" + b"zz\r\nok\r\n0\r\n\r\n", 0, False, 0, "not"),
    "chunked and a length": (CHUNKED % b"Content-Length: 100\r\n", HELD, True, 200, ""),
    "an unknown encoding": (b"HTTP/1.1 200 x\r\nTransfer-Encoding: snappy\r\n\r\nok", 0, False, 0, "not HTTP"),
    "two lengths": (b"HTTP/1.1 200 x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", 0, False, 0, "not HTTP"),
    "the same length twice": (plain(200, b"ok", "Content-Length: 2"), HELD, True, 200, ""),
    "no length": (b"HTTP/1.1 200 OK\r\n\r\nok", 0, True, 200, ""),
    "no length, left open": (b"HTTP/1.1 200 OK\r\n\r\nok", HELD, False, 0, "no complete response within 0.6 s"),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\nok", 0, True, 200, ""),
    "HTTP/1.0 with a length, left open": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", HELD, True, 200, ""),
    "no words after the status": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", HELD, True, 200, ""),
    "lines that end with LF": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", HELD, True, 200, ""),
    "a long body": (b"HTTP/1.1 200 x\r\nContent-Length: 99999\r\n\r\n" + b"x" * 10240, HELD, True, 200, ""),
    "a long body, cut": (b"HTTP/1.1 200 x\r\nContent-Length: 99999\r\n\r\n" + b"x" * 10240, 0, True, 200, ""),
    "a long body, a byte too early": (
        b"HTTP/1.1 200 x\r\nContent-Length: 99999\r\n\r\n" + b"x" * 10239, 0, False, 0, "unexpected EOF",
    ),
    "a failure with a long body": (plain(500, b"x" * 99999), 0, False, 500, "x" * 300),
    "a packed body": (plain(200, gzip.compress(b"ok"), "Content-Encoding: gzip"), HELD, True, 200, ""),
    "a body that is not what it says": (plain(200, b"ok", "Content-Encoding: gzip"), HELD, True, 200, ""),
    "long headers": (plain(200, b"ok", f"X-Long: {'x' * 500_000}"), HELD, True, 200, ""),
    "more after the answer": (OK + b"HTTP/1.1 500 x\r\n\r\n", HELD, True, 200, ""),
    "a head cut short": (b"HTTP/1.1 200 OK\r\nContent-", 0, False, 0, "unexpected EOF before the response"),
    "a status without a number": (b"HTTP/1.1 OK\r\n\r\n", 0, False, 0, "not HTTP"),
    "a status of four digits": (b"HTTP/1.1 2000 OK\r\n\r\n", 0, False, 0, "not HTTP"),
    "what is not HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", HELD, False, 0, "not HTTP"),
    "what is not HTTP, and ends": (b"SSH-2.0-OpenSSH_9.2\r\n", 0, False, 0, ""),
    "TLS where HTTP is asked": (b"\x15\x03\x01\x00\x02\x02\x46", 0, False, 0, ""),
    "nothing": (b"", 0, False, 0, "unexpected EOF before the response"),
    "nothing, left open": (b"", HELD, False, 0, "no complete response within 0.6 s"),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "hold_s", "ok", "status", "says"), CASES.values(), ids=CASES)
def test_an_answer_counts_as_it_does_for_the_kubelet(answer, hold_s, ok, status, says):
    with serving(answer if callable(answer) else lambda path: answer, hold_s) as (port, _):
        got = ask(port, Probe(path="/health"), 0.6)
    assert (got.ok, got.status, says in got.reason) == (ok, status, True), got
    assert "s3cret" not in got.reason


def test_a_redirect_to_another_port_of_the_same_host_is_followed():
    with serving(lambda path: NO) as (other, _), serving(lambda path: to(f"http://127.0.0.1:{other}/x")) as (port, _):
        assert ask(port, Probe(path="/"), 1).status == 503
    with serving(lambda path: to(f"//127.0.0.1:{free_ports(1)[0]}/x")) as (port, _):
        got = ask(port, Probe(path="/"), 1)
        assert not got.ok and "refused" in got.reason.lower()


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    made += ["-subj", "/CN=nobody", "-days", "1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def test_a_redirect_from_http_to_https_is_followed_and_no_certificate_is_verified(tls):
    with serving(lambda path: NO, context=tls) as (secure, _):
        with serving(lambda path: to(f"https://127.0.0.1:{secure}/")) as (port, _):
            assert ask(port, Probe(path="/"), 2).status == 503
        assert ask(secure, Probe(httpGet={"scheme": "HTTPS"}), 2).status == 503
        assert not ask(secure, Probe(path="/"), 2).ok, "HTTP to where TLS is spoken"
    with serving(lambda path: OK) as (port, _):
        assert not ask(port, Probe(path="/", scheme="HTTPS"), 2).ok, "and the other way round"


def test_ipv6():
    with serving(only("/health/", OK, to("/health/")), host="::1") as (port, got):
        answer = ask(1, Probe(httpGet={"host": "::1", "port": port, "path": "/health"}), 2)
        assert answer.ok and f"Host: [::1]:{port}" in got[0]
        assert ask(port, Probe(tcpSocket={"host": "::1"}), 2).ok
        assert not ask(port, Probe(tcpSocket={}), 1).ok, "it does not listen on 127.0.0.1"


def sent(*headers, path="/health", **more):
    """The request that arrives, its lines sorted but for the first."""
    probe = Probe(httpGet={"path": path, "httpHeaders": [{"name": n, "value": v} for n, v in headers], **more})
    with serving(lambda path: OK) as (port, got):
        assert ask(port, probe, 2).ok
    first, *lines = got[0].replace(str(port), "PORT").split("\r\n\r\n")[0].split("\r\n")
    return [first, *sorted(lines)]


OURS = ["Accept: */*", "Connection: close", "Host: 127.0.0.1:PORT", "User-Agent: kube-probe/1.30"]


def test_a_request_is_the_kubelets_with_the_headers_that_are_given():
    assert sent() == ["GET /health HTTP/1.1", *OURS]
    assert sent(("Host", "example.org"))[1:] == [*OURS[:2], "Host: example.org", OURS[3]]
    assert sent(("accept", ""), ("User-Agent", ""))[1:] == OURS[1:3], "given as nothing they are not sent"
    assert sent(("X-A", "1"), ("X-A", "2"), ("user-agent", "me"))[1:] == [
        *OURS[:3],
        "X-A: 1",
        "X-A: 2",
        "user-agent: me",
    ]
    assert sent(("Content-Length", "9"))[1:] == OURS, "which would announce a body"
    assert sent(path="/a b?c=d e#f")[0] == "GET /a%20b?c=d%20e HTTP/1.1"
    assert sent(path="/ü")[0] == "GET /%C3%BC HTTP/1.1"


def test_the_host_header_stays_with_a_relative_redirect_and_goes_with_an_absolute_one():
    answers = {"/": to("/b"), "/b": to("http://127.0.0.1:PORT/c"), "/c": OK}
    port = 0
    with serving(lambda path: answers[path].replace(b"PORT", str(port).encode()).replace(b": 0", b": 0")) as (at, got):
        port = at
        probe = Probe(httpGet={"httpHeaders": [{"name": "Host", "value": "a.org"}, {"name": "X-Key", "value": "k"}]})
        assert ask(port, probe, 2).ok
    hosts = [line for one in got for line in one.split("\r\n") if line.startswith("Host:")]
    assert hosts == ["Host: a.org", "Host: a.org", f"Host: 127.0.0.1:{port}"]
    assert all("X-Key: k" in one for one in got)


def test_the_timeout_bounds_the_whole_attempt():
    """Of a dripping server, and of redirects that are each in time."""
    with serving(lambda path: plain(200, b"x" * 200), drip=True) as (port, _):
        answer = ask(port, Probe(path="/"), 0.5)
    assert not answer.ok and "no complete response within 0.5 s" in answer.reason and answer.took < 2
    with serving(lambda path: (time.sleep(0.2), to("/x"))[1]) as (port, _):
        answer = ask(port, Probe(path="/"), 0.5)
    assert not answer.ok and "no complete response within 0.5 s" in answer.reason and answer.took < 2


def test_a_number_is_the_port_that_is_asked_and_a_name_the_components_own():
    with serving(lambda path: OK) as (port, _):
        none = free_ports(1)[0]
        assert ask(none, Probe(httpGet={"port": port}), 2).ok and ask(port, Probe(httpGet={"port": "http"}), 2).ok
        assert ask(none, Probe(tcpSocket={"port": port}), 2).ok and ask(port, Probe(tcpSocket={"port": "web"}), 2).ok
        for probe in (Probe(httpGet={"port": none}), Probe(tcpSocket={"port": none})):
            refused = ask(port, probe, 2)
            assert not refused.ok and "refused" in refused.reason.lower() and refused.status == 0


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "a]b", "[::1]", "127.0.0.1:80"])
def test_a_host_that_is_no_address_is_a_failure(host):
    for probe in (Probe(httpGet={"host": host}), Probe(tcpSocket={"host": host})):
        got = ask(1, probe, 1)
        assert (got.ok, got.status) == (False, 0) and got.reason, got


def test_a_tcp_connection_is_success_whatever_is_spoken_there():
    with serving(lambda path: b"", HELD) as (port, _):
        got = ask(port, Probe(tcpSocket={}), 1)
    assert (got.ok, got.status, got.reason) == (True, 0, "")


@pytest.fixture
def execution(tmp_path):
    yield Execution(lambda command: spawn("probe", command, tmp_path), tmp_path / "logs/probe.log")
    end_all(tmp_path)


def command(*argv):
    return Probe(exec={"command": list(argv)})


def python(code):
    return command(sys.executable, "-c", code)


def test_a_command_is_success_with_exit_code_0_and_else_a_failure_with_what_it_printed(execution):
    assert ask(1, python("print('fine')"), 10, execution=execution).reason == ""
    got = ask(1, python("import sys; print('one'); sys.exit('two')"), 10, execution=execution)
    assert (got.ok, got.status) == (False, 0) and got.reason.startswith("exit code 1: ")
    assert "one" in got.reason and "two" in got.reason and "fine" not in got.reason
    assert ask(1, python("import os; os.abort()"), 10, execution=execution).reason.startswith("exit code -6")
    assert "could not be started" in ask(1, command("/no/such/program"), 10, execution=execution).reason
    assert ask(1, command("sh", "-c", "exit 0"), 10, execution=execution).ok


def test_a_command_whose_time_is_up_is_killed_with_all_that_it_started(tmp_path, execution):
    got = ask(1, command("sh", "-c", "trap '' TERM; sleep 60 & sleep 60"), 0.4, execution=execution)
    assert not got.ok and got.reason == "no end within 0.4 s" and got.took < 5
    assert wait(lambda: not processes_of(tmp_path), within_s=5)


def test_no_handler_leaves_a_connection_open():
    with serving(lambda path: OK, HELD) as (port, _):
        for _ in range(20):
            assert ask(port, Probe(path="/"), 1).ok
    open_now = subprocess.run(["ls", "-l", "/proc/self/fd"], capture_output=True, text=True).stdout
    assert open_now.count("socket") < 10
