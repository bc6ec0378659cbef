"""Over TLS everything is as without, and nobody is believed whose certificate does not say so."""

import ssl
import subprocess

import pytest
from odd_server import ANSWER, OK, WAYS, OddServer, odd_server

from harness.errors import UsageError
from harness.history import Outcome
from harness.load.client import Client, Request

BIG = b"x" * 300_000
TLS_WAYS = WAYS | {
    "/big": [b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + BIG],
    **{f"/cut{i}": [OK[:i], "close"] for i in range(0, len(OK), 7)},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An authority of our own, and certificates it signed: for this host, for another, and an expired one."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*argv):
        subprocess.run(["openssl", *argv], cwd=folder, check=True, capture_output=True, timeout=60)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=our own", "-days", "2")
    for name, host, days in (
        ("good", "IP:127.0.0.1", "2"),
        ("other", "DNS:example.org", "2"),
        ("old", "IP:127.0.0.1", "0"),
    ):
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "ext").write_text(f"subjectAltName={host}\n")
        signed_by = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "ext")
        openssl("x509", "-req", "-in", f"{name}.csr", *signed_by, "-out", f"{name}.pem", "-days", days)
    return folder


class TlsServer(OddServer):
    def get_request(self):
        sock, address = super().get_request()
        return self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), address


@pytest.fixture(params=["TLSv1_2", "TLSv1_3"])
def serve(made, request):
    """Starts servers with one of the certificates."""
    servers = []

    def start(name):
        running = odd_server(TLS_WAYS, TlsServer)
        server = running.__enter__()
        servers.append(running)
        server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.context.maximum_version = ssl.TLSVersion[request.param]
        server.context.load_cert_chain(made / f"{name}.pem", made / f"{name}.key")
        return server.url.replace("http:", "https:"), server

    yield start
    for running in servers:
        running.__exit__(None, None, None)


def test_exchanges_over_one_warm_connection_are_as_without_tls(serve, made):
    url, server = serve("good")
    client = Client(url, timeout_s=20, ca_file=str(made / "ca.pem"))
    assert client.warm(2) == 2
    for path, body in [("/ok", ANSWER), ("/chunked", ANSWER), ("/big", BIG), ("/interim", ANSWER), ("/ok", ANSWER)]:
        answer = client.ask(Request("POST", path, (), bytes(200_000)))
        assert (answer.outcome, answer.status, answer.body) == (Outcome.OK, 200, body), path
        assert answer.sent <= answer.first_byte <= answer.done
    assert server.connections == 2
    for path in [p for p in TLS_WAYS if p.startswith("/cut")] + ["/reset-in-body", "/close", "/garbage"]:
        outcome = client.ask(Request("GET", path)).outcome
        assert outcome is (Outcome.GARBAGE if path == "/garbage" else Outcome.BROKEN), path
    client.close()


@pytest.mark.parametrize(
    "certificate, trusted, error",
    [
        ("good", False, "certificate: unable to get local issuer certificate"),
        ("other", True, "certificate: IP address mismatch, certificate is not valid for '127.0.0.1'"),
        ("old", True, "certificate: certificate has expired"),
    ],
)
def test_a_wrong_certificate_is_a_failed_connection_that_says_why(serve, made, certificate, trusted, error):
    url, server = serve(certificate)
    client = Client(url, timeout_s=20, ca_file=str(made / "ca.pem") if trusted else None)
    assert client.warm(1) == 0
    answer = client.ask(Request("GET", "/ok"))
    assert (answer.outcome, answer.error) == (Outcome.CONNECT_FAILED, error)
    assert server.requests == 0, "not a byte of the request may have gone to whoever that is"
    believing = Client(url, timeout_s=20, verify=False)
    assert believing.ask(Request("GET", "/ok")).outcome is Outcome.OK


def test_a_server_without_tls_is_a_failed_connection():
    with odd_server() as server:
        client = Client(server.url.replace("http:", "https:"), timeout_s=2)
        answer = client.ask(Request("GET", "/ok"))
    assert answer.outcome in (Outcome.CONNECT_FAILED, Outcome.TIMEOUT) and answer.error


def test_an_authority_that_is_none_is_refused(tmp_path):
    (tmp_path / "ca.pem").write_text("nonsense")
    for path in (tmp_path / "ca.pem", tmp_path / "gone.pem"):
        with pytest.raises(UsageError, match=r"--ca-file: .*\.pem: "):
            Client("https://x", timeout_s=1, ca_file=str(path))
