"""Over TLS everything is as without; only a valid certificate is accepted, and ours is sent where we have one."""

import json
import ssl
import subprocess
import time

import numpy as np
import pytest
from one_response import one_response
from scripted_server import BODY, OK, WAYS, ScriptedServer, scripted_server

from harness.cli import main
from harness.errors import UsageError
from harness.eventlog import Log
from harness.history import Outcome, Series, read_rows
from harness.load.client import Client
from harness.load.request import Request
from harness.run import load as loading
from harness.stack import generator
from harness.stack.stack import ENV, Stack

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


class TlsServer(ScriptedServer):
    def get_request(self):
        sock, address = super().get_request()
        return self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), address


@pytest.fixture(params=["TLSv1_2", "TLSv1_3"])
def serve(made, request):
    """Starts servers with one of the certificates."""
    servers = []

    def start(name):
        running = scripted_server(TLS_WAYS, TlsServer)
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
    for path, body in [("/ok", BODY), ("/chunked", BODY), ("/big", BIG), ("/interim", BODY), ("/ok", BODY)]:
        response = one_response(client, Request("POST", path, (), bytes(200_000)))
        assert (response.outcome, response.status, response.body) == (Outcome.OK, 200, body), path
        assert response.sent <= response.first_byte <= response.done
    assert server.connections == 2
    for path in [p for p in TLS_WAYS if p.startswith("/cut")] + ["/reset-in-body", "/close", "/garbage"]:
        outcome = one_response(client, Request("GET", path)).outcome
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
    response = one_response(client, Request("GET", "/ok"))
    assert (response.outcome, response.error) == (Outcome.CONNECT_FAILED, error)
    assert server.requests == 0, "not a byte of the request may have gone to whoever that is"
    unverified = Client(url, timeout_s=20, verify=False)
    assert one_response(unverified, Request("GET", "/ok")).outcome is Outcome.OK


def test_a_server_without_tls_is_a_failed_connection():
    with scripted_server() as server:
        client = Client(server.url.replace("http:", "https:"), timeout_s=2)
        response = one_response(client, Request("GET", "/ok"))
    assert response.outcome in (Outcome.CONNECT_FAILED, Outcome.TIMEOUT) and response.error


@pytest.mark.parametrize("files", ["two files", "one file"])
def test_a_service_that_wants_our_certificate_gets_it(serve, made, tmp_path, files):
    url, server = serve("good")
    server.context.verify_mode = ssl.CERT_REQUIRED
    server.context.load_verify_locations(made / "ca.pem")
    ours = {"client_cert": str(made / "other.pem"), "client_key": str(made / "other.key")}
    if files == "one file":
        (tmp_path / "both.pem").write_text((made / "other.pem").read_text() + (made / "other.key").read_text())
        ours = {"client_cert": str(tmp_path / "both.pem")}
    client = Client(url, timeout_s=20, ca_file=str(made / "ca.pem"), **ours)
    assert one_response(client, Request("GET", "/ok")).outcome is Outcome.OK
    client.close()
    client = Client(url, timeout_s=20, ca_file=str(made / "ca.pem"))
    response = one_response(client, Request("GET", "/ok"))
    client.close()
    # with TLS 1.3 the service refuses it after the handshake; it may have closed when the request is sent
    assert response.outcome in (Outcome.CONNECT_FAILED, Outcome.BROKEN)
    assert response.error.startswith("TLS: ") or response.error in ("ECONNRESET", "EPIPE"), response
    assert "alert" in response.error or "ECONN" in response.error or "EPIPE" in response.error, response
    assert server.requests == 1


CERTIFICATES = {  # options, complaint; {made} is the folder of good ones
    "no such certificate": (("nowhere.pem", None), "--client-cert: nowhere.pem: No such file or directory"),
    "no such key": (("good.pem", "nowhere.key"), "--client-key: nowhere.key: No such file or directory"),
    "no certificate": (("good.key", "good.key"), "must be a certificate and its unencrypted key in PEM format"),
    "a key of another": (("good.pem", "other.key"), "its unencrypted key in PEM format (TLS: key values mismatch)"),
    "no key": (("good.pem", None), "--client-cert: good.pem: must be a certificate and its unencrypted key"),
    "an encrypted key": (("good.pem", "locked.key"), "--client-cert: good.pem and locked.key: must be a certificate"),
    "only a key": ((None, "good.key"), "--client-key: good.key: needs the certificate it belongs to, --client-cert"),
}


@pytest.mark.parametrize(("files", "complaint"), CERTIFICATES.values(), ids=CERTIFICATES)
def test_a_bad_certificate_of_ours_is_one_sentence(made, monkeypatch, files, complaint):
    monkeypatch.chdir(made)
    locked = ("-in", "good.key", "-out", "locked.key", "-aes256", "-passout", "pass:word")
    subprocess.run(["openssl", "ec", *locked], check=True, capture_output=True, timeout=60)
    with pytest.raises(UsageError) as raised:
        Client("https://x", timeout_s=1, client_cert=files[0], client_key=files[1])
    assert complaint in str(raised.value) and "\n" not in str(raised.value)


