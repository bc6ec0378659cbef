"""The links of a stack that go through the proxy, from its start to its end; and the proxy itself, where it is ours."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from harness.errors import StackError
from harness.stack.ledger import PROXIES
from harness.stack.process import Child, free_ports
from harness.stack.ready import not_ready, wait_until
from harness.stack.spec import ReadyTest
from harness.stack.toxiproxy import URL, Toxiproxy, complaint


@dataclass(frozen=True)
class Way:
    """One proxy of a link, which has several where one of its parties is several processes."""

    proxy: str  # its name
    listen: str
    upstream: str
    http: str = ""  # the path that may be asked for there, where HTTP is spoken
    tls: bool = False


class Proxied:
    """Which links go through the proxy. `spawn` starts a process of the stack; without links there is none. What is put
    into somebody else's proxy is written down in the run's folder before, so that whoever heals the run finds it."""

    def __init__(
        self,
        links: Collection[str],
        spawn: Callable[[str, list[str]], Child],
        run: Path,
        env: Mapping[str, str] = os.environ,
    ):
        self.url, self.ways = "", {}
        self._written = run / PROXIES
        self._links = frozenset(links)
        self._foreign = bool(links) and bool(env.get(URL))
        if not links:
            return
        if self._foreign:
            if problem := complaint(env[URL]):
                raise StackError(problem)
            self._proxy = Toxiproxy(env[URL])
            self._proxy.version()
        else:
            port = free_ports(1)[0]
            child = spawn("proxy", [sys.executable, "-m", "harness.stack.proxy", str(port)])
            self._proxy = Toxiproxy(f"http://127.0.0.1:{port}")
            ready = ReadyTest(http=f"{self._proxy.url}/version")
            wait_until("the proxy did not open", lambda: not_ready(ready, {}), 15, child)
        self.url = self._proxy.url

    def __contains__(self, link: str) -> bool:
        return link in self._links

    def through(
        self, link: str, upstream: str, part: str = "", port: int = 0, http: str = "", tls: bool = False
    ) -> str:
        """The address by which a party of a link is to be found: its own, or the proxy's. part: where the link has
        several; port: of the proxy, else a free one. Raises StackError."""
        if link not in self._links:
            return upstream
        name = f"{link}-{part}" if part else link
        if self._foreign:
            with open(self._written, "a") as out:
                out.write(f"{self.url}/proxies/{quote(name, safe='')}\n")
        listen = self._proxy.put(name, f"127.0.0.1:{port}", upstream)
        self.ways.setdefault(link, []).append(Way(name, listen, upstream, http, tls))
        return listen

    def stored(self) -> dict[str, list[dict[str, object]]]:
        """The links with their ways as plain data, for stack.json."""
        return {link: [asdict(way) for way in ways] for link, ways in self.ways.items()}

    def close(self) -> None:
        """Leave nothing of ours in somebody else's proxy; our own ends with the stack."""
        for way in [way for ways in self.ways.values() for way in ways] if self._foreign else ():
            self._proxy.delete(way.proxy)
        self._written.unlink(missing_ok=True)
