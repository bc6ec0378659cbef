"""Addresses of services that run already: every part is honoured, or refused by its name."""

import pytest

from harness.stack.place import is_loopback, named, place, proxied_by


@pytest.mark.parametrize(
    ("url", "address", "said"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://shop", "shop:80", "http://shop"),
        ("https://Shop.Example/", "shop.example:443", "https://shop.example"),
        ("https://shop.example./api/", "shop.example:443", "https://shop.example/api"),
        ("http://[::1]:8080/a%20b", "[::1]:8080", "http://[::1]:8080/a%20b"),
        ("http://[0:0:0:0:0:0:0:1]", "[::1]:80", "http://[::1]"),
        ("https://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example", "xn--bcher-kva.example:443", "https://xn--bcher-kva.example"),
    ],
)  # fmt: skip
def test_what_is_honoured(url, address, said):
    assert (place(url).address, str(place(url))) == (address, said)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://kim:secret@shop", "no user and no password"),
        ("http://shop?page=1", "no query"),
        ("http://shop/#top", "no fragment"),
        ("http://shop:0", "port 0"),
        ("http://shop:70000", "Port out of range"),
        ("http://[fe80::1%25eth0]", "without a zone"),
        ("http://[::g]", "must be a URL"),
        ("http://1.2.3", "no IPv4 address"),
        ("http://shop..example", "no name of a host"),
        ("http://shop/a/../b", "base path"),
        ("http://shop/caf\N{LATIN SMALL LETTER E WITH ACUTE}", "base path"),
        ("ftp://shop", "http or https"),
        ("unix:///run/shop.sock", "http or https"),
        ("http:///metrics", "http or https"),
        ("shop:8080", "http or https"),
        ("http://shop /", "without spaces"),
        ("http://shop\n", "without spaces"),
    ],
)
def test_what_is_refused(url, says):
    with pytest.raises(ValueError, match=says) as refused:
        place(url)
    assert "secret" not in str(refused.value)


LOCAL = {
    "127.0.0.1": True,
    "127.9.9.9": True,
    "::1": True,
    "localhost": True,
    "localhost.example": False,
    "shop": False,
}


@pytest.mark.parametrize(("host", "local"), LOCAL.items())
def test_what_is_this_machine(host, local):
    assert is_loopback(host) is local


@pytest.mark.parametrize(
    ("host", "allowed", "is_named"),
    [
        ("shop.example", ["shop.example"], True),
        ("shop.example", ["Shop.Example."], True),
        ("shop.example", ["*.example"], True),
        ("example", ["*.example"], False),
        ("badexample", ["*.example"], False),
        ("::1", ["[0::1]"], True),
        ("shop.example", ["shop"], False),
        ("shop.example", [], False),
    ],
)
def test_who_is_named(host, allowed, is_named):
    assert named(host, allowed) is is_named


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("http://shop", {"http": "http://proxy:3128"}, "http://proxy:3128"),
        ("https://shop", {"http": "http://proxy:3128"}, ""),
        ("https://shop", {"all": "socks5://proxy"}, "socks5://proxy"),
        ("http://shop", {"http": "http://proxy:3128", "no": "shop"}, ""),
        ("http://127.0.0.1", {"http": "http://proxy:3128"}, ""),
    ],
)
def test_a_proxy_of_the_environment(url, environ, proxy):
    assert proxied_by(place(url), environ) == proxy