def test_an_authority_that_is_none_is_refused(tmp_path):
    (tmp_path / "ca.pem").write_text("nonsense")
    for path in (tmp_path / "ca.pem", tmp_path / "gone.pem"):
        with pytest.raises(UsageError, match=r"--ca-file: .*\.pem: "):
            Client("https://x", timeout_s=1, ca_file=str(path))


LABELLED = """
from pathlib import Path
from harness.load.arrivals import constant
from harness.load.locust import PredictUser

class Asks(PredictUser):
    arrivals = constant(50)
    radiographs = Path(__file__).parent / "nowhere"
"""


@pytest.fixture
def scenario(tmp_path):
    """One that has no images of its own; those beside it must be asked for."""
    for name in ("NORMAL", "PNEUMONIA"):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "1.png").write_bytes(name.encode())
    (tmp_path / "asks.py").write_text(LABELLED)
    return tmp_path / "asks.py"


def whole_run(scenario, url, **trust):
    """The rows and the account of a run as the harness starts it."""
    folder = scenario.parent
    argv = generator.command(
        scenario, url, arrivals=None, for_s=1.0, rows=folder / "rows", events=folder / "events", name="load",
        corpus=folder / "images", **trust,
    )  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    account = json.loads((folder / "events").read_text().splitlines()[-1])[5]
    rows = read_rows(folder / "rows")
    assert len(rows) == account["planned"] == account["locust_requests"] == 50
    return rows, account


@pytest.mark.parametrize("processes", [1, 2])
def test_a_whole_run_over_tls_is_as_without(serve, made, scenario, processes):
    url, server = serve("good")
    rows, account = whole_run(scenario, url, ca_file=made / "ca.pem", processes=processes)
    assert set(rows["outcome"]) == {Outcome.OK} and set(rows["predicted"]) == {1} and set(rows["expected"]) == {0, 1}
    assert {body for path, body in server.bodies if path == "/predict"} == {b"NORMAL", b"PNEUMONIA"}
    assert np.all((rows["sent"] <= rows["first_byte"]) & (rows["first_byte"] <= rows["done"]))
    assert server.connections < 50, "connections were kept"
    assert account["unsent"] == 0


def test_a_whole_run_uses_our_certificate(serve, made, scenario):
    url, server = serve("good")
    server.context.verify_mode = ssl.CERT_REQUIRED
    server.context.load_verify_locations(made / "ca.pem")
    ours = {"client_cert": made / "other.pem", "client_key": made / "other.key"}
    rows, _ = whole_run(scenario, url, ca_file=made / "ca.pem", **ours)
    assert set(rows["outcome"]) == {Outcome.OK}


def test_a_whole_run_accepts_no_unknown_certificate_unless_it_may(serve, scenario):
    url, server = serve("good")
    rows, _ = whole_run(scenario, url)
    assert set(rows["outcome"]) == {Outcome.CONNECT_FAILED} and server.requests == 0
    (scenario.parent / "rows").unlink()
    rows, _ = whole_run(scenario, url, insecure=True)
    assert set(rows["outcome"]) == {Outcome.OK}


def test_harness_load_hands_on_authorities_and_corpus(serve, made, scenario, tmp_path, monkeypatch, capsys):
    url, server = serve("good")
    nobody = "http://127.0.0.1:9"
    Stack(tmp_path, "svc", url, nobody, nobody, time_scale=60).write()
    Log(tmp_path / "events.jsonl").event("run", "started", scrape_s=0.25, job="svc")
    monkeypatch.setenv(ENV, str(tmp_path))
    at = time.time() + np.arange(0, 60, 0.25)
    scraped = [Series({"__name__": "up", "job": "svc"}, at.tolist(), [1.0] * len(at))]
    monkeypatch.setattr(loading.metrics, "recorded", lambda *_: scraped)
    asked = ["load", str(scenario), "--for", "1s", "--corpus", str(tmp_path / "images")]
    code = main([*asked, "--ca-file", str(made / "ca.pem")])
    said = capsys.readouterr()
    assert code == 0 or "late" in said.out, said  # on a busy machine it may be
    assert "50 requests" in said.out and "correct predictions    50.00 % of 50 labelled" in said.out
    assert {body for _, body in server.bodies} == {b"NORMAL", b"PNEUMONIA"}
    main([*asked, "--insecure"])
    assert "correct predictions    50.00 % of 50 labelled" in capsys.readouterr().out
    for option in ("--corpus", "--ca-file", "--client-cert", "--client-key", "--headers-file"):
        assert main([*asked, option, "/nowhere"]) == 2
        assert f"{option}: there is no /nowhere" in capsys.readouterr().err
