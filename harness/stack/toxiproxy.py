"""A client of Toxiproxy's HTTP API, for our own proxy and for a real one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from harness.errors import StackError

TIMEOUT_S = 5.0
URL = "TOXIPROXY_URL"  # the environment variable by which a real one takes the place of our own


class Toxiproxy:
    """What speaks the API at a URL. Its methods raise StackError with what it answers."""

    def __init__(self, url: str):
        self.url = url.rstrip("/")

    def version(self) -> str:
        return str((self._ask("GET", "/version") or {}).get("version", ""))

    def put(self, name: str, listen: str, upstream: str) -> str:
        """A proxy of this name, without toxics, in place of one that may be there; gives the address that it has."""
        self._ask("DELETE", f"/proxies/{quote(name, safe='')}", allowed=404)
        made = self._ask("POST", "/proxies", {"name": name, "listen": listen, "upstream": upstream, "enabled": True})
        return made["listen"]

    def enable(self, name: str, on: bool) -> None:
        self._ask("POST", f"/proxies/{quote(name, safe='')}", {"enabled": on})

    def add(self, proxy: str, toxic: Mapping[str, Any]) -> None:
        self._ask("POST", f"/proxies/{quote(proxy, safe='')}/toxics", toxic)

    def delete(self, name: str) -> None:
        self._ask("DELETE", f"/proxies/{quote(name, safe='')}", allowed=404)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, allowed: int = 0) -> Any:
        import httpx  # only who asks pays for it

        try:
            response = httpx.request(method, self.url + path, json=body, timeout=TIMEOUT_S, trust_env=False)
        except httpx.HTTPError as error:
            raise StackError(f"the proxy at {self.url} did not answer {method} {path}: {error}") from None
        if response.is_error and response.status_code != allowed:
            try:
                why = response.json()["error"]
            except (ValueError, KeyError, TypeError):
                why = response.text.strip()[:200]
            raise StackError(f"the proxy at {self.url} answered {method} {path} with {response.status_code}: {why}")
        return response.json() if response.content and not response.is_error else None


def complaint(url: str) -> str:
    """Why no real Toxiproxy can be driven at a URL; empty where one could. What it does must be undone from here."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname not in ("127.0.0.1", "localhost", "::1") or parts.path not in ("", "/"):
        return f"{URL} must be http://127.0.0.1:PORT: its proxies lead from loopback to loopback; got {url}"
    return ""
