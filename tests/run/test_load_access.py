"""How the requests of `harness load` get in: as service.yaml says, but for what is given by hand."""

from contextlib import contextmanager

import pytest

from harness import cli
from harness.cli.up import _about
from harness.run import load
from harness.stack.stack import ENV, Stack

STORED = {"ca_file": "a.pem", "client_cert": "c.pem", "client_key": "c.key", "headers_file": "h.json"}


class Started(Exception):
    """The generator would run now."""


@pytest.fixture
def started(tmp_path, monkeypatch):
    """What `harness load` would start its generator with, by its arguments."""

    def of(*argv):
        seen = {}

        @contextmanager
        def generating(stack, scenario, arrivals, for_s, cwd, corpus, processes, access, user, users):
            seen.update(access)
            raise Started
            yield

        nobody = "http://127.0.0.1:9"
        Stack(tmp_path, "svc", nobody, nobody, nobody, 1, access=STORED).write()
        monkeypatch.setenv(ENV, str(tmp_path))
        monkeypatch.setattr(load, "generating", generating)
        for name in ("scenario.py", "b.pem", "h2.json"):
            (tmp_path / name).touch()
        monkeypatch.chdir(tmp_path)
        assert cli.main(["load", "scenario.py", *argv]) == 70  # by Started
        return {name: str(value) for name, value in seen.items()}

    return of


@pytest.mark.parametrize(
    ("argv", "changed", "gone"),
    [
        ((), {}, ()),
        (("--headers-file", "h2.json"), {"headers_file": "h2.json"}, ()),
        (("--ca-file", "b.pem"), {"ca_file": "b.pem"}, ()),
        (("--insecure",), {"insecure": "True"}, ("ca_file",)),
        (("--client-cert", "b.pem"), {"client_cert": "b.pem"}, ("client_key",)),
        (
            ("--client-cert", "b.pem", "--client-key", "b.pem"),
            {"client_cert": "b.pem", "client_key": "b.pem"},
            (),
        ),
    ],
    ids=str,
)
def test_what_is_given_replaces_what_service_yaml_says(started, argv, changed, gone):
    assert started(*argv) == {name: value for name, value in STORED.items() if name not in gone} | changed


@pytest.mark.parametrize("access", [{}, {"headers_file": "runs/x/private/request-headers.json"}], ids=str)
def test_up_says_which_headers_requests_need(access, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stored = {name: str(tmp_path / path) for name, path in access.items()}
    said = _about(Stack(tmp_path / "runs" / "x", "svc", "http://s", "http://p", "http://a", 1, access=stored))
    assert ("    requests need --headers-file runs/x/private/request-headers.json\n" in said) == bool(access)
