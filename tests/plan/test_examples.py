"""The plans in docs/examples: read as they are, and the TLS-terminating proxy of one of them over real connections."""

import http.client
import shutil
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.plan import plan
from harness.stack.process import free_ports

ROOT = Path(__file__).parents[2]
TLS = ROOT / "docs/examples/tls"
SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "5"); self.end_headers(); self.wfile.write(b"hello")
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.mark.parametrize("gate", sorted(ROOT.glob("docs/examples/*/gate.yaml")), ids=lambda gate: gate.parent.name)
def test_an_example_is_a_plan_without_a_mistake(gate):
    found = plan.load(gate)
    assert {e.path for e in found.experiments} == set(gate.parent.resolve().glob("experiments/*.yaml"))


@pytest.fixture(scope="module")
def terminating(tmp_path_factory):
    """The proxy before a server; gives its folder, its port and its process."""
    home = tmp_path_factory.mktemp("tls")
    subprocess.run([sys.executable, TLS / "certificates.py", home], check=True)
    port, to = free_ports(2)
    argv = [sys.executable, TLS / "terminate.py", "--port", str(port), "--to", str(to)]
    argv += ["--certificate", home / "tls.pem", "--key", home / "tls.key", "--", sys.executable, "-c", SERVER, str(to)]
    child = subprocess.Popen(argv)
    yield home, port, child
    child.terminate()
    child.wait(10)


def connection(home, port):
    return http.client.HTTPSConnection("127.0.0.1", port, context=ssl.create_default_context(cafile=home / "ca.pem"))


def hello(client):
    client.request("GET", "/")
    return client.getresponse().read()


def until(condition):
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def refusal(home, port):
    try:
        hello(connection(home, port))
    except OSError as error:
        return str(error)
    return ""


def test_an_expired_certificate_turns_new_clients_away_and_closes_quiet_connections(terminating):
    home, port, _ = terminating
    assert until(lambda: not refusal(home, port))
    held = connection(home, port)
    assert [hello(held), hello(held)] == [b"hello"] * 2
    good = (home / "tls.pem").read_bytes()
    shutil.copy(home / "expired.pem", home / "tls.pem")
    assert until(lambda: "certificate has expired" in refusal(home, port))
    assert until(lambda: held.sock.recv(1) == b"")
    (home / "tls.pem").write_bytes(good)
    assert until(lambda: not refusal(home, port))


def test_it_ends_with_its_service_and_hands_its_signals_on(terminating):
    _, _, child = terminating
    child.terminate()
    assert child.wait(10) == 128 + 15
