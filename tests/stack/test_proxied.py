"""What a run puts into somebody else's Toxiproxy is gone after it, also where its harness was killed."""

import httpx
import pytest
from proxies import proxy_process

from harness.stack.ledger import PROXIES, heal
from harness.stack.proxied import Proxied
from harness.stack.toxiproxy import URL
from harness.stack.up import heal as heal_runs


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A proxy that belongs to no run, and somebody's own link in it."""
    with proxy_process(tmp_path_factory.mktemp("theirs")) as port:
        url = f"http://127.0.0.1:{port}"
        body = {"name": "theirs", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9"}
        httpx.post(f"{url}/proxies", json=body).raise_for_status()
        yield url


def links(url):
    return sorted(httpx.get(f"{url}/proxies").json())


def nothing(name, argv):
    raise AssertionError("no proxy of our own is needed")


def put(run, url):
    proxied = Proxied(("clients", "scrape"), nothing, run, {URL: url})
    proxied.through("clients", "127.0.0.1:9")
    proxied.through("scrape", "127.0.0.1:9", "server")
    assert links(url) == ["clients", "scrape-server", "theirs"]
    return proxied


def test_an_orderly_end_takes_back_what_was_put(tmp_path, theirs):
    put(tmp_path, theirs).close()
    assert links(theirs) == ["theirs"] and not (tmp_path / PROXIES).exists()


def test_a_killed_run_is_healed_of_it_and_twice_is_once(tmp_path, theirs):
    put(tmp_path, theirs)  # and nobody is there to close it
    assert heal(tmp_path) == ([], [], [])
    assert links(theirs) == ["theirs"] and not (tmp_path / PROXIES).exists()
    assert heal(tmp_path) == ([], [], [])


def test_harness_heal_finds_it_though_nobody_owns_the_run(tmp_path, theirs):
    (tmp_path / "run").mkdir()
    put(tmp_path / "run", theirs)
    assert heal_runs(tmp_path) == [] and links(theirs) == ["theirs"]


def test_a_proxy_that_is_gone_has_nothing_to_take_back(tmp_path):
    (tmp_path / PROXIES).write_text("http://127.0.0.1:1/proxies/clients\n")
    assert heal(tmp_path) == ([], [], []) and not (tmp_path / PROXIES).exists()


def test_only_proxies_on_loopback_are_touched_and_what_could_not_be_stays_written_down(tmp_path):
    (tmp_path / PROXIES).write_text("http://198.51.100.1:8474/proxies/clients\n")
    [problem] = heal(tmp_path)[2]
    assert "is not a plain http:// URL on loopback" in problem and (tmp_path / PROXIES).exists()
