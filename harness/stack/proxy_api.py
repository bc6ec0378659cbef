"""Toxiproxy's HTTP API, version 2: proxies and their toxics, with the statuses and the texts that Toxiproxy answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit

from harness.stack.http_faults import Http
from harness.stack.proxy import Proxy, address
from harness.stack.toxics import STREAMS, TYPES, Toxic, complete

VERSION = "2.12.0-harness"
BODY_BYTES = 1 << 20
TYPES["http"] = Http  # of http_faults.py, which builds on the others
READ_WITHIN_S = 15.0


class Problem(Exception):
    """Why a request is not carried out, as Toxiproxy says it."""

    def __init__(self, status: int, text: str, proxies: list[Any] | None = None):
        super().__init__(text)
        self.status, self.text, self.proxies = status, text, proxies


NO_PROXY = Problem(404, "proxy not found")
NO_TOXIC = Problem(404, "toxic not found")


class Api:
    """All proxies of this process, by name, and who changes them: one request after another."""

    def __init__(self) -> None:
        self.proxies: dict[str, Proxy] = {}
        self._turn = asyncio.Lock()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request of a connection."""
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            method, path, headers, body = await asyncio.wait_for(_request(reader), READ_WITHIN_S)
            async with self._turn:
                status, kind, text = await self._answer(method, path, headers, body)
            content = text.encode()
            head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {kind}\r\n"
            head += f"Content-Length: {len(content)}\r\n" if status != 204 else ""
            writer.write(f"{head}Connection: close\r\n\r\n".encode() + content)
            await writer.drain()
        writer.close()

    async def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, str, str]:
        if headers.get("user-agent", "").startswith("Mozilla/"):  # a page that a browser shows must not control it
            return 403, "text/plain; charset=utf-8", "User agent not allowed\n"
        names = [unquote(part) for part in urlsplit(path).path.split("/")[1:]]
        route = (names[0], len(names), *(names[2:3] if len(names) > 2 else ()))
        if (methods := ROUTES.get(route)) is None:
            return 404, "text/plain; charset=utf-8", "404 page not found\n"
        if (act := methods.get(method)) is None:
            return 405, "text/plain; charset=utf-8", ""
        try:
            status, found = await act(self, names, body)
        except Problem as problem:
            said = {"error": problem.text, "status": problem.status}
            if problem.proxies is not None:
                return problem.status, "application/json", json.dumps({**said, "proxies": problem.proxies})
            return problem.status, "text/plain; charset=utf-8", json.dumps(said) + "\n"
        return status, "application/json", "" if found is None else json.dumps(found)

    # -- the proxies ---------------------------------------------------------------------------------------------

    async def index(self, names: list[str], body: bytes) -> tuple[int, Any]:
        return 200, {name: _shown(proxy) for name, proxy in self.proxies.items()}

    async def create(self, names: list[str], body: bytes) -> tuple[int, Any]:
        given = _parsed(body, dict, {"enabled": True})
        for key in ("name", "upstream"):
            if not given.get(key):
                raise Problem(400, f"missing required field: {key}")
        if given["name"] in self.proxies:
            raise Problem(409, "proxy already exists")
        proxy = Proxy(given["name"], given.get("listen", ""), given["upstream"])
        if given["enabled"]:
            await _start(proxy)
        self.proxies[proxy.name] = proxy
        return 201, _shown(proxy)

    async def populate(self, names: list[str], body: bytes) -> tuple[int, Any]:
        """All that is asked is looked at before anything is changed."""
        asked = _parsed(body, list)
        made: list[Any] = []
        for i, given in enumerate(asked):
            _check(given, dict)
            for key in ("name", "upstream"):
                if not given.get(key):
                    raise Problem(400, f"missing required field: {key} at proxy {i + 1}", made)
        for given in asked:
            proxy = Proxy(given["name"], given.get("listen", ""), given["upstream"])
            old = self.proxies.get(proxy.name)
            if old is not None and (old.listen, old.upstream) == (proxy.listen, proxy.upstream):
                made.append(_shown(old))
                continue
            if old is not None:
                await old.stop()
            if given.get("enabled", True):
                try:
                    await _start(proxy)
                except Problem as problem:
                    raise Problem(problem.status, problem.text, made) from None
            self.proxies[proxy.name] = proxy
            made.append(_shown(proxy))
        return 201, {"proxies": made}

    async def reset(self, names: list[str], body: bytes) -> tuple[int, Any]:
        for proxy in self.proxies.values():
            await _start(proxy)
            for toxic in list(proxy.toxics.values()):
                proxy.remove(toxic)
        return 204, None

    async def show(self, names: list[str], body: bytes) -> tuple[int, Any]:
        return 200, _shown(self._proxy(names))

    async def change(self, names: list[str], body: bytes) -> tuple[int, Any]:
        proxy = self._proxy(names)
        given = _parsed(body, dict, {"listen": proxy.listen, "upstream": proxy.upstream, "enabled": proxy.enabled})
        if (given["listen"], given["upstream"]) != (proxy.listen, proxy.upstream):
            await proxy.stop()
            proxy.listen, proxy.upstream = given["listen"], given["upstream"]
        await _start(proxy) if given["enabled"] else await proxy.stop()
        return 200, _shown(proxy)

    async def delete(self, names: list[str], body: bytes) -> tuple[int, Any]:
        await self._proxy(names).stop()
        del self.proxies[names[1]]
        return 204, None

    # -- their toxics --------------------------------------------------------------------------------------------

    async def toxics(self, names: list[str], body: bytes) -> tuple[int, Any]:
        return 200, [vars(toxic) for toxic in _in_order(self._proxy(names))]

    async def add_toxic(self, names: list[str], body: bytes) -> tuple[int, Any]:
        proxy = self._proxy(names)
        given = _parsed(body, dict, {"stream": "downstream", "toxicity": 1.0, "type": "", "attributes": {}})
        stream, kind = given["stream"].lower(), given["type"]
        if stream not in STREAMS:
            raise Problem(400, "stream was invalid, can be either upstream or downstream")
        name = given.get("name") or f"{kind}_{given['stream']}"
        if kind not in TYPES:
            raise Problem(400, "invalid toxic type")
        if name in proxy.toxics:
            raise Problem(409, "toxic already exists")
        toxic = Toxic(name, kind, stream, given["toxicity"], _attributes(kind, given["attributes"]))
        proxy.add(toxic)
        return 200, vars(toxic)

    async def show_toxic(self, names: list[str], body: bytes) -> tuple[int, Any]:
        return 200, vars(self._toxic(names))

    async def change_toxic(self, names: list[str], body: bytes) -> tuple[int, Any]:
        toxic = self._toxic(names)
        given = _parsed(body, dict, {"attributes": {}, "toxicity": toxic.toxicity})
        toxic.attributes = _attributes(toxic.type, given["attributes"], toxic.attributes)
        toxic.toxicity = given["toxicity"]
        self._proxy(names).update(toxic)
        return 200, vars(toxic)

    async def delete_toxic(self, names: list[str], body: bytes) -> tuple[int, Any]:
        self._proxy(names).remove(self._toxic(names))
        return 204, None

    async def version(self, names: list[str], body: bytes) -> tuple[int, Any]:
        return 200, {"version": VERSION}

    def _proxy(self, names: list[str]) -> Proxy:
        if names[1] not in self.proxies:
            raise NO_PROXY
        return self.proxies[names[1]]

    def _toxic(self, names: list[str]) -> Toxic:
        proxy = self._proxy(names)
        if names[3] not in proxy.toxics:
            raise NO_TOXIC
        return proxy.toxics[names[3]]


