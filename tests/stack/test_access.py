"""Who asks and whom to trust, of every kind, against real servers that let nobody else in: by requests, probes and a
real Prometheus. No secret is where it does not belong."""

import json
import ssl
from contextlib import ExitStack

import httpx
import pytest
from guarded_server import certificates, guarded_server
from steered import wait

from harness.errors import StackError
from harness.stack import prometheus, tools
from harness.stack.access import generator_options, read_secret, scrape_settings, write_private
from harness.stack.attempt import ask
from harness.stack.process import end_all, free_ports, spawn
from harness.stack.spec import Access, Probe, SecretSource

SECRET = "s3cret-token"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def state(tmp_path, monkeypatch):
    """A run's state folder with the secret in a file, as `start.prepare` leaves it, and in the environment."""
    (tmp_path / "key").write_text(f"{SECRET}\n")
    monkeypatch.setenv("OUR_SECRET", SECRET)
    return tmp_path


FILE, ENV = {"from_file": "{state}/key"}, {"env": "OUR_SECRET"}
KINDS = {
    "bearer, from a file": (Access(bearer=FILE), ("Authorization", f"Bearer {SECRET}")),
    "bearer, from the environment": (Access(bearer=ENV), ("Authorization", f"Bearer {SECRET}")),
    "basic": (Access(basic={"user": "gate", **FILE}), ("Authorization", "Basic Z2F0ZTpzM2NyZXQtdG9rZW4=")),
    "a header": (Access(header={"name": "X-API-Key", **ENV}), ("X-API-Key", SECRET)),
}


@pytest.mark.parametrize(("access", "header"), KINDS.values(), ids=KINDS)
def test_requests_get_in_by_a_file_of_headers_that_only_its_owner_can_read(access, header, state):
    options = generator_options(access, state, state)
    file = state / "request-headers.json"
    assert options == {"headers_file": str(file)} and file.stat().st_mode & 0o777 == 0o600
    with guarded_server(header) as port:
        url = f"http://127.0.0.1:{port}/"
        assert httpx.get(url, trust_env=False).status_code == 401
        assert httpx.get(url, trust_env=False, headers=json.loads(file.read_text())).status_code == 200


def test_requests_over_tls_show_a_certificate_and_know_whom_to_trust(made, state):
    certificate = {"client_cert": str(made / "client.pem"), "client_key": str(made / "client.key")}
    access = Access(scheme="https", ca="{state}/ca.pem", **certificate)
    (state / "ca.pem").write_bytes((made / "ca.pem").read_bytes())
    options = generator_options(access, state, state)
    assert options.keys() == {"ca_file", "client_cert", "client_key"}
    context = ssl.create_default_context(cafile=options["ca_file"])
    with guarded_server(tls=made, client_cert=True) as port:
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"https://127.0.0.1:{port}/", trust_env=False, verify=context)
        context.load_cert_chain(options["client_cert"], options["client_key"])
        assert httpx.get(f"https://127.0.0.1:{port}/", trust_env=False, verify=context).status_code == 200
    assert generator_options(Access(scheme="https", insecure=True), state, state) == {"insecure": True}


@pytest.mark.parametrize("secret", [{"valueFrom": FILE}, {"valueFrom": ENV}, {"value": SECRET}])
def test_a_probe_sends_its_headers_in_place_of_its_own(secret, state):
    given = {"X-API-Key": secret, "user-agent": {"value": "ours"}, "Host": {"value": "the-service"}}
    probe = Probe(path="/", httpHeaders=[{"name": name, **value} for name, value in given.items()])
    with guarded_server(("X-API-Key", SECRET)) as port:
        assert ask(port, Probe(path="/"), 5, state).status == 401
        assert ask(port, probe, 5, state).status == 200
    for name, value in (("User-Agent", "ours"), ("Host", "the-service")):
        with guarded_server((name, value)) as port:
            assert ask(port, probe, 5, state).status == 200


