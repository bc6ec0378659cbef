"""A network that is slow, narrow, broken or dead, between two parties of the stack."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from harness.errors import FaultError
from harness.faults.fault import Facts, Fault
from harness.stack import prometheus
from harness.stack.look import Seen, look
from harness.stack.proxied import Way
from harness.stack.stack import Stack
from harness.stack.toxics import STREAMS, TYPES
from harness.stack.toxiproxy import Toxiproxy
from harness.stack.undo import Undo

DOWN = "down"  # no toxic: the proxy refuses all connections
LOOK_S, PATIENCE_S = 1.0, 2.0  # beyond what the toxic itself takes
SLOWER_S = 0.02  # what is not slower by this much may be chance


@dataclass(frozen=True)
class Network(Fault):
    """A toxic, with its `attributes`, on every connection of a link, or on a share of them (`toxicity`), one way
    (`stream`: `downstream` is towards whoever connects); or `down`: connections are refused.

    The toxics are Toxiproxy's: latency, bandwidth, slow_close, timeout (0: a black hole), reset_peer, slicer and
    limit_data; and our own: reset_data, corrupt and half_open. `witness_query`: PromQL that gives a result only while
    the fault shows, for links on which no HTTP is spoken.
    """

    link: str
    toxic: str
    attributes: dict[str, Any] = field(default_factory=dict)
    stream: str = "downstream"
    toxicity: float = 1.0
    witness_query: str = ""
    kind: ClassVar[str] = "network"
    touches: ClassVar[str] = "the connections on link {link}"
    undone: ClassVar[str] = "the toxic is removed from the proxy"
    deeds: ClassVar[tuple[str, ...]] = ()

    def mistakes(self) -> Iterator[tuple[str, str]]:
        if self.toxic in (*TYPES, DOWN):
            yield from wrong_attributes(self.toxic, self.attributes)
        else:
            yield "toxic", f"must be one of {', '.join([*TYPES, DOWN])}; got {self.toxic!r}"
        if self.stream not in STREAMS:
            yield "stream", f"must be {' or '.join(STREAMS)}; got {self.stream!r}"
        yield from share(self.toxicity)

    def target(self, stack: Stack) -> Facts:
        ways, base = ways_of(stack, self.link), f"{stack.proxy_url}/proxies"
        if self.toxic == DOWN:
            return {"ways": ways, "urls": [f"{base}/{way['proxy']}" for way in ways]}
        name = f"{self.toxic}-{uuid.uuid4().hex[:8]}"
        return {"ways": ways, "name": name, "urls": [f"{base}/{way['proxy']}/toxics/{name}" for way in ways]}

    def undo(self, facts: Facts) -> list[Undo]:
        verb = "enable_proxy" if self.toxic == DOWN else "delete_proxy_rule"
        return [Undo(verb, {"url": url}) for url in facts["urls"]]

    def start(self, stack: Stack, facts: Facts) -> None:
        proxy = Toxiproxy(stack.proxy_url)
        about = {"type": self.toxic, "stream": self.stream, "toxicity": float(self.toxicity)}
        for way in facts["ways"]:
            if self.toxic == DOWN:
                proxy.enable(way["proxy"], False)
            else:
                proxy.add(way["proxy"], {"name": facts["name"], "attributes": self.attributes, **about})

    def witness(self, stack: Stack, facts: Facts) -> str | None:
        """A client of the link's own, beside one that goes round the proxy; or what Prometheus says."""
        if self.witness_query:
            return asked(stack, self.witness_query)
        way = spoken(facts["ways"])
        ms = [self.attributes.get(key, 0) for key in ("latency", "delay", "timeout")]
        through, past = both(way, LOOK_S + max(ms) / 1000 + PATIENCE_S * (self.toxic == "bandwidth"))
        if through is None:
            return None
        if found := self.difference(through, past):
            return f"a client of {self.link} at {way.listen}: {found}"
        return None

    def difference(self, through: Seen, past: Seen) -> str:
        """How the toxic shows in a connection through the proxy, beside one past it; empty where it does not."""
        given, slower_s = self.attributes, through.whole_s - past.whole_s
        least = {
            "latency": (given.get("latency", 0) - given.get("jitter", 0)) / 1000,
            "bandwidth": len(past.data) / (1000 * given["rate"]) if given.get("rate") else 0,
            "slow_close": given.get("delay", 0) / 1000,
        }
        if self.toxic in least:
            bound_s = max(SLOWER_S, least[self.toxic] / 2)
            late = through.first_s is None and self.toxic != "slow_close"  # nothing came within our time
            if (late and past.first_s is not None) or slower_s >= bound_s:
                return f"its answer took {through.whole_s:.3g} s, past the proxy {past.whole_s:.3g} s"
            return ""
        shows = {
            DOWN: through.end == "refused" != past.end,
            "timeout": not through.data and bool(past.data),
            "reset_peer": through.end == "reset" != past.end,
            "reset_data": through.end == "reset" != past.end,
            "limit_data": len(through.data) < len(past.data),
            "slicer": through.pieces > past.pieces,
            "corrupt": self._corrupt(through, past),
            "half_open": through.end == "open" != past.end,
        }
        return f"{_said(through)}; past the proxy {_said(past)}" if shows[self.toxic] else ""

    def _corrupt(self, through: Seen, past: Seen) -> bool:
        """Whether bytes came that no such text has, or something else than is the answer to the question."""
        odd = any(byte > 126 or (byte < 32 and byte not in b"\r\n\t") for byte in through.data)
        return past.data.isascii() and (odd or through.status != past.status)