Act = Callable[[Api, list[str], bytes], Awaitable[tuple[int, Any]]]
ROUTES: dict[tuple[Any, ...], dict[str, Act]] = {
    ("proxies", 1): {"GET": Api.index, "POST": Api.create},
    ("populate", 1): {"POST": Api.populate},
    ("reset", 1): {"POST": Api.reset},
    ("version", 1): {"GET": Api.version},
    ("proxies", 2): {"GET": Api.show, "POST": Api.change, "PATCH": Api.change, "DELETE": Api.delete},
    ("proxies", 3, "toxics"): {"GET": Api.toxics, "POST": Api.add_toxic},
    ("proxies", 4, "toxics"): {
        "GET": Api.show_toxic, "POST": Api.change_toxic, "PATCH": Api.change_toxic, "DELETE": Api.delete_toxic,
    },
}  # fmt: skip
FIELDS = {
    "name": str, "listen": str, "upstream": str, "enabled": bool, "type": str, "stream": str,
    "toxicity": (int, float), "attributes": dict,
}  # fmt: skip


async def _request(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = [*head[0].split(" "), "", "", ""][:3]
    lines = (line.partition(":") for line in head[1:] if ":" in line)
    headers = {name.strip().lower(): value.strip() for name, _, value in lines}
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return method, path, headers, await _chunks(reader)
    length = headers.get("content-length", "0")
    return method, path, headers, await reader.readexactly(min(int(length), BODY_BYTES) if length.isdigit() else 0)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readline()).partition(b";")[0].strip() or b"0", 16):
        body += await reader.readexactly(min(size, BODY_BYTES))
        await reader.readline()
    return body


def _parsed(body: bytes, kind: type, defaults: dict[str, Any] | None = None) -> Any:
    """A body, with defaults for what it does not say. Raises Problem."""
    try:
        given = json.loads(body or b"")
    except ValueError as error:
        raise Problem(400, f"bad request body: {error if body else 'EOF'}") from None
    _check(given, kind)
    return given if defaults is None else {**defaults, **{k: v for k, v in given.items() if v is not None}}


def _check(given: Any, kind: type) -> None:
    if not isinstance(given, kind):
        raise Problem(400, f"bad request body: json: cannot unmarshal {type(given).__name__} into {kind.__name__}")
    for key, value in given.items() if isinstance(given, dict) else ():
        wanted = FIELDS.get(key)
        if wanted and value is not None and not _is(value, wanted):
            raise Problem(400, f"bad request body: json: cannot unmarshal {value!r} into field {key}")


def _is(value: Any, wanted: type | tuple[type, ...]) -> bool:
    return isinstance(value, wanted) and isinstance(value, bool) is (wanted is bool)


def _attributes(kind: str, given: dict[str, Any], base: dict[str, Any] | None = None) -> dict[str, Any]:
    try:
        return complete(kind, given, base)
    except ValueError as error:
        raise Problem(400, f"bad request body: {error}") from None


async def _start(proxy: Proxy) -> None:
    try:
        address(proxy.upstream)
        await proxy.start()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Problem(500, f"listen tcp {proxy.listen}: {why}") from None


def _in_order(proxy: Proxy) -> list[Toxic]:
    return sorted(proxy.toxics.values(), key=lambda toxic: STREAMS.index(toxic.stream))


def _shown(proxy: Proxy) -> dict[str, Any]:
    about = {"name": proxy.name, "listen": proxy.listen, "upstream": proxy.upstream, "enabled": proxy.enabled}
    return {**about, "toxics": [vars(toxic) for toxic in _in_order(proxy)]}
