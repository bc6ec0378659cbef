"""Files that are spoilt and put back; certificates by a real TLS server."""

import http.server
import json
import ssl
import stat
import subprocess
import threading
from dataclasses import replace

import pytest

from harness.errors import FaultError
from harness.faults.certificate import Certificate
from harness.faults.inject import end_all, inject
from harness.faults.spoil import Spoil
from harness.history import History

QUERY = "keys_age_seconds > 3"


class Prometheus(http.server.BaseHTTPRequestHandler):
    """Gives a result while it is told to."""

    def do_GET(self):
        result = [{"metric": {}, "value": [0, "4"]}] if self.server.sees else []
        body = json.dumps({"status": "success", "data": {"result": result}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def watched(stack):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Prometheus)
    server.sees = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (stack.run / "private" / "state").mkdir(parents=True)
    file = stack.run / "private" / "state" / "keys.json"
    file.write_text('{"keys": ["one", "two"]}')
    file.chmod(0o600)
    yield replace(stack, prometheus_url=f"http://127.0.0.1:{server.server_port}"), server, file
    server.shutdown()


@pytest.mark.parametrize(
    ("arguments", "then"),
    [
        ({"how": "removed"}, None),
        ({"how": "emptied"}, b""),
        ({"how": "cut"}, b'{"keys": ["o'),
        ({"how": "changed", "command": "sed -i s/one/three/ {state}/keys.json"}, b'{"keys": ["three", "two"]}'),
        ({"how": "replaced", "by": "{state}/other"}, b"other"),
        ({"how": "garbled"}, ...),
    ],
    ids=lambda value: value["how"] if isinstance(value, dict) else "",
)
def test_it_is_spoilt_witnessed_and_put_back_twice(arguments, then, watched):
    stack, _, file = watched
    before = file.read_bytes()
    (file.parent / "other").write_text("other")
    inject(Spoil(path="{state}/keys.json", witness_query=QUERY, **arguments), stack, "e", 60)
    found = file.read_bytes() if file.exists() else None
    assert found == then if then is not ... else len(found) == len(before) and found != before
    (entry,) = stack.ledger.open()
    for _ in range(2):
        assert stack.ledger.undo([entry])[0][1] == ""
        assert file.read_bytes() == before and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [e.outcome for e in History.read(stack.run).of("fault")] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"how": "changed", "command": "true"}, "is as it was: nothing was broken"),
        ({"how": "changed", "command": "false"}, "false exited with 1"),
        ({"how": "changed", "command": "no-such-program"}, "No such file"),
        ({"how": "changed"}, "`command` with `how: changed`"),
        ({"how": "removed", "by": "x"}, "`by` goes with `how: replaced`"),
        ({"how": "removed", "path": "{state}/no-such-file"}, "no-such-file: "),
    ],
)
def test_what_spoils_nothing_could_not_be_started(arguments, says, watched):
    stack, _, file = watched
    before = file.read_bytes()
    with pytest.raises(FaultError, match=says):
        inject(Spoil(**{"path": "{state}/keys.json", "witness_query": QUERY} | arguments), stack, "e", 60)
    assert file.read_bytes() == before and stack.ledger.open() == []


def test_a_service_that_does_not_notice_is_no_witness(watched):
    stack, server, _ = watched
    server.sees = False
    inject(Spoil(path="{state}/keys.json", how="removed", witness_query=QUERY), stack, "e", 60, witness_within_s=0.2)
    assert [e.outcome for e in History.read(stack.run).of("fault")] == ["ok", "unknown"]
    end_all(stack, "heal")


# -- certificates ------------------------------------------------------------------------------------------------


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
    (stack.run / "tls.pem").write_bytes((certificates / "tls.pem").read_bytes())

    class Server(http.server.ThreadingHTTPServer):
        def get_request(self):
            connection, address = super().get_request()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(stack.run / "tls.pem", certificates / "tls.key")
            return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

        def handle_error(self, *_):
            pass

    server = Server(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    access = {"ca_file": str(certificates / "ca.pem")}
    yield replace(stack, service_url=f"https://127.0.0.1:{server.server_port}", access=access)
    server.shutdown()


def test_a_client_refuses_the_expired_certificate_until_it_is_put_back(secured, certificates):
    fault = Certificate(path=str(secured.run / "tls.pem"), by=str(certificates / "expired.pem"))
    inject(fault, secured, "e", 60)
    (witness,) = [e for e in History.read(secured.run).of("fault") if e.detail["edge"] == "witness"]
    assert witness.outcome == "ok" and "refuses the certificate: certificate has expired" in witness.detail["evidence"]
    with pytest.raises(FaultError, match="refuses the present one already: certificate has expired"):
        inject(fault, secured, "e", 60)
    assert end_all(secured, "heal") == ["certificate"]
    assert fault.witness(secured, {}) is None


def test_one_that_clients_accept_is_no_fault(secured, certificates):
    with pytest.raises(FaultError, match="is as it was"):
        inject(Certificate(str(secured.run / "tls.pem"), by=str(certificates / "tls.pem")), secured, "e", 60)
    plain = replace(secured, service_url="http://127.0.0.1:1")
    with pytest.raises(FaultError, match="requests are not https"):
        inject(Certificate(str(secured.run / "tls.pem"), by="x"), plain, "e", 60)