def test_a_probe_over_tls_asks_nobody_for_a_known_certificate_and_keeps_its_time(made):
    with guarded_server(tls=made) as port:
        assert ask(port, Probe(path="/", scheme="HTTPS"), 5).status == 200
        plain = ask(port, Probe(path="/"), 1)
        assert not plain.ok and plain.status == 0
    with guarded_server() as port:
        response = ask(port, Probe(path="/", scheme="HTTPS"), 0.5)
        assert not response.ok and response.status == 0 and response.took < 2


def test_prometheus_gets_in_by_every_kind(made, state, tmp_path_factory):
    """One real Prometheus with a job for each kind, and one that is not let in."""
    https = {"scheme": "https", "ca": str(made / "ca.pem")}
    certificate = {"client_cert": str(made / "client.pem"), "client_key": str(made / "client.key")}
    kinds = {
        "file": (Access(bearer=FILE), {"header": KINDS["bearer, from a file"][1]}),
        "environment": (Access(bearer=ENV), {"header": KINDS["bearer, from a file"][1]}),
        "basic": (Access(basic={"user": "gate", **ENV}), {"header": KINDS["basic"][1]}),
        "certificate": (Access(**https, **certificate), {"tls": made, "client_cert": True}),
        "insecure": (Access(scheme="https", insecure=True), {"tls": made}),
        "none": (Access(), {"header": KINDS["basic"][1]}),
    }
    run, port = tmp_path_factory.mktemp("run"), free_ports(1)[0]
    with ExitStack() as servers:
        jobs = []
        for name, (access, guard) in kinds.items():
            private = run / name
            private.mkdir()
            target = f"127.0.0.1:{servers.enter_context(guarded_server(**guard))}"
            one = prometheus.config(
                job=name, targets=[target], metrics_path="/metrics", alertmanager="127.0.0.1:1", rule_files=[],
                scrape_s=0.5, evaluation_s=1, access=scrape_settings(access, private, state),
            )  # fmt: skip
            jobs += one["scrape_configs"]
        config = prometheus.write_config(run / "prometheus.yaml", one | {"scrape_configs": jobs})
        assert SECRET not in config.read_text()
        programs = tools.find()
        assert prometheus.check_config(programs.promtool, config) == []
        argv = prometheus.command(programs.prometheus, config, run / "data", port, time_scale=1)
        child = spawn("prometheus", argv, run)

        def health():
            try:
                response = httpx.get(f"http://127.0.0.1:{port}/api/v1/targets", trust_env=False).raise_for_status()
            except httpx.HTTPError:
                return {}
            return {t["labels"]["job"]: (t["health"], t["lastError"]) for t in response.json()["data"]["activeTargets"]}

        try:
            assert wait(lambda: len(health()) == 6 and all(h != "unknown" for h, _ in health().values()), 40)
            assert {name for name, (one, _) in health().items() if one == "up"} == kinds.keys() - {"none"}, health()
            assert "401" in health()["none"][1]
        finally:
            child.end()
            end_all(run)


@pytest.mark.parametrize("content", [None, "", " \n", "cut\nshort", "cut\x00short"])
def test_what_is_no_secret_is_an_error_that_names_the_file_and_quotes_nothing(content, tmp_path):
    if content is not None:
        (tmp_path / "key").write_text(content)
    with pytest.raises(StackError) as error:
        read_secret(SecretSource(**FILE), tmp_path)
    assert str(tmp_path / "key") in str(error.value) and "cut" not in str(error.value)


def test_a_variable_that_is_not_set_is_an_error(monkeypatch, tmp_path):
    monkeypatch.delenv("OUR_SECRET", raising=False)
    with pytest.raises(StackError, match="environment variable OUR_SECRET: must hold one line"):
        read_secret(SecretSource(**ENV), tmp_path)


def test_a_private_file_is_never_readable_to_others_not_even_when_it_was(tmp_path):
    (tmp_path / "open").write_text("old")
    write_private(tmp_path / "open", "new")
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o600 and (tmp_path / "open").read_text() == "new"
