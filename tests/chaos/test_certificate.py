"""A certificate that clients must refuse, shown by a real TLS server, until it is put back."""

import http.server
import ssl
import subprocess
import threading
from dataclasses import replace

import pytest

from harness.errors import FaultError
from harness.faults.certificate import Certificate
from harness.faults.inject import end_all, inject
from harness.history import History


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority, a certificate of it, and one of the same key that was over long ago."""
    home = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=home, check=True, capture_output=True)

    (home / "san").write_text("subjectAltName=IP:127.0.0.1")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "tls.key", "-out", "tls.csr", "-subj", "/CN=service")
    issue = (
        "x509",
        "-req",
        "-in",
        "tls.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-extfile",
        "san",
    )
    openssl(*issue, "-out", "tls.pem", "-days", "2")
    openssl(*issue, "-out", "expired.pem", "-days", "-1")
    return home


@pytest.fixture
def secured(stack, certificates):
    """A TLS server that reads its certificate for each connection."""
    stack.state.mkdir(parents=True)
    (stack.state / "tls.pem").write_bytes((certificates / "tls.pem").read_bytes())

    class Server(http.server.ThreadingHTTPServer):
        def get_request(self):
            connection, address = super().get_request()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(stack.state / "tls.pem", certificates / "tls.key")
            return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

        def handle_error(self, *_):
            pass

    server = Server(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    access = {"ca_file": str(certificates / "ca.pem")}
    yield replace(stack, service_url=f"https://127.0.0.1:{server.server_port}", access=access)
    server.shutdown()


def test_a_client_refuses_the_expired_certificate_until_it_is_put_back(secured, certificates):
    fault = Certificate(path="tls.pem", by=str(certificates / "expired.pem"))
    inject(fault, secured, "e", 60)
    (witness,) = [e for e in History.read(secured.run).of("fault") if e.detail["edge"] == "witness"]
    assert witness.outcome == "ok" and "refuses the certificate: certificate has expired" in witness.detail["evidence"]
    with pytest.raises(FaultError, match="refuses the present one already: certificate has expired"):
        inject(fault, secured, "e", 60)
    assert end_all(secured, "heal") == ["certificate"]
    assert fault.witness(secured, {}) is None


def test_one_that_clients_accept_is_no_fault(secured, certificates):
    with pytest.raises(FaultError, match="is as it was"):
        inject(Certificate("tls.pem", by=str(certificates / "tls.pem")), secured, "e", 60)
    plain = replace(secured, service_url="http://127.0.0.1:1")
    with pytest.raises(FaultError, match="requests are not https"):
        inject(Certificate("tls.pem", by="x"), plain, "e", 60)
