"""Where a service that runs already is: an address of which every part is honoured, or refused by its name."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment

PORTS = {"http": 80, "https": 443}
LOCAL = "localhost"


class Place(NamedTuple):
    """Where requests go: `path` goes before that of each request, empty where there is none."""

    scheme: str
    host: str  # as a resolver takes it; an IPv6 address without brackets
    port: int
    path: str = ""

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        """As a client asks for it: without a port that goes without saying."""
        address = self.address.removesuffix(f":{PORTS[self.scheme]}")
        return f"{self.scheme}://{address}{self.path}"


def place(text: str) -> Place:
    """The place that a URL names. Raises ValueError with what it cannot name, and where to say that instead."""
    if not text.isprintable() or any(c.isspace() for c in text):
        raise ValueError("must be a URL of printable characters without spaces, like http://127.0.0.1:8080")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"must be a URL, like http://127.0.0.1:8080; {error}") from None
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError("must be a URL with http or https and a host, like http://127.0.0.1:8080")
    if "@" in parts.netloc:  # not quoted: it may hold a password
        raise ValueError("must hold no user and no password; say `requests: {basic: {user: U, env: NAME}}`")
    if parts.query or "?" in text:
        raise ValueError(f"must hold no query; each request of the scenario has its own; got ?{parts.query}")
    if parts.fragment or "#" in text:
        raise ValueError("must hold no fragment: no server is ever sent one")
    if port == 0:
        raise ValueError("port 0 is none; a port is from 1 to 65535")
    if not parts.path.isascii() or any(part in (".", "..") for part in parts.path.split("/")):
        raise ValueError("must have a base path as it is sent: in ASCII, others as %XX, and without . and ..")
    return Place(parts.scheme, _host(parts.hostname), port or PORTS[parts.scheme], parts.path.rstrip("/"))


def _host(name: str) -> str:
    """The name as it is looked up: one in another script as IDNA has it."""
    if "%" in name:
        raise ValueError("must name its host without a zone (%): it is another on each machine")
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        if ":" in name:
            raise ValueError(f"[{name}] is no IPv6 address") from None
    try:
        found = name.encode("idna").decode().removesuffix(".")
    except UnicodeError:
        found = ""
    if not found or len(found) > 253 or not all(c.isalnum() or c in "-._" for c in found):
        raise ValueError(f"{name} is no name of a host")
    if all(part.isdigit() for part in found.split(".")):
        raise ValueError(f"{name} is no IPv4 address; write all four numbers")
    return found


def is_loopback(host: str) -> bool:
    """Whether a host is this one by its very name, whatever a resolver says."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == LOCAL


def named(host: str, allowed: Iterable[str]) -> bool:
    """Whether a host is among those that are named: by its name or address, or *.DOMAIN for all below."""
    wanted = [_named(name) for name in allowed]
    return any(host == name or (name.startswith("*.") and host.endswith(name[1:])) for name in wanted)


def _named(name: str) -> str:
    stripped = name.strip("[]").lower()
    return f"*.{_host(stripped[2:])}" if stripped.startswith("*.") else _host(stripped)


def proxied_by(at: Place, environ: Mapping[str, str] | None = None) -> str:
    """The proxy that the environment names for a place, which is not used; empty where there is none."""
    proxies = getproxies_environment() if environ is None else dict(environ)
    proxy = proxies.get(at.scheme) or proxies.get("all") or ""
    return "" if is_loopback(at.host) or not proxy or proxy_bypass_environment(at.address, proxies) else proxy