def share(toxicity: float) -> Iterator[tuple[str, str]]:
    """What is wrong with the share of connections that a toxic is done to."""
    if not 0 < toxicity <= 1:
        yield "toxicity", f"must be a share of the connections, above 0 and at most 1; got {toxicity:g}"


def wrong_attributes(toxic: str, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with the attributes of a toxic."""
    known = dict(TYPES[toxic].attributes) if toxic in TYPES else {}
    for name, value in given.items():
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            yield "attributes", f"{toxic} has no attribute {name}; {has}"
        elif not isinstance(value, type(known[name])) or isinstance(value, bool):
            yield "attributes", f"{name} must be a {'whole number' if known[name] == 0 else 'value'}; got {value!r}"
        elif isinstance(value, int) and value < 0:
            yield "attributes", f"{name} must not be below 0; got {value}"


def ways_of(stack: Stack, link: str) -> Sequence[Mapping[str, Any]]:
    """The proxies of a link. Raises FaultError where it goes through none."""
    if link not in stack.links:
        through = f"only {', '.join(stack.links)}" if stack.links else "no link"
        how = "list the experiment in gate.yaml, whose links `harness gate` and `harness up` lead through it"
        raise FaultError(f"{link} does not go through the proxy here, {through} does: {how}")
    return stack.links[link]


def spoken(ways: Sequence[Mapping[str, Any]]) -> Way:
    """The proxy that a witness asks: one on which HTTP is spoken, where there is one."""
    return next((Way(**way) for way in ways if way["http"]), Way(**ways[0]))


def both(way: Way, within_s: float) -> tuple[Seen | None, Seen]:
    """What a client sees through the proxy, and past it; None through it where past it there is nothing to see."""
    past = look(way.upstream, way.http, LOOK_S, way.tls)
    if past.end == "refused" or (way.http and not past.data):
        return None, past
    return look(way.listen, way.http, within_s, way.tls), past


def asked(stack: Stack, query: str) -> str | None:
    """What Prometheus answers, where it answers something."""
    result = prometheus.query(stack.prometheus_url, query)
    return f"Prometheus: {query} = {float(result[0]['value'][1]):.4g}" if result else None


def _said(seen: Seen) -> str:
    return f"{len(seen.data)} bytes in {seen.pieces} pieces, then {seen.end}"
